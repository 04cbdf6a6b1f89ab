"""What a provider of nodes does; `providers.py` says which there are.

What they share: the order of alternatives (`alternatives.py`), waiting with a reason
(`waiting.py`), the test of a GPU's readiness (`ready.py`) and the errors (`errors.py`).
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
"""The deadline of nodes that nobody makes."""
ANY_ZONE = "any"
"""In a list of zones: let the cloud choose."""


@dataclass(frozen=True, kw_only=True)
class Placement:
    """One kind of machine in one place: what is asked of a cloud in one try."""

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
    """What became of a placement: one row of the table of what was tried."""

    placement: Placement
    outcome: str
    """Why there is no node; `node NAME` where there is one."""
    seconds: float
    """How long the last try took."""
    tries: int = 1
    """0: the refusal of another placement stood for this one."""

    def __str__(self) -> str:
        if self.tries == 0:
            return f"{self.placement}: {self.outcome}"
        tries = f", {self.tries} tries" if self.tries > 1 else ""
        return f"{self.placement} ({self.seconds:.0f} s{tries}): {self.outcome}"


@dataclass(frozen=True, kw_only=True)
class NodeRequest:
    """What a run needs of its node, and how long it may take to come."""

    run: str
    """UID of the run; what is made is named and labelled by it, so that another try finds it."""
    workflow: str = ""
    """Name of the run's Workflow, by which `collect` asks whether the run is still there."""
    namespace: str = ""
    """Namespace of the Workflow."""
    workspace: str = ""
    """Name of the workspace: a node that an earlier run of it left is taken, if it fits."""
    node: str = ""
    """Label of the node by which the run's pods look for it already, as an earlier `provision`
    said; empty: nobody looks yet."""

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
    """In order; spot nodes cost less and may be taken away."""
    spot_max_price_usd_per_hour: float | None = None
    """Most that a spot node may cost; None: up to the regular price."""
    prices_usd_per_hour: Mapping[str, float] = field(default_factory=dict)
    """Regular price by SKU, where known."""
    too_small: Mapping[str, str] = field(default_factory=dict)
    """Why the tune pod does not fit on a machine, by SKU; those on which it fits, and those of
    which nothing is known, are not in it."""

    deadline: datetime = NEVER
    """When a node that is made goes, whatever became of its run."""
    affordable_seconds: Mapping[str, float] = field(default_factory=dict)
    """How long a node may be there until it has cost all that the run may still spend, by SKU;
    empty: no limit."""
    timeout_seconds: float
    """Longest wait in all, over all alternatives."""
    launch_timeout_seconds: float = 900.0
    """Longest wait of one alternative for a node that is Ready."""
    gpu_timeout_seconds: float = 600.0
    """Longest wait of one alternative for the GPUs of a node that is Ready."""

    def identity(self) -> dict[str, str]:
        """Labels that say for which run a node was made; what is not known is left out."""
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
    selector: Mapping[str, str]
    """Labels by which the tune pod finds this node or its equals."""
    tolerations: tuple[Mapping[str, str], ...] = ()
    """What a pod needs to be scheduled there: one toleration for each taint of the node."""
    placement: Placement | None = None
    """Where it was found; None for nodes that were there before."""
    price_usd_per_hour: float | None = None
    """None: not known. For spot the regular price, which it does not pass."""
    since: datetime | None = None
    """Since when the run has it and pays for it; None for nodes that were there before."""
    tried: tuple[Attempt, ...] = ()
    """Every alternative up to the one that gave the node, in the order of first tries."""


@dataclass(frozen=True, kw_only=True)
class Gone:
    """One thing that was given back."""

    what: str
    """Kind and name, e.g. `agent pool gpu1f3a (Standard_NC24ads_A100_v4)`."""
    hours: float | None = None
    """How long it was there, as far as known."""
    cost_usd: float | None = None
    """Hours by the known price; spot nodes cost at most this."""
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
class Kept:
    """One thing that was not given back but waits for the next run of its workspace."""

    used: Gone
    """What the run before had of it."""
    workspace: str
    """NAMESPACE/NAME of the workspace."""
    until: datetime
    """When it goes unless a run took it, UTC."""
    price_usd_per_hour: float | None = None
    """None: not known. For spot the regular price, which it does not pass."""

    def __str__(self) -> str:
        what = f"{self.used.what} until {self.until:%Y-%m-%d %H:%M} UTC"
        if self.price_usd_per_hour is None:
            return f"{what}, costs money while it waits"
        about = "at most" if self.used.is_upper_bound else "about"
        return f"{what}, costs {about} {self.price_usd_per_hour:.2f} USD/h while it waits"


@dataclass(frozen=True, kw_only=True)
class Stray:
    """Something that was made for a run and should not be there any more."""

    what: str
    run: str
    """UID of the run that it was made for."""
    reason: str
    """Why it should not be there."""
    gone: bool
    """Whether it was taken away; False in a dry run."""

    def __str__(self) -> str:
        return f"{self.what}: {self.reason}{', taken away' if self.gone else ', still there'}"


RunIsAlive = Callable[[str, str, str], bool]
"""Whether a run goes on, by its UID, namespace and Workflow name (which may be empty)."""


OnWait = Callable[[str], None]
"""Hears why somebody waits, before each wait and every ten seconds of it; may raise what ends
it."""


def unheard(reason: str) -> None:
    """The OnWait of nobody."""


class Provider(Protocol):
    """Gets nodes and gives them back."""

    def provision(
        self, request: NodeRequest, progress: Progress, *, on_wait: OnWait = unheard
    ) -> Node:
        """A node that fits, as soon as its GPU can be allocated; `on_wait` hears what is waited
        for, and may raise what ends it.

        Raises CapacityError when there is none within the time, PermanentError when there will
        be none. Nothing that was made for the run is left behind by a failure, and what another
        try made is found, not made again.
        """
        ...

    def release(self, run: str, *, timeout_seconds: float, progress: Progress) -> Sequence[Gone]:
        """Give back what `provision` got for the run, whatever its state, and wait until it is
        gone; nothing is well too. Raises TransientError when the time does not do."""
        ...

    def keep(self, run: str, *, seconds: float, progress: Progress) -> Sequence[Kept]:
        """Leave what `provision` got for the run to the next run of its workspace, for so long at
        most; also what another try left already. What cannot be kept is still the run's, for
        `release`."""
        ...

    def kept(self) -> Sequence[Kept]:
        """What waits for the next run of its workspace."""
        ...

    def collect(self, is_alive: RunIsAlive, *, dry_run: bool, kept_of: str = "") -> Sequence[Stray]:
        """Find what was made for runs that are no more or whose time is over, and what was kept
        long enough, and ask for its deletion unless it is a dry run; also what still waits for
        workspaces of the namespace `kept_of`."""
        ...
