"""A measurement in a process of its own: what others have allocated is not in its memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

Found = dict[str, float]


def measured(
    module: str, child: str, directory: Path, environment: Mapping[str, str] | None = None
) -> Found:
    """What `python -m module --child CHILD --directory DIRECTORY` prints last, a line of JSON."""
    answer = subprocess.run(
        [sys.executable, "-m", module, "--child", child, "--directory", str(directory)],
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **(environment or {})},
        timeout=3600,
    )
    found: Found = json.loads(answer.stdout.splitlines()[-1])
    return found
