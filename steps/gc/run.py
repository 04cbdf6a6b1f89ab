"""Delete nodes that finished or expired runs left behind."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from argotune.steps.cluster.kube import connect
from argotune.steps.common import log
from argotune.steps.common.progress import Progress
from argotune.steps.gc.params import Params, Result
from argotune.steps.nodes.provider import Provider, RunIsAlive
from argotune.steps.nodes.providers import load_provider
from argotune.steps.nodes.runs import run_is_alive

_LOGGER = logging.getLogger(__name__)


def run(
    params: Params,
    *,
    progress: Progress,
    providers: Sequence[Provider] | None = None,
    is_alive: RunIsAlive | None = None,
) -> Result:
    """Delete the stray nodes of every provider, and list them and the nodes kept for a next run."""
    alive = is_alive or run_is_alive(connect(), namespace=params.namespace)
    chosen = _providers(params) if providers is None else providers
    found = [stray for each in chosen for stray in each.collect(alive, dry_run=params.dry_run)]
    for stray in found:
        log.event(_LOGGER, "stray", what=stray.what, run=stray.run, gone=stray.gone)
    kept = [each for provider in chosen for each in provider.kept_nodes()]
    for each in kept:
        log.event(_LOGGER, "kept", what=each, workspace=each.workspace)
    progress.update(1, 1)
    return Result(
        strays="\n".join(map(str, found)) or "nothing",
        deleted=sum(stray.gone for stray in found),
        kept="\n".join(f"{each.workspace}: {each}" for each in kept) or "nothing",
    )


def _providers(params: Params) -> list[Provider]:
    """The providers that create nodes; Karpenter's finds none in a cluster without Karpenter."""
    return [load_provider(name, params) for name in params.findable_providers()]
