"""The workflow that makes preset tiny on a cluster is as careful as the template's steps."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import yaml

import workflows
from argotune.workflows.workspace.manifests import read_rendered

ROOT = Path(workflows.__file__).parent
SPEC = yaml.safe_load((ROOT / "demo" / "tiny-weights.yaml").read_text())["spec"]
FINETUNE = read_rendered("finetune")[0]["spec"]


def test_its_images_are_of_this_version() -> None:
    tags = {item["name"]: item.get("value") for item in SPEC["arguments"]["parameters"]}
    assert tags == {"images-registry": None, "images-tag": version("argotune")}


def test_its_pod_is_as_restricted_as_that_of_tune() -> None:
    (tune,) = (item for item in FINETUNE["templates"] if item["name"] == "tune")
    (tiny,) = SPEC["templates"]
    assert SPEC["securityContext"] == FINETUNE["securityContext"]
    assert tiny["container"]["securityContext"] == tune["container"]["securityContext"]
    image = tiny["container"]["image"].replace("workflow.parameters.", "install.")
    # The administrator names the tag; the digest is one that `argotune install` finds.
    assert f"{image}{{{{install.tune-digest}}}}" == tune["container"]["image"]
    assert SPEC["serviceAccountName"] == tune["serviceAccountName"]
    assert SPEC["automountServiceAccountToken"] is False
