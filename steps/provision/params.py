"""Parameters and results of the provision step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Params:
    """Have a GPU node, and wait until its GPU can be used."""

    provider: Literal["local", "existing"] = "existing"
    """local: this machine, with the accelerator that it has or none; existing: nodes of the
    cluster that match the label selector."""
    run: str
    """UID of the run; what is made is named and labelled by it."""
    gpus: int
    """GPUs that the node must have free to allocate."""
    instance_type: str | None = None
    """Cloud SKU, e.g. Standard_NC24ads_A100_v4; empty: any."""
    label_selector: str = ""
    """Labels of the nodes as KEY=VALUE,KEY=VALUE; empty: any node."""
    timeout_seconds: float = 1500.0
    """Longest wait for an allocatable GPU."""


@dataclass(frozen=True, kw_only=True)
class Result:
    node: str
    """Name of a node that fits; this machine's host name with provider local."""
    accelerator: str
    """GPU model and count, or cpu."""
    node_selector: str
    """Labels of the node as a JSON object; the tune pod is scheduled by it."""
