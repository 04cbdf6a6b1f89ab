"""Our Argo objects with steps that do nothing: other containers, and all else as it is. They need
no image, account or claim of argotune's, and a step is over in a moment."""

from __future__ import annotations

import copy
import json
import os
from typing import Any

from argotune.workflows.workspace.manifests import template
from tests.e2e.cluster import Cluster

Object = dict[str, Any]

IMAGE = os.environ.get("E2E_IMAGE", "docker.io/library/python:3.11")
"""Has python3."""
BAD, LOST, UNCHANGED = "bad-model", "lost-model", "unchanged-model"
"""Workspaces that fail in tune, whose plan has an image that is not there, and whose data has not
changed."""
AGAIN = "again"
"""The question with which the run of a workspace that fails in a step goes through."""
ENDPOINT = "http://good-model.example.svc"

WORKSPACE = """
apiVersion: kaito.sh/v1beta1
kind: Workspace
metadata: {{name: {name}}}
resource: {{labelSelector: {{matchLabels: {{apps: nowhere}}}}}}
tuning:
  preset: {{name: tiny}}
  method: qlora
  input: {{urls: ["https://example.com/data.parquet"]}}
  output: {{image: "registry.example.com/{name}:1", imagePushSecret: my-secret}}
"""
"""A workspace with a place for its name."""

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
    "tune": {"base-loss": "2.5", "tuned-loss": "0.5", "stopped-early": ""},
    "evaluate": {"verdict": "passed", "reason": "it is better", "live-loss": "0.6"},
    "push": {"reference": "registry.example.com/my-model@sha256:0"},
    "deploy": {"endpoint": ENDPOINT, "answer": "Well."},
    "release": {"released": "nothing"},
}
_SCRIPT = f"""
import json, pathlib, sys, time
step, workspace, outputs = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
question = sys.argv[4] if len(sys.argv) > 4 else ""
print(f"{{step}} of {{workspace}} begins", flush=True)
if workspace.endswith(f"-in-{{step}}"):
    time.sleep(600)
if step == "tune" and workspace == "{BAD}":
    pathlib.Path("/argotune/outputs/log").write_text("step 7\\nRuntimeError: no luck")
    print("RuntimeError: no luck", flush=True)
    # As the steps do: the end of the log, which stands in for it, is the executor's lines alone.
    pathlib.Path("/dev/termination-log").write_text("RuntimeError: no luck")
    sys.exit(3)
if workspace == f"{{step}}-fails" and question != "{AGAIN}":
    sys.exit(f"{{step}} is told to fail")
if step == "provision" and workspace.endswith("-fails"):
    outputs["watched"] = "true"
if step == "dataset" and workspace == "{UNCHANGED}":
    outputs["changed"] = "false"
for name, value in outputs.items():
    pathlib.Path("/argotune/outputs", name).write_text(value)
print(f"{{step}} of {{workspace}} is done")
"""


def held(step: str, how: str = "held") -> str:
    """Name of a workspace whose run stays in a step."""
    return f"{how}-in-{step}"


def failing(step: str) -> str:
    """Name of a workspace whose run fails in a step, on a node that is made for it."""
    return f"{step}-fails"


def arguments_of(name: str) -> dict[str, str]:
    """What a run of the template is given."""
    return {
        "name": name,
        "preset": "tiny",
        "urls": '["https://example.com/data.parquet"]',
        "output-image": f"registry.example.com/{name}:1",
        "push-secret": "my-secret",
        "label-selector": "apps=nowhere",
    }


def stand_in(document: Object | None = None) -> Object:
    """A Workflow that stands alone or, unless given, WorkflowTemplate `finetune`."""
    if document is None:
        document = template({"allowed-secrets": '["my-secret"]'}, volume_size="10Mi")
    spec = document["spec"]
    spec["serviceAccountName"] = "default"
    spec["volumes"] = [{"name": "models", "emptyDir": {}}]
    spec["templates"] = [_step(item) if "container" in item else item for item in spec["templates"]]
    return document


def play(cluster: Cluster) -> None:
    """Put steps that do nothing into the installed template: all but image and command stays,
    accounts, volumes and patches too."""
    installed = cluster.read("argoproj.io/v1alpha1", "workflowtemplates", "finetune")
    assert installed is not None
    for item in installed["spec"]["templates"]:
        if "container" in item:
            outputs = {
                **_OUTPUTS.get(item["name"], {}),
                **({"gpus": "0"} if item["name"] == "plan" else {}),
            }
            item["container"] |= {
                "image": IMAGE,
                "command": ["python3", "-c", _SCRIPT, item["name"], "good", json.dumps(outputs)],
            }
    # Pods stay to be looked at.
    del installed["spec"]["podGC"], installed["metadata"]["managedFields"]
    cluster.kubectl("replace", "-f", "-", text=json.dumps(installed))


def _step(item: Object) -> Object:
    """The step's template with our script in its container; inputs and outputs stay."""
    changed = copy.deepcopy(item)
    for key in _LEFT_OUT:
        changed.pop(key, None)
    container = item["container"]
    image = IMAGE
    if item["name"] == "plan":
        missing = f"{IMAGE.rpartition(':')[0]}:not-there"
        image = f"{{{{=workflow.parameters.name == '{LOST}' ? '{missing}' : '{IMAGE}'}}}}"
    changed["container"] = {
        "image": image,
        "command": ["python3", "-c", _SCRIPT],
        "args": [
            item["name"],
            "{{workflow.parameters.name}}",
            json.dumps(_OUTPUTS.get(item["name"], {})),
            "{{workflow.parameters.question}}",
        ],
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": container["securityContext"],
        "volumeMounts": [m for m in container["volumeMounts"] if m["name"] in _VOLUMES],
    }
    return changed
