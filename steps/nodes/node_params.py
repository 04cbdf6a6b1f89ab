"""The parameters of a node, which the steps `provision` and `watch` share.

Standard library only, as are the modules that it imports, because templates and the command line
read it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, cast

from argotune.steps.cluster.quantities import quantity
from argotune.steps.common.errors import ParamsError
from argotune.steps.nodes.description import ProviderDescription
from argotune.steps.nodes.labels import labels_in
from argotune.steps.nodes.provider import CapacityType, NodeRequest
from argotune.steps.nodes.providers import PROVIDERS, ProviderName, ProviderSettings
from argotune.steps.nodes.resources import Resources, allocatable, shortages

_CAPACITY_TYPES = ("spot", "regular")


class Machine(Protocol):
    """The known properties of a cloud's SKU; rows of the SKU files have them."""

    @property
    def vcpus(self) -> int:
        """Number of vCPUs."""

    @property
    def memory_gib(self) -> float:
        """Memory in GiB."""

    @property
    def price_usd_per_hour(self) -> float | None:
        """Regular price in USD per hour; None: unknown."""


@dataclass(frozen=True, kw_only=True)
class NodeParams(ProviderSettings):
    """The node that a run needs, and the time limits of getting it."""

    provider: ProviderName = "existing"
    """local: this machine, with the accelerator that it has or none; existing: nodes of the
    cluster that match the label selector; aks: an agent pool of the run's own; karpenter: a
    NodeClaim of the run's own."""
    run: str
    """UID of the run; what is made is named and labelled by it."""
    workflow: str = ""
    """Name of the run's Workflow, by which `argotune gc` checks whether the run goes on."""
    namespace: str = ""
    """Namespace of the Workflow."""
    workspace: str = ""
    """Name of the workspace, for labels and tags."""
    gpus: int
    """GPUs that the node must have free to allocate."""
    gpu_memory_gb: float = 0.0
    """Memory that one GPU must have, decimal GB; checked where the node says what it has (label
    nvidia.com/gpu.memory); 0: not checked."""
    tune_cpu: str = "2"
    """CPUs that the tune pod asks for, a quantity such as 4 or 500m; the node must have them."""
    tune_memory: str = "16Gi"
    """Memory that the tune pod asks for, a quantity such as 16Gi; the node must have it."""
    disk_gib: int = 0
    """OS disk of a node that is made, GiB; 0: as the cloud does it."""
    instance_type: str | None = None
    """Cloud SKU, e.g. Standard_NC24ads_A100_v4; empty: any, for nodes that exist."""
    alternative_instance_types: tuple[str, ...] | None = None
    """Further SKUs, a JSON list: tried in order where the cloud has none of the first. Empty:
    `planned_alternatives`; []: none."""
    planned_alternatives: tuple[str, ...] = ()
    """Those that the plan proposes, a JSON list; for providers that make nodes."""
    zones: tuple[str, ...] = ()
    """Availability zones, a JSON list, tried in order; `any` among them, and the empty list,
    leave the choice to the cloud. A volume that lives in one zone needs its node there."""
    capacity_types: tuple[str, ...] = ("regular",)
    """spot, regular or both, a JSON list, in order: all SKUs of the first before the second."""
    spot_max_price_usd_per_hour: float | None = None
    """Most that a spot node may cost; empty: up to the regular price."""
    label_selector: str = ""
    """Labels as KEY=VALUE,KEY=VALUE: those that an existing node must have (empty: any node), or
    that a new one gets."""
    lifetime_seconds: float = 8 * 24 * 3600.0
    """How long the run may have nodes that are made, from when it first asked for one; then they
    are deleted, even if release never ran."""
    max_cost_usd: float | None = None
    """Most that all nodes together may cost that are made for the run; empty: no limit. Their time
    is counted by the known price, of spot nodes by the regular one."""
    at_cost_limit: Literal["stop", "push"] = "stop"
    """Just before max_cost_usd is spent. stop: the run is stopped with its checkpoint, from which
    `argo retry` goes on; push: tune ends with the adapter as trained so far, which is pushed and
    deployed."""
    keep_node_seconds: float = 0.0
    """How long `release` keeps a node that was made for the next run of the workspace, after a run
    that succeeded. Checked here, before anything is made."""
    timeout_seconds: float = 3300.0
    """Longest wait in all, over all alternatives."""
    launch_timeout_seconds: float = 900.0
    """Longest wait of one alternative for a node that is Ready; a spot request that gets no
    machine ends here."""
    gpu_timeout_seconds: float = 600.0
    """Longest wait of one alternative for the GPUs of a node that is Ready: driver and device
    plugin. Existing nodes are waited for as long as both together."""

    def __post_init__(self) -> None:
        problems = list(self.problems())
        if problems:
            raise ParamsError(problems)

    def problems(self) -> Iterator[str]:
        """Say what is wrong: the flag, its value, and what is accepted.

        Steps with further parameters extend it.
        """
        yield from self._value_problems()
        yield from self._cloud_problems()
        yield from self._keep_problems()
        yield from self._cost_problems()

    def labels(self) -> dict[str, str]:
        """Parse the label selector. Raises ValueError unless it is KEY=VALUE,KEY=VALUE."""
        return labels_in(self.label_selector)

    def instance_types(self) -> tuple[str, ...]:
        """List all SKUs in order, each once."""
        first = (self.instance_type,) if self.instance_type else ()
        return tuple(dict.fromkeys([*first, *self._alternatives()]))

    def resources(self) -> Resources:
        """Return what the tune pod requests. Raises ValueError unless both are quantities."""
        return Resources.of({"cpu": self.tune_cpu, "memory": self.tune_memory})

    def request(self, machines: Mapping[str, Machine]) -> NodeRequest:
        """Build the request to a provider; `machines` are the known SKUs by name."""
        too_small = {
            name: "; ".join(shortages(self.resources(), _allocatable(machine)))
            for name, machine in machines.items()
        }
        return NodeRequest(
            run=self.run,
            workflow=self.workflow,
            namespace=self.namespace,
            workspace=self.workspace,
            gpus=self.gpus,
            gpu_memory_gb=self.gpu_memory_gb,
            resources=self.resources(),
            labels=self.labels(),
            disk_gib=self.disk_gib,
            instance_types=self.instance_types(),
            zones=self.zones,
            capacity_types=cast("tuple[CapacityType, ...]", self.capacity_types),
            spot_max_price_usd_per_hour=self.spot_max_price_usd_per_hour,
            prices_usd_per_hour={
                name: machine.price_usd_per_hour
                for name, machine in machines.items()
                if machine.price_usd_per_hour is not None
            },
            too_small={name: reason for name, reason in too_small.items() if reason},
            timeout_seconds=self.timeout_seconds,
            launch_timeout_seconds=self.launch_timeout_seconds,
            gpu_timeout_seconds=self.gpu_timeout_seconds,
        )

    @property
    def _provider(self) -> ProviderDescription:
        return PROVIDERS[self.provider]

    def _alternatives(self) -> tuple[str, ...]:
        if self.alternative_instance_types is not None:
            return self.alternative_instance_types
        return self.planned_alternatives if self._provider.makes_nodes else ()

    def _value_problems(self) -> Iterator[str]:
        if not self.run:
            yield "--run: empty; give the run's UID"
        if self.gpus < 0:
            yield f"--gpus: {self.gpus} is less than 0"
        if not self.gpu_memory_gb >= 0:
            yield f"--gpu-memory-gb: {self.gpu_memory_gb} is less than 0"
        if self.disk_gib < 0:
            yield f"--disk-gib: {self.disk_gib} is less than 0"
        for name in (
            "lifetime_seconds",
            "timeout_seconds",
            "launch_timeout_seconds",
            "gpu_timeout_seconds",
            "spot_max_price_usd_per_hour",
            "max_cost_usd",
        ):
            value = getattr(self, name)
            if value is not None and not value > 0:
                yield f"--{name.replace('_', '-')}: {value} is not above 0"
        try:
            self.labels()
        except ValueError as error:
            yield f"--label-selector: {error}"
        for name in ("tune_cpu", "tune_memory"):
            try:
                quantity(getattr(self, name))
            except ValueError as error:
                yield f"--{name.replace('_', '-')}: {error}"
        unknown = [each for each in self.capacity_types if each not in _CAPACITY_TYPES]
        if unknown or not self.capacity_types:
            given = ", ".join(map(repr, unknown)) or "an empty list"
            yield f"--capacity-types: {given}; accepted are spot and regular"

    def _keep_problems(self) -> Iterator[str]:
        keep = self.keep_node_seconds
        if keep < 0:
            yield f"--keep-node-seconds: {keep:g} is less than 0"
        if keep <= 0:
            return
        if not self._provider.node_is_of_run(self):
            yield (
                f"--keep-node-seconds: {keep:g} with provider {self.provider}"
                f"{self._provider.variant(self)}, which makes no node of the run's own; "
                "leave it out"
            )
        elif keep > self.lifetime_seconds / 2:
            yield (
                f"--keep-node-seconds: {keep:g} is more than half of the node's lifetime of "
                f"{self.lifetime_seconds:g} s, the half in which it is handed on"
            )

    def _cost_problems(self) -> Iterator[str]:
        if self.at_cost_limit == "push" and self.max_cost_usd is None:
            yield "--at-cost-limit: push without a limit; give max-cost-usd too, or leave it out"
        if self.max_cost_usd is not None and not self._provider.node_is_of_run(self):
            yield (
                f"--max-cost-usd: {self.max_cost_usd:g} with provider {self.provider}"
                f"{self._provider.variant(self)}, which makes no node of the run's own; "
                "leave it out"
            )

    def _cloud_problems(self) -> Iterator[str]:
        yield from self._provider.problems(self, self)
        if self._provider.makes_nodes and self.gpus == 0:
            yield (
                f"--gpus: 0 with provider {self.provider}, which makes GPU nodes; take provider "
                "existing"
            )


def _allocatable(machine: Machine) -> Resources:
    return allocatable(vcpus=machine.vcpus, memory_gib=machine.memory_gib)
