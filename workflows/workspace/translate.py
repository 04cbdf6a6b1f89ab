"""Turning a workspace into the arguments of the WorkflowTemplate `finetune`."""

from __future__ import annotations

import json

from argotune.steps.common.fields import text_of
from argotune.workflows.workspace.model import Workspace
from argotune.workflows.workspace.run_settings import SETTINGS


def to_parameters(workspace: Workspace, *, allow_loopback: bool = False) -> dict[str, str]:
    """Return the arguments that the workspace determines; the others have defaults."""
    labels = ",".join(f"{key}={value}" for key, value in workspace.label_selector.items())
    always = {
        "name": workspace.name,
        "preset": workspace.preset,
        "method": workspace.method,
        "urls": json.dumps(list(workspace.urls), ensure_ascii=False),
        "output-image": workspace.output_image,
        "config": workspace.config,
        "instance-type": text_of(workspace.instance_type),
        "label-selector": labels,
        "model-source": text_of(workspace.model_source),
        "allow-loopback": text_of(allow_loopback),
    }
    secrets = {
        "push-secret": workspace.push_secret,
        "model-access-secret": workspace.model_access_secret,
    }
    settings = {
        name: SETTINGS[name].value.parameter(text)
        for name, text in workspace.options.items()
        if SETTINGS[name].is_in_template
    }
    given = {name: text for name, text in secrets.items() if text is not None}
    return {**settings, **always, **given}
