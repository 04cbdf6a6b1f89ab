"""Have a node that fits the run."""

from __future__ import annotations

import json
import logging

from presets.loader import skus_of_azure
from steps.common import log
from steps.common.nodes.provider import NodeRequest, Provider, Settings, load_provider
from steps.common.progress import Progress
from steps.provision.params import Params, Result

_LOGGER = logging.getLogger(__name__)


def run(params: Params, *, progress: Progress, provider: Provider | None = None) -> Result:
    """Get a node from the provider, and say how the tune pod finds it."""
    chosen = provider or load_provider(params.provider, _settings(params))
    node = chosen.provision(_request(params), progress)
    log.event(_LOGGER, "node", name=node.name, accelerator=node.accelerator)
    return Result(
        node=node.name,
        accelerator=node.accelerator,
        node_selector=json.dumps(dict(node.selector), sort_keys=True),
        tolerations=json.dumps([dict(each) for each in node.tolerations], sort_keys=True),
        placement=str(node.placement or ""),
        price_usd_per_hour=node.price_usd_per_hour,
        tried="\n".join(map(str, node.tried)),
    )


def _request(params: Params) -> NodeRequest:
    return NodeRequest(
        run=params.run,
        workflow=params.workflow,
        namespace=params.namespace,
        workspace=params.workspace,
        gpus=params.gpus,
        gpu_memory_gb=params.gpu_memory_gb,
        labels=params.labels(),
        disk_gib=params.disk_gib,
        instance_types=params.instance_types(),
        zones=params.zones,
        capacity_types=params.capacity(),
        spot_max_price_usd_per_hour=params.spot_max_price_usd_per_hour,
        prices_usd_per_hour=_prices(params.instance_types()),
        lifetime_seconds=params.lifetime_seconds,
        timeout_seconds=params.timeout_seconds,
        launch_timeout_seconds=params.launch_timeout_seconds,
        gpu_timeout_seconds=params.gpu_timeout_seconds,
    )


def _settings(params: Params) -> Settings:
    return Settings(
        aks_cluster_id=params.aks_cluster_id,
        aks_location=params.aks_location,
        aks_subnet_id=params.aks_subnet_id,
        aks_os_sku=params.aks_os_sku,
        aks_gpu_driver=params.aks_gpu_driver,
        aks_mig_profile=params.aks_mig_profile,
        karpenter_mode=params.karpenter_mode,
        karpenter_node_class=params.karpenter_node_class,
    )


def _prices(instance_types: tuple[str, ...]) -> dict[str, float]:
    """What the SKU table knows of the asked SKUs."""
    known = {
        sku.name.casefold(): sku.price_usd_per_hour
        for sku in skus_of_azure().skus
        if sku.price_usd_per_hour is not None
    }
    return {name: known[name.casefold()] for name in instance_types if name.casefold() in known}
