"""Whether the schedule `gc` of a namespace deletes the nodes that are made for its runs.

A run releases its node when it ends. A run that is terminated or deleted does not, and then only
`gc` can delete the node, which costs money until then.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from argotune.steps.nodes.providers import cluster_settings
from argotune.workflows.workspace.manifests import installed_values

NAME = "gc"
"""Name of the CronWorkflow and of its WorkflowTemplate."""

Found = Mapping[str, Any] | None


def collection_problems(
    schedule: Found, template: Found, *, provider: str, settings: Mapping[str, str]
) -> Iterator[str]:
    """Say why `gc` would not find a node of the provider.

    `settings` name the cluster in which the run makes it; a missing one is as installed.
    """
    if schedule is None or template is None:
        yield f"CronWorkflow {NAME} is not installed"
        return
    if schedule["spec"].get("suspend"):
        yield f"CronWorkflow {NAME} is suspended"
    installed = installed_values(template)
    for row in cluster_settings():
        text = settings.get(row.name)
        if provider in row.providers and text and text != installed.get(row.name):
            yield (
                f"CronWorkflow {NAME} looks for nodes in {row.name} "
                f"{installed.get(row.name) or '(none)'}, and not in {text}"
            )
