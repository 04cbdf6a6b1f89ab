"""Delete the nodes that provision created, or keep them for the next run."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from argotune.steps.cluster.errors import ApiError
from argotune.steps.cluster.kube import Kube, connect
from argotune.steps.common import log
from argotune.steps.common.clock import REAL_CLOCK, Clock
from argotune.steps.common.errors import CapacityError, PermanentError, TransientError
from argotune.steps.common.progress import Progress
from argotune.steps.nodes.deadline import wall_time
from argotune.steps.nodes.ledger import given_back, made_nodes, without_node, write_made_nodes
from argotune.steps.nodes.made_node import Made, running_node, sum_of_known
from argotune.steps.nodes.provider import KeptNode, Provider
from argotune.steps.nodes.providers import PROVIDERS, load_provider
from argotune.steps.release.hand_back import hand_back
from argotune.steps.release.params import Params, Result

_LOGGER = logging.getLogger(__name__)
_SUCCEEDED = "Succeeded"


def run(
    params: Params,
    *,
    progress: Progress,
    provider: Provider | None = None,
    kube: Kube | None = None,
    clock: Clock = REAL_CLOCK,
) -> Result:
    """Give the service its GPU back, keep or delete the run's nodes, and report them."""
    chosen = provider or load_provider(params.provider, params)
    returned = _hand_back(params, kube)
    notes = _notes(params, kube)
    kept = _keep(params, chosen, progress)
    gone = chosen.release(params.run, timeout_seconds=params.timeout_seconds, progress=progress)
    progress.update(1, 1)
    earlier = given_back(notes.made) if notes else []
    said = [*map(str, [*earlier, *gone]), *(f"kept {each}" for each in kept)]
    said += [returned] if returned else []
    released = "; ".join(said) or "nothing"
    log.event(_LOGGER, "released", provider=params.provider, what=released)
    used = [*earlier, *gone]
    if not (notes and notes.was_ended):
        used += [each.used for each in kept]
    if notes is not None:
        _write_down(params, notes, wall_time(clock))
    return Result(
        released=released,
        kept_until=max((f"{each.until:%Y-%m-%dT%H:%M:%SZ}" for each in kept), default=""),
        node_hours=sum_of_known(each.hours for each in used),
        cost_usd=sum_of_known(each.cost_usd for each in used),
    )


def _hand_back(params: Params, kube: Kube | None) -> str:
    about = PROVIDERS[params.provider]
    if about.makes_nodes or not about.is_on_cluster or params.service_during_tuning == "wait":
        return ""
    return hand_back(kube or connect(), params)


@dataclass(frozen=True)
class _Notes:
    """What stands at the run's Workflow about its nodes."""

    kube: Kube
    made: Made

    @property
    def was_ended(self) -> bool:
        """Whether a release before counted the last node, as before a wait for an approval."""
        return bool(self.made) and running_node(self.made) is None


def _notes(params: Params, kube: Kube | None) -> _Notes | None:
    """Read which nodes were made for the run, of which `watch` may have given back all.

    Returns None where no node is made for a run, or the API server does not say it.
    """
    if not (params.workflow and PROVIDERS[params.provider].makes_nodes):
        return None
    try:
        api = kube or connect()
        found = api.workflow(params.namespace, params.workflow)
    except ApiError as error:
        log.warn(_LOGGER, "cannot-read-nodes", workflow=params.workflow, reason=error)
        return None
    return _Notes(api, made_nodes(found) if found is not None else ())


def _write_down(params: Params, notes: _Notes, now: datetime) -> None:
    """Write at the Workflow that the run has no node any more; `argo retry` counts on from there.

    The nodes are gone either way, so a failure is only logged.
    """
    if running_node(notes.made) is None:
        return
    try:
        write_made_nodes(
            notes.kube,
            without_node(notes.made, now),
            namespace=params.namespace,
            workflow=params.workflow,
            run=params.run,
        )
    except ApiError as error:
        log.warn(_LOGGER, "cannot-write-down", workflow=params.workflow, reason=error)


def _keep(params: Params, provider: Provider, progress: Progress) -> Sequence[KeptNode]:
    """Keep the run's nodes for the next run; the caller deletes those that cannot be kept."""
    if params.status != _SUCCEEDED or not params.keep_node_seconds:
        return ()
    try:
        return provider.keep(params.run, seconds=params.keep_node_seconds, progress=progress)
    except (CapacityError, PermanentError, TransientError) as error:
        log.warn(_LOGGER, "cannot-keep", run=params.run, reason=error)
        return ()
