"""python -m tests.e2e.pods.ask URL PROMPT [MODEL]: what an application in the cluster does with
curl. Prints the answer's body, and beside it the header with the adapter's digest."""

from __future__ import annotations

import json
import sys
import urllib.request

_TIMEOUT_SECONDS = 60


def main() -> None:
    url, prompt, *model = sys.argv[1:]
    body = {"prompt": prompt, **({"model": model[0]} if model else {})}
    question = urllib.request.Request(
        url,
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(question, timeout=_TIMEOUT_SECONDS) as response:
        answer = json.loads(response.read())
        print(json.dumps({**answer, "adapter": response.headers.get("argotune-adapter")}))


if __name__ == "__main__":
    main()
