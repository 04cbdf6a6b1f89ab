"""The local engine's cases come out on this cluster's Argo as they were recorded: node phases,
outputs, messages and tries. The unit tests hold the local engine to the same records."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.workflows.engine.on_argo import CASES, differences, grant_access, there

# Some forty workflows of real pods, a few at once.
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500)]

_AT_ONCE = 4


def test_cases_come_out_on_argo_as_recorded(kubeconfig: Path) -> None:
    cases = sorted(CASES.glob("*.yaml"))
    assert len(cases) >= 25
    grant_access()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = dict(zip((case.stem for case in cases), pool.map(_differences, cases), strict=True))
    assert {name: problems for name, problems in found.items() if problems} == {}


def _differences(case: Path) -> list[str]:
    expected: dict[str, Any] = json.loads(case.with_suffix(".expected.json").read_text())
    return differences(there(case, _images()), expected)


def _images() -> dict[str, str]:
    """E2E_IMAGE is an image with sh and python3 that the cluster can pull."""
    image = os.environ.get("E2E_IMAGE")
    return {} if image is None else dict.fromkeys(("python:3.11", "busybox"), image)
