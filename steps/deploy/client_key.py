"""The key with which deploy asks a service that only answers clients with one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from argotune.steps.common.fs import atomic_write
from argotune.steps.contracts.client_keys import FILE_NAME, read_secret
from argotune.steps.deploy.params import Params


def client_key(params: Params, file: Path | None) -> str | None:
    """A key of the file, or None for a service without keys.

    Raises PermanentError where the workspace names a Secret and the file has no keys.
    """
    if not params.api_keys_secret:
        return None
    keys = read_secret(params.api_keys_secret, file, advice=_advice(params, file))
    return next(iter(keys.values()))


def _advice(params: Params, file: Path | None) -> str:
    """How the keys come to this machine; empty on a cluster."""
    if params.target == "kubernetes":
        return ""
    if params.api_keys_file is None:
        # `argotune start` and `rollback` bring no Secrets.
        return f"write the file {file}"
    return f"give --secret {params.api_keys_secret}=DIRECTORY, which has the file {FILE_NAME!r}"


@contextlib.contextmanager
def kept_keys(params: Params, kept: Path) -> Iterator[None]:
    """Keep a copy of the keys for a server on this machine, which outlives the run's Secrets.

    When the block fails, those that stood there before do so again. A rollback has no Secrets, and
    leaves those that are there.
    """
    given = params.api_keys_file
    if not params.api_keys_secret or given is None or not given.exists():
        yield
        return
    before = kept.read_bytes() if kept.exists() else None
    kept.parent.mkdir(mode=0o700, exist_ok=True)
    atomic_write(kept, given.read_bytes())
    try:
        yield
    except BaseException:
        if before is None:
            kept.unlink()
        else:
            atomic_write(kept, before)
        raise
