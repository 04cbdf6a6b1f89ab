"""The report beside the adapter, through the real skopeo."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from argotune.steps.contracts.report import ARTIFACT_TYPE, TITLE, report_tag
from tests.fakes.registry import Fault, serving
from tests.steps.push.test_run import push, work_dir

__all__ = ["work_dir"]

pytestmark = pytest.mark.skipif(
    shutil.which("skopeo") is None, reason="skopeo is not installed on this machine"
)


def test_the_report_is_an_artifact_that_refers_to_the_adapter(work_dir: Path) -> None:
    (work_dir / "logs").mkdir()
    (work_dir / "logs" / "tune.log").write_text("one\n")
    with serving(login=True) as registry:
        result = push(work_dir, registry)
        _, content = registry.manifests["team/phi", report_tag(result.digest)]
        media_type, adapter = registry.manifests["team/phi", result.digest]
        manifest = json.loads(content)
        layers = {
            each["annotations"][TITLE]: registry.blobs[each["digest"]]
            for each in manifest["layers"]
        }
    assert manifest["artifactType"] == ARTIFACT_TYPE
    assert manifest["subject"] == {
        "mediaType": media_type,
        "digest": result.digest,
        "size": len(adapter),
    }
    assert sorted(layers) == ["logs/tune.log", "plan.yaml"]
    assert layers["logs/tune.log"] == b"one\n"
    assert result.report.startswith(f"{registry.host}/team/phi@sha256:")


def test_a_report_that_the_registry_refuses_does_not_fail_the_run(
    work_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fault = Fault("PUT", r"manifests/.*\.report", 9, 403, body="artifacts are denied")
    with serving(login=True, faults=[fault]) as registry:
        result = push(work_dir, registry)
        assert ("team/phi", "1") in registry.manifests
    assert result.reference == f"{registry.host}/team/phi@{result.digest}"
    assert result.report.startswith(f"none: registry {registry.host} refused {registry.host}/team")
    assert "report-not-kept" in caplog.text


def test_an_installation_may_keep_none(work_dir: Path) -> None:
    with serving(login=True) as registry:
        result = push(work_dir, registry, keep_report="none")
        tags = {tag for _, tag in registry.manifests}
    assert report_tag(result.digest) not in tags
    assert "candidate" in tags
    assert result.report == ""
