"""The local engine's cases come out on this cluster's Argo as they were recorded: node phases,
outputs, messages and tries. The unit tests hold the local engine to the same records."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import run
from tests.e2e.site import Site
from tests.e2e.stories import STORY_SECONDS, story
from tests.workflows.engine.on_argo import CASES, differences, grant_access, there

# Some sixty workflows of real pods, a few at once.
pytestmark = [pytest.mark.cluster, pytest.mark.shard2, pytest.mark.timeout(STORY_SECONDS)]

_AT_ONCE = 3


@story
def cases_on_argo(site: Site) -> Mapping[str, Future[list[str]]]:
    grant_access()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return {case.stem: pool.submit(_differences, case) for case in _cases()}


def test_cases_come_out_on_argo_as_recorded(
    cases_on_argo: Mapping[str, Future[list[str]]],
) -> None:
    assert len(cases_on_argo) >= 60
    found = {name: problems.result() for name, problems in cases_on_argo.items()}
    assert {name: problems for name, problems in found.items() if problems} == {}


def _cases() -> list[Path]:
    return sorted(CASES.glob("*.yaml"))


def _differences(case: Path) -> list[str]:
    expected: dict[str, Any] = json.loads(case.with_suffix(".expected.json").read_text())
    found = differences(there(case, _images()), expected)
    if not found:
        run("kubectl", "-n", "argo", "delete", "workflow", case.stem, "--wait=false")
    return found


def _images() -> dict[str, str]:
    """E2E_IMAGE is an image with sh and python3 that the cluster can pull."""
    image = os.environ.get("E2E_IMAGE")
    return {} if image is None else dict.fromkeys(("python:3.11", "busybox"), image)
