"""Every case must come out here as it came out on a real Argo 4.0.2 (see on_argo.py)."""

import json
from pathlib import Path

import pytest

from tests.workflows.engine.on_argo import CASES, differences, here

_CASES = sorted(CASES.glob("*.yaml"))


def test_there_are_cases() -> None:
    assert len(_CASES) >= 60


@pytest.mark.parametrize("case", _CASES, ids=[case.stem for case in _CASES])
def test_case_is_as_on_argo(case: Path, tmp_path: Path) -> None:
    expected = json.loads(case.with_suffix(".expected.json").read_text(encoding="utf-8"))
    assert differences(here(case, tmp_path), expected) == []
