"""Milliseconds that the local engine adds to a step: ``python -m tests.bench.engine_overhead``.

Runs 50 steps of ``true`` one after the other and compares with 50 bare subprocesses.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from argotune.workflows.engine.model import JsonObject
from argotune.workflows.engine.run import Options, run

STEPS = 50
MOST_MILLISECONDS = 200.0


def workflow() -> JsonObject:
    """A workflow of STEPS groups with one step each."""
    steps = [[{"name": f"s{index}", "template": "nothing"}] for index in range(STEPS)]
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": "overhead"},
        "spec": {
            "entrypoint": "main",
            "templates": [
                {"name": "main", "steps": steps},
                {"name": "nothing", "container": {"image": "busybox", "command": ["true"]}},
            ],
        },
    }


def engine_milliseconds(directory: Path) -> float:
    """Milliseconds a step takes in the engine."""
    options = Options(
        run_dir=directory / "run", claims_dir=directory / "claims", working_dir=directory
    )
    started = time.perf_counter()
    finished = run([workflow()], options)
    elapsed = time.perf_counter() - started
    if finished["status"]["phase"] != "Succeeded":
        raise SystemExit(f"the workflow failed: {finished['status'].get('message')}")
    return elapsed / STEPS * 1000


def bare_milliseconds() -> float:
    """Milliseconds a bare subprocess of the same program takes."""
    program = shutil.which("true") or "true"
    started = time.perf_counter()
    for _ in range(STEPS):
        subprocess.run([program], check=True)
    return (time.perf_counter() - started) / STEPS * 1000


def main() -> int:
    """Prints both and fails where the engine adds more than it may."""
    with tempfile.TemporaryDirectory() as directory:
        engine = engine_milliseconds(Path(directory))
    bare = bare_milliseconds()
    print(f"engine: {engine:.1f} ms a step, bare subprocess: {bare:.1f} ms ({STEPS} steps)")
    return 0 if engine - bare < MOST_MILLISECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
