"""Find or create a node for the run."""

from __future__ import annotations

import json
import logging

from argotune.presets.machines import machines
from argotune.steps.cluster.kube import cluster_of_pod
from argotune.steps.cluster.run_events import RunEvents
from argotune.steps.common import log
from argotune.steps.common.progress import Progress
from argotune.steps.nodes.load import load_provider
from argotune.steps.nodes.provider import OnWait, Provider, unheard
from argotune.steps.provision.params import Params, Result

_LOGGER = logging.getLogger(__name__)


def run(
    params: Params,
    *,
    progress: Progress,
    provider: Provider | None = None,
    on_wait: OnWait | None = None,
) -> Result:
    """Get a node from the provider, and return the selector and tolerations for the tune pod."""
    chosen = provider or load_provider(params.provider, params)
    request = params.request(machines(params.instance_types()))
    node = chosen.provision(request, progress, on_wait=on_wait or _events(params))
    log.event(_LOGGER, "node", name=node.name, accelerator=node.accelerator)
    return Result(
        node=node.name,
        accelerator=node.accelerator,
        node_selector=json.dumps(dict(node.selector), sort_keys=True),
        tolerations=json.dumps([dict(each) for each in node.tolerations], sort_keys=True),
        placement=str(node.placement or ""),
        price_usd_per_hour=node.price_usd_per_hour,
        tried="\n".join(map(str, node.tried)),
        watched=node.placement is not None,
    )


def _events(params: Params) -> OnWait:
    """Callback that records waiting reasons as events of the run's Workflow."""
    if params.provider == "local":
        return unheard
    events = RunEvents(
        cluster_of_pod(),
        namespace=params.namespace,
        workflow=params.workflow,
        uid=params.run,
        step="provision",
    )
    return events.waiting
