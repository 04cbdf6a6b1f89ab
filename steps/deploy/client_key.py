"""The key with which deploy asks a service that only answers clients with one."""

from __future__ import annotations

from pathlib import Path

from argotune.steps.common.fs import atomic_write
from argotune.steps.contracts.client_keys import read_secret
from argotune.steps.deploy.params import Params


def client_key(params: Params, file: Path | None) -> str | None:
    """A key of the file, or None for a service without keys.

    Raises PermanentError where the workspace names a Secret and the file has no keys.
    """
    if not params.api_keys_secret:
        return None
    return next(iter(read_secret(params.api_keys_secret, file).values()))


def keep_keys(params: Params, kept: Path) -> None:
    """Copy the keys for a server on this machine, which outlives the run and its Secrets.

    A rollback has no Secrets, and leaves those that are there.
    """
    given = params.api_keys_file
    if params.api_keys_secret and given is not None and given.exists():
        kept.parent.mkdir(mode=0o700, exist_ok=True)
        atomic_write(kept, given.read_bytes())
