"""The keys of a service's clients: a file of named keys, such as a Secret's key `keys`.

Its lines are `NAME: KEY`, or it is a JSON object of names and keys.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from argotune.steps.common.errors import PermanentError

FILE_NAME = "keys"
"""Of the Secret's key."""
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", re.ASCII)
_KEY = re.compile(r"[!-~]{16,512}", re.ASCII)
_MOST_BYTES = 1 << 20


def read_secret(secret: str, file: Path | None, *, advice: str = "") -> dict[str, str]:
    """The keys by name of a Secret of which the file is mounted, if it is there.

    `advice` says how it comes here; empty: as on a cluster. Raises PermanentError, which has no key
    in its text.
    """
    if file is None or not file.exists():
        make = f"make it: kubectl create secret generic {secret} --from-file={FILE_NAME}=FILE"
        raise PermanentError(
            f"api-keys-secret: secret {secret} with the key {FILE_NAME!r} is not here;"
            f" {advice or make}, with lines NAME: KEY in it"
        )
    return read_keys(file)


def read_keys(path: Path) -> dict[str, str]:
    """The keys by name. Raises PermanentError, which has no key in its text."""
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise PermanentError(f"{path}: the keys cannot be read: {error.strerror}") from error
    return keys_in(data, str(path))


def keys_in(data: bytes, where: str) -> dict[str, str]:
    """The keys by name in the file's content; `where` it is from. Raises PermanentError."""
    if len(data) > _MOST_BYTES:
        raise PermanentError(f"{where}: over {_MOST_BYTES} bytes, more than keys take")
    pairs = list(_pairs(data, where))
    names, keys = [name for name, _ in pairs], [key for _, key in pairs]
    problems = [
        problem for number, pair in enumerate(pairs, 1) for problem in _wrong(number, *pair)
    ]
    if len(set(names)) < len(names):
        problems.append("two keys have the same name")
    if len(set(keys)) < len(keys):
        problems.append("two names have the same key, so whose question it is would be unknown")
    if not pairs:
        problems.append("no key; write a line NAME: KEY for each client")
    if problems:
        raise PermanentError(f"{where}: {'; '.join(problems)}")
    return dict(pairs)


def _pairs(data: bytes, where: str) -> Iterator[tuple[str, str]]:
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise PermanentError(f"{where}: not UTF-8") from error
    if text.lstrip().startswith("{"):
        try:
            yield from msgspec.json.decode(text, type=dict[str, str]).items()
        except msgspec.MsgspecError as error:
            raise PermanentError(f"{where}: no JSON object of names and keys") from error
        return
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            name, colon, key = line.partition(":")
            yield name.strip() if colon else "", key.strip()


def _wrong(number: int, name: str, key: str) -> Iterator[str]:
    # The name is not quoted: where a line has no name, or both the wrong way round, it is the key.
    if not _NAME.fullmatch(name):
        yield f"entry {number} has no name of letters, digits, '.', '_' and '-' before a ':'"
    elif not _KEY.fullmatch(key):
        yield f"the key of entry {number} is not 16 to 512 visible ASCII characters"
