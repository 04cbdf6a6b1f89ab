"""The file whose text Kubernetes keeps as the container's last message, and Argo shows."""

from __future__ import annotations

from pathlib import Path

_MOST_BYTES = 4096
"""The kubelet reads no more."""


class TerminationLog:
    """Holds one text at a time; without a file (no container) it does nothing."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def write(self, text: str) -> None:
        """Replace the text; a file that cannot be written is not worth a failed step."""
        if self._path is None:
            return
        data = text.encode()[:_MOST_BYTES]
        try:
            # In place: the kubelet mounts the file itself, so nothing can be renamed over it.
            with self._path.open("r+b" if self._path.exists() else "wb") as file:
                file.write(data)
                file.truncate()
        except OSError:
            self._path = None
