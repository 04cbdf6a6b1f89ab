"""The key with which deploy asks a service that only answers clients with one."""

from __future__ import annotations

from pathlib import Path

from argotune.steps.common.errors import PermanentError
from argotune.steps.common.fs import atomic_write
from argotune.steps.contracts.client_keys import FILE_NAME, read_keys
from argotune.steps.deploy.params import Params


def client_key(params: Params, file: Path | None) -> str | None:
    """A key of the file, or None for a service without keys.

    Raises PermanentError where the workspace names a Secret and the file has no keys.
    """
    if not params.api_keys_secret:
        return None
    if file is None or not file.exists():
        raise PermanentError(
            f"api-keys-secret: secret {params.api_keys_secret} with the key {FILE_NAME!r} is not"
            " here; make it: kubectl create secret generic"
            f" {params.api_keys_secret} --from-file={FILE_NAME}=FILE, or on this machine give"
            f" --secret {params.api_keys_secret}=DIRECTORY, with lines NAME: KEY in the file"
        )
    return next(iter(read_keys(file).values()))


def keep_keys(params: Params, kept: Path) -> None:
    """Copy the keys for a server on this machine, which outlives the run and its Secrets.

    A rollback has no Secrets, and leaves those that are there.
    """
    given = params.api_keys_file
    if params.api_keys_secret and given is not None and given.exists():
        kept.parent.mkdir(mode=0o700, exist_ok=True)
        atomic_write(kept, given.read_bytes())
