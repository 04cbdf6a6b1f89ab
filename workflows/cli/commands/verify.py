"""argotune verify: whether an adapter is what it says, and who signed it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from argotune.steps.provenance.checks import Check, Outcome
from argotune.steps.provenance.checks import verify as verify_evidence
from argotune.steps.provenance.evidence import Evidence, gather
from argotune.steps.provenance.keys import PublicKey, public_keys_of, read_public_key
from argotune.steps.provenance.statement import MACHINE, Statement
from argotune.steps.registry.oci import (
    ImageReference,
    LayoutReference,
    parse_reference,
    with_digest,
)
from argotune.workflows.cli import options
from argotune.workflows.cli.console import console
from argotune.workflows.cli.errors import CliError, InputError, read_both
from argotune.workflows.cli.home import home
from argotune.workflows.cli.local.machine import missing_packages, pip_install
from argotune.workflows.cli.local.replay import Places, run_as_processes
from argotune.workflows.cli.local.replay import replay as replay_statement
from argotune.workflows.cli.login import AuthFileOption, CaFileOption, login_of
from argotune.workflows.cli.public_key import read_key_files
from argotune.workflows.cli.remote.cluster import Cluster, installed_setting
from argotune.workflows.cli.where import (
    ClusterOption,
    ContextOption,
    NamespaceOption,
    chosen_cluster,
)

app = typer.Typer(add_completion=False)

_COLOURS = {Outcome.OK: "green", Outcome.FAILED: "red", Outcome.NOT_CHECKED: "yellow"}


@app.command()
def verify(
    image: Annotated[
        str,
        typer.Argument(
            metavar="IMAGE",
            help="An adapter's image, REGISTRY/REPOSITORY:TAG or oci:DIRECTORY:TAG, or by digest.",
            show_default=False,
        ),
    ],
    key: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Public key that must have signed it, PEM, such as cosign.pub; of several, any."
            " Without it the signatures are not checked.",
        ),
    ] = None,
    replay: Annotated[
        bool,
        typer.Option(
            "--replay",
            help="Also train it again on this machine, from the statement, and compare.",
        ),
    ] = False,
    allow_loopback: Annotated[
        bool,
        typer.Option(
            "--allow-loopback", help="With --replay: permit data of this machine's own servers."
        ),
    ] = False,
    auth_file: AuthFileOption = None,
    ca_file: CaFileOption = None,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    on_cluster: ClusterOption = False,
) -> None:
    """Check an adapter: its files, where it comes from, and who signed that.

    With a namespace of a cluster, the keys are those of the installation there.
    """
    if not replay:
        options.refuse({"--allow-loopback": allow_loopback}, "for --replay, which fetches data")
    cluster = chosen_cluster(namespace, context, on_cluster)
    reference, (login, keys) = read_both(
        lambda: _reference(image),
        lambda: read_both(
            lambda: login_of(auth_file, ca_file, cluster),
            lambda: _public_keys(key or [], cluster),
        ),
    )
    with (
        tempfile.TemporaryDirectory(prefix="argotune-verify-") as scratch,
        login.registry() as registry,
    ):
        evidence = gather(reference, registry, Path(scratch))
        verdict = verify_evidence(evidence, keys)
        _print(verdict.checks)
        _refuse(image, verdict.checks)
        if replay and verdict.statement is not None:
            files = {"auth-file": login.auth_file_of_steps, "ca-file": registry.ca_file}
            checks = _replayed(evidence, verdict.statement, reference, files, allow_loopback)
            _print(checks)
            _refuse(image, checks)


def _reference(text: str) -> ImageReference | LayoutReference:
    try:
        return parse_reference(text)
    except ValueError as error:
        raise InputError(str(error)) from error


def _public_keys(paths: Sequence[Path], cluster: Cluster | None) -> Sequence[PublicKey]:
    """Return the keys of the flags, or those of the installation in the namespace."""
    if paths or cluster is None:
        return read_key_files("--key", paths, read_public_key)
    text = installed_setting(cluster, "verification-key")
    if not text:
        raise CliError(
            f"the installation in namespace {cluster.namespace} has no verification key; give"
            " --key FILE, or leave the namespace out"
        )
    try:
        return public_keys_of(text)
    except ValueError as error:
        raise CliError(f"the verification key of the installation: {error}") from error


def _replayed(
    evidence: Evidence,
    statement: Statement,
    reference: ImageReference | LayoutReference,
    files: Mapping[str, Path | None],
    allow_loopback: bool,
) -> list[Check]:
    """Train the adapter again in a directory of this home, which is gone afterwards."""
    missing = missing_packages("local")
    if missing:
        raise CliError(f"--replay needs packages that are not here: {pip_install(missing)}")
    here = home()
    here.make()
    with tempfile.TemporaryDirectory(prefix="replay-", dir=here.root) as directory:
        work_dir = Path(directory)
        places = Places(
            work_dir=work_dir,
            models_dir=here.models_dir,
            repository=str(with_digest(reference, None)),
            registry_flags={name: str(path) for name, path in files.items() if path is not None},
        )
        threads = statement.byproduct(MACHINE).get("threads")
        try:
            return list(
                replay_statement(
                    evidence,
                    statement,
                    places,
                    run_as_processes(work_dir, threads=threads),
                    allow_loopback=allow_loopback,
                )
            )
        except ValueError as error:
            raise CliError(f"the statement cannot be replayed: {error}") from error


def _refuse(image: str, checks: Sequence[Check]) -> None:
    """Raise CliError with everything that does not hold."""
    failed = [f"{check.what}: {check.text}" for check in checks if check.has_failed]
    if failed:
        raise CliError(f"{image} does not hold: {'; '.join(failed)}")


def _print(checks: Sequence[Check]) -> None:
    table = Table.grid(padding=(0, 2))
    for check in checks:
        outcome = Text(check.outcome, style=_COLOURS[check.outcome])
        table.add_row(Text(check.what), outcome, Text(check.text, overflow="fold"))
    console().print(table, soft_wrap=True)
