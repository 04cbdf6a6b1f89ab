"""From a workspace to the arguments of the WorkflowTemplate `finetune`."""

from __future__ import annotations

import json

from steps.common.fields import text_of
from workflows.workspace.model import Workspace


def to_parameters(workspace: Workspace, *, allow_loopback: bool = False) -> dict[str, str]:
    """The arguments that the workspace determines; the template has defaults for the rest."""
    options = workspace.options
    always = {
        "name": workspace.name,
        "preset": workspace.preset,
        "method": workspace.method,
        "urls": json.dumps(list(workspace.urls), ensure_ascii=False),
        "output-image": workspace.output_image,
        "config": workspace.config,
        "instance-type": text_of(workspace.instance_type),
        "label-selector": ",".join(
            f"{key}={value}" for key, value in workspace.label_selector.items()
        ),
        "model-source": text_of(workspace.model_source),
        "allow-loopback": text_of(allow_loopback),
    }
    where_given = {
        "push-secret": workspace.push_secret,
        "model-access-secret": workspace.model_access_secret,
        "provider": options.provider,
        "deploy-to": options.deploy_to,
        "question": options.question,
        "model-cache-claim": options.model_cache_claim,
        "tune-cpu": options.tune_cpu,
        "tune-memory": options.tune_memory,
        "service-gpus": options.service_gpus,
        "service-memory": options.service_memory,
        "adapter-from": options.adapter_from,
    }
    return always | {name: text for name, text in where_given.items() if text is not None}
