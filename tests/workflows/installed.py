"""An installed WorkflowTemplate in which the installer decided something else."""

from __future__ import annotations

import json
from typing import Any

from argotune.workflows.workspace.manifests import INSTALLED_ANNOTATION, installed_values


def decide(template: dict[str, Any], **values: str) -> None:
    """Change what the template says that the installer decided; names are in snake_case."""
    changes = {name.replace("_", "-"): text for name, text in values.items()}
    assert changes.keys() <= installed_values(template).keys()
    annotations = template["metadata"]["annotations"]
    annotations[INSTALLED_ANNOTATION] = json.dumps({**installed_values(template), **changes})
