"""Have a node that fits the run."""

from __future__ import annotations

import json
import logging

from steps.common import log
from steps.common.nodes.provider import NodeRequest, Provider, load_provider
from steps.common.progress import Progress
from steps.provision.params import Params, Result

_LOGGER = logging.getLogger(__name__)


def run(params: Params, *, progress: Progress, provider: Provider | None = None) -> Result:
    """Get a node from the provider, and say how the tune pod finds it."""
    request = NodeRequest(
        run=params.run,
        gpus=params.gpus,
        gpu_memory_gb=params.gpu_memory_gb,
        instance_type=params.instance_type,
        labels=params.labels(),
        timeout_seconds=params.timeout_seconds,
    )
    node = (provider or load_provider(params.provider)).provision(request, progress)
    log.event(_LOGGER, "node", name=node.name, accelerator=node.accelerator)
    return Result(
        node=node.name,
        accelerator=node.accelerator,
        node_selector=json.dumps(dict(node.selector), sort_keys=True),
    )
