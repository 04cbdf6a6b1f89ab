"""The Workflow that puts an earlier adapter of a workspace into service again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from argotune.steps.settings.run_settings import flags_of
from argotune.workflows.workspace.manifests import parameters_of, workflow_of

NAME = "rollback"
"""Name of the WorkflowTemplate."""
_STEP = "deploy"
_PULL_SECRET = "adapter-pull-secret"


def rollback_workflow(
    template: Mapping[str, Any],
    *,
    name: str,
    reference: str,
    service_settings: Mapping[str, str],
    start: bool = False,
    leave: bool = False,
) -> dict[str, Any]:
    """Build a Workflow of arguments only, for the installed template.

    Args:
        template: The installed WorkflowTemplate `rollback`.
        name: The workspace, whose service it is.
        reference: The adapter's image by a version's tag or by digest.
        service_settings: Flags of deploy, as they were when the service was deployed.
        start: Whether it is to start a service that was scaled to none.
        leave: Whether it is to take the adapter out of the service that it joined.
    """
    known = parameters_of(template)
    names = {**flags_of(_STEP), _PULL_SECRET: "push-secret"}
    settings = {names.get(flag, flag): text for flag, text in service_settings.items()}
    given = {each: text for each, text in settings.items() if each in known}
    return workflow_of(
        template,
        {
            **given,
            "name": name,
            "reference": reference,
            "start": "true" if start else "false",
            "leave": "true" if leave else "false",
        },
        metadata={"generateName": f"{name}-rollback-"},
        workspace=name,
        title=f"{name}: roll back to {reference}",
    )
