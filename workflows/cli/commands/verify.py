"""argotune verify: whether an adapter is what it says, and who signed it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from argotune.steps.provenance.checks import Outcome, Verdict
from argotune.steps.provenance.checks import verify as verify_evidence
from argotune.steps.provenance.evidence import gather
from argotune.steps.provenance.keys import PublicKey, public_key_of, read_public_key
from argotune.steps.registry.oci import ImageReference, LayoutReference, parse_reference
from argotune.workflows.cli.console import console
from argotune.workflows.cli.errors import CliError, InputError
from argotune.workflows.cli.login import AuthFileOption, CaFileOption, Login, login_of
from argotune.workflows.cli.public_key import read_key_file
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
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Public key that must have signed it, PEM, such as cosign.pub; without it the"
            " signatures are not checked.",
        ),
    ] = None,
    auth_file: AuthFileOption = None,
    ca_file: CaFileOption = None,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    on_cluster: ClusterOption = False,
) -> None:
    """Check an adapter: its files, where it comes from, and who signed that.

    With a namespace of a cluster, the key is that of the installation there.
    """
    login = login_of(auth_file, ca_file)
    public_key = _public_key(key, chosen_cluster(namespace, context, on_cluster))
    verdict = _verdict(_reference(image), login, public_key)
    _print(verdict)
    if verdict.failures:
        raise CliError(f"{image} does not hold: {'; '.join(verdict.failures)}")


def _reference(text: str) -> ImageReference | LayoutReference:
    try:
        return parse_reference(text)
    except ValueError as error:
        raise InputError(str(error)) from error


def _public_key(path: Path | None, cluster: Cluster | None) -> PublicKey | None:
    """Return the key of the flag, or that of the installation in the namespace."""
    if path is not None:
        return read_key_file("--key", path, read_public_key)
    if cluster is None:
        return None
    text = installed_setting(cluster, "verification-key")
    if not text:
        raise CliError(
            f"the installation in namespace {cluster.namespace} has no verification key; give"
            " --key FILE, or leave the namespace out"
        )
    try:
        return public_key_of(text)
    except ValueError as error:
        raise CliError(f"the verification key of the installation: {error}") from error


def _verdict(
    reference: ImageReference | LayoutReference, login: Login, key: PublicKey | None
) -> Verdict:
    with tempfile.TemporaryDirectory(prefix="argotune-verify-") as scratch:
        evidence = gather(reference, login.registry, Path(scratch))
        return verify_evidence(evidence, key)


def _print(verdict: Verdict) -> None:
    table = Table.grid(padding=(0, 2))
    for check in verdict.checks:
        outcome = Text(check.outcome, style=_COLOURS[check.outcome])
        table.add_row(Text(check.what), outcome, Text(check.text, overflow="fold"))
    console().print(table, soft_wrap=True)
