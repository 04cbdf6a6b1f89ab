"""The file that Kubernetes stores as the container's termination message, which Argo shows."""

from __future__ import annotations

from pathlib import Path

_MOST_BYTES = 4096
"""Limit of the kubelet."""


class TerminationLog:
    """Holds one message at a time; without a file (no container) it does nothing."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def write(self, text: str) -> None:
        """Replace the message; a write error is ignored so that it does not fail the step."""
        if self._path is None:
            return
        data = text.encode()[:_MOST_BYTES]
        try:
            # Written in place: the kubelet mounts the file, so it cannot be replaced by a rename.
            with self._path.open("r+b" if self._path.exists() else "wb") as file:
                file.write(data)
                file.truncate()
        except OSError:
            self._path = None
