"""Manifests to change one thing in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from argotune.workflows.workspace.fields import WorkspaceError
from argotune.workflows.workspace.model import Workspace
from argotune.workflows.workspace.read import read_workspace

BASE_DIR = Path("/home/user/project")

# The file that Kaito's users copy, an earlier version of its quick start, as it is.
QUICK_START = """\
apiVersion: kaito.sh/v1alpha1
kind: Workspace
metadata:
  name: workspace-tuning-phi-3
resource:
  instanceType: "Standard_NC6s_v3"
  labelSelector:
    matchLabels:
      app: tuning-phi-3
tuning:
  preset:
    name: phi-3-mini-128k-instruct
  method: qlora
  input:
    urls:
      - "https://huggingface.co/datasets/philschmid/dolly-15k-oai-style/resolve/main/data/train-00000-of-00001-54e3756291ca09c6.parquet?download=true"
  output:
    image: "ACR_REPO_HERE.azurecr.io/IMAGE_NAME_HERE:0.0.1"
    imagePushSecret: ACR_REGISTRY_SECRET_HERE
"""

WORKSPACE = """\
apiVersion: kaito.sh/v1beta1
kind: Workspace
metadata:
  name: my-model
  annotations: {argotune.dev/provider: existing}
resource:
  instanceType: Standard_NC24ads_A100_v4
  labelSelector:
    matchLabels:
      app: my-model
tuning:
  preset:
    name: phi-4
  method: lora
  input:
    urls:
      - https://example.com/data.parquet
  output:
    image: registry.example.com/my-model:1
    imagePushSecret: my-secret
"""

SERVICE = """\
apiVersion: kaito.sh/v1beta1
kind: Workspace
metadata:
  name: assistant
resource:
  instanceType: Standard_NC24ads_A100_v4
  labelSelector:
    matchLabels:
      apps: assistant
inference:
  preset:
    name: phi-4
"""

CONFIG_MAP = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: my-config
data:
  training_config.yaml: |
    training_config:
      LoraConfig:
        r: 8
"""


def changed(changes: Mapping[str, Any], *, base: str = WORKSPACE) -> str:
    """The manifest with values set, or with None removed, at dotted paths."""
    document = yaml.safe_load(base)
    for path, value in changes.items():
        *parents, last = path.split("/")
        section = document
        for name in parents:
            section = section.setdefault(name, {})
        if value is None:
            section.pop(last, None)
        else:
            section[last] = value
    return yaml.safe_dump(document, sort_keys=False)


def read(*texts: str, allow_loopback: bool = False, **options: Any) -> Workspace:
    """Read texts as files one.yaml, two.yaml, ..."""
    names = ("one.yaml", "two.yaml", "three.yaml")
    return read_workspace(
        list(zip(names, texts, strict=False)),
        base_dir=BASE_DIR,
        allow_loopback=allow_loopback,
        **options,
    )


def problems_of(*texts: str, **options: Any) -> list[str]:
    """Every problem of the texts."""
    with pytest.raises(WorkspaceError) as caught:
        read(*texts, **options)
    return caught.value.problems
