"""Find or create a node for the run."""

from __future__ import annotations

import json
import logging

from argotune.presets.machines import machines
from argotune.steps.cluster.kube import Kube, cluster_of_pod, connect
from argotune.steps.cluster.run_events import RunEvents
from argotune.steps.common import log
from argotune.steps.common.clock import REAL_CLOCK, Clock
from argotune.steps.common.errors import ParamsError
from argotune.steps.common.progress import Progress
from argotune.steps.nodes.deadline import note_first_asked, wall_time, within
from argotune.steps.nodes.load import load_provider
from argotune.steps.nodes.provider import NodeRequest, OnWait, Provider, unheard
from argotune.steps.nodes.providers import PROVIDERS
from argotune.steps.provision.params import Params, Result

_LOGGER = logging.getLogger(__name__)


def run(
    params: Params,
    *,
    progress: Progress,
    provider: Provider | None = None,
    on_wait: OnWait | None = None,
    kube: Kube | None = None,
    clock: Clock = REAL_CLOCK,
) -> Result:
    """Get a node from the provider, and return the selector and tolerations for the tune pod."""
    chosen = provider or load_provider(params.provider, params)
    request = params.request(machines(params.instance_types()))
    request = _within_deadline(params, request, kube, clock)
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


def _within_deadline(
    params: Params, request: NodeRequest, kube: Kube | None, clock: Clock
) -> NodeRequest:
    """The request with the deadline of the run's nodes, if nodes are made for the run."""
    if not PROVIDERS[params.provider].node_is_of_run(params):
        return request
    if not (params.workflow and params.namespace):
        raise ParamsError(
            f"--workflow, --namespace: empty with provider {params.provider}; give those of the "
            "run's Workflow, at which the time of its first node is written down"
        )
    asked = note_first_asked(
        kube or connect(),
        namespace=params.namespace,
        workflow=params.workflow,
        run=params.run,
        now=wall_time(clock),
    )
    return within(request, asked=asked, lifetime_seconds=params.lifetime_seconds, clock=clock)


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
