"""A cluster in which Karpenter does what a test says, at the second that it says.

Time passes only when the provider sleeps.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from argotune.steps.common.clock import Clock
from argotune.steps.common.progress import Progress
from argotune.steps.nodes.karpenter.provider import KarpenterProvider
from argotune.steps.nodes.karpenter.settings import KarpenterSettings
from argotune.steps.nodes.provider import Node, NodeRequest
from tests.fakes.kube import Cluster, Object, serving

START = datetime(2026, 1, 1, tzinfo=UTC)
GPU = "nvidia.com/gpu"
RUN = "0f8fad5b-d9cb-469f-a165-70867728950e"
NAME = "gpuc812e1ed"
A100 = "Standard_NC24ads_A100_v4"

Action = Callable[[], object]


class World:
    """The cluster, the clock, and what is to happen."""

    def __init__(self) -> None:
        self.cluster = Cluster(on_create=self._created, on_delete=self._deleted)
        self.cluster.today = lambda: f"{self.now():%Y-%m-%dT%H:%M:%SZ}"
        self.seconds = 0.0
        self.claims: list[Object] = []
        """Every claim that was ever made."""
        self.scripts: list[Callable[[World, Object], None]] = []
        """What to do with the first claim, the second, ...; the last one for all further."""
        self.on_delete: Callable[[World, Object], None] = lambda world, claim: world.drop(claim)
        self._later: list[tuple[float, Action]] = []

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        end = self.seconds + seconds
        while due := sorted((at for at, _ in self._later if at <= end)):
            self.seconds = due[0]
            action = next(item for item in self._later if item[0] == due[0])
            self._later.remove(action)
            action[1]()
        self.seconds = end

    def after(self, seconds: float, action: Action) -> None:
        """Do something so much later."""
        self._later.append((self.seconds + seconds, action))

    def provider(self, kube: Any, mode: Any = "nodeclaim", **settings: Any) -> KarpenterProvider:
        values = {"karpenter_node_class": "AKSNodeClass/gpu", "karpenter_mode": mode} | settings
        clock = Clock(now=lambda: self.seconds, sleep=self.sleep)
        return KarpenterProvider(KarpenterSettings(**values), lambda: kube, clock, self.now)

    def provision(
        self,
        *,
        settings: dict[str, Any] | None = None,
        progress: Progress | None = None,
        **changes: Any,
    ) -> Node:
        with serving(self.cluster) as kube:
            provider = self.provider(kube, **(settings or {}))
            return provider.provision(self.request(**changes), progress or Progress())

    def request(self, *, lifetime_seconds: float = 8 * 24 * 3600.0, **changes: Any) -> NodeRequest:
        """The request of a run that asks for its first node now."""
        deadline = self.now() + timedelta(seconds=lifetime_seconds)
        return request(**{"deadline": deadline} | changes)

    # What Karpenter does.

    def take_up(self, claim: Object) -> None:
        """See the claim and put the finalizer on it."""
        claim["metadata"]["finalizers"] = ["karpenter.sh/termination"]
        for name in ("Launched", "Registered", "Initialized"):
            self.say(claim, name, "Unknown", "AwaitingReconciliation", "object is awaiting")

    def say(
        self, claim: Object, name: str, status: str, reason: str = "", message: str = ""
    ) -> None:
        """Set a condition."""
        conditions = claim.setdefault("status", {}).setdefault("conditions", [])
        conditions[:] = [item for item in conditions if item["type"] != name]
        conditions.append(
            {"type": name, "status": status, "reason": reason or name, "message": message}
        )

    def warn(self, claim: Object, reason: str, message: str) -> None:
        """Write an event about the claim."""
        about = {"uid": claim["metadata"]["uid"], "name": claim["metadata"]["name"]}
        self.cluster.events.append(
            {
                "metadata": {},
                "type": "Warning",
                "reason": reason,
                "message": message,
                "involvedObject": about,
                "lastTimestamp": self.cluster.today(),
            }
        )

    def refuse(self, claim: Object, reason: str, message: str) -> None:
        """Say why in an event and delete the claim."""
        self.warn(claim, reason, f"NodeClaim {claim['metadata']['name']} event: {message}")
        self.drop(claim)

    def drop(self, claim: Object) -> None:
        """Delete the claim and its node, finalizer and all."""
        self.cluster.objects.pop(("NodeClaim", "", claim["metadata"]["name"]), None)
        name = claim.get("status", {}).get("nodeName")
        self.cluster.nodes = [
            each for each in self.cluster.nodes if each["metadata"]["name"] != name
        ]

    def launch(self, claim: Object) -> None:
        self.say(claim, "Launched", "True")
        self.say(claim, "Registered", "Unknown", "NodeNotFound", "Node not registered with cluster")

    def register(self, claim: Object, *, gpus: int = 1) -> Object:
        """Have the claim's node; it has the claim's labels and taints."""
        name = f"aks-{claim['metadata']['name']}"
        capacity = {GPU: str(gpus)} if gpus else {}
        labels = claim["metadata"]["labels"] | {"node.kubernetes.io/instance-type": type_of(claim)}
        node: Object = {
            "metadata": {"name": name, "labels": labels},
            "spec": {"taints": claim["spec"]["taints"]},
            "status": {
                "conditions": [{"type": "Ready", "status": "True"}],
                "capacity": capacity,
                "allocatable": dict(capacity),
            },
        }
        self.cluster.nodes.append(node)
        self.say(claim, "Registered", "True")
        claim["status"]["nodeName"] = name
        return node

    def happy(self, claim: Object) -> None:
        """Bring the node in a minute and a half."""
        self.after(1, lambda: self.take_up(claim))
        self.after(30, lambda: self.launch(claim))
        self.after(90, lambda: self.register(claim))

    def _created(self, cluster: Cluster, claim: Object) -> None:
        self.claims.append(claim)
        if self.scripts:
            self.scripts[min(len(self.claims), len(self.scripts)) - 1](self, claim)

    def _deleted(self, cluster: Cluster, claim: Object) -> None:
        self.on_delete(self, claim)


def request(**changes: Any) -> NodeRequest:
    values: dict[str, Any] = {
        "run": RUN,
        "workflow": "phi-abc",
        "namespace": "team",
        "workspace": "phi",
        "gpus": 1,
        "instance_types": (A100,),
        "prices_usd_per_hour": {A100: 3.673},
        "disk_gib": 200,
        "timeout_seconds": 3300.0,
    }
    return NodeRequest(**values | changes)


def type_of(claim: Object) -> str:
    return requirement(claim, "node.kubernetes.io/instance-type") or ""


def requirement(claim: Object, key: str) -> str | None:
    found = [item["values"] for item in claim["spec"]["requirements"] if item["key"] == key]
    return found[0][0] if found else None


def happy(world: World, claim: Object) -> None:
    world.happy(claim)


def no_capacity(world: World, claim: Object) -> None:
    """What Karpenter does within a second when no cloud has such a machine."""
    world.after(
        1,
        lambda: world.refuse(
            claim,
            "InsufficientCapacityError",
            "all requested instance types were unavailable during launch",
        ),
    )
