"""A stand-in for `python -m argotune.steps.serve`: the same flags and endpoints, and no model.

    python -m tests.fakes.serve --mode=MODE --model-dir=... --adapter-dir=... --name=... ...

MODE is well, crash (ends after a message), mute (never lists the adapter), or broken (lists it,
and answers a question with 500).
"""

from __future__ import annotations

import argparse
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

BASE = "argotune/tiny"
"""The base model's id."""


class _Handler(BaseHTTPRequestHandler):
    flags: argparse.Namespace

    def do_GET(self) -> None:
        name = "another" if self.flags.mode == "mute" else self.flags.name
        self._answer(200, {"object": "list", "data": [{"id": name}, {"id": BASE}]})

    def do_POST(self) -> None:
        if self.flags.mode == "broken":
            self._answer(500, {"error": {"message": "out of memory"}})
            return
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = question["prompt"]
        if question.get("model") == BASE:
            self._answer(200, {"response": f"{prompt} asked of {BASE}"})
            return
        files = sorted(path.name for path in Path(self.flags.adapter_dir).iterdir())
        self._answer(200, {"response": f"{prompt} {' '.join(files)} {self.flags.model_dir}"})

    def _answer(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--mode", default="well")
    for flag in ("model-dir", "adapter-dir", "name", "host", "port", "port-file"):
        parser.add_argument(f"--{flag}", required=True)
    flags = parser.parse_args()
    print("loading", flags.model_dir, flush=True)
    if flags.mode == "crash":
        sys.exit("RuntimeError: adapter does not fit the model")
    handler = type("Handler", (_Handler,), {"flags": flags})
    server = ThreadingHTTPServer((flags.host, int(flags.port)), handler)
    temporary = Path(f"{flags.port_file}.part")
    temporary.write_text(str(server.server_address[1]))
    temporary.rename(flags.port_file)
    server.serve_forever()


if __name__ == "__main__":
    main()
