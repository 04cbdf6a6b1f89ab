"""A week of each way in which a node may be left behind: who takes it away, and what it has cost.

`make leaks` prints the table.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest

from argotune.steps.cluster.kube import Kube
from argotune.steps.common.clock import Clock
from argotune.steps.common.errors import PermanentError
from argotune.steps.common.progress import Progress
from argotune.steps.gc.params import Params as GcParams
from argotune.steps.gc.run import run as collect
from argotune.steps.nodes.aks.provider import AksProvider
from argotune.steps.nodes.deadline import FIRST_ASKED, wall_time
from argotune.steps.nodes.karpenter import claim as claims
from argotune.steps.nodes.karpenter.provider import KarpenterProvider
from argotune.steps.nodes.karpenter.settings import KarpenterSettings
from argotune.steps.nodes.labels import NODE_RUN_LABEL
from argotune.steps.nodes.provider import Provider
from argotune.steps.nodes.runs import run_is_alive
from argotune.steps.release.params import Params as ReleaseParams
from argotune.steps.release.run import run as release
from argotune.steps.watch.params import Params as WatchParams
from argotune.steps.watch.run import run as watch
from tests.fakes.kube import Cluster, Object, serving
from tests.steps.nodes.aks import azure as aks
from tests.steps.nodes.aks.conftest import certificate  # noqa: F401
from tests.steps.nodes.karpenter import world as karpenter

MINUTE, HOUR, DAY = 60.0, 3600.0, 24 * 3600.0
PRICE = 3.673
LIFETIME = 8 * HOUR
"""How long the run may have nodes."""
WORKFLOW = ("Workflow", "team", "phi-abc")
SERVICE = ("Deployment", "team", "phi")
LATE_MINUTES = 10.0
"""How long after its end the deletion of a node may be asked for, because gc looks every ten
minutes; the time that the cloud takes for it comes on top."""


class Double(Protocol):
    """A cloud with a cluster, whose time passes only where it is told to."""

    name: str
    run: str
    cluster: Cluster
    epoch: float
    seconds: float
    settings: Mapping[str, Any]
    """Of watch, for its provider."""
    cluster_settings: Mapping[str, Any]
    """Those of them that release has too."""

    def advance(self, seconds: float) -> None:
        """Let time pass, and come true what it brings."""

    def provider(self, kube: Kube, clock: Clock) -> Provider: ...

    def provision(self) -> Mapping[str, str]:
        """Make the run's node, and return its labels."""

    def left(self) -> int:
        """Number of claims or pools of which nobody has asked the deletion."""


class Karpenter:
    name, run = "karpenter", karpenter.RUN
    epoch = karpenter.START.timestamp()
    settings: Mapping[str, Any] = {"karpenter_node_class": "AKSNodeClass/gpu"}
    cluster_settings: Mapping[str, Any] = {}

    def __init__(self) -> None:
        self._world = karpenter.World()
        self._world.scripts = [karpenter.happy]
        self.cluster = self._world.cluster

    @property
    def seconds(self) -> float:
        return self._world.seconds

    def advance(self, seconds: float) -> None:
        if seconds > 0:
            self._world.sleep(seconds)
        for claim in self.cluster.of_kind("NodeClaim"):
            end = claims.end_of(claim)
            if end is not None and end <= self._world.now():
                self._world.drop(claim)

    def provider(self, kube: Kube, clock: Clock) -> Provider:
        settings = KarpenterSettings(karpenter_node_class="AKSNodeClass/gpu")
        return KarpenterProvider(settings, lambda: kube, clock, self._world.now)

    def provision(self) -> Mapping[str, str]:
        return self._world.provision(lifetime_seconds=LIFETIME).selector

    def left(self) -> int:
        return len(
            [each for each in self.cluster.of_kind("NodeClaim") if not claims.is_going(each)]
        )


class Aks:
    name, run, epoch = "aks", aks.RUN, aks.EPOCH
    settings: Mapping[str, Any] = {"aks_cluster_id": aks.CLUSTER_ID}
    cluster_settings = settings

    def __init__(self, azure: aks.Azure) -> None:
        self._azure = azure
        self.cluster = azure.cluster

    @property
    def seconds(self) -> float:
        return self._azure.time.seconds

    def advance(self, seconds: float) -> None:
        self._azure.time.sleep(seconds)
        self._azure.cloud.settle()

    def provider(self, kube: Kube, clock: Clock) -> Provider:
        azure = self._azure
        return AksProvider(azure.settings, arm=lambda: azure.arm, kube=lambda: kube, clock=clock)

    def provision(self) -> Mapping[str, str]:
        return self._azure.provision(workflow="phi-abc", lifetime_seconds=LIFETIME).selector

    def left(self) -> int:
        return len([pool for pool in self._azure.cloud.pools.values() if pool.state != "Deleting"])


class Week:
    """A run that tunes for ever on its node, and what else there is in that week."""

    def __init__(self, double: Double, kube: Kube) -> None:
        self.double = double
        self._kube = kube
        self._later: list[tuple[float, Callable[[], None]]] = []
        self.asked_at: float | None = None
        """When the node's deletion was asked for."""
        self.gone_at: float | None = None
        """When the node was away."""
        self.clock = Clock(
            now=lambda: double.seconds,
            sleep=self.sleep,
            wall=lambda: double.epoch + double.seconds,
        )
        self._put_run()
        self._selector = double.provision()
        self.ready_at = double.seconds
        self._provider = double.provider(kube, self.clock)

    def sleep(self, seconds: float) -> None:
        end = self.double.seconds + seconds
        while due := sorted(at for at, _ in self._later if at <= end):
            item = next(item for item in self._later if item[0] == due[0])
            self._later.remove(item)
            self._advance(item[0])
            item[1]()
        self._advance(end)

    def _advance(self, until: float) -> None:
        """In steps of half a minute while there is a node, to see when it goes."""
        while self.gone_at is None and until > self.double.seconds:
            self.double.advance(min(30.0, until - self.double.seconds))
            if self.asked_at is None and not self.double.left():
                self.asked_at = self.double.seconds
            if not self.double.cluster.nodes:
                self.gone_at = self.double.seconds
        self.double.advance(max(0.0, until - self.double.seconds))

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        self._later.append((self.double.seconds + seconds, action))

    def pass_to(self, seconds: float) -> None:
        self.sleep(max(0.0, seconds - self.double.seconds))

    def gc(self, namespace: str = "team") -> None:
        """The schedule of an installation."""

        def look() -> None:
            if self.gone_at is None:
                alive = run_is_alive(self._kube, namespace=namespace)
                collect(GcParams(), progress=Progress(), providers=[self._provider], is_alive=alive)
            self.after(10 * MINUTE, look)

        self.after(7 * MINUTE, look)

    def watch(self) -> None:
        """The step, which ends by stopping the run, and then the exit handler a minute later."""
        with pytest.raises(PermanentError, match="so the run was stopped"):
            self.watch_until_killed()
        if self.double.cluster.objects[WORKFLOW]["spec"].get("suspend"):
            return  # Argo ends none that is suspended.
        self.sleep(MINUTE)
        release(
            ReleaseParams(
                provider=self.double.name,  # type: ignore[arg-type]
                run=self.double.run,
                workflow="phi-abc",
                namespace="team",
                status="Failed",
                **self.double.cluster_settings,
            ),
            progress=Progress(),
            provider=self._provider,
            kube=self._kube,
            clock=self.clock,
        )
        self.end_run()

    def watch_until_killed(self) -> None:
        params: dict[str, Any] = {
            "provider": self.double.name,
            "run": self.double.run,
            "workflow": "phi-abc",
            "namespace": "team",
            "gpus": 1,
            "instance_type": karpenter.A100,
            "disk_gib": 200,
            "node_selector": json.dumps(dict(self._selector)),
            "lifetime_seconds": LIFETIME,
            "look_seconds": 5 * MINUTE,
            **self.double.settings,
        }
        watch(
            WatchParams(**params),
            progress=Progress(),
            kube=self._kube,
            provider=self._provider,
            clock=self.clock,
        )

    def end_run(self) -> None:
        """As the controller does: the run has failed, and nothing of it is there any more."""
        self.double.cluster.objects[WORKFLOW]["status"]["phase"] = "Failed"

    def serve_on(self) -> None:
        """The run of a service has ended well, and its Deployment has the node."""
        self.double.cluster.objects[WORKFLOW]["status"]["phase"] = "Succeeded"
        metadata = {"name": "phi", "namespace": "team", "labels": {NODE_RUN_LABEL: self.double.run}}
        self.double.cluster.objects[SERVICE] = {"kind": "Deployment", "metadata": metadata}

    def stop_service(self) -> None:
        del self.double.cluster.objects[SERVICE]

    def suspend_run(self) -> None:
        self.double.cluster.objects[WORKFLOW]["spec"]["suspend"] = True

    def delete_run(self) -> None:
        del self.double.cluster.objects[WORKFLOW]

    def refuse_pod(self) -> None:
        """The tune pod, which the scheduler puts nowhere."""
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
        labels = {"workflows.argoproj.io/workflow": "phi-abc", "argotune.dev/step": "tune"}
        pod: Object = {
            "metadata": {"name": "phi-abc-tune-1", "namespace": "team", "labels": labels},
            "spec": {},
            "status": {"phase": "Pending", "conditions": [condition | {"message": "no CPU"}]},
        }
        self.double.cluster.pods.append(pod)

    def _put_run(self) -> None:
        tune = {"displayName": "tune", "type": "Retry", "phase": "Running"}
        asked_at = f"{wall_time(self.clock):%Y-%m-%dT%H:%M:%SZ}"
        self.double.cluster.objects[WORKFLOW] = {
            "kind": "Workflow",
            "metadata": {
                "name": "phi-abc",
                "namespace": "team",
                "uid": self.double.run,
                "annotations": {FIRST_ASKED: asked_at},
            },
            "spec": {},
            "status": {"phase": "Running", "nodes": {"1": tune}},
        }


def terminated(week: Week) -> float:
    """`argo terminate`: no exit handler runs."""
    week.gc()
    week.after(HOUR, week.end_run)
    return week.double.seconds + HOUR


def deleted(week: Week) -> float:
    """`kubectl delete workflow`, and no exit handler."""
    week.gc()
    week.after(HOUR, week.delete_run)
    return week.double.seconds + HOUR


def namespace_deleted(week: Week) -> float:
    """With its Workflow and its gc: Karpenter takes its claim away, gc of another namespace the
    pool."""
    if week.double.name == "aks":
        week.gc(namespace="another")
    week.after(HOUR, week.delete_run)
    return LIFETIME


def gc_suspended(week: Week) -> float:
    """And a run that never ends: watch stops it."""
    week.watch()
    return LIFETIME


def run_suspended(week: Week) -> float:
    """`argo suspend`, or the annotation of an applied Workspace, and nobody resumes it."""
    week.after(HOUR, week.suspend_run)
    week.watch()
    return LIFETIME


def pod_unfit(week: Week) -> float:
    """The scheduler gives the node no pod; watch waits a quarter of an hour."""
    week.gc()
    week.refuse_pod()
    week.watch()
    return week.ready_at + 15 * MINUTE


def watch_restarted(week: Week) -> float:
    """Its pod goes four times, and the next one begins anew."""
    week.gc()

    def kill() -> None:
        raise KeyboardInterrupt

    for _ in range(4):
        week.after(1.5 * HOUR, kill)
        with pytest.raises(KeyboardInterrupt):
            week.watch_until_killed()
    week.watch()
    return LIFETIME


def service_stopped(week: Week) -> float:
    """`argotune stop --service`, or the deletion of the Deployment, hours after the run's end and
    its own deletion."""
    week.gc()
    week.after(HOUR, week.serve_on)
    week.after(2 * HOUR, week.delete_run)
    week.after(5 * HOUR, week.stop_service)
    return week.double.seconds + 5 * HOUR


LEAKS = (
    terminated,
    deleted,
    namespace_deleted,
    gc_suspended,
    run_suspended,
    pod_unfit,
    watch_restarted,
    service_stopped,
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """What became of the node of one week."""

    leak: str
    provider: str
    hours: float
    """Until the node was gone."""
    cap_hours: float
    late_minutes: float
    """From its cap until its deletion was asked for."""

    @classmethod
    def of(cls, leak: str, week: Week, cap: float) -> Row:
        assert week.asked_at is not None, f"{leak}: nobody takes the node away"
        assert week.gone_at is not None
        assert week.double.left() == 0, f"{leak}: another node came"
        return cls(
            leak=leak,
            provider=week.double.name,
            hours=week.gone_at / HOUR,
            cap_hours=cap / HOUR,
            late_minutes=(week.asked_at - cap) / MINUTE,
        )

    def __str__(self) -> str:
        return (
            f"{self.leak:<18} {self.provider:<10} {self.hours:>6.2f} h "
            f"{self.hours * PRICE:>6.2f} USD  cap {self.cap_hours:>6.2f} h  "
            f"given back {self.late_minutes:>+5.1f} min"
        )


@contextmanager
def double(name: str, tls: tuple[Path, Path]) -> Iterator[Double]:
    if name == "karpenter":
        yield Karpenter()
        return
    with aks.azure(tls) as azure:
        yield Aks(azure)


def test_no_node_stays_more_than_ten_minutes_longer_than_its_cap(
    certificate: tuple[Path, Path],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate[0]))
    rows = []
    for leak in LEAKS:
        for name in ("karpenter", "aks"):
            with double(name, certificate) as cloud, serving(cloud.cluster) as kube:
                week = Week(cloud, kube)
                assert len(cloud.cluster.nodes) == cloud.left() == 1
                cap = leak(week)
                week.pass_to(7 * DAY)
                rows.append(Row.of(leak.__name__, week, cap))
    print("\n", *rows, sep="\n")
    assert len(rows) == 2 * len(LEAKS)
    assert [str(row) for row in rows if row.late_minutes > LATE_MINUTES] == []
    # A node whose service lives stays.
    early = [str(row) for row in rows if row.leak == "service_stopped" and row.late_minutes < 0]
    assert early == []
