"""How a command reaches a registry from this machine, and the options for it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from argotune.steps.registry.skopeo import Registry
from argotune.workflows.cli.errors import InputError

_ATTEMPTS = 2
"""A person waits."""
_TIMEOUT_SECONDS = 120.0
_PANEL = "The registry"

AuthFileOption = Annotated[
    Path | None,
    typer.Option(
        "--auth-file",
        rich_help_panel=_PANEL,
        help="Docker config.json; default: this user's login.",
    ),
]
CaFileOption = Annotated[
    Path | None,
    typer.Option(
        "--ca-file", rich_help_panel=_PANEL, help="Its private certificate authority, PEM."
    ),
]


@dataclass(frozen=True, kw_only=True)
class Login:
    """How to reach a registry from this machine."""

    auth_file: Path | None = None
    """Docker config.json; None: this user's."""
    ca_file: Path | None = None
    """Certificate authority, PEM."""

    @property
    def registry(self) -> Registry:
        """The settings of a client."""
        return Registry(
            auth_file=self.auth_file or _own_auth_file(),
            ca_file=self.ca_file,
            attempts=_ATTEMPTS,
            timeout_seconds=_TIMEOUT_SECONDS,
        )


def login_of(auth_file: Path | None, ca_file: Path | None) -> Login:
    """Return the login that the options name. Raises InputError for files that are not there."""
    problems = [
        f"{flag} {path}: no such file"
        for flag, path in (("--auth-file", auth_file), ("--ca-file", ca_file))
        if path is not None and not path.is_file()
    ]
    if problems:
        raise InputError(problems)
    return Login(auth_file=auth_file, ca_file=ca_file)


def _own_auth_file() -> Path | None:
    """Return the login of docker or podman of this user, if there is one."""
    configured = os.environ.get("DOCKER_CONFIG")
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    places = [
        os.environ.get("REGISTRY_AUTH_FILE"),
        runtime and f"{runtime}/containers/auth.json",
        f"{configured or Path.home() / '.docker'}/config.json",
    ]
    return next((Path(place) for place in places if place and Path(place).is_file()), None)
