"""Helpers of the engine's tests: run a few lines of YAML in a directory."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from argotune.workflows.engine.run import Options, run
from argotune.workflows.engine.state.load import parse_documents

HEAD = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {name: wf}
spec:
"""


def options(tmp_path: Path, **more: Any) -> Options:
    """Options for a run below ``tmp_path``."""
    given: dict[str, Any] = {
        "run_dir": tmp_path / "run",
        "claims_dir": tmp_path / "claims",
        "working_dir": tmp_path,
        **more,
    }
    return Options(**given)


def documents(spec: str) -> list[dict[str, Any]]:
    """The documents of a spec, indented by two; further ones may follow after ``---``."""
    return parse_documents(HEAD + spec, "test")


def run_spec(spec: str, tmp_path: Path, **more: Any) -> dict[str, Any]:
    """Runs the workflow ``wf`` with that spec."""
    return run(documents(spec), options(tmp_path, **more))


def wait_until(condition: Callable[[], bool], *, seconds: float = 60.0) -> None:
    """Polls until the condition holds; fails after a deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


def node(workflow: dict[str, Any], name: str) -> dict[str, Any]:
    """The node with that name; ``.task`` is short for ``wf.task``."""
    full = f"wf{name}" if name.startswith((".", "[", "(")) or not name else name
    found: dict[str, Any] = next(
        node for node in workflow["status"]["nodes"].values() if node["name"] == full
    )
    return found


def output(workflow: dict[str, Any], name: str, parameter: str) -> str:
    """The value of a node's output parameter."""
    parameters = node(workflow, name)["outputs"]["parameters"]
    value: str = next(p["value"] for p in parameters if p["name"] == parameter)
    return value
