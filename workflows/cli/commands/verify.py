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
from argotune.steps.provenance.keys import PublicKey, read_public_key
from argotune.steps.registry.oci import ImageReference, LayoutReference, parse_reference
from argotune.workflows.cli.console import console
from argotune.workflows.cli.errors import CliError, InputError
from argotune.workflows.cli.remote.report import Login

app = typer.Typer(add_completion=False)

_REGISTRY = "The registry that has the adapter"
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
    auth_file: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=_REGISTRY, help="Docker config.json; default: this user's login."
        ),
    ] = None,
    ca_file: Annotated[
        Path | None,
        typer.Option(rich_help_panel=_REGISTRY, help="Its private certificate authority, PEM."),
    ] = None,
) -> None:
    """Check an adapter: its files, where it comes from, and who signed that."""
    for flag, path in (("--auth-file", auth_file), ("--ca-file", ca_file), ("--key", key)):
        if path is not None and not path.is_file():
            raise InputError(f"{flag} {path}: no such file")
    login = Login(auth_file=auth_file, ca_file=ca_file)
    verdict = _verdict(_reference(image), login, _public_key(key))
    _print(verdict)
    if verdict.failures:
        raise CliError(f"{image} does not hold: {'; '.join(verdict.failures)}")


def _reference(text: str) -> ImageReference | LayoutReference:
    try:
        return parse_reference(text)
    except ValueError as error:
        raise InputError(str(error)) from error


def _public_key(path: Path | None) -> PublicKey | None:
    if path is None:
        return None
    try:
        return read_public_key(path.read_bytes())
    except ValueError as error:
        raise InputError(f"--key {path}: {error}") from error


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
