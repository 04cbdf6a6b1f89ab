"""Give back what provision got."""

from __future__ import annotations

import logging

from steps.common import log
from steps.common.nodes.provider import Provider, load_provider
from steps.common.progress import Progress
from steps.release.params import Params, Result

_LOGGER = logging.getLogger(__name__)


def run(params: Params, *, progress: Progress, provider: Provider | None = None) -> Result:
    """Let the provider give back the run's nodes, and say which they were."""
    released = (provider or load_provider(params.provider)).release(params.run)
    progress.update(1, 1)
    log.event(_LOGGER, "released", provider=params.provider, what=released)
    return Result(released=released)
