"""The interface of a provider of nodes; `providers.py` lists the providers.

They share the order of alternatives (`alternatives.py`), waiting with a reason (`waiting.py`), the
test of a GPU's readiness (`ready.py`) and the errors (`errors.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal, Protocol

from argotune.steps.common.progress import Progress
from argotune.steps.nodes.labels import (
    NAMESPACE_LABEL,
    RUN_LABEL,
    WORKFLOW_LABEL,
    WORKSPACE_LABEL,
)
from argotune.steps.nodes.resources import NOTHING, Resources

CapacityType = Literal["spot", "regular"]
NEVER = datetime.max.replace(microsecond=0, tzinfo=UTC)
"""The deadline of nodes that are not made for a run."""
ANY_ZONE = "any"
"""In a list of zones: the cloud chooses."""


@dataclass(frozen=True, kw_only=True)
class Placement:
    """One kind of machine in one place, which is what one try requests from a cloud."""

    instance_type: str
    """Cloud SKU."""
    capacity_type: CapacityType = "regular"
    zone: str | None = None
    """None: the cloud chooses."""

    def __str__(self) -> str:
        zone = f" in zone {self.zone}" if self.zone else ""
        return f"{self.instance_type} {self.capacity_type}{zone}"


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """The outcome of a placement: one row of the table of all tries."""

    placement: Placement
    outcome: str
    """Why there is no node; `node NAME` where there is one."""
    seconds: float
    """Seconds that the last try took."""
    tries: int = 1
    """0: not tried, because the refusal of another placement applies to it."""

    def __str__(self) -> str:
        if self.tries == 0:
            return f"{self.placement}: {self.outcome}"
        tries = f", {self.tries} tries" if self.tries > 1 else ""
        return f"{self.placement} ({self.seconds:.0f} s{tries}): {self.outcome}"


@dataclass(frozen=True, kw_only=True)
class NodeRequest:
    """What a run needs of its node, and the time limits of getting it."""

    run: str
    """UID of the run, which names and labels what is made, so that another try finds it."""
    workflow: str = ""
    """Name of the run's Workflow, by which `collect` checks whether the run goes on."""
    namespace: str = ""
    """Namespace of the Workflow."""
    workspace: str = ""
    """Name of the workspace: a node that an earlier run of it left is taken, if it fits."""
    node: str = ""
    """Label of the node that the run's pods already select, from an earlier `provision`; empty:
    none yet."""

    gpus: int
    """GPUs that must be free to allocate; 0 for none."""
    gpu_memory_gb: float = 0.0
    """Memory that one GPU must have, decimal GB; 0: not checked."""
    resources: Resources = NOTHING
    """CPUs and memory that the node must have for the tune pod."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Labels that the node must have, or gets where it is made."""
    disk_gib: int = 0
    """OS disk of a node that is made, GiB; 0: as the cloud does it."""

    instance_types: tuple[str, ...] = ()
    """Cloud SKUs in the order in which they are tried; empty: any, for nodes that exist."""
    zones: tuple[str, ...] = ()
    """Zones in order; ANY_ZONE among them, and the empty list, leave the choice to the cloud."""
    capacity_types: tuple[CapacityType, ...] = ("regular",)
    """In order; spot nodes cost less and may be reclaimed."""
    spot_max_price_usd_per_hour: float | None = None
    """Highest price of a spot node in USD per hour; None: up to the regular price."""
    prices_usd_per_hour: Mapping[str, float] = field(default_factory=dict)
    """Regular price by SKU, where known."""
    too_small: Mapping[str, str] = field(default_factory=dict)
    """Why the tune pod does not fit on a machine, by SKU; SKUs on which it fits, and unknown ones,
    are missing here."""

    deadline: datetime = NEVER
    """When a node that is made goes, whatever became of its run."""
    affordable_seconds: Mapping[str, float] = field(default_factory=dict)
    """How long a node may be there until it has cost all that the run may still spend, by SKU;
    empty: no limit."""
    timeout_seconds: float
    """Longest wait in all, over all alternatives, in seconds."""
    launch_timeout_seconds: float = 900.0
    """Longest wait of one alternative for a Ready node, in seconds."""
    gpu_timeout_seconds: float = 600.0
    """Longest wait of one alternative for the GPUs of a Ready node, in seconds."""

    def identity(self) -> dict[str, str]:
        """Labels that name the run of a node; unknown values are left out."""
        named = {
            RUN_LABEL: self.run,
            WORKFLOW_LABEL: self.workflow,
            NAMESPACE_LABEL: self.namespace,
            WORKSPACE_LABEL: self.workspace,
        }
        return {key: value for key, value in named.items() if value}

    def deadline_of(self, placement: Placement, since: datetime | None) -> datetime:
        """When a node goes that the run pays for since then, whatever became of the run."""
        seconds = self.affordable_seconds.get(placement.instance_type)
        if seconds is None or since is None:
            return self.deadline
        return min(self.deadline, since + timedelta(seconds=seconds))


@dataclass(frozen=True, kw_only=True)
class Node:
    """A node that fits."""

    name: str
    accelerator: str
    """GPU model and count, or cpu."""
    driver: str | None = None
    """Version of the NVIDIA driver by the labels of a cluster's node; None: they do not say."""
    selector: Mapping[str, str]
    """Labels that select this node or its equals for the tune pod."""
    tolerations: tuple[Mapping[str, str], ...] = ()
    """Tolerations for the node's taints, one for each."""
    placement: Placement | None = None
    """The placement that gave it; None for nodes that existed before."""
    price_usd_per_hour: float | None = None
    """None: not known. For spot the regular price, which it does not pass."""
    since: datetime | None = None
    """Since when the run has it and pays for it; None for nodes that were there before."""
    tried: tuple[Attempt, ...] = ()
    """Every alternative up to the successful one, in the order of first tries."""


@dataclass(frozen=True, kw_only=True)
class ReleasedNode:
    """A node that was made for a run and has been deleted."""

    what: str
    """Kind and name, e.g. `agent pool gpu1f3a (Standard_NC24ads_A100_v4)`."""
    hours: float | None = None
    """Hours that it existed; None: unknown."""
    cost_usd: float | None = None
    """Hours multiplied by the known price; spot nodes cost at most this."""
    is_upper_bound: bool = False
    """Whether the cost is a bound rather than an estimate."""

    def __str__(self) -> str:
        if self.hours is None:
            return self.what
        if self.cost_usd is None:
            return f"{self.what} after {self.hours:.2f} h"
        about = "at most" if self.is_upper_bound else "about"
        return f"{self.what} after {self.hours:.2f} h, {about} {self.cost_usd:.2f} USD"


@dataclass(frozen=True, kw_only=True)
class KeptNode:
    """A node that was made for a run and waits for the next run of the workspace."""

    used: ReleasedNode
    """The use that the run before made of it."""
    workspace: str
    """NAMESPACE/NAME of the workspace."""
    until: datetime
    """When it is deleted unless a run takes it, UTC."""
    price_usd_per_hour: float | None = None
    """None: unknown. A spot node costs at most this regular price."""

    def __str__(self) -> str:
        what = f"{self.used.what} until {self.until:%Y-%m-%d %H:%M} UTC"
        if self.price_usd_per_hour is None:
            return f"{what}, costs money while it waits"
        about = "at most" if self.used.is_upper_bound else "about"
        return f"{what}, costs {about} {self.price_usd_per_hour:.2f} USD/h while it waits"


@dataclass(frozen=True, kw_only=True)
class Stray:
    """A node that was made for a run and should exist no longer."""

    what: str
    run: str
    """UID of the run that it was made for."""
    reason: str
    """Why it should exist no longer."""
    gone: bool
    """Whether its deletion was requested; False in a dry run."""

    def __str__(self) -> str:
        return f"{self.what}: {self.reason}{', being deleted' if self.gone else ', still there'}"


RunIsAlive = Callable[[str, str, str], bool]
"""Whether a run goes on, by its UID, namespace and Workflow name (which may be empty)."""


OnWait = Callable[[str], None]
"""Gets the reason of a wait, before each wait and every ten seconds of it; an error that it raises
ends the wait."""


def ignore_wait(reason: str) -> None:
    """Ignore the reason of a wait."""


class Provider(Protocol):
    """Makes or selects nodes, and releases those that it made."""

    def provision(
        self, request: NodeRequest, progress: Progress, *, on_wait: OnWait = ignore_wait
    ) -> Node:
        """Return a node that fits, as soon as its GPUs can be allocated.

        `on_wait` gets the reason of every wait, and may raise an error that ends it. Raises
        CapacityError when there is no node in time, PermanentError when there cannot be one. A
        failure leaves nothing behind that was made for the run, and another try continues what the
        one before made.
        """
        ...

    def release(
        self, run: str, *, timeout_seconds: float, progress: Progress
    ) -> Sequence[ReleasedNode]:
        """Delete the run's nodes that `provision` made, whatever their state, and wait for the end.

        Without such a node it does nothing. Raises TransientError when the time does not suffice.
        """
        ...

    def keep(self, run: str, *, seconds: float, progress: Progress) -> Sequence[KeptNode]:
        """Leave the run's nodes that `provision` made to the next run of its workspace.

        They wait for at most `seconds`. The result includes nodes that another try left already;
        nodes that cannot be kept stay the run's, for `release`.
        """
        ...

    def kept_nodes(self) -> Sequence[KeptNode]:
        """List the nodes that wait for the next run of their workspace."""
        ...

    def collect(self, is_alive: RunIsAlive, *, dry_run: bool, kept_of: str = "") -> Sequence[Stray]:
        """Find stray nodes; unless it is a dry run, request their deletion.

        A node is stray when its run has ended, when its time is over, when it was kept long enough,
        or when it waits for a workspace of the namespace `kept_of`.
        """
        ...
