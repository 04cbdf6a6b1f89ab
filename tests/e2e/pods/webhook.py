"""python -m tests.e2e.pods.webhook: a webhook inside the cluster. Each message that it gets is a
line of JSON on stdout."""

from __future__ import annotations

import json
import signal
from http.server import BaseHTTPRequestHandler

from tests.fakes.listening import listening

PORT = 8080


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        print(json.dumps(message), flush=True)
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: stdout has the messages alone."""


def main() -> None:
    with listening(_Handler, address=("0.0.0.0", PORT)):
        signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    main()
