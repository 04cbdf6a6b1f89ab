"""The report of an evaluation, kept beside an adapter in a registry."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from argotune.steps.common.progress import Progress
from argotune.steps.contracts.report import read_layout
from argotune.steps.contracts.side_by_side import FILE, ComparedModel, write_models
from argotune.steps.push.side_by_side.params import Params
from argotune.steps.push.side_by_side.run import run
from argotune.steps.registry.oci import ImageReference
from argotune.steps.registry.skopeo import Registry, pull, push
from tests.fakes.registry import docker_config, serving
from tests.steps.plan.side_by_side.adapters import put_adapter

UID = "0f1d9c52-6f0b-4d52-8f8e-2f6f6f1c9d11"
BASE = ComparedModel(name="tiny")


def keep(work_dir: Path, *models: ComparedModel, **changes: str | Path) -> str:
    """What the step says of the report."""
    work_dir.mkdir(exist_ok=True)
    write_models(work_dir, models)
    (work_dir / FILE).write_text('{"rows": 3}')
    params = Params(
        **{"work_dir": work_dir, "run": UID, "created": "2026-01-31T12:00:00Z", **changes}  # type: ignore[arg-type]
    )
    return run(params, progress=Progress(), sleep=lambda seconds: None).report


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")
def test_the_report_refers_to_the_first_adapter_and_has_a_tag_of_its_run(tmp_path: Path) -> None:
    put_adapter(tmp_path, "v1")
    layout = tmp_path / "dist"
    digest = json.loads((layout / "index.json").read_text())["manifests"][0]["digest"]
    work_dir = tmp_path / "work"
    auth_file = tmp_path / "config.json"
    with serving(login=True) as fake:
        auth_file.write_text(docker_config(fake.host))
        login = Registry(auth_file=auth_file)
        target = ImageReference(registry=fake.host, repository="team/phi", tag="v1")
        push(layout, "v1", target, digest, login)
        adapter = ComparedModel(name="phi", image=f"{fake.host}/team/phi@{digest}")
        report = keep(work_dir, BASE, adapter, auth_file=auth_file)
        tag = f"{digest.replace(':', '-')}.evaluation-{UID}"
        tagged = ImageReference(registry=fake.host, repository="team/phi", tag=tag)
        pull(tagged, tmp_path / "pulled", "report", login)
        _, manifest = fake.manifests["team/phi", tag]
    assert report.startswith(f"{target.name}@sha256:")
    assert json.loads(manifest)["subject"]["digest"] == digest
    assert read_layout(tmp_path / "pulled", "report")[FILE] == b'{"rows": 3}'


def test_without_an_adapter_of_a_registry_the_report_is_not_kept(tmp_path: Path) -> None:
    here = ComparedModel(name="mine", image=f"oci:/dist@sha256:{64 * 'a'}")
    assert keep(tmp_path / "work", BASE, here) == (
        "none: it is kept beside an adapter, and none of the models is one of a registry"
    )
    assert keep(tmp_path / "work", BASE, here, keep_report="none") == ""


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")
def test_a_registry_that_refuses_does_not_fail_the_evaluation(tmp_path: Path) -> None:
    with serving(login=True) as fake:
        adapter = ComparedModel(name="phi", image=f"{fake.host}/team/phi@sha256:{64 * 'a'}")
        report = keep(tmp_path / "work", adapter)
    assert report.startswith(f"none: registry {fake.host} refused")
