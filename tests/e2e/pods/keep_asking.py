"""python -m tests.e2e.pods.keep_asking URL PROMPT: a client that asks five times a second until its
input ends. It prints how often it got each answer, and each error, as JSON."""

from __future__ import annotations

import json
import sys
import threading
import urllib.request
from collections import Counter

_PAUSE_SECONDS = 0.2
_TIMEOUT_SECONDS = 60


def main() -> None:
    url, prompt = sys.argv[1:]
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    answers: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    while not ended.wait(_PAUSE_SECONDS):
        try:
            answers[_ask(url, prompt)] += 1
        except (OSError, ValueError, KeyError) as error:
            errors[f"{type(error).__name__}: {error}"] += 1
    print(json.dumps({"answers": answers, "errors": errors}))


def _ask(url: str, prompt: str) -> str:
    question = urllib.request.Request(
        url,
        data=json.dumps({"prompt": prompt}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(question, timeout=_TIMEOUT_SECONDS) as response:
        return str(json.loads(response.read())["response"])


if __name__ == "__main__":
    main()
