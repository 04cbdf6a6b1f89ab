"""Labels of nodes: those that we put on what we make, and those that a parameter names. Standard
library only: parameters are checked by it."""

from __future__ import annotations

# Readable by everybody who asks whose node this is.
RUN_LABEL = "argotune.dev/run"
WORKFLOW_LABEL = "argotune.dev/workflow"
NAMESPACE_LABEL = "argotune.dev/namespace"
WORKSPACE_LABEL = "argotune.dev/workspace"


def labels_in(text: str) -> dict[str, str]:
    """The labels of KEY=VALUE,KEY=VALUE. Raises ValueError where it is something else."""
    labels = {}
    for pair in filter(None, text.split(",")):
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not (key and equals and value) or "=" in value or "!" in key:
            raise ValueError(f"{pair!r} is not KEY=VALUE")
        labels[key] = value
    return labels
