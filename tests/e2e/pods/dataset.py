"""python -m tests.e2e.pods.dataset FILE: serve a dataset inside the cluster, well and badly.

/plain/FILE answers, /cut/FILE breaks off three times before it does, /held/FILE sends nothing.
Every request is a line on stdout.
"""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

from tests.fakes.http import Serve, file_server

PORT = 8080
CUTS = 3
_FOREVER_SECONDS = 3600.0


def main() -> None:
    path = Path(sys.argv[1])
    body = path.read_bytes()
    cut = Serve(cut_after=len(body) // (CUTS + 2))
    held = Serve(hold=threading.Event(), hold_seconds=_FOREVER_SECONDS)
    with file_server(address=("0.0.0.0", PORT), echo=True) as files:
        files.add(f"/plain/{path.name}", body)
        # The first request asks for one byte only.
        files.add(f"/cut/{path.name}", body, *[cut] * (1 + CUTS))
        # More than a run ever asks for.
        files.add(f"/held/{path.name}", body, *[held] * 1000)
        signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    main()
