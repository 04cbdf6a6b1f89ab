#!/usr/bin/env python3
"""Give each answer 1 if it is as long as the first argument says, else 0; note what else there is.

It fails where it can reach another pod, which no scorer may.
"""

import json
import os
import sys
import urllib.request
from pathlib import Path
from urllib.error import URLError


def main() -> None:
    try:
        urllib.request.urlopen(os.environ["FORBIDDEN_URL"], timeout=3).close()
    except (URLError, TimeoutError):
        pass
    else:
        sys.exit(f"{os.environ['FORBIDDEN_URL']} can be reached")
    least = int(sys.argv[1])
    rows = Path(os.environ["ROWS_FILE"]).read_text().splitlines()
    lines = [json.dumps(_scores(json.loads(row), least)) for row in rows]
    Path(os.environ["SCORES_FILE"]).write_text("\n".join(lines) + "\n")


def _scores(row: dict, least: int) -> dict:
    names = {"new": "score", "live": "live_score", "base": "base_score"}
    scores = {names[model]: float(len(text) >= least) for model, text in row["answers"].items()}
    return {"id": row["id"], **scores}


if __name__ == "__main__":
    main()
