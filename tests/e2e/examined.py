"""What `argotune doctor` finds on the cluster."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass

from tests.e2e.cluster import Cluster, Object


@dataclass(frozen=True, kw_only=True)
class Examined:
    """What the command found."""

    code: int
    rows: list[Object]

    def said(self, area: str, level: str) -> list[str]:
        """Messages of one area and level."""
        return [row["message"] for row in self.rows if (row["area"], row["level"]) == (area, level)]

    def said_of_nodes(self, level: str) -> list[str]:
        """Messages on GPU nodes of this test: other tests bring and lose their own meanwhile."""
        return [text for text in self.said("gpu", level) if not text.startswith("node ")]

    def command(self, words: str) -> list[str]:
        """The command beside the one message with these words, as its arguments."""
        (row,) = [row for row in self.rows if words in row["message"]]
        return shlex.split(row["command"])


def examine(cluster: Cluster, *flags: str, pull: str = "none", **environment: str) -> Examined:
    done = subprocess.run(
        [*doctor(cluster), "-o", "json", "--pull-test", pull, *flags],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.stderr == ""
    rows = json.loads(done.stdout)
    assert rows
    problems = [row for row in rows if row["level"] == "problem"]
    assert done.returncode == (1 if problems else 0)
    return Examined(code=done.returncode, rows=rows)


def doctor(cluster: Cluster) -> list[str]:
    return [sys.executable, "-m", "argotune.workflows.cli", "doctor", "-n", cluster.namespace]
