"""What who may only apply Workspaces does not reach by the operator's rights."""

from __future__ import annotations

from typing import Any

import pytest

from argotune.steps.common.printable import printable
from argotune.steps.common.values import is_dns_subdomain
from argotune.steps.contracts.in_service import WORKSPACE_UID, Event, InService
from argotune.steps.settings.run_settings import PREFIX, annotation_settings
from argotune.workflows.operator.seen import RUN
from tests.fakes.kube import Cluster, Object
from tests.workflows.installed import decide, put_gc
from tests.workflows.operator.acting import KEY, NAME, NAMESPACE, Acting
from tests.workflows.operator.test_requests import awaiting, decision, serve

PAYROLL = "payroll"
"""A Secret of others."""
ESCAPES = "\x1b]0;owned\x07\x9b31m\u202etxt"
NAMED_SECRETS = {
    "tuning/output": {"image": "registry.example.com/my-model:1", "imagePushSecret": PAYROLL},
    "tuning/input": {
        "image": "registry.example.com/data:1",
        "imagePullSecrets": [PAYROLL],
    },
    "tuning/preset": {"name": "phi-4", "presetOptions": {"modelAccessSecret": PAYROLL}},
}
ANNOTATED_SECRETS = ("signing-secret", "notify-secret", "api-keys-secret", "data-secret")


def changes_naming(place: str) -> dict[str, Any]:
    if place in NAMED_SECRETS:
        return {place: NAMED_SECRETS[place]}
    annotations = {f"{PREFIX}provider": "existing", f"{PREFIX}{place}": PAYROLL}
    return {"metadata/annotations": annotations}


@pytest.mark.parametrize("place", [*NAMED_SECRETS, *ANNOTATED_SECRETS])
def test_a_secret_that_is_not_allowed_is_refused_and_not_looked_for(
    acting: Acting, cluster: Cluster, place: str
) -> None:
    acting.apply(changes_naming(place))
    acting.look()
    refused = acting.condition("Planned")
    assert acting.runs == []
    assert f"{PAYROLL!r}" in refused[2]
    # Whether there is one would be told to who may not ask.
    metadata = {"name": PAYROLL, "namespace": NAMESPACE}
    cluster.put({"apiVersion": "v1", "kind": "Secret", "metadata": metadata})
    acting.look()
    assert acting.condition("Planned") == refused
    assert not [each for each in cluster.requests if f"/secrets/{PAYROLL}" in each]


@pytest.mark.parametrize("name", ["../secrets/payroll", "..", "other/configmaps/x", "a" * 254])
def test_only_what_can_be_a_config_map_is_asked_for(
    acting: Acting, cluster: Cluster, name: str
) -> None:
    acting.apply({"tuning/config": name})
    acting.look()
    assert acting.runs == []
    assert "tuning.config: " in acting.condition("Planned")[2]
    assert [each for each in cluster.requests if "/configmaps/" in each] == []


TEXTS = {
    "template": "{{workflow.parameters.urls}}",
    "expression": "{{=1+1}}",
    "escapes": ESCAPES,
    "long": "a" * 300 + "\n- b",
    "variable": "$(HOME)",
    "dollars": "$$",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_every_setting_is_checked_as_that_of_a_file(acting: Acting, text: str) -> None:
    """What is left when all that is refused is taken out is a text, and arrives as it is."""
    names = [name for name in annotation_settings() if name != "provider"]
    while not acting.runs:
        annotations = {f"{PREFIX}{name}": text for name in names}
        acting.apply({"metadata/annotations": {f"{PREFIX}provider": "existing", **annotations}})
        acting.look()
        message = acting.condition("Planned")[2]
        refused = [each for each in names if f"{each}: " in message or f"{each}[" in message]
        assert refused or acting.runs, message
        names = [name for name in names if name not in refused]
    assert names == (["question"] if "$" in text else [])
    (run,) = acting.runs
    arguments = {each["name"]: each["value"] for each in run["spec"]["arguments"]["parameters"]}
    assert [arguments[name] for name in names] == [text] * len(names)


def put_foreign_service(cluster: Cluster) -> None:
    """A service that `argotune submit` has deployed."""
    serve(cluster)
    there = cluster.objects["Deployment", NAMESPACE, NAME]
    event = Event(time="2026-11-28T00:00:00Z", person="ann", run="my-model-aaaaa")
    known = InService(adapter=f"registry.example.com/a@sha256:{64 * 'a'}", event=event)
    metadata = {**there["metadata"], "annotations": known.annotations()}
    cluster.put({**there, "metadata": metadata})


def test_the_service_of_a_persons_run_is_not_replaced(acting: Acting, cluster: Cluster) -> None:
    put_foreign_service(cluster)
    acting.apply()
    acting.look()
    assert acting.runs == []
    assert acting.condition("Planned")[2] == (
        "metadata.name: 'my-model'; run my-model-aaaaa deployed the service of this name, and is no"
        " run of this Workspace: take another name, or have somebody who may change Deployments"
        " give it to this Workspace: kubectl annotate --overwrite -n team-a deployment my-model"
        " argotune.dev/workspace-uid=uid-1"
    )
    acting.annotate(deploy_to="none")
    acting.look()
    assert len(acting.runs) == 1


def test_it_is_given_to_the_workspace_by_who_may_change_it(
    acting: Acting, cluster: Cluster
) -> None:
    put_foreign_service(cluster)
    there = cluster.objects["Deployment", NAMESPACE, NAME]
    there["metadata"]["annotations"][WORKSPACE_UID] = "uid-1"
    acting.apply()
    acting.look()
    assert len(acting.runs) == 1


def test_the_service_of_a_persons_run_is_not_rolled_back_and_stays(
    acting: Acting, cluster: Cluster
) -> None:
    put_foreign_service(cluster)
    acting.apply()
    acting.annotate(rollback="v1")
    acting.look()
    assert acting.runs == []
    assert "NoRollback" in [reason for reason, _ in acting.said]
    acting.delete()
    acting.look()
    assert ("Workspace", *KEY) not in cluster.objects
    assert len(cluster.of_kind("Deployment")) == 1
    assert acting.said[-1] == (
        "ServiceStays",
        "service my-model stays: run my-model-aaaaa deployed it, which is not this Workspace's",
    )


def put_foreign_run(acting: Acting) -> str:
    """The run of a person, of the same workspace's name, that waits for its approval."""
    name = awaiting(acting)
    run = acting.cluster.objects["Workflow", NAMESPACE, name]
    metadata = {each: it for each, it in run["metadata"].items() if each != "ownerReferences"}
    metadata["annotations"] = {
        each: it for each, it in metadata["annotations"].items() if each != WORKSPACE_UID
    }
    acting.cluster.put({**run, "metadata": metadata})
    return name


@pytest.mark.parametrize("word", ["approve", "reject"])
def test_the_run_of_a_person_is_not_answered(acting: Acting, word: str) -> None:
    name = put_foreign_run(acting)
    acting.annotate(**{word: name})
    acting.look()
    node = acting.cluster.objects["Workflow", NAMESPACE, name]["status"]["nodes"]["approve"]
    assert node["phase"] == "Running"


def test_the_run_of_its_schedule_is_answered(acting: Acting) -> None:
    name = put_foreign_run(acting)
    run = acting.cluster.objects["Workflow", NAMESPACE, name]
    run["metadata"]["annotations"][WORKSPACE_UID] = "uid-1"
    acting.annotate(approve=name)
    acting.look()
    assert decision(acting, name) == "approve"


def test_the_run_of_a_person_goes_on_whatever_the_workspace_says(acting: Acting) -> None:
    name = put_foreign_run(acting)
    there = acting.workspace
    noted = {**there["metadata"]["annotations"], RUN: "of-somebody-else"}
    acting.cluster.put({**there, "metadata": {**there["metadata"], "annotations": noted}})
    acting.annotate(suspend="true")
    acting.look()
    acting.delete()
    acting.look()
    spec = acting.cluster.objects["Workflow", NAMESPACE, name]["spec"]
    assert (spec.get("shutdown"), spec.get("suspend")) == (None, None)
    assert ("Workspace", *KEY) not in acting.cluster.objects


def foreign_schedule(acting: Acting) -> Object:
    """The schedule of a person, and a Workspace that says that it is its own."""
    acting.apply()
    acting.annotate(schedule="@daily")
    acting.look()
    (cron,) = acting.cluster.of_kind("CronWorkflow")
    annotations = {
        name: it for name, it in cron["metadata"]["annotations"].items() if name != WORKSPACE_UID
    }
    return acting.cluster.put(
        {**cron, "metadata": {**cron["metadata"], "annotations": annotations}}
    )


def test_the_schedule_of_a_person_is_not_changed_paused_nor_deleted(acting: Acting) -> None:
    cron = foreign_schedule(acting)
    acting.annotate(schedule="@hourly")
    acting.look()
    assert "CronWorkflow retrain-my-model: is there" in acting.condition("Planned")[2]
    acting.annotate(suspend="true")
    acting.look()
    acting.annotate(schedule=None)
    acting.look()
    assert acting.cluster.of_kind("CronWorkflow") == [cron]
    (run,) = acting.runs
    acting.play(run["metadata"]["name"], phase="Succeeded")
    acting.delete()
    acting.look()
    assert ("Workspace", *KEY) not in acting.cluster.objects
    assert acting.cluster.of_kind("CronWorkflow") == [cron]


def test_what_others_wrote_steers_no_terminal_and_shows_no_token(acting: Acting) -> None:
    name = awaiting(acting)
    token = "https://example.com/x?sig=hunter2"
    acting.annotate(approve=f"{name} {ESCAPES}\nWarning {token}")
    acting.look()
    acting.play(name, phase="Failed", message=f"{ESCAPES} {token}", nodes={})
    acting.look()
    texts = [message for _, message in acting.said]
    texts += [each["message"] for each in acting.workspace["status"]["conditions"]]
    assert len([text for text in texts if "owned" in text]) > 3
    for text in texts:
        assert text == printable(text)
        assert "\n" not in text
        assert "hunter2" not in text


def test_an_event_has_a_name_whatever_the_workspace_is_called(acting: Acting) -> None:
    """A server refuses others, and without its Event a refusal would never be said."""
    name = f"{'a' * 49}.b"
    acting.apply({"metadata/name": name})
    acting.look((NAMESPACE, name))
    begins = {event["metadata"]["generateName"] for event in acting.cluster.events}
    assert begins
    assert all(is_dns_subdomain(f"{each}x7k2p") for each in begins)


LIMITS = {"provider": "karpenter", "max-cost-usd": "50", "node-lifetime-seconds": "7200"}


@pytest.fixture
def with_karpenter(acting: Acting, cluster: Cluster) -> Acting:
    decide(
        cluster.objects["WorkflowTemplate", NAMESPACE, "finetune"],
        karpenter_node_class="AKSNodeClass/gpu",
    )
    put_gc(cluster, karpenter_node_class="AKSNodeClass/gpu")
    return acting


def test_the_limits_of_cost_and_time_hold_as_for_a_file(with_karpenter: Acting) -> None:
    acting = with_karpenter
    annotations = {f"{PREFIX}{name}": text for name, text in LIMITS.items()}
    acting.apply({"metadata/annotations": {**annotations, f"{PREFIX}max-cost-usd": "0.1"}})
    acting.look()
    assert acting.runs == []
    assert (
        "max-cost-usd: 0.1, but by its plan the run costs at least"
        in (acting.condition("Planned")[2])
    )
    acting.apply({"metadata/annotations": annotations})
    acting.look()
    (run,) = acting.runs
    given = run["spec"]["arguments"]["parameters"]
    assert LIMITS.items() <= {each["name"]: each["value"] for each in given}.items()


def test_a_run_whose_node_no_gc_would_delete_is_refused(
    with_karpenter: Acting, cluster: Cluster
) -> None:
    acting = with_karpenter
    cluster.take("CronWorkflow", NAMESPACE, "gc")
    acting.apply({"metadata/annotations": {f"{PREFIX}provider": "karpenter"}})
    acting.look()
    assert acting.runs == []
    assert "nothing would delete it" in acting.condition("Planned")[2]
