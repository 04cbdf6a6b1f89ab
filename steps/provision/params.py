"""Parameters and results of the provision step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from steps.common.errors import ParamsError


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
    gpu_memory_gb: float = 0.0
    """Memory that one GPU must have, decimal GB; checked where the node says what it has (label
    nvidia.com/gpu.memory); 0: not checked."""
    instance_type: str | None = None
    """Cloud SKU, e.g. Standard_NC24ads_A100_v4; empty: any."""
    label_selector: str = ""
    """Labels of the nodes as KEY=VALUE,KEY=VALUE; empty: any node."""
    timeout_seconds: float = 1500.0
    """Longest wait for an allocatable GPU."""

    def __post_init__(self) -> None:
        problems = []
        if not self.run:
            problems.append("--run: empty; give the run's UID")
        if self.gpus < 0:
            problems.append(f"--gpus: {self.gpus} is less than 0")
        if not self.gpu_memory_gb >= 0:
            problems.append(f"--gpu-memory-gb: {self.gpu_memory_gb} is less than 0")
        if not self.timeout_seconds > 0:
            problems.append(f"--timeout-seconds: {self.timeout_seconds} is not above 0")
        try:
            self.labels()
        except ValueError as error:
            problems.append(f"--label-selector: {error}")
        if problems:
            raise ParamsError(problems)

    def labels(self) -> dict[str, str]:
        """The label selector. Raises ValueError unless it is KEY=VALUE,KEY=VALUE."""
        labels = {}
        for pair in filter(None, self.label_selector.split(",")):
            key, equals, value = (part.strip() for part in pair.partition("="))
            if not (key and equals and value) or "=" in value or "!" in key:
                raise ValueError(f"{pair!r} is not KEY=VALUE")
            labels[key] = value
        return labels


@dataclass(frozen=True, kw_only=True)
class Result:
    node: str
    """Name of a node that fits; this machine's host name with provider local."""
    accelerator: str
    """GPU model and count, or cpu."""
    node_selector: str
    """Labels of the node as a JSON object; the tune pod is scheduled by it."""
