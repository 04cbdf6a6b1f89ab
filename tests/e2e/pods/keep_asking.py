"""python -m tests.e2e.pods.keep_asking http://NAME PROMPT CLIENTS: clients that ask one question
after another until the input ends, every second one as a stream.

Each keeps its connection for as long as the server lets it, and none asks a second time. It prints
how often they got each answer, and each error, as JSON.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
from collections import Counter
from collections.abc import Callable
from urllib.parse import urlsplit

_PAUSE_SECONDS = 0.2
_TIMEOUT_SECONDS = 120
_HEADERS = {"Content-Type": "application/json"}
_EVENT, _DONE = "data: ", "[DONE]"

Ask = Callable[[http.client.HTTPConnection, str], str]


def main() -> None:
    url, prompt, clients = sys.argv[1:]
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    answers: Counter[str] = Counter()
    errors: Counter[str] = Counter()

    def keep_asking(ask: Ask) -> None:
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=_TIMEOUT_SECONDS)
        while not ended.wait(_PAUSE_SECONDS):
            try:
                answers[ask(connection, prompt)] += 1
            except (OSError, ValueError, LookupError, http.client.HTTPException) as error:
                errors[f"{ask.__name__}: {type(error).__name__}: {error}"] += 1
                connection.close()

    threads = [
        threading.Thread(target=keep_asking, args=(_stream if number % 2 else _chat,))
        for number in range(int(clients))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps({"answers": answers, "errors": errors}))


def _chat(connection: http.client.HTTPConnection, prompt: str) -> str:
    response = _post(connection, "/chat", {"prompt": prompt})
    return str(json.loads(response.read())["response"])


def _stream(connection: http.client.HTTPConnection, prompt: str) -> str:
    """The text of a stream; one that is cut off has no last event."""
    messages = [{"role": "user", "content": prompt}]
    # The Service and the adapter have one name.
    body = {"model": connection.host.partition(".")[0], "messages": messages, "stream": True}
    lines = _post(connection, "/v1/chat/completions", body).read().decode().splitlines()
    events = [line.removeprefix(_EVENT) for line in lines if line.startswith(_EVENT)]
    if not events or events[-1] != _DONE:
        raise ValueError(f"the stream ends with {events[-1:]}")
    deltas = [json.loads(event)["choices"][0]["delta"] for event in events[:-1]]
    return "".join(delta.get("content") or "" for delta in deltas).strip()


def _post(
    connection: http.client.HTTPConnection, path: str, body: dict[str, object]
) -> http.client.HTTPResponse:
    connection.request("POST", path, json.dumps(body), _HEADERS)
    response = connection.getresponse()
    if response.status != 200:
        raise ValueError(f"{response.status} {response.read(500).decode()}")
    return response


if __name__ == "__main__":
    main()
