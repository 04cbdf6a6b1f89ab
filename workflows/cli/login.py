"""How a command reaches a registry from this machine, and the options for it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from argotune.steps.registry.skopeo import Registry
from argotune.workflows.cli.authority import authority_file, installed_authority
from argotune.workflows.cli.errors import InputError
from argotune.workflows.cli.remote.cluster import Cluster

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
        "--ca-file",
        rich_help_panel=_PANEL,
        help="Its private certificate authority, PEM; default: the installation's, with a"
        " namespace.",
    ),
]


@dataclass(frozen=True, kw_only=True)
class Login:
    """How to reach a registry from this machine."""

    auth_file: Path | None = None
    """Docker config.json; None: this user's."""
    ca_file: Path | None = None
    """Certificate authority, PEM."""
    cluster: Cluster | None = None
    """Namespace whose installation's certificate authority is trusted without `ca_file`."""

    @contextlib.contextmanager
    def registry(self) -> Iterator[Registry]:
        """The settings of a client, with files that are there until the block ends.

        Raises ClusterError where the installation cannot be asked.
        """
        installed = None
        if self.ca_file is None and self.cluster is not None:
            installed = installed_authority(self.cluster)
        with authority_file(installed) as ca_file:
            yield Registry(
                auth_file=self.auth_file or _docker_config(),
                is_login_of_user=True,
                ca_file=self.ca_file or ca_file,
                attempts=_ATTEMPTS,
                timeout_seconds=_TIMEOUT_SECONDS,
            )

    @property
    def auth_file_of_steps(self) -> Path | None:
        """The file with this user's login, for a step, which searches none by itself."""
        runtime = os.environ.get("XDG_RUNTIME_DIR")
        containers = f"{runtime}/containers" if runtime else f"/run/containers/{os.getuid()}"
        places = [
            self.auth_file,
            os.environ.get("REGISTRY_AUTH_FILE"),
            _docker_config(),
            f"{containers}/auth.json",
            Path.home() / ".docker" / "config.json",
        ]
        return next((Path(place) for place in places if place and Path(place).is_file()), None)


def login_of(auth_file: Path | None, ca_file: Path | None, cluster: Cluster | None = None) -> Login:
    """Return the login that the options name. Raises InputError for files that are not there."""
    problems = [
        f"{flag} {path}: no such file"
        for flag, path in (("--auth-file", auth_file), ("--ca-file", ca_file))
        if path is not None and not path.is_file()
    ]
    if problems:
        raise InputError(problems)
    return Login(auth_file=auth_file, ca_file=ca_file, cluster=cluster)


def _docker_config() -> Path | None:
    """Return the file that DOCKER_CONFIG names, which skopeo before 1.11 does not look at.

    REGISTRY_AUTH_FILE goes before it, as for skopeo.
    """
    directory = None if "REGISTRY_AUTH_FILE" in os.environ else os.environ.get("DOCKER_CONFIG")
    path = Path(directory or "") / "config.json"
    return path if directory and path.is_file() else None
