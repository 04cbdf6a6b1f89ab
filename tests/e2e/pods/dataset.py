"""python -m tests.e2e.pods.dataset FILE...: serve datasets inside the cluster, each as /FILE. Every
request is a line on stdout."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from tests.fakes.http import file_server

PORT = 8080


def main() -> None:
    with file_server(address=("0.0.0.0", PORT), echo=True) as files:
        for path in map(Path, sys.argv[1:]):
            files.add(f"/{path.name}", path.read_bytes())
        signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    main()
