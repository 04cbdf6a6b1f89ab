"""Which files of a place with many a path means: a file, a directory, or a pattern."""

from __future__ import annotations

import fnmatch
import logging
import re
from collections.abc import Iterable, Sequence

from argotune.steps.common import log
from argotune.steps.common.errors import PermanentError

_logger = logging.getLogger(__name__)

_DATA_NAME = re.compile(
    r"[^._].*\.(parquet|arrow|feather|ipc|jsonl|ndjson|json|csv)(\.(gz|gzip|zst|zstd))?",
    re.IGNORECASE,
)
_PATTERN_SIGNS = re.compile(r"[*\[]")
_MOST_FILES = 10_000
_SHOWN_NAMES = 5


def is_pattern(path: str) -> bool:
    """Whether a path is a pattern: `*` and `[...]` within one name, `**` for any directories."""
    return _PATTERN_SIGNS.search(path) is not None


def fixed_directory(path: str) -> str:
    """The directory before a pattern's first name that is not fixed; empty for the top."""
    parts = path.split("/")
    fixed = next((index for index, part in enumerate(parts) if is_pattern(part)), len(parts) - 1)
    return "/".join(parts[:fixed])


def is_data_name(name: str) -> bool:
    """Whether a file of a directory is read: by its name, which has no dot or underscore first."""
    return _DATA_NAME.fullmatch(name) is not None


def select(names: Iterable[str], path: str, place: str) -> list[str]:
    """The files that a path means, sorted.

    A pattern's files are read whatever their names are; of a directory's, at any depth, those with
    the name of a format, and the log lists the others.

    Args:
        names: All files of the place, or those that may match; paths with `/`.
        path: A file, a directory, or a pattern; empty for all of the place.
        place: URL of all that, for messages.

    Raises PermanentError where there is none, or more than 10,000.
    """
    every = sorted(names)
    if path in every:
        return [path]
    if is_pattern(path):
        parts = path.split("/")
        found = [name for name in every if _matches(name.split("/"), parts)]
        if not found:
            raise PermanentError(f"{place}: no file matches; {_listing(every)}")
        return _few(found, place)
    below = f"{path.rstrip('/')}/" if path.strip("/") else ""
    inside = [name for name in every if name.startswith(below)]
    found = [name for name in inside if is_data_name(name.rpartition("/")[2])]
    if not found and not inside:
        raise PermanentError(f"{place}: there is no such file or directory; {_listing(every)}")
    if not found:
        raise PermanentError(
            f"{place}: no file in it is named .parquet, .arrow, .jsonl, .json or .csv, with or"
            f" without .gz or .zst; {_listing(inside)}; name a file or a pattern such as"
            " DIRECTORY/* instead"
        )
    if len(found) < len(inside):
        tell_of_unread(sorted(set(inside) - set(found)), place)
    return _few(found, place)


def tell_of_unread(names: Sequence[str], place: str) -> None:
    """Log files that are beside the data and are not read."""
    log.warn(
        _logger,
        "files-not-read",
        place=place,
        files=len(names),
        names=", ".join(names[:_SHOWN_NAMES]),
        advice="a pattern reads files of any name",
    )


def _matches(path: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return not path
    if pattern[0] == "**":
        return _matches(path, pattern[1:]) or (bool(path) and _matches(path[1:], pattern))
    return (
        bool(path) and fnmatch.fnmatchcase(path[0], pattern[0]) and _matches(path[1:], pattern[1:])
    )


def _few(found: list[str], place: str) -> list[str]:
    if len(found) > _MOST_FILES:
        raise PermanentError(
            f"{place}: {len(found)} files, at most {_MOST_FILES} are read; merge or name fewer"
        )
    return found


def _listing(names: Sequence[str]) -> str:
    if not names:
        return "there are no files"
    more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
    return f"there are {', '.join(names[:_SHOWN_NAMES])}{more}"
