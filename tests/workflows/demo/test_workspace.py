"""The demo's workspace file, which the README explains."""

from __future__ import annotations

from pathlib import Path

import pytest

from argotune.steps.contracts.training_plan import parse_plan
from argotune.workflows.demo.__main__ import NAME, PORT, WORKSPACE
from tests.workflows.cli.command import Argotune


@pytest.fixture
def argotune(capsys: pytest.CaptureFixture[str]) -> Argotune:
    return Argotune(capsys)


def test_it_is_planned_without_a_warning(argotune: Argotune) -> None:
    answer = argotune("plan", WORKSPACE, "--allow-loopback", "-o", "yaml")
    assert (answer.code, answer.err) == (0, "")
    plan = parse_plan(answer.out)
    assert (plan.name, plan.model.preset, plan.method) == (NAME, "tiny", "qlora")


def test_on_a_cluster_it_is_planned_for_a_gpu_where_its_config_names_one(
    argotune: Argotune, tmp_path: Path
) -> None:
    text = Path(WORKSPACE).read_text().replace("127.0.0.1:8765", "data.example.com")
    file = tmp_path / "workspace.yaml"
    for keys, gpus in (("", 0), ("        gpus: 1\n        gpu_memory_gib: 24\n", 1)):
        file.write_text(text.replace("      Argotune:\n", f"      Argotune:\n{keys}"))
        plan = parse_plan(argotune("plan", file, "-o", "yaml").out)
        assert plan.hardware.gpus == gpus


def test_it_needs_the_permission_for_this_machines_urls(argotune: Argotune) -> None:
    assert "tuning.input.urls[0]: " in argotune("plan", WORKSPACE).err
    answer = argotune("render", WORKSPACE)
    assert answer.code == 2
    assert len(answer.errors) == 1
    assert answer.errors[0].startswith("tuning.input.urls[0]: ")
    assert "--allow-loopback" in answer.errors[0]


def test_its_url_is_where_the_demo_serves() -> None:
    assert f"http://127.0.0.1:{PORT}/{NAME}.parquet" in Path(WORKSPACE).read_text()
