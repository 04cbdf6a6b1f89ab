"""Where argotune stores runs, services and models here: $ARGOTUNE_HOME, or ~/.argotune."""

from __future__ import annotations

import stat
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from argotune.workflows.cli.errors import CliError
from argotune.workflows.home_root import HOME_VARIABLE, default_root, home_root

MODEL_CACHE_CLAIM = "argotune-models"
OWN_DIRECTORY = "name a directory of your own"
_PRIVATE = 0o700


@dataclass(frozen=True)
class Home:
    """The directories below one root; their writers create them, after `make`."""

    root: Path
    runs_name: str = "runs"
    """Directory of the runs below the root."""

    def make(self) -> None:
        """Make the root for this user alone, since runs hold logins and data.

        ~/.argotune is argotune's own, and is closed where it is open. A directory that
        $ARGOTUNE_HOME names may be shared on purpose, or hold other things: its mode stays. Raises
        CliError if nothing can be written there.
        """
        check_writable(self.root)
        self.root.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
        if self.root == default_root() and self.is_open_to_others:
            self.root.chmod(_PRIVATE)

    @property
    def is_open_to_others(self) -> bool:
        """Whether other users may list, read or change the content of the root."""
        return bool(stat.S_IMODE(self.root.stat().st_mode) & ~_PRIVATE)

    @property
    def runs_dir(self) -> Path:
        """One directory per local run, named like its Workflow."""
        return self.root / self.runs_name

    @property
    def of_looks(self) -> Home:
        """The same home, whose runs are looks at data: one directory per workspace."""
        return replace(self, runs_name="data")

    def secret_dir(self, run: str, secret: str) -> Path:
        """Return the directory that replaces a Secret in one run."""
        return self.runs_dir / run / "secrets" / secret

    @property
    def claims_dir(self) -> Path:
        """The local engine's PersistentVolumeClaims, one directory each."""
        return self.root / "claims"

    @property
    def models_dir(self) -> Path:
        """The model cache: the claim that the template mounts."""
        return self.model_cache(None)

    def model_cache(self, claim: str | None) -> Path:
        """Return the model cache in a claim of another name."""
        return self.claims_dir / (claim or MODEL_CACHE_CLAIM)

    @property
    def services_dir(self) -> Path:
        """Records and logs of servers on this machine."""
        return self.root / "services"


def home() -> Home:
    """Return the home that the environment names. Raises CliError if that is no directory."""
    root = home_root()
    existing = nearest_existing(root)
    if not existing.is_dir():
        raise CliError(
            f"{existing}: not a directory; name one with {HOME_VARIABLE}, or leave it unset"
        )
    return Home(root)


def nearest_existing(path: Path) -> Path:
    """Return the path, or the nearest directory above it that is there."""
    return next(each for each in (path, *path.parents) if each.exists())


def check_writable(directory: Path) -> None:
    """Refuse a directory of the home in which no file can be made. Raises CliError."""
    refused = write_problem(directory)
    if refused:
        raise CliError(f"{refused}; {OWN_DIRECTORY}: export {HOME_VARIABLE}=DIRECTORY")


def write_problem(directory: Path) -> str:
    """Say why no file can be made in a directory, or in the nearest that is there; else empty.

    A file is made, since modes and owners do not tell all of it.
    """
    existing = nearest_existing(directory)
    try:
        with tempfile.TemporaryFile(dir=existing):
            return ""
    except OSError as error:
        return f"{existing}: no file can be made there ({error.strerror})"
