"""An AKS cluster for tests: the fake Azure over TLS, the fake API server, and a time of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from azure.core.credentials import AccessToken

from argotune.steps.cluster.kube import Kube
from argotune.steps.common.clock import Clock
from argotune.steps.common.progress import Progress
from argotune.steps.nodes.aks.arm import Arm
from argotune.steps.nodes.aks.cluster_id import ClusterId
from argotune.steps.nodes.aks.provider import AksProvider
from argotune.steps.nodes.aks.settings import AksSettings
from argotune.steps.nodes.provider import Node, NodeRequest, Placement
from tests.fakes import arm, kube
from tests.fakes.arm.state import Json, Pool
from tests.fakes.tls import server_context

GPU = "nvidia.com/gpu"
A100 = "Standard_NC24ads_A100_v4"
H100 = "Standard_NC40ads_H100_v5"
A10 = "Standard_NV36ads_A10_v5"
RUN = "5a1c0e7a-6a86-4a2c-8c34-1b9d5f1f3f10"
EPOCH = 1_790_000_000.0
"""2026-09-21T14:13:20Z"""
CLUSTER = ClusterId(subscription="26fe00f8-9173-4872-9134-bb1d2e00343a", group="team", name="prod")
CLUSTER_ID = (
    f"/subscriptions/{CLUSTER.subscription}/resourceGroups/team/providers/"
    "Microsoft.ContainerService/managedClusters/prod"
)


class Time:
    """A time that passes only where somebody waits."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.on_sleep: Callable[[], None] = lambda: None

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        self.on_sleep()

    def clock(self) -> Clock:
        return Clock(now=lambda: self.seconds, sleep=self.sleep, wall=lambda: EPOCH + self.seconds)


class Token:
    """A token that is good, or not."""

    def __init__(self, text: str) -> None:
        self._text = text

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        return AccessToken(self._text, int(EPOCH) * 2)


@dataclass
class Azure:
    """The cloud and the cluster in it."""

    cloud: arm.Cloud
    cluster: kube.Cluster
    kube: Kube
    time: Time
    arm: Arm
    settings: AksSettings
    gpus_after_seconds: float = 0.0
    """From the node to its GPUs."""
    _pending: list[tuple[float, Json]] = field(default_factory=list)

    def provider(self) -> AksProvider:
        return AksProvider(
            self.settings, arm=lambda: self.arm, kube=lambda: self.kube, clock=self.time.clock()
        )

    def provision(self, progress: Progress | None = None, **changes: Any) -> Node:
        return self.provider().provision(self.request(**changes), progress or Progress())

    def request(self, *, lifetime_seconds: float = 8 * 24 * 3600.0, **changes: Any) -> NodeRequest:
        """The request of a run that asks for its first node now."""
        now = datetime.fromtimestamp(self.time.clock().wall(), UTC)
        return request(**{"deadline": now + timedelta(seconds=lifetime_seconds)} | changes)

    def release(self, run: str = RUN, timeout_seconds: float = 3300.0) -> list[str]:
        provider = self.provider()
        gone = provider.release(run, timeout_seconds=timeout_seconds, progress=Progress())
        return [str(each) for each in gone]

    def brings(self, pool: Pool) -> None:
        """What a machine does when it becomes a node."""
        properties = pool.body["properties"]
        taints = [taint.rpartition(":") for taint in properties["nodeTaints"]]
        node = {
            "metadata": {
                "name": pool.node,
                "labels": {
                    "agentpool": pool.name,
                    "node.kubernetes.io/instance-type": properties["vmSize"],
                    **properties["nodeLabels"],
                },
            },
            "spec": {
                "taints": [
                    {
                        "key": pair.partition("=")[0],
                        "value": pair.partition("=")[2],
                        "effect": effect,
                    }
                    for pair, _, effect in taints
                ]
            },
            "status": {
                "conditions": [{"type": "Ready", "status": "True"}],
                "capacity": {},
                "allocatable": {},
            },
        }
        self.cluster.nodes.append(node)
        self._pending.append((self.time.seconds + self.gpus_after_seconds, node))
        self.passes()

    def takes(self, pool: Pool) -> None:
        """What becomes of the node of a pool that is deleted."""
        self.cluster.nodes[:] = [
            node for node in self.cluster.nodes if node["metadata"]["name"] != pool.node
        ]

    def passes(self) -> None:
        """What the time brings to the cluster."""
        for due, node in self._pending:
            if self.time.seconds >= due:
                node["status"]["capacity"] = node["status"]["allocatable"] = {GPU: "1"}


@contextmanager
def azure(certificate: tuple[Path, Path], **settings: Any) -> Iterator[Azure]:
    """An empty AKS cluster; REQUESTS_CA_BUNDLE must name the certificate."""
    time = Time()
    cloud = arm.Cloud(now=lambda: time.seconds, tokens={"good"})
    cluster = kube.Cluster()
    with (
        arm.serving(cloud, server_context(*certificate)) as url,
        kube.serving(cluster) as client,
    ):
        made = Azure(
            cloud=cloud,
            cluster=cluster,
            kube=client,
            time=time,
            arm=Arm(CLUSTER, Token("good"), endpoint=url),
            settings=AksSettings(aks_cluster_id=CLUSTER_ID, **settings),
        )
        cloud.on_up, cloud.on_down, time.on_sleep = made.brings, made.takes, made.passes
        yield made


def request(**changes: Any) -> NodeRequest:
    values: dict[str, Any] = {
        "run": RUN,
        "workflow": "tune-x7k2p",
        "namespace": "team",
        "workspace": "phi",
        "gpus": 1,
        "disk_gib": 256,
        "instance_types": (A100,),
        "prices_usd_per_hour": {A100: 3.673},
        "timeout_seconds": 3300.0,
    }
    return NodeRequest(**values | changes)


def placement(instance_type: str = A100, **changes: Any) -> Placement:
    return Placement(instance_type=instance_type, **changes)
