"""An installed WorkflowTemplate in which the installer decided something else."""

from __future__ import annotations

import json
from typing import Any

from argotune.workflows.workspace.manifests import (
    INSTALLED_ANNOTATION,
    fill_in,
    installed_values,
    read_rendered,
)
from tests.fakes.kube import Cluster


def decide(template: dict[str, Any], **values: str) -> None:
    """Change what the template says that the installer decided; names are in snake_case."""
    changes = {name.replace("_", "-"): text for name, text in values.items()}
    assert changes.keys() <= installed_values(template).keys()
    annotations = template["metadata"]["annotations"]
    annotations[INSTALLED_ANNOTATION] = json.dumps({**installed_values(template), **changes})


def put_gc(cluster: Cluster, *, suspend: bool = False, **values: str) -> None:
    """Install WorkflowTemplate and CronWorkflow `gc` into namespace team-a."""
    chosen = {name.replace("_", "-"): text for name, text in values.items()}
    for document in read_rendered("gc"):
        item = fill_in(document, chosen)
        if item["kind"] == "CronWorkflow":
            item["spec"]["suspend"] = suspend
        cluster.put({**item, "metadata": {**item["metadata"], "namespace": "team-a"}})
