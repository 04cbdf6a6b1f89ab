"""Build the adapter's image and push it to the requested registry or layout."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from argotune.steps.common import log
from argotune.steps.common.errors import PermanentError, StepError
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.evaluation import REJECTED
from argotune.steps.contracts.output_volume import keep_copy
from argotune.steps.contracts.report import report_tag
from argotune.steps.contracts.serving import read_contract
from argotune.steps.contracts.training_plan import TrainingPlan, read_plan
from argotune.steps.contracts.versions import CANDIDATE, rejected_tag
from argotune.steps.provenance.keys import KEY_FILE, Signer, read_signer
from argotune.steps.push.adapter import adapter_files
from argotune.steps.push.annotations import annotations_of
from argotune.steps.push.layout import Image, write_image
from argotune.steps.push.page import add_to_page
from argotune.steps.push.params import SIGNING_SECRET, Params, Result
from argotune.steps.push.provenance import (
    Written,
    make_statement,
    send_provenance,
    write_provenance,
)
from argotune.steps.push.report import keep_report
from argotune.steps.registry.oci import DEFAULT_TAG, ImageReference, LayoutReference
from argotune.steps.registry.skopeo import Registry, Sleep
from argotune.steps.registry.skopeo import push as push_image
from argotune.steps.registry.versions import Repository, repository_of

_LOGGER = logging.getLogger(__name__)


def run(params: Params, *, progress: Progress, sleep: Sleep = time.sleep) -> Result:
    """Write the adapter's image into a layout, and push it if the reference names a registry.

    The statement of where it comes from is beside it. A rejected adapter gets no tag but its own.
    Raises PermanentError or TransientError.
    """
    plan = read_plan(params.plan_file)
    # Before anything is sent: a key that cannot be read is the user's to change.
    signer = _signer(params)
    target = params.target
    if isinstance(target, LayoutReference):
        return _to_layout(params, plan, target, progress, signer)
    return _to_registry(params, plan, target, progress, sleep, signer)


def _signer(params: Params) -> Signer | None:
    signer = None
    if params.signing_dir is not None:
        signer = read_signer(params.signing_dir, secret=params.signing_secret)
    if signer is None and params.signing_secret != SIGNING_SECRET:
        raise PermanentError(
            f"secret {params.signing_secret} is not there, or empty, and the run is to be signed"
            f" with it: put the private key into its key {KEY_FILE}, then go on with the run"
        )
    if signer is None:
        log.event(_LOGGER, "unsigned", reason=f"no key in secret {params.signing_secret}")
    else:
        log.event(_LOGGER, "signing", key=f"sha256:{signer.public_key.keyid}")
    return signer


def _to_layout(
    params: Params,
    plan: TrainingPlan,
    target: LayoutReference,
    progress: Progress,
    signer: Signer | None,
) -> Result:
    directory = target.directory.absolute()
    image = _build(params, plan, directory, progress, share=1.0)
    _make_candidate(params, repository_of(target, Registry()), image)
    volume = _copy(params, plan, image)
    written = _provenance(params, plan, directory, image, signer)
    # The run's volume is a directory of this machine, which keeps the report.
    return Result(
        digest=image.digest,
        reference=str(LayoutReference(directory=directory, digest=image.digest)),
        size_mb=_size_mb(image),
        report="",
        provenance=str(LayoutReference(directory=directory, digest=written.statement.digest)),
        signed=written.signature is not None,
        volume=volume,
    )


def _to_registry(
    params: Params,
    plan: TrainingPlan,
    target: ImageReference,
    progress: Progress,
    sleep: Sleep,
    signer: Signer | None,
) -> Result:
    layout = params.work_dir.absolute() / "image"
    image = _build(params, plan, layout, progress, share=0.5)
    tag = _tag(params, image.digest)
    tagged = ImageReference(registry=target.registry, repository=target.repository, tag=tag)
    registry = Registry(
        auth_file=params.auth_file,
        secret=params.push_secret,
        ca_file=params.ca_file,
        allowed_hosts=params.allowed_hosts,
        attempts=params.attempts,
        timeout_seconds=params.timeout_seconds,
    )
    push_image(layout, tag, tagged, image.digest, registry, sleep=sleep)
    progress.update(image.size_bytes, image.size_bytes)
    log.event(_LOGGER, "pushed", image=tagged, digest=image.digest)
    _make_candidate(params, repository_of(tagged, registry, sleep=sleep), image)
    volume = _copy(params, plan, image)
    written = _provenance(params, plan, layout, image, signer)
    provenance = send_provenance(layout, written, tagged, registry, sleep=sleep)
    report = ""
    if params.keep_report == "registry":
        report = keep_report(
            params.work_dir,
            image,
            tagged,
            registry,
            tag=report_tag(image.digest),
            created=params.created,
            sleep=sleep,
        )
    return Result(
        digest=image.digest,
        reference=f"{tagged.name}@{image.digest}",
        size_mb=_size_mb(image),
        report=report,
        provenance=provenance,
        signed=written.signature is not None,
        volume=volume,
    )


def _make_candidate(params: Params, repository: Repository, image: Image) -> None:
    """Set the tag `candidate`; a registry that refuses it still has the adapter."""
    if params.verdict == REJECTED:
        return
    try:
        repository.point(CANDIDATE, image.digest)
    except StepError as error:
        log.warn(_LOGGER, "tag-not-set", tag=CANDIDATE, reason=error)


def _copy(params: Params, plan: TrainingPlan, image: Image) -> str:
    """Copy the adapter to the user's claim, if there is one; returns where it is."""
    if not params.output_claim:
        return ""
    is_rejected = params.verdict == REJECTED
    volume = keep_copy(
        adapter_files(params.work_dir / "adapter"),
        params.output_claim,
        params.output_dir,
        workspace=plan.name,
        name=rejected_tag(image.digest) if is_rejected else image.digest.replace(":", "-"),
    )
    log.event(_LOGGER, "copied", volume=volume)
    return volume


def _tag(params: Params, digest: str) -> str:
    """The tag of the image with this digest: the user's, unless the adapter was rejected."""
    if params.verdict == REJECTED:
        return rejected_tag(digest)
    return params.target.tag or DEFAULT_TAG


def _build(
    params: Params, plan: TrainingPlan, layout: Path, progress: Progress, *, share: float
) -> Image:
    """Write the image; `share` is this part's share of the step's progress."""
    files = adapter_files(params.work_dir / "adapter")
    base = read_contract(params.work_dir / "adapter").base
    total = int(sum(path.stat().st_size for path in files) / share)
    image = write_image(
        layout,
        files,
        tag=lambda digest: _tag(params, digest),
        created=params.created,
        annotations=annotations_of(params, plan, base, params.target.tag or DEFAULT_TAG),
        progress=lambda done: progress.update(min(done, int(total * share)), total),
    )
    tag = _tag(params, image.digest)
    log.event(_LOGGER, "image", layout=layout, tag=tag, digest=image.digest, files=len(files))
    return image


def _provenance(
    params: Params, plan: TrainingPlan, layout: Path, image: Image, signer: Signer | None
) -> Written:
    """Write the statement, and on the run's page what it says; before the report is sent."""
    base = read_contract(params.work_dir / "adapter").base
    statement = make_statement(params, plan, base, image)
    written = write_provenance(layout, statement, image, signer, created=params.created)
    add_to_page(params, statement, written)
    return written


def _size_mb(image: Image) -> float:
    return round(image.size_bytes / 1e6, 3)
