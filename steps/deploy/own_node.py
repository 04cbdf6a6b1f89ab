"""The node that a service has taken over from its run, noted at the Deployment.

`gc` keeps the node of an ended run as long as a Deployment has the run's UID as a label. It is set
when the new servers have answered, and so moves from the node before at the moment when that one is
no longer needed. The annotation says what the node costs.
"""

from __future__ import annotations

import json
import logging
from datetime import datetime
from typing import Any

from argotune.steps.cluster.kube import Kube
from argotune.steps.common import log
from argotune.steps.deploy.params import Params
from argotune.steps.nodes.labels import NODE_RUN_LABEL
from argotune.steps.nodes.made_node import NODE_ANNOTATION, MadeNode, row_of_node

_LOGGER = logging.getLogger(__name__)


def note_node(params: Params, *, kube: Kube) -> None:
    """Note that the service has the run's node, or that it has no such node any more.

    Raises ApiError where the API server does not take it.
    """
    found = kube.get("Deployment", params.namespace, params.name)
    metadata = (found or {}).get("metadata", {})
    had = (metadata.get("labels") or {}).get(NODE_RUN_LABEL)
    if not params.takes_node and had is None:
        return
    run = params.run_uid if params.takes_node else None
    change: dict[str, Any] = {
        "metadata": {
            "labels": {NODE_RUN_LABEL: run},
            "annotations": {NODE_ANNOTATION: _node(params) if run else None},
        }
    }
    kube.patch("Deployment", params.namespace, params.name, change)
    log.event(_LOGGER, "node", of_run=run or "none", before=had or "none")


def _node(params: Params) -> str:
    made = MadeNode(
        placement=params.machine,
        price_usd_per_hour=params.price_usd_per_hour,
        since=datetime.fromisoformat(params.node_since),
    )
    return json.dumps(row_of_node(made))
