"""The operator's process, before it has a cluster."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import kopf
import pytest

from argotune.workflows.operator.__main__ import main
from argotune.workflows.operator.watching import settings


@pytest.fixture
def usual_limit() -> Iterator[int]:
    limit = sys.getrecursionlimit()
    yield limit
    sys.setrecursionlimit(limit)


def test_without_a_cluster_it_ends_with_the_reason(
    usual_limit: int,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "missing"))
    assert main(["--namespace", "team-a"]) == 3
    assert "argotune operator: no cluster: " in capsys.readouterr().err


def test_kopf_gets_over_an_object_of_any_depth(
    usual_limit: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It reads watches by `json`, and would copy what it has read."""
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "missing"))
    main(["--namespace", "team-a"])
    levels = 9_000
    assert levels > usual_limit
    found = json.loads('{"a":' * levels + "1" + "}" * levels)
    sys.setrecursionlimit(usual_limit)
    storage = settings().persistence.diffbase_storage
    body = kopf.Body({"metadata": {"name": "deep"}, "tuning": found})
    assert storage.fetch(body=body) is None
    assert storage.build(body=body) == {}
