"""A stand-in for `python -m argotune.steps.serve`: the same flags and endpoints, and no model.

    python -m tests.fakes.serve --mode=MODE --model-dir=... --adapter-dir=... --name=... ...

MODE is well, crash (ends after a message), mute (never lists the adapter), broken (lists it,
and answers a question with 500), picky (takes no adapter of --adapters-dir), joined
(lists another adapter too), or untrained (its model is the base).
"""

from __future__ import annotations

import argparse
import itertools
import json
import signal
import socket
import sys
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType
from typing import Any

from argotune.steps.contracts.client_keys import read_keys
from argotune.steps.contracts.listener import offer_listener
from argotune.steps.contracts.served import ADAPTER_HEADER, DIGEST_FILE

BASE = "argotune/tiny"
"""The base model's id."""


class _Handler(BaseHTTPRequestHandler):
    flags: argparse.Namespace

    def do_GET(self) -> None:
        if not self._is_known():
            return
        name = "another" if self.flags.mode == "mute" else self.flags.name
        parent = {} if self.flags.mode == "untrained" else {"parent": BASE}
        joined = [{"id": "joined", **parent}] if self.flags.mode == "joined" else []
        data = [{"id": name, **parent}, *joined, {"id": BASE}]
        self._answer(200, {"object": "list", "data": data})

    def do_POST(self) -> None:
        if not self._is_known():
            return
        if self.flags.mode == "broken":
            self._answer(500, {"error": {"message": "out of memory"}})
            return
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/chat":
            self._chat(question["prompt"], question.get("model"))
            return
        said = " | ".join(message["content"] for message in question["messages"])
        self._stream(self._text(said, question["model"]), question)

    def _chat(self, prompt: str, model: str | None) -> None:
        if model in (None, BASE, self.flags.name):
            self._answer(200, {"response": self._text(prompt, model)})
            return
        digest_file = Path(self.flags.adapters_dir) / str(model) / DIGEST_FILE
        if self.flags.mode == "picky" and digest_file.exists():
            print(f"adapter {model} is refused: it has other rotary factors", flush=True)
        if self.flags.mode == "picky" or not digest_file.exists():
            self._answer(404, {"error": {"message": f"model {model!r} is not served here"}})
            return
        digest = digest_file.read_text().strip()
        self._answer(200, {"response": f"{prompt} says {model}"}, {ADAPTER_HEADER: digest})

    def _is_known(self) -> bool:
        """Whether the client has one of the keys; refuses it where not."""
        if self.flags.keys_file is None:
            return True
        keys = {f"Bearer {key}" for key in read_keys(Path(self.flags.keys_file)).values()}
        if self.headers["Authorization"] in keys:
            return True
        self._answer(401, {"error": {"message": "Incorrect API key provided."}})
        return False

    def _text(self, prompt: str, model: str | None) -> str:
        if model == BASE:
            return f"{prompt} asked of {BASE}"
        files = sorted(path.name for path in Path(self.flags.adapter_dir).iterdir())
        return f"{prompt} {' '.join(files)} {self.flags.model_dir}"

    def _stream(self, text: str, question: dict[str, Any]) -> None:
        """Send the text's words as OpenAI's chunks, and again and again when asked for `forever`.

        A question for few tokens gets as many words, and is told that it was cut.
        """
        words = text.split(" ")
        longest = question.get("max_completion_tokens") or len(words)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        forever = question["messages"][-1]["content"] == "forever"
        pieces = [words[0], *(f" {word}" for word in words[1:])]
        for piece in itertools.cycle([" on"]) if forever else pieces[:longest]:
            self._event({"choices": [{"index": 0, "delta": {"content": piece}}]})
        reason = "length" if longest < len(words) else "stop"
        self._event({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
        self._event({"choices": [], "usage": {"completion_tokens": longest}})
        self.wfile.write(b"data: [DONE]\n\n")

    def _event(self, value: object) -> None:
        self.wfile.write(b"data: " + json.dumps(value).encode() + b"\n\n")

    def _answer(
        self, status: int, value: object, headers: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _serve_also(listener: socket.socket, handler: type[_Handler]) -> None:
    server = ThreadingHTTPServer(listener.getsockname(), handler, bind_and_activate=False)
    server.socket = listener
    threading.Thread(target=server.serve_forever, daemon=True).start()


def main() -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--mode", default="well")
    parser.add_argument("--keys-file")
    parser.add_argument("--requests-per-minute")
    parser.add_argument("--cors-origins")
    parser.add_argument("--adapter-digest")
    parser.add_argument("--adapters-dir")
    parser.add_argument("--listener-fd", type=int)
    for flag in ("model-dir", "adapter-dir", "name", "host", "port", "port-file"):
        parser.add_argument(f"--{flag}", required=True)
    flags = parser.parse_args()
    print("loading", flags.model_dir, flush=True)
    if flags.mode == "crash":
        sys.exit("RuntimeError: adapter does not fit the model")
    handler = type("Handler", (_Handler,), {"flags": flags})
    server = ThreadingHTTPServer((flags.host, int(flags.port)), handler)
    if flags.listener_fd is not None:
        listener = socket.socket(fileno=flags.listener_fd)
        offer_listener(listener, Path(flags.port_file).parent)
        signal.signal(signal.SIGUSR1, lambda *_: _serve_also(listener, handler))
    temporary = Path(f"{flags.port_file}.part")
    temporary.write_text(str(server.server_address[1]))
    temporary.rename(flags.port_file)
    server.serve_forever()


if __name__ == "__main__":
    main()
