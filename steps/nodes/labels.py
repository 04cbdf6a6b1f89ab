"""Labels of nodes: those that argotune sets on nodes that it makes, and those of a parameter.

Standard library only, because parameters are checked with it.
"""

from __future__ import annotations

# For people who want to know which run a node belongs to.
RUN_LABEL = "argotune.dev/run"
WORKFLOW_LABEL = "argotune.dev/workflow"
NAMESPACE_LABEL = "argotune.dev/namespace"
WORKSPACE_LABEL = "argotune.dev/workspace"
NODE_LABEL = "argotune.dev/node"
"""Name of the agent pool or claim, by which pods select its node. It stays the same when the node
goes from run to run, because labels of nodes cannot follow."""
KEPT_LABEL = "argotune.dev/kept-from"
"""UID of the run that left its node to the next one of its workspace, in place of the run's own
label."""

INSTANCE_TYPE = "node.kubernetes.io/instance-type"
"""Kubernetes' own, with the cloud's SKU."""

# Labels of Deployments of services.
NODE_RUN_LABEL = "argotune.dev/node-of-run"
"""UID of the run whose node the service has: the node goes on until no service has this label."""

# Labels of the pods of runs.
WORKFLOW_POD_LABEL = "workflows.argoproj.io/workflow"
"""Argo's, on every pod of a Workflow."""
STEP_POD_LABEL = "argotune.dev/step"


def labels_in(text: str) -> dict[str, str]:
    """Parse KEY=VALUE,KEY=VALUE. Raises ValueError for another text."""
    labels = {}
    for pair in filter(None, text.split(",")):
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not (key and equals and value) or "=" in value or "!" in key:
            raise ValueError(f"{pair!r} is not KEY=VALUE")
        labels[key] = value
    return labels
