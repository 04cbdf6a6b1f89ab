"""Reads the progress that a step writes to ``$ARGO_PROGRESS_FILE``."""

from pathlib import Path

from argotune.workflows.engine.state.run_state import parse_progress


class ProgressFile:
    """The last valid ``N/M`` line of a file, read again only when the file changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._progress = ""

    def changed(self) -> str | None:
        """The progress if it is another than at the last call, else None."""
        try:
            status = self._path.stat()
            signature = (status.st_mtime_ns, status.st_size)
            if signature == self._seen:
                return None
            self._seen = signature
            lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return None  # not written yet, or being replaced
        last = lines[-1].strip() if lines else ""
        if parse_progress(last) is None or last == self._progress:
            return None
        self._progress = last
        return last
