"""What a provider of nodes does, and which there are.

A provider is a module of this package, named as the step's parameter names it, with a function
`provider()` that makes one. It is imported only when it is used: each brings the client of its
cloud.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from steps.common.progress import Progress


@dataclass(frozen=True, kw_only=True)
class NodeRequest:
    """What a run needs of its node."""

    run: str
    """UID of the run; what is made is named and labelled by it, so that another try finds it."""
    gpus: int
    """GPUs that must be free to allocate; 0 for none."""
    gpu_memory_gb: float = 0.0
    """Memory that one GPU must have, decimal GB; 0: not checked."""
    instance_type: str | None = None
    """Cloud SKU; None: any."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Labels that the node must have, or gets where it is made."""
    timeout_seconds: float
    """Longest wait."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """A node that fits."""

    name: str
    accelerator: str
    """GPU model and count, or cpu."""
    selector: Mapping[str, str]
    """Labels by which the tune pod finds this node or its equals."""


class Provider(Protocol):
    """Gets nodes and gives them back."""

    def provision(self, request: NodeRequest, progress: Progress) -> Node:
        """A node that fits, as soon as its GPU can be allocated.

        Raises CapacityError when there is none within the time, PermanentError when there will
        be none.
        """
        ...

    def release(self, run: str) -> str:
        """Give back what `provision` got for the run, and say what that was."""
        ...


def load_provider(name: str) -> Provider:
    """The provider of that name."""
    module = importlib.import_module(f"{__package__}.{name}")
    made: Provider = module.provider()
    return made
