"""Workspaces that the reader and an API server with our definition both take, or both refuse."""

from __future__ import annotations

from typing import Any

from tests.workflows.workspace.helpers import QUICK_START, SERVICE, WORKSPACE, changed

_PULLED = {
    "name": "docs",
    "image": "registry.example.com/team/docs:v3",
    "imagePullSecrets": ["pull"],
}
_WITH_ADAPTER = changed(
    {"inference/adapters": [{"source": _PULLED, "strength": "0.5"}]}, base=SERVICE
)
_ADAPTER = {"source": {"name": "a", "image": "registry.example.com/team/docs:v3"}}
_PRESET = {"name": "phi-4"}


def _of_tuning(changes: dict[str, Any]) -> str:
    return changed(changes, base=WORKSPACE)


def _of_service(changes: dict[str, Any]) -> str:
    return changed(changes, base=_WITH_ADAPTER)


TAKEN = {
    "quick start": QUICK_START,
    "tuning": WORKSPACE,
    "inference": _WITH_ADAPTER,
    "existing nodes": _of_tuning({"resource": None}),
    "capital method": _of_tuning({"tuning/method": "QLoRA"}),
    "one node": _of_tuning({"resource/count": 1}),
    "public": _of_tuning({"tuning/preset/accessMode": "public"}),
    "references of secrets": _of_tuning({"tuning/input/imagePullSecrets": [{"name": "data"}]}),
    "claim": _of_tuning(
        {
            "tuning/input/urls": None,
            "tuning/input/volumeSource": {"persistentVolumeClaim": {"claimName": "data"}},
        }
    ),
    "data image": _of_tuning(
        {"tuning/input/urls": None, "tuning/input/image": "registry.example.com/data:1"}
    ),
    "ours alone": _of_tuning(
        {
            "tuning/input/validationUrls": ["https://example.com/held-out.parquet"],
            "tuning/input/adapter": "live",
        }
    ),
}
"""Files that both take, by what they are about."""
REFUSED = {
    "name": _of_tuning({"metadata/name": "9"}),
    "both": _of_tuning({"inference": {"preset": _PRESET}}),
    "neither": _of_tuning({"tuning": None}),
    "nodes": _of_tuning({"resource/count": 2}),
    "text for a number": _of_tuning({"resource/count": "1"}),
    "partition": _of_tuning({"resource/partition": {"profile": "1g.10gb"}}),
    "selector": _of_tuning({"resource/labelSelector": None}),
    "expressions": _of_tuning(
        {"resource/labelSelector/matchExpressions": [{"key": "a", "operator": "Exists"}]}
    ),
    "number for a label": _of_tuning({"resource/labelSelector/matchLabels": {"a": 1}}),
    "no preset": _of_tuning({"tuning/preset": None}),
    "no name of the preset": _of_tuning({"tuning/preset": {}}),
    "access": _of_tuning({"tuning/preset/accessMode": "secret"}),
    "weights on a claim": _of_tuning(
        {"tuning/preset/presetOptions": {"modelWeightsPVC": "weights"}}
    ),
    "login of weights": _of_tuning({"tuning/preset/presetOptions": {"imagePullSecrets": ["a"]}}),
    "no method": _of_tuning({"tuning/method": None}),
    "method": _of_tuning({"tuning/method": "dora"}),
    "no input": _of_tuning({"tuning/input": None}),
    "two inputs": _of_tuning({"tuning/input/image": "registry.example.com/data:1"}),
    "empty input": _of_tuning({"tuning/input": {"urls": []}}),
    "one URL": _of_tuning({"tuning/input/urls": "https://example.com/data.parquet"}),
    "no output": _of_tuning({"tuning/output": None}),
    "no image": _of_tuning({"tuning/output/image": None}),
    "template": _of_service({"inference/template": {"spec": {}}}),
    "adapter without source": _of_service({"inference/adapters": [{"strength": "1"}]}),
    "source without image": _of_service({"inference/adapters": [{"source": {"name": "a"}}]}),
    "URLs of an adapter": _of_service(
        {"inference/adapters": [{"source": {"name": "a", "urls": ["https://example.com/a"]}}]}
    ),
    "strength": _of_service({"inference/adapters": [{**_ADAPTER, "strength": 1}]}),
}
"""Files that both refuse, by what is wrong."""
