"""From a workspace to the arguments of the WorkflowTemplate `finetune`."""

from __future__ import annotations

import json
from collections.abc import Callable

from argotune.steps.common.fields import text_of
from argotune.workflows.workspace.checks import names_in, skus_in
from argotune.workflows.workspace.model import Workspace


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
        "alternative-instance-types": _list(options.alternative_instance_types, skus_in),
        "zones": _list(options.zones),
        "capacity-types": _list(options.capacity_types),
        "spot-max-price-usd-per-hour": options.spot_max_price_usd_per_hour,
        "node-lifetime-seconds": options.node_lifetime_seconds,
        "keep-node-seconds": options.keep_node_seconds,
        "aks-cluster-id": options.aks_cluster_id,
        "aks-subnet-id": options.aks_subnet_id,
        "aks-os-sku": options.aks_os_sku,
        "aks-gpu-driver": options.aks_gpu_driver,
        "aks-mig-profile": options.aks_mig_profile,
        "karpenter-mode": options.karpenter_mode,
        "karpenter-node-class": options.karpenter_node_class,
        "deploy-to": options.deploy_to,
        "question": options.question,
        "model-cache-claim": options.model_cache_claim,
        "tune-cpu": options.tune_cpu,
        "tune-memory": options.tune_memory,
        "service-gpus": options.service_gpus,
        "service-label-selector": options.service_label_selector,
        "service-memory": options.service_memory,
        "adapter-from": options.adapter_from,
    }
    return always | {name: text for name, text in where_given.items() if text is not None}


def _list(text: str | None, read: Callable[[str], list[str]] = names_in) -> str | None:
    return None if text is None else json.dumps(read(text))
