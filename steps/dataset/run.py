"""Fetch every dataset URL, check its rows, and write train and validation parquet files."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from msgspec.structs import asdict

from argotune.steps.common import log
from argotune.steps.common.addresses import Resolve, resolve
from argotune.steps.common.fs import atomic_write
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.data_report import PAGE, DataReport, write_report
from argotune.steps.contracts.model_cache import damage, read_marker
from argotune.steps.contracts.steps_of_run import RunSteps, steps_of_run
from argotune.steps.contracts.training_plan import (
    Data,
    Training,
    TrainingPlan,
    read_plan,
    tuning_bytes,
)
from argotune.steps.dataset import record
from argotune.steps.dataset.changes import is_changed
from argotune.steps.dataset.download import Downloader
from argotune.steps.dataset.held_out import (
    held_out_before,
    questions_of,
    remember_held_out,
    texts_of,
)
from argotune.steps.dataset.locate import Locator
from argotune.steps.dataset.make import Made, check_dataset, make_dataset
from argotune.steps.dataset.page import data_html
from argotune.steps.dataset.params import Params, Result
from argotune.steps.dataset.record import Record, Tokens
from argotune.steps.dataset.secret_urls import full_urls
from argotune.steps.dataset.sources import (
    are_unchanged,
    identities_of,
    key_of,
    last_seen,
    remember_sources,
)
from argotune.steps.dataset.stores import Stores
from argotune.steps.dataset.token_counts import TokenCounts
from argotune.steps.registry.guard import Connect
from argotune.steps.web.guard import (
    CheckedAddresses,
    GuardedTransport,
    UrlPolicy,
    check_urls,
    tls_context,
)

if TYPE_CHECKING:
    from argotune.steps.dataset.judge import Judge

NewDownloader = Callable[[Params, httpx.Client], Downloader]
NewStores = Callable[[Params, UrlPolicy, httpx.Client, Mapping[str, str]], Stores]

_MOST_PACKED_ROWS = 5_000_000
"""Packing takes a hundred bytes a row, and as many rows make so many steps that few care."""

_logger = logging.getLogger(__name__)


def new_client(params: Params, policy: UrlPolicy) -> httpx.Client:
    """A client that uses the real network and applies the policy."""
    return httpx.Client(
        transport=GuardedTransport(policy, tls=tls_context(params.ca_file)),
        timeout=params.timeout_seconds,
        # Otherwise proxies and .netrc of the environment would bypass the address checks.
        trust_env=False,
        headers={"User-Agent": "argotune"},
    )


def new_downloader(
    params: Params, client: httpx.Client, *, sleep: Callable[[float], None] = time.sleep
) -> Downloader:
    """A downloader with the limits of the parameters."""
    return Downloader(
        client,
        attempts=params.attempts,
        max_bytes=int(params.max_download_gib * 2**30),
        stall_seconds=params.timeout_seconds,
        sleep=sleep,
    )


def new_stores(
    params: Params,
    policy: UrlPolicy,
    client: httpx.Client,
    environment: Mapping[str, str],
    *,
    resolve: Resolve = resolve,
    connect: Connect = socket.create_connection,
) -> Stores:
    """The object stores, whose names are resolved and checked by the policy."""
    return Stores(
        CheckedAddresses(policy=policy, resolve=resolve),
        environment,
        client=client,
        secret=params.data_secret,
        ca_file=params.ca_file,
        connect=connect,
    )


def run(
    params: Params,
    *,
    progress: Progress,
    downloader: NewDownloader = new_downloader,
    stores: NewStores = new_stores,
    environment: Mapping[str, str] = os.environ,
) -> Result:
    """Create work_dir/dataset, unless a complete one of the same inputs exists.

    `environment` has the login of each source (params.SECRET_VARIABLES).
    """
    policy = UrlPolicy(
        allow_loopback=params.allow_loopback,
        allow_files=params.allow_files,
        allow_http=params.allow_http,
        allowed_hosts=frozenset(host.lower() for host in params.allowed_hosts),
    )
    urls = full_urls("urls", params.urls, params.urls_file)
    validation_urls = full_urls(
        "validation-urls", params.validation_urls, params.validation_urls_file
    )
    check_urls({"urls": urls, "validation-urls": validation_urls}, policy)
    plan = read_plan(params.plan_file)
    data = plan.data
    directory = params.work_dir / "dataset"
    tokenizer_dir = _brought_tokenizer(params.tokenizer_dir)
    judging = None if tokenizer_dir is None else _what_judges(tokenizer_dir, plan)
    inputs = record.inputs_digest((urls, validation_urls), data, judging, params.volume_dir)
    found = record.read_record(directory, inputs)
    if found is not None:
        log.event(_logger, "dataset-found", digest=found.digest)
        return _result(found, params)
    # An existing dataset is from other inputs or incomplete.
    (directory / record.NAME).unlink(missing_ok=True)
    held_out = frozenset() if validation_urls else _held_out(params, data)
    downloads, all_urls = params.work_dir / "downloads", [*urls, *validation_urls]
    with _opened(params, policy, downloader, stores, environment) as (loader, locator):
        unchanged = _unchanged(params, key_of(inputs, held_out), locator, all_urls)
        if unchanged is not None:
            return unchanged
        # Before gigabytes are fetched: the tokenizer may be one that cannot be tuned.
        judge = None if tokenizer_dir is None else _new_judge(tokenizer_dir, plan)
        targets = locator.targets(all_urls)
        files = loader.fetch_all(
            list(chain.from_iterable(targets)),
            downloads,
            # Reading the files is the second half of the progress.
            on_progress=lambda done, total: progress.update(done, 2 * total),
            tuning_bytes=tuning_bytes(plan),
        )
    total = sum(file.size for file in files)
    train_files = sum(map(len, targets[: len(urls)]))
    made = make_dataset(
        files[:train_files],
        data,
        directory,
        validation_files=files[train_files:],
        scratch_dir=downloads,
        judge=judge,
        on_bytes=lambda done: progress.update(total + done, 2 * total),
        samples=params.samples,
        held_out=held_out,
    )
    steps = _steps(made.train_tokens, plan.training)
    report = _report(made, plan, steps)
    write_report(directory, report)
    atomic_write(directory / PAGE, data_html(report))
    # After the report, which has the numbers of the rows that are refused or cut.
    check_dataset(made, data, judge)
    finished = _record(inputs, made, directory, steps, report.summary())
    if not validation_urls:
        remember_held_out(params.history_file, made.split)
    remember_sources(
        params.history_file,
        key_of(inputs, held_out | made.split.held_out),
        identities_of(targets),
        finished,
    )
    record.write_record(directory, finished)
    progress.update(2 * total, 2 * total)
    return _result(finished, params)


@contextlib.contextmanager
def _opened(
    params: Params,
    policy: UrlPolicy,
    downloader: NewDownloader,
    stores: NewStores,
    environment: Mapping[str, str],
) -> Iterator[tuple[Downloader, Locator]]:
    """Yield what finds and fetches the files, while its connections are open."""
    with (
        new_client(params, policy) as client,
        stores(params, policy, client, environment) as opened,
    ):
        loader = downloader(params, client)
        yield (
            loader,
            Locator(
                params,
                params.work_dir / "downloads",
                downloader=loader,
                stores=opened,
                environment=environment,
            ),
        )


def _unchanged(params: Params, key: str, locator: Locator, urls: Sequence[str]) -> Result | None:
    """The result of the last dataset, if a look at the sources tells that nothing changed."""
    if not params.only_if_changed or params.history_file is None:
        return None
    seen = last_seen(params.history_file, key)
    # Where something else changed, the rows are needed, which only the files have.
    if seen is None or (result := _result(seen.record, params)).changed:
        return None
    return result if are_unchanged(seen, locator.identities(urls)) else None


def _held_out(params: Params, data: Data) -> frozenset[int]:
    """The questions that stay held out, of earlier runs or of the run that is made again."""
    return held_out_before(params.history_file, data) | questions_of(params.held_out)


def _brought_tokenizer(directory: Path | None) -> Path | None:
    """The directory if it has the whole tokenizer; None, and a warning, if it has not."""
    if directory is not None and not damage(directory):
        return directory
    log.warn(
        _logger,
        "tokens-not-counted",
        reason="the plan step brought no tokenizer",
        effect="tune counts the tokens, and refuses rows that the chat template does not take",
    )
    return None


def _what_judges(tokenizer_dir: Path, plan: TrainingPlan) -> str:
    """Digest of all that a row's tokens depend on besides its text."""
    marker = read_marker(tokenizer_dir)
    assert marker is not None
    depends = (marker.digest, plan.model.chat_template, plan.training)
    return hashlib.sha256(repr(depends).encode()).hexdigest()


def _new_judge(tokenizer_dir: Path, plan: TrainingPlan) -> Judge:
    # Imported here because it takes a second, which a dataset that is complete does not need.
    from argotune.steps.dataset.judge import Judge

    return Judge(tokenizer_dir, plan)


def _tokens(made: Made, steps: RunSteps | None) -> Tokens | None:
    train, validation = made.train_tokens, made.validation_tokens
    if train is None or validation is None:
        return None
    return Tokens(
        tokens=train.tokens,
        learned_tokens=train.learned_tokens,
        longest_row_tokens=train.longest_row_tokens,
        cut_rows=train.cut_rows,
        cut_tokens=train.cut_tokens,
        validation_tokens=validation.tokens,
        steps=None if steps is None else steps.total,
        run_tokens=None if steps is None else steps.run_tokens(train.tokens),
    )


def _steps(train: TokenCounts | None, training: Training) -> RunSteps | None:
    """The steps that tune will make of the rows; a warning if they are few."""
    if train is None:
        return None
    lengths = train.lengths.tolist()
    if not lengths or len(lengths) > _MOST_PACKED_ROWS:
        return None
    steps = steps_of_run(lengths, training)
    if warning := steps.warning():
        log.warn(_logger, "few-steps", warning=warning)
    return steps


def _report(made: Made, plan: TrainingPlan, steps: RunSteps | None) -> DataReport:
    columns = {name: None for file in made.files for name in file.unused_columns}
    found, files = made.findings, [file.url for file in made.files]
    refused = [] if made.unusable is None else made.unusable.findings(files)
    return DataReport(
        name=plan.name,
        model=plan.model.preset,
        files=files,
        rows=made.rows,
        train_rows=made.train_rows,
        held_out_rows=made.validation_rows,
        validation_files=sum(file.is_held_out for file in made.files),
        refused=refused,
        unused_columns=list(columns),
        duplicates=found.duplicates(),
        sensitive=found.sensitive(),
        tokens=found.tokens(
            made.train_tokens, made.validation_tokens, plan.training.max_length, steps
        ),
        samples=found.samples(),
    )


def _record(
    inputs: str, made: Made, directory: Path, steps: RunSteps | None, findings: str
) -> Record:
    rejected = sum(made.rejected.values())
    return Record(
        inputs=inputs,
        digest=f"sha256:{hashlib.sha256(made.digest).hexdigest()}",
        rows=made.rows - rejected,
        train_rows=made.train_rows,
        validation_rows=made.validation_rows,
        duplicate_rows=made.duplicates,
        removed_rows=made.removed,
        rejected_rows=rejected,
        unlearned_answers=made.unlearned_answers,
        rejected=made.rejected,
        findings=findings,
        tokens=_tokens(made, steps),
        files=made.files,
        sizes={name: (directory / name).stat().st_size for name in record.FILES},
        held_out=texts_of(made.split.held_out),
    )


def _result(found: Record, params: Params) -> Result:
    tokens = found.tokens
    counted = dict.fromkeys(Tokens.__struct_fields__) if tokens is None else asdict(tokens)
    return Result(
        summary=found.summary,
        findings=found.findings,
        rows=found.rows,
        train_rows=found.train_rows,
        validation_rows=found.validation_rows,
        rejected_rows=found.rejected_rows,
        duplicate_rows=found.duplicate_rows,
        removed_rows=found.removed_rows,
        **counted,
        digest=found.digest,
        changed=is_changed(found.digest, params),
    )
