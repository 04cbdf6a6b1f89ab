"""The adapters that a directory holds: one that is put there is served, one that goes away is not.

Each directory in it is an adapter with its serving.json, and its name is the adapter's in requests.
Who adds one renames it into place when it is whole; names with a dot in front are not looked at.
One that is missing at two looks has left, so that another one can be renamed into its place.
What is there when the server starts is served from the beginning. A file `image-digest` in it says
of which image the adapter is; without one its answers name none.
"""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from collections.abc import Callable, Collection
from pathlib import Path

from argotune.steps.common import log
from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.served import DIGEST_FILE
from argotune.steps.contracts.serving import FILE_NAME
from argotune.steps.serve.engine.interface import Engine, EngineError

_logger = logging.getLogger(__name__)

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_INTERVAL_SECONDS = 1.0

_Version = tuple[int, int]
"""Inode and time of change of serving.json: another one has another adapter beside it."""


class AdaptersDir:
    """Holds the adapters of an engine to those of a directory."""

    def __init__(
        self,
        directory: Path,
        engine: Engine,
        *,
        reserved: Collection[str],
        note_digest: Callable[[str, str | None], None],
    ) -> None:
        """`note_digest` is told of which image the adapter of a name is; None: it is not known."""
        self._directory = directory
        self._engine = engine
        self._note_digest = note_digest
        self._reserved = reserved
        """Names of what the server was started with."""
        self._seen: dict[str, _Version] = {}
        """What was served or refused, by name."""
        self._served: set[str] = set()
        self._missing: set[str] = set()
        """What was not there at the last look: who replaces an adapter renames two directories."""
        self._removals: set[asyncio.Task[None]] = set()
        self._has_ended = False

    def end(self) -> None:
        """Look at it no more, because the server ends."""
        self._has_ended = True

    async def follow(self) -> None:
        """Serve what is there; call it again for what has changed since. A failure is logged."""
        if self._has_ended:
            return
        try:
            await self._follow()
        # Such as a volume that is gone for a moment; requests are answered meanwhile.
        except Exception as error:
            _logger.warning(
                "%s is not followed now: %s: %s", self._directory, type(error).__name__, error
            )

    async def _follow(self) -> None:
        found = await asyncio.to_thread(adapters_in, self._directory)
        missing = self._seen.keys() - found.keys()
        gone, self._missing = missing & self._missing, missing - self._missing
        for name in sorted(gone):
            del self._seen[name]
            if name in self._served:
                self._served.remove(name)
                # It ends with the last answer, which nothing else waits for.
                removal = asyncio.create_task(self._engine.remove_adapter(name))
                self._removals.add(removal)
                removal.add_done_callback(self._removals.discard)
                log.event(_logger, "adapter removed", name=name)
        for name, version in found.items():
            if self._seen.get(name) != version:
                self._seen[name] = version
                await self._add(name)

    async def _add(self, name: str) -> None:
        try:
            if name in self._reserved:
                raise PermanentError(f"{name!r} is the name of what the server was started with")
            digest = _digest_in(self._directory / name)
            await self._engine.add_adapter(name, self._directory / name)
        except (PermanentError, EngineError) as error:
            kept = ", and the one before stays in service" if name in self._served else ""
            _logger.error("adapter %s is refused%s: %s", name, kept, error)
            return
        self._note_digest(name, digest)
        self._served.add(name)
        log.event(_logger, "adapter added", name=name)


def follow_in_thread(directory: AdaptersDir) -> None:
    """Follow the directory for as long as the process lives."""

    async def follow() -> None:
        while True:
            await asyncio.sleep(_INTERVAL_SECONDS)
            await directory.follow()

    threading.Thread(target=lambda: asyncio.run(follow()), name="adapters", daemon=True).start()


def _digest_in(adapter_dir: Path) -> str | None:
    """The digest of the adapter's image. Raises PermanentError if the file has something else."""
    file = adapter_dir / DIGEST_FILE
    try:
        text = file.read_text("utf-8", "replace").strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PermanentError(f"{file} cannot be read: {error.strerror}") from error
    if not _DIGEST.fullmatch(text):
        raise PermanentError(f"{file}: {text[:100]!r} is no digest sha256:HEX of an image")
    return text


def adapters_in(directory: Path) -> dict[str, _Version]:
    """The adapters that are there, by name, each with what another one would not have."""
    found = {}
    for path in sorted(directory.iterdir()):
        if path.name.startswith("."):
            continue
        try:
            status = (path / FILE_NAME).stat()
        # Something else, or gone in between.
        except (FileNotFoundError, NotADirectoryError):
            continue
        found[path.name] = (status.st_ino, status.st_mtime_ns)
    return found
