"""Seconds of the commands that look at 500 runs of this machine: ``python -m tests.bench.runs``.

Each record has 430 kB, as that of a run of the whole template, and each run's directory 80 files.
The commands are processes of their own, so that their start counts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from argotune.workflows.cli.home import HOME_VARIABLE
from argotune.workflows.engine.record import RECORD
from argotune.workflows.workspace import manifests
from tests.workflows.cli.cluster_workflows import entry, run_of, step

RUNS = 500
MOST_SECONDS = 2.0
_WORKSPACES = 50
_FILES = 80
_STEPS = ("plan", "dataset", "model", "provision", "tune", "evaluate", "push", "deploy")
_COMMANDS = (("runs",), ("status",), ("status", "model7"), ("rm", "--older-than", "9000d"))
_ROUNDS = 3


def write_runs(home: Path) -> None:
    """Fill a home with runs of so many workspaces."""
    spec = manifests.workflow({"name": "model", "preset": "tiny"})["spec"]
    inputs = {"parameters": spec["arguments"]["parameters"]}
    for number in range(RUNS):
        name = f"model{number % _WORKSPACES}-{number:05d}"
        nodes = [node | {"inputs": inputs} for each in _STEPS for node in step(each, "Succeeded")]
        run = run_of(*nodes, entry(), phase="Succeeded", name=name)
        run["metadata"]["labels"]["argotune.dev/workspace"] = name.partition("-")[0]
        run["spec"] = run["status"]["storedWorkflowTemplateSpec"] = spec
        directory = home / "runs" / name
        (directory / "logs").mkdir(parents=True)
        (directory / RECORD).write_text(json.dumps(run))
        for file in range(_FILES):
            (directory / "logs" / f"{file}.log").write_text("a line\n")


def seconds_of(command: tuple[str, ...], home: Path) -> float:
    """How long the command takes, its output included."""
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "argotune.workflows.cli", *command],
        env={**os.environ, HOME_VARIABLE: str(home)},
        capture_output=True,
        check=True,
    )
    return time.perf_counter() - started


def main() -> int:
    """Print the slowest round of each command, and fail where one takes longer than it may."""
    slowest = 0.0
    with tempfile.TemporaryDirectory() as directory:
        write_runs(Path(directory))
        for command in _COMMANDS:
            seconds = max(seconds_of(command, Path(directory)) for _ in range(_ROUNDS))
            slowest = max(slowest, seconds)
            print(f"argotune {' '.join(command)}: {seconds:.2f} s at most, {RUNS} runs")
    return 0 if slowest < MOST_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
