"""python -m tests.e2e.pods.ask URL PROMPT: what an application in the cluster does with curl."""

from __future__ import annotations

import json
import sys
import urllib.request

_TIMEOUT_SECONDS = 60


def main() -> None:
    url, prompt = sys.argv[1:]
    question = urllib.request.Request(
        url,
        data=json.dumps({"prompt": prompt}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(question, timeout=_TIMEOUT_SECONDS) as response:
        print(response.read().decode())


if __name__ == "__main__":
    main()
