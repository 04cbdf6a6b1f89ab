"""The step with the providers that it brings nodes by, and clouds and a cluster on sockets."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from argotune.steps.common.clock import Clock
from argotune.steps.common.errors import CapacityError, PermanentError
from argotune.steps.common.progress import Progress
from argotune.steps.nodes.cost_limit import STOPPING_SECONDS
from argotune.steps.nodes.deadline import FIRST_ASKED
from argotune.steps.nodes.karpenter import claim as claims
from argotune.steps.nodes.ledger import made_nodes, write_made_nodes
from argotune.steps.nodes.made_node import Made, MadeNode
from argotune.steps.watch.params import Params, Result
from argotune.steps.watch.run import run
from tests.fakes.arm.state import Creation
from tests.fakes.kube import Cluster, Fault, Object, serving
from tests.steps.nodes.aks.azure import A10, A100, CLUSTER_ID, Azure
from tests.steps.nodes.aks.azure import RUN as AKS_RUN
from tests.steps.nodes.aks.conftest import azure, certificate  # noqa: F401
from tests.steps.nodes.karpenter import world as karpenter
from tests.steps.nodes.karpenter.world import START, World, happy, no_capacity

WORKFLOW = ("Workflow", "team", "phi-abc")


def put_run(cluster: Cluster, uid: str) -> Object:
    """A run in the middle of tuning."""
    tune = {"displayName": "tune", "type": "Retry", "phase": "Running"}
    found: Object = {
        "kind": "Workflow",
        "metadata": {"name": "phi-abc", "namespace": "team", "uid": uid, "annotations": {}},
        "spec": {},
        "status": {"phase": "Running", "nodes": {"1": tune}},
    }
    cluster.objects[WORKFLOW] = found
    return found


def tuned(cluster: Cluster, phase: str = "Succeeded") -> None:
    """Tune has ended, and if it succeeded evaluate after it."""
    nodes = cluster.objects[WORKFLOW]["status"]["nodes"]
    nodes["1"]["phase"] = phase
    if phase == "Succeeded":
        nodes["2"] = {"displayName": "evaluate", "type": "Retry", "phase": phase}


def said(cluster: Cluster, reason: str) -> list[str]:
    """Messages of the events of watch."""
    return [
        event["message"]
        for event in cluster.events
        if event["reason"] == reason and event.get("reportingComponent") == "argotune-watch"
    ]


def params(run_uid: str, selector: dict[str, str], **changes: Any) -> Params:
    values: dict[str, Any] = {
        "run": run_uid,
        "workflow": "phi-abc",
        "namespace": "team",
        "workspace": "phi",
        "gpus": 1,
        "disk_gib": 200,
        "instance_type": A100,
        "node_selector": json.dumps(selector),
        "timeout_seconds": 3300.0,
    }
    return Params(**values | changes)


class Karpenter:
    """A run whose node Karpenter made, in the middle of tuning."""

    def __init__(self) -> None:
        self.world = World()
        self.world.scripts = [happy]
        self.selector = dict(self.world.provision().selector)
        self.workflow = put_run(self.cluster, karpenter.RUN)

    @property
    def cluster(self) -> Cluster:
        return self.world.cluster

    def lose(self, after_seconds: float = 20.0) -> None:
        """Let the machine go, with its claim."""
        claim = self.world.claims[-1]
        self.world.after(after_seconds, lambda: self.world.drop(claim))

    def tuned_when(self, met: Callable[[], bool]) -> None:
        """Let tune succeed as soon as something is so."""

        def look() -> None:
            if met():
                tuned(self.cluster)
            else:
                self.world.after(5, look)

        self.world.after(5, look)

    @property
    def clock(self) -> Clock:
        world = self.world
        return Clock(
            now=lambda: world.seconds,
            sleep=world.sleep,
            wall=lambda: START.timestamp() + world.seconds,
        )

    def watch(self, **changes: Any) -> Result:
        asked = {"provider": "karpenter", "karpenter_node_class": "AKSNodeClass/gpu"} | changes
        with serving(self.cluster) as kube:
            return run(
                params(karpenter.RUN, self.selector, **asked),
                progress=Progress(),
                kube=kube,
                provider=self.world.provider(kube),
                clock=self.clock,
            )


@pytest.fixture
def tuning() -> Karpenter:
    return Karpenter()


def test_a_node_that_stays_is_watched_until_tune_has_ended(tuning: Karpenter) -> None:
    tuning.world.after(300, lambda: tuned(tuning.cluster))
    result = tuning.watch(keep_node_seconds=HOUR)
    assert result == Result(
        replaced=0,
        node="",
        placement="",
        price_usd_per_hour=None,
        tried="",
        node_hours=None,
        cost_usd=None,
    )
    assert len(tuning.world.claims) == len(tuning.cluster.nodes) == 1
    assert tuning.cluster.events == []


def test_a_node_that_is_taken_away_is_replaced_by_one_that_the_pod_finds(
    tuning: Karpenter,
) -> None:
    tuning.lose()
    tuning.tuned_when(lambda: len(tuning.world.claims) == 2 and bool(said_ready(tuning)))
    result = tuning.watch(capacity_types=("spot", "regular"), keep_node_seconds=HOUR)
    assert (result.replaced, result.placement) == (1, f"{A100} spot")
    assert result.price_usd_per_hour == 3.673
    assert result.tried == f"{A100} spot (100 s): node {result.node}"
    (node,) = tuning.cluster.nodes
    assert node["metadata"]["name"] == result.node
    assert tuning.selector.items() <= node["metadata"]["labels"].items()
    assert said(tuning.cluster, "NodeLost") == ["the run's node was deleted"]
    assert said_ready(tuning) == [f"node {result.node} ({A100} spot) is Ready"]
    assert said(tuning.cluster, "WaitingForNode")[0] == "Karpenter has just been asked"


def said_ready(tuning: Karpenter) -> list[str]:
    return said(tuning.cluster, "NodeReady")


def test_a_node_that_is_not_ready_is_given_back_before_another_is_asked_for(
    tuning: Karpenter,
) -> None:
    def fail() -> None:
        tuning.cluster.nodes[0]["status"]["conditions"][0]["status"] = "Unknown"

    tuning.world.after(100, fail)
    tuning.world.on_delete = lambda world, claim: world.after(45, lambda: world.drop(claim))
    tuning.tuned_when(lambda: bool(said_ready(tuning)))
    result = tuning.watch(keep_node_seconds=HOUR)
    assert result.replaced == 1
    assert said(tuning.cluster, "NodeLost") == ["the run's node is not Ready (no report) for 60 s"]
    assert len(tuning.cluster.nodes) == 1
    assert result.node_hours == pytest.approx(0.09, abs=0.03)
    assert result.cost_usd == pytest.approx(3.673 * (result.node_hours or 0.0))


def test_nodes_are_replaced_as_often_as_they_are_taken_away(tuning: Karpenter) -> None:
    tuning.lose()
    world = tuning.world
    world.after(300, lambda: world.drop(world.claims[-1]))
    tuning.tuned_when(lambda: len(world.claims) == 3 and len(said_ready(tuning)) == 1)
    assert tuning.watch().replaced >= 1
    assert len(world.claims) == 3


def test_where_there_is_no_other_node_the_run_is_stopped_with_the_table(
    tuning: Karpenter,
) -> None:
    tuning.world.scripts = [happy, no_capacity]
    tuning.lose()
    with pytest.raises(CapacityError) as caught:
        tuning.watch(alternative_instance_types=(A10,), timeout_seconds=50.0)
    reason = (
        "InsufficientCapacityError: all requested instance types were unavailable during launch"
    )
    message = (
        "the run's node was deleted and no replacement is available, so the run was stopped; "
        f"`argo retry phi-abc` resumes from the last checkpoint: no GPU node: {A100} regular "
        f"(10 s): {reason}; {A10} regular (10 s): {reason}"
    )
    assert str(caught.value) == message
    assert tuning.cluster.objects[WORKFLOW]["spec"] == {"shutdown": "Stop"}
    assert said(tuning.cluster, "NoNode") == [message]


def test_a_permanent_refusal_stops_the_run_too(tuning: Karpenter) -> None:
    def bare(world: World, claim: Object) -> None:
        world.take_up(claim)
        world.launch(claim)
        world.register(claim, gpus=0)

    tuning.world.scripts = [happy, bare]
    tuning.lose()
    with pytest.raises(PermanentError, match="no device plugin"):
        tuning.watch()
    assert tuning.cluster.objects[WORKFLOW]["spec"] == {"shutdown": "Stop"}


def test_the_stop_is_asked_for_until_the_api_server_takes_it(tuning: Karpenter) -> None:
    tuning.world.scripts = [happy, no_capacity]
    tuning.lose()
    tuning.cluster.faults = [Fault("PATCH", "/workflows/", 503, "away", times=3)]
    with pytest.raises(CapacityError):
        tuning.watch(timeout_seconds=50.0)
    assert tuning.cluster.objects[WORKFLOW]["spec"] == {"shutdown": "Stop"}


def test_a_run_that_may_not_be_stopped_is_still_a_failure_that_says_why(
    tuning: Karpenter, caplog: pytest.LogCaptureFixture
) -> None:
    tuning.world.scripts = [happy, no_capacity]
    tuning.lose()
    tuning.cluster.faults = [Fault("PATCH", "/workflows/", 403, "no right")]
    with pytest.raises(CapacityError, match="no replacement is available"):
        tuning.watch(timeout_seconds=50.0)
    assert "cannot-stop" in caplog.text


HOUR = 3600.0
DAY = 24 * HOUR


def first_request_time(tuning: Karpenter) -> None:
    """Say at the Workflow that the run first asked for a node when time began."""
    annotations = tuning.cluster.objects[WORKFLOW]["metadata"]["annotations"]
    annotations[FIRST_ASKED] = f"{START:%Y-%m-%dT%H:%M:%SZ}"


def test_a_run_is_stopped_when_its_nodes_have_had_their_time(tuning: Karpenter) -> None:
    first_request_time(tuning)
    with pytest.raises(PermanentError) as caught:
        tuning.watch(lifetime_seconds=DAY, look_seconds=HOUR)
    message = (
        "the run first asked for a node at 2026-01-01T00:00:00Z and may have nodes for 86400 s "
        "(node-lifetime-seconds), which are over, so the run was stopped; `argo retry phi-abc -p "
        "node-lifetime-seconds=SECONDS` with more of them resumes from the last checkpoint"
    )
    assert str(caught.value) == message
    assert said(tuning.cluster, "NodeTimeOver") == [message]
    assert tuning.cluster.objects[WORKFLOW]["spec"] == {"shutdown": "Stop"}
    assert DAY <= tuning.world.seconds < DAY + HOUR


def test_neither_another_watch_nor_another_node_gives_the_run_more_time(
    tuning: Karpenter,
) -> None:
    first_request_time(tuning)
    world = tuning.world

    def stop() -> None:
        raise KeyboardInterrupt

    world.after(DAY / 2, stop)
    with pytest.raises(KeyboardInterrupt):
        tuning.watch(lifetime_seconds=DAY, look_seconds=HOUR)
    tuning.lose(after_seconds=DAY / 4)
    with pytest.raises(PermanentError, match=r"\(node-lifetime-seconds\)"):
        tuning.watch(lifetime_seconds=DAY, look_seconds=HOUR)
    assert len(world.claims) == 2
    assert DAY <= world.seconds < DAY + HOUR
    expires_at = claims.expires_at(world.claims[-1])
    assert expires_at is not None
    assert 0 <= (START + timedelta(seconds=DAY) - expires_at).total_seconds() < 2


def test_a_replacement_is_waited_for_no_longer_than_the_run_may_have_nodes(
    tuning: Karpenter,
) -> None:
    first_request_time(tuning)
    tuning.world.scripts = [happy, no_capacity]
    tuning.lose(after_seconds=1000.0)
    with pytest.raises(CapacityError, match="no replacement is available"):
        tuning.watch(lifetime_seconds=1500.0)
    assert tuning.world.seconds < 1515.0


def written(tuning: Karpenter) -> Made:
    """The nodes that stand at the Workflow."""
    return made_nodes(tuning.cluster.objects[WORKFLOW])


def has_had(tuning: Karpenter, *rows: MadeNode) -> None:
    """Say at the Workflow which nodes the run has had."""
    with serving(tuning.cluster) as kube:
        write_made_nodes(kube, rows, namespace="team", workflow="phi-abc", run=karpenter.RUN)


FIRST = MadeNode(placement=f"{A100} spot", price_usd_per_hour=2.0, since=START)


def test_a_run_is_stopped_before_its_nodes_cost_more_than_they_may(tuning: Karpenter) -> None:
    has_had(tuning, FIRST)
    with pytest.raises(PermanentError) as caught:
        tuning.watch(max_cost_usd=10.0)
    message = (
        "the run's nodes have cost 9.91 USD and may cost 10 USD (max-cost-usd), of which 0.10 USD "
        "are kept back for stopping, so the run was stopped; `argo retry phi-abc -p "
        "max-cost-usd=USD` with more of them resumes from the last checkpoint"
    )
    assert str(caught.value) == message
    assert said(tuning.cluster, "CostLimitReached") == [message]
    assert tuning.cluster.objects[WORKFLOW]["spec"] == {"shutdown": "Stop"}
    assert 0 <= tuning.world.seconds - (5 * HOUR - STOPPING_SECONDS) < 15


def test_a_replacement_is_paid_from_what_the_nodes_before_left(tuning: Karpenter) -> None:
    has_had(tuning, FIRST)
    tuning.lose(after_seconds=HOUR)
    with pytest.raises(PermanentError, match=r"\(max-cost-usd\)"):
        tuning.watch(max_cost_usd=10.0)
    lost, second = written(tuning)
    spent_usd = 2.0 * lost.hours(START)
    assert lost.until is not None
    assert second.price_usd_per_hour == 3.673
    left_seconds = (10.0 - spent_usd) / 3.673 * HOUR
    end = (second.since - START).total_seconds() + left_seconds - STOPPING_SECONDS
    assert 0 <= tuning.world.seconds - end < 16
    expires_at = claims.expires_at(tuning.world.claims[-1])
    assert expires_at is not None
    # Where nobody stops the run, gc takes the claim away.
    assert abs((expires_at - second.since).total_seconds() - left_seconds) < 2


def test_no_replacement_is_asked_for_when_the_money_is_spent(tuning: Karpenter) -> None:
    has_had(tuning, replace(FIRST, price_usd_per_hour=36.0))
    tuning.lose(after_seconds=900.0)
    with pytest.raises(PermanentError, match=r"may cost 10 USD \(max-cost-usd\)"):
        tuning.watch(max_cost_usd=10.0, look_seconds=500.0)
    assert len(tuning.world.claims) == 1


def test_a_replacement_that_nobody_wrote_down_is_written_down(tuning: Karpenter) -> None:
    before = replace(FIRST, until=START + timedelta(seconds=1))
    has_had(tuning, before)
    tuning.world.after(60, lambda: tuned(tuning.cluster))
    assert tuning.watch().replaced == 0
    assert len(tuning.world.claims) == 1
    first, found = written(tuning)
    assert first == before
    assert found.since == claims.created_at(tuning.world.claims[0])


def test_an_annotation_that_may_not_be_written_keeps_no_node_from_the_run(
    tuning: Karpenter,
) -> None:
    has_had(tuning, FIRST)
    tuning.cluster.faults = [Fault("PATCH", "/workflows/", 403, "no right", times=3)]
    tuning.lose()
    tuning.tuned_when(lambda: bool(said_ready(tuning)))
    assert tuning.watch().replaced == 1
    assert written(tuning) == (FIRST,)


def waiting_pod(tuning: Karpenter, message: str) -> Object:
    """The tune pod, which the scheduler puts nowhere."""
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    labels = {"workflows.argoproj.io/workflow": "phi-abc", "argotune.dev/step": "tune"}
    pod: Object = {
        "metadata": {"name": "phi-abc-tune-1", "namespace": "team", "labels": labels},
        "spec": {},
        "status": {"phase": "Pending", "conditions": [condition | {"message": message}]},
    }
    tuning.cluster.pods.append(pod)
    return pod


def test_a_run_whose_pod_is_not_scheduled_on_its_node_is_stopped_with_the_schedulers_words(
    tuning: Karpenter,
) -> None:
    waiting_pod(tuning, "0/3 nodes are available: 1 Insufficient memory.")
    began = tuning.world.seconds
    with pytest.raises(PermanentError) as caught:
        tuning.watch()
    message = (
        "the pod of step tune did not start in 15 min: 0/3 nodes are available: 1 Insufficient "
        "memory.; its node is Ready and costs money, so the run was stopped; remove what keeps the "
        "pod from starting (its CPUs and memory are the parameters tune-cpu and tune-memory), then "
        "`argo retry phi-abc` resumes from the last checkpoint"
    )
    assert str(caught.value) == message
    assert said(tuning.cluster, "PodNotStarted") == [message]
    assert tuning.cluster.objects[WORKFLOW]["spec"] == {"shutdown": "Stop"}
    assert tuning.world.seconds - began == 900


def test_a_run_whose_pod_waits_in_a_queue_is_not_stopped_and_says_that_it_costs(
    tuning: Karpenter,
) -> None:
    pod = waiting_pod(tuning, "Scheduling is blocked due to non-empty scheduling gates")
    pod["status"]["conditions"][0]["reason"] = "SchedulingGated"
    pod["spec"]["schedulingGates"] = [{"name": "kueue.x-k8s.io/admission"}]
    tuning.world.after(5000.0, lambda: pod["spec"].update(schedulingGates=[]))
    tuning.world.after(5000.0, lambda: pod["status"].update(phase="Running", conditions=[]))
    tuning.world.after(5100.0, lambda: tuned(tuning.cluster))
    assert tuning.watch(look_seconds=60.0).replaced == 0
    assert "shutdown" not in tuning.cluster.objects[WORKFLOW]["spec"]
    assert said(tuning.cluster, "WaitingForNode") == [
        "the pod of step tune is held by the scheduling gate kueue.x-k8s.io/admission, while its "
        "node is paid for"
    ]
    assert said(tuning.cluster, "PodAdmitted") == [
        "the pod of step tune is held by no scheduling gate any more"
    ]


def test_a_pod_that_waits_while_its_node_is_replaced_is_given_the_whole_time_again(
    tuning: Karpenter,
) -> None:
    pod = waiting_pod(tuning, "0/2 nodes are available")
    tuning.lose(after_seconds=800.0)
    tuning.world.after(1500.0, lambda: pod["status"].update(phase="Running"))
    tuning.world.after(3000.0, lambda: tuned(tuning.cluster))
    assert tuning.watch().replaced == 1
    assert "shutdown" not in tuning.cluster.objects[WORKFLOW]["spec"]


def test_pods_that_may_not_be_listed_do_not_keep_a_lost_node_from_being_replaced(
    tuning: Karpenter,
) -> None:
    tuning.cluster.faults = [Fault("GET", "/namespaces/team/pods", 403, "no right", times=1000)]
    tuning.lose()
    tuning.tuned_when(lambda: bool(said_ready(tuning)))
    assert tuning.watch().replaced == 1


@pytest.mark.parametrize("status", [403, 429, 503])
def test_an_api_server_that_is_away_or_refuses_does_not_end_the_watch(
    tuning: Karpenter, status: int
) -> None:
    tuning.cluster.faults = [
        Fault("GET", "/nodes", status, "away", times=5),
        Fault("GET", "/workflows/", status, "away", times=5),
    ]
    tuning.lose()
    tuning.tuned_when(lambda: bool(said_ready(tuning)))
    assert tuning.watch().replaced == 1


def test_what_is_unwell_while_a_node_is_brought_is_tried_again(tuning: Karpenter) -> None:
    def silent(world: World, claim: Object) -> None:
        world.after(1, lambda: world.take_up(claim))
        world.after(2, lambda: world.drop(claim))

    tuning.world.scripts = [happy, silent, happy]
    tuning.lose()
    tuning.tuned_when(lambda: bool(said_ready(tuning)))
    assert tuning.watch().replaced == 1
    assert len(tuning.world.claims) == 3


def test_the_end_of_tune_ends_the_wait_for_a_node_and_leaves_it_to_release(
    tuning: Karpenter,
) -> None:
    tuning.world.scripts = [happy, lambda world, claim: None]
    tuning.lose()
    began = tuning.world.seconds
    tuning.world.after(100, lambda: tuned(tuning.cluster, "Failed"))
    result = tuning.watch()
    assert result.replaced == 0
    assert tuning.world.seconds - began <= 115
    assert "shutdown" not in tuning.cluster.objects[WORKFLOW]["spec"]


def test_a_run_that_is_being_ended_gets_no_node(tuning: Karpenter) -> None:
    tuning.lose(after_seconds=10.0)
    tuning.world.after(12, lambda: tuning.workflow["spec"].update(shutdown="Stop"))
    assert tuning.watch().replaced == 0
    assert len(tuning.world.claims) == 1


def test_another_try_of_the_step_goes_on_with_the_node_that_was_asked_for(
    tuning: Karpenter,
) -> None:
    """The pod of watch may go too."""

    def stopped(world: World, claim: Object) -> None:
        world.happy(claim)

        def stop() -> None:
            raise KeyboardInterrupt

        world.after(40, stop)

    tuning.world.scripts = [happy, stopped]
    tuning.lose()
    with pytest.raises(KeyboardInterrupt):
        tuning.watch()
    tuning.tuned_when(lambda: bool(said_ready(tuning)))
    assert tuning.watch().replaced == 1
    assert len(tuning.world.claims) == 2


def test_an_evicted_spot_node_of_aks_is_replaced_by_a_regular_one(azure: Azure) -> None:  # noqa: F811
    node = azure.provision(capacity_types=("spot", "regular"), workflow="phi-abc")
    workflow = put_run(azure.cluster, AKS_RUN)
    workflow["metadata"]["annotations"] = {FIRST_ASKED: "2026-09-21T14:13:20Z"}

    sold_out = {"code": "OverconstrainedAllocationRequest", "message": "no spot machines"}
    azure.cloud.creations = [Creation(error=sold_out)]
    evicted_at = azure.time.seconds + 100

    def passes() -> None:
        azure.passes()
        if azure.time.seconds >= evicted_at and not azure.cloud.asked("DELETE"):
            azure.cloud.evict()
        if said(azure.cluster, "NodeReady"):
            tuned(azure.cluster)

    azure.time.on_sleep = passes
    asked = params(
        AKS_RUN,
        dict(node.selector),
        provider="aks",
        capacity_types=("spot", "regular"),
        aks_cluster_id=CLUSTER_ID,
        lifetime_seconds=7 * DAY,
        keep_node_seconds=HOUR,
    )
    result = run(
        asked,
        progress=Progress(),
        kube=azure.kube,
        provider=azure.provider(),
        clock=azure.time.clock(),
    )
    assert (result.replaced, result.placement) == (1, f"{A100} regular")
    assert len(azure.cluster.nodes) == 1
    assert result.node_hours
    (pool,) = azure.cloud.pools.values()
    # Seven days after the run first asked, not after the other pool was.
    assert pool.body["properties"]["tags"]["argotune-expires"] == "2026-09-28T14:13:20Z"


def test_it_ends_at_once_when_it_is_told_to_stop() -> None:
    cluster = Cluster()
    put_run(cluster, "uid")
    with serving(cluster):
        script = (
            "from kubernetes.client import ApiClient, Configuration\n"
            "from argotune.steps.cluster.connection import Connection\n"
            "from argotune.steps.cluster.kube import Kube\n"
            "from argotune.steps.common.main import main\n"
            "from argotune.steps.watch import params, run\n"
            f"client = ApiClient(Configuration(host={cluster.url!r}))\n"
            "kube = Kube(Connection(client))\n"
            "main(params.Params, params.Result,\n"
            "     lambda given, progress: run.run(given, progress=progress, kube=kube))\n"
        )
        flags = {
            "run": "uid",
            "workflow": "phi-abc",
            "namespace": "team",
            "gpus": "1",
            "node-selector": '{"argotune.dev/node": "gpu1f3a"}',
        }
        arguments = [f"--{name}={value}" for name, value in flags.items()]
        command = [sys.executable, "-c", script, *arguments]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            cluster.wait_for(lambda: any("/nodes" in each for each in cluster.requests))
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=60)
    assert process.returncode == 75
    assert errors.splitlines()[-1] == ("error: stopped by SIGTERM; a retry resumes from here")
