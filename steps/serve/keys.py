"""The keys of a server's clients, as they are now.

The file is read again when it changes, so that a key is added or withdrawn without a restart.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Mapping
from pathlib import Path

from argotune.steps.common import log
from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.client_keys import read_keys

_logger = logging.getLogger(__name__)

_Stamp = tuple[int, int, int]


class ClientKeys:
    """The keys that are valid now."""

    def __init__(self, path: Path) -> None:
        """Raises PermanentError if the file has no keys, or something else."""
        self._path = path
        self._stamp = self._find_stamp()
        self._digests = _digests(read_keys(path))

    def name_of(self, key: str) -> str | None:
        """Name of the client whose key this is; None for no key of the file."""
        self._read_again_if_changed()
        digest = hashlib.sha256(key.encode()).digest()
        # Each is compared, and in a time that does not depend on what the digests are.
        found = [name for name, own in self._digests.items() if hmac.compare_digest(own, digest)]
        return found[0] if found else None

    def _read_again_if_changed(self) -> None:
        stamp = self._find_stamp()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._digests = _digests(read_keys(self._path))
        except PermanentError as error:
            # Refusing every client for a slip in an edit would be worse than the old keys.
            log.warn(
                _logger, "keys-not-read", error=str(error), effect="the keys before stay valid"
            )
            return
        log.event(_logger, "keys-read", clients=len(self._digests))

    def _find_stamp(self) -> _Stamp | None:
        """What changes with the file; a Secret is mounted as a link to a new file each time."""
        try:
            state = self._path.stat()
        except OSError:
            return None
        return state.st_ino, state.st_mtime_ns, state.st_size


def _digests(keys: Mapping[str, str]) -> dict[str, bytes]:
    return {name: hashlib.sha256(key.encode()).digest() for name, key in keys.items()}
