"""Which run of this machine an answer is for, by records that no engine has written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from argotune.workflows.cli.errors import InputError
from argotune.workflows.cli.home import Home
from argotune.workflows.cli.local import runs
from argotune.workflows.cli.local.approval import decide


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setattr(runs, "is_running", lambda directory: True)
    return Home(tmp_path)


def record(here: Home, name: str, created: str, phase: str, *, waits: bool) -> Path:
    """Write down a run of workspace mine, and return its directory."""
    node = {"id": "approve", "displayName": "approve", "type": "Suspend"}
    asked = {"approve": {**node, "phase": "Running" if waits else "Succeeded"}}
    run = {
        "metadata": {
            "name": name,
            "creationTimestamp": created,
            "labels": {"argotune.dev/workspace": "mine"},
        },
        "spec": {},
        "status": {"phase": phase, "nodes": asked},
    }
    directory = here.runs_dir / name
    directory.mkdir(parents=True)
    (directory / "workflow.json").write_text(json.dumps(run))
    return directory


def test_a_newer_run_does_not_hide_one_that_waits(here: Home) -> None:
    old = record(here, "mine-a", "2026-01-01T00:00:00Z", "Running", waits=True)
    record(here, "mine-b", "2026-01-02T00:00:00Z", "Succeeded", waits=False)
    before = set(old.iterdir())
    assert decide(here, "mine", "reject", "").startswith("run mine-a: rejected")
    assert set(old.iterdir()) > before


def test_of_several_runs_that_wait_one_is_to_be_named(here: Home) -> None:
    record(here, "mine-a", "2026-01-01T00:00:00Z", "Running", waits=True)
    record(here, "mine-b", "2026-01-02T00:00:00Z", "Running", waits=True)
    with pytest.raises(InputError) as caught:
        decide(here, "mine", "approve", "")
    assert caught.value.problems == [
        "'mine': 2 runs of it wait for their approval; name one: mine-b, mine-a"
    ]
    assert decide(here, "mine-a", "approve", "").startswith("run mine-a: approved")
