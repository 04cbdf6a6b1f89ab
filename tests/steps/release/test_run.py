from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from steps.common.errors import ParamsError
from steps.common.nodes.provider import Node, NodeRequest
from steps.common.progress import Progress
from steps.release.params import Params, Result
from steps.release.run import run


class Provider:
    """Gives back one pool."""

    def provision(self, request: NodeRequest, progress: Progress) -> Node:
        raise AssertionError

    def release(self, run: str) -> str:
        return f"pool of {run}"


def test_the_provider_gives_back_the_runs_nodes() -> None:
    result = run(Params(run="uid"), progress=Progress(), provider=Provider())
    assert result == Result(released="pool of uid")


def test_a_run_must_be_named() -> None:
    with pytest.raises(ParamsError) as caught:
        Params(run="")
    assert str(caught.value) == "--run: empty; give the run's UID"


@pytest.mark.parametrize("provider", ["local", "existing"])
def test_the_step_says_that_nothing_is_given_back(provider: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "steps.release", "--run=uid", f"--provider={provider}"]
    done = subprocess.run(
        [*command, f"--outputs-dir={tmp_path}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "released").read_text() == "nothing"
    assert f"released provider={provider} what=nothing" in done.stderr
