"""A WorkflowTemplate `finetune` that does nothing: ours, with other containers. It needs no image,
account or claim of argotune's, and a step is over in a moment."""

from __future__ import annotations

import copy
import json
import os
from typing import Any

from workflows.cli.manifests import template

Object = dict[str, Any]

IMAGE = os.environ.get("E2E_IMAGE", "docker.io/library/python:3.11")
"""Has python3."""
SLOW, BAD, LOST = "slow-model", "bad-model", "lost-model"
"""Workspaces that stay in tune, that fail there, and whose plan has an image that is not there."""
ENDPOINT = "http://good-model.example.svc"

_VOLUMES = ("work", "outputs", "scratch")
_LEFT_OUT = (
    "executor",
    "podSpecPatch",
    "serviceAccountName",
    "automountServiceAccountToken",
    # On a GPU node that another test has made, a pod goes when that test takes the node away.
    "tolerations",
    "nodeSelector",
)
_OUTPUTS = {
    "plan": {"gpus": "1", "memory-gb": "1"},
    "dataset": {"rows": "10", "digest": "sha256:0", "changed": "true"},
    "provision": {"accelerator": "NVIDIA A10", "node-selector": "{}", "watched": "false"},
    "tune": {"base-loss": "2.5", "tuned-loss": "0.5"},
    "push": {"reference": "registry.example.com/my-model@sha256:0"},
    "deploy": {"endpoint": ENDPOINT, "answer": "Well."},
    "release": {"released": "nothing"},
}
_SCRIPT = f"""
import json, pathlib, sys, time
step, workspace, outputs = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
print(f"{{step}} of {{workspace}} begins", flush=True)
if step == "tune" and workspace == "{SLOW}":
    time.sleep(600)
if step == "tune" and workspace == "{BAD}":
    pathlib.Path("/argotune/outputs/log").write_text("step 7\\nRuntimeError: no luck")
    print("RuntimeError: no luck", flush=True)
    sys.exit(3)
for name, value in outputs.items():
    pathlib.Path("/argotune/outputs", name).write_text(value)
print(f"{{step}} of {{workspace}} is done")
"""


def stand_in() -> Object:
    """The template."""
    registry, _, rest = IMAGE.rpartition("/")
    name, _, tag = rest.partition(":")
    document = template(volume_size="10Mi")
    spec = document["spec"]
    spec["serviceAccountName"] = "default"
    spec["volumes"] = [{"name": "models", "emptyDir": {}}]
    for parameter in spec["arguments"]["parameters"]:
        values = {"images-registry": registry, "images-tag": tag}
        parameter["value"] = values.get(parameter["name"], parameter["value"])
    spec["templates"] = [
        _step(item, name) if "container" in item else item for item in spec["templates"]
    ]
    return document


def _step(item: Object, image: str) -> Object:
    """The step's template with our script in its container; inputs and outputs stay."""
    changed = copy.deepcopy(item)
    for key in _LEFT_OUT:
        changed.pop(key, None)
    container = item["container"]
    tag = "{{workflow.parameters.images-tag}}"
    if item["name"] == "plan":
        there = "workflow.parameters['images-tag']"
        tag = f"{{{{=workflow.parameters.name == '{LOST}' ? 'not-there' : {there}}}}}"
    changed["container"] = {
        "image": f"{{{{workflow.parameters.images-registry}}}}/{image}:{tag}",
        "command": ["python3", "-c", _SCRIPT],
        "args": [
            item["name"],
            "{{workflow.parameters.name}}",
            json.dumps(_OUTPUTS.get(item["name"], {})),
        ],
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": container["securityContext"],
        "volumeMounts": [m for m in container["volumeMounts"] if m["name"] in _VOLUMES],
    }
    return changed
