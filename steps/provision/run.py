"""Find or create a node for the run."""

from __future__ import annotations

import json
import logging
from dataclasses import replace

from argotune.presets.loader import machines
from argotune.steps.cluster.errors import ApiError
from argotune.steps.cluster.kube import Kube, cluster_of_pod, connect
from argotune.steps.cluster.run_events import RunEvents
from argotune.steps.common import log
from argotune.steps.common.clock import REAL_CLOCK, Clock
from argotune.steps.common.driver import NEEDED_DRIVER
from argotune.steps.common.errors import ParamsError
from argotune.steps.common.progress import Progress
from argotune.steps.nodes.cost_limit import data_problem
from argotune.steps.nodes.deadline import allowance_of, note_first_asked, wall_time
from argotune.steps.nodes.ledger import with_node, write_accelerator, write_made_nodes
from argotune.steps.nodes.provider import Node, NodeRequest, OnWait, Provider, ignore_wait
from argotune.steps.nodes.providers import PROVIDERS, load_provider
from argotune.steps.provision.hand_over import HandOver
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
    heard = _listener(params, request, on_wait or _events(params), kube)
    if PROVIDERS[params.provider].node_is_of_run(params):
        node = _made_node(params, chosen, request, progress, heard, kube, clock)
    else:
        node = chosen.provision(request, progress, on_wait=heard)
    log.event(_LOGGER, "node", name=node.name, accelerator=node.accelerator)
    if request.gpus and PROVIDERS[params.provider].is_on_cluster and node.driver is None:
        log.warn(
            _LOGGER,
            "driver-not-known",
            node=node.name,
            reason="the node has no label of GPU feature discovery",
            needed=f"NVIDIA {NEEDED_DRIVER} or later",
            effect="with an older one tune ends as it begins",
        )
    _note_accelerator(params, node, kube or cluster_of_pod())
    return Result(
        node=node.name,
        accelerator=node.accelerator,
        node_selector=json.dumps(dict(node.selector), sort_keys=True),
        tolerations=json.dumps([dict(each) for each in node.tolerations], sort_keys=True),
        placement=str(node.placement or ""),
        node_since="" if node.since is None else f"{node.since:%Y-%m-%dT%H:%M:%SZ}",
        price_usd_per_hour=node.price_usd_per_hour,
        tried="\n".join(map(str, node.tried)),
        watched=node.placement is not None,
    )


def _listener(params: Params, request: NodeRequest, heard: OnWait, kube: Kube | None) -> OnWait:
    """What hears of a wait: on nodes of the cluster the workspace's service may give way."""
    about = PROVIDERS[params.provider]
    if about.makes_nodes or not about.is_on_cluster:
        return heard
    if not (params.workspace and params.namespace and request.gpus):
        return heard
    return HandOver(params, request, heard, kube).on_wait


def _made_node(
    params: Params,
    provider: Provider,
    request: NodeRequest,
    progress: Progress,
    on_wait: OnWait,
    kube: Kube | None,
    clock: Clock,
) -> Node:
    """A node that is made for the run, within its allowance, and written down at its Workflow."""
    if not (params.workflow and params.namespace):
        raise ParamsError(
            f"--workflow, --namespace: empty with provider {params.provider}; give those of the "
            "run's Workflow, at which the time of its first node is written down"
        )
    names = {"namespace": params.namespace, "workflow": params.workflow, "run": params.run}
    api, now = kube or connect(), wall_time(clock)
    allowance = allowance_of(params, asked=now)
    allowance.refuse_unpriced(request)
    _refuse_too_dear(params, request)
    allowance = allowance.by(note_first_asked(api, now=now, **names))
    node = provider.provision(allowance.within(request, now), progress, on_wait=on_wait)
    asked = wall_time(clock)
    write_made_nodes(api, with_node(allowance.made, node, asked), **names)
    return replace(node, since=node.since or asked)


def _refuse_too_dear(params: Params, request: NodeRequest) -> None:
    """Refuse data with which the run would be ended early; before them nobody knew the tokens."""
    if params.max_cost_usd is None:
        return
    problem = data_problem(
        params.max_cost_usd,
        request,
        run_tokens=params.run_tokens,
        fastest=params.fastest(),
        ends_by_itself=params.at_cost_limit == "push",
    )
    if problem:
        raise ParamsError(f"--max-cost-usd: {problem}")


def _note_accelerator(params: Params, node: Node, kube: Kube | None) -> None:
    """Write the GPU down for `argotune status`; the run goes on where that cannot be done."""
    if kube is None or not (params.workflow and params.namespace):
        return
    names = {"namespace": params.namespace, "workflow": params.workflow, "run": params.run}
    try:
        write_accelerator(kube, node.accelerator, **names)
    except ApiError as error:
        log.warn(_LOGGER, "accelerator-not-noted", reason=error)


def _events(params: Params) -> OnWait:
    """Callback that records waiting reasons as events of the run's Workflow."""
    if params.provider == "local":
        return ignore_wait
    events = RunEvents(
        cluster_of_pod(),
        namespace=params.namespace,
        workflow=params.workflow,
        uid=params.run,
        step="provision",
    )
    return events.waiting
