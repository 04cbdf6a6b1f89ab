"""Give back what provision got."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from steps.common import log
from steps.common.nodes.provider import Provider, Settings, load_provider
from steps.common.progress import Progress
from steps.release.params import Params, Result

_LOGGER = logging.getLogger(__name__)


def run(params: Params, *, progress: Progress, provider: Provider | None = None) -> Result:
    """Let the provider give back the run's nodes, and say which they were."""
    settings = Settings(aks_cluster_id=params.aks_cluster_id)
    chosen = provider or load_provider(params.provider, settings)
    gone = chosen.release(params.run, timeout_seconds=params.timeout_seconds, progress=progress)
    progress.update(1, 1)
    released = "; ".join(map(str, gone)) or "nothing"
    log.event(_LOGGER, "released", provider=params.provider, what=released)
    return Result(
        released=released,
        node_hours=_sum(each.hours for each in gone),
        cost_usd=_sum(each.cost_usd for each in gone),
    )


def _sum(values: Iterable[float | None]) -> float | None:
    """The sum of what is known; a part that is not known makes the whole unknown."""
    numbers = list(values)
    known = [number for number in numbers if number is not None]
    return sum(known) if known and len(known) == len(numbers) else None
