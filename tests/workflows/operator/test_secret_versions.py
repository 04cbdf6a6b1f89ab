"""What becomes of a Workspace when a Secret that it names appears, changes or goes away."""

from __future__ import annotations

import pytest

from argotune.workflows.operator.secret_versions import SECRETS
from tests.fakes.kube import Cluster
from tests.workflows.cli.status import node
from tests.workflows.operator.acting import NAMESPACE, Acting

PUSH = "my-secret"


def change(cluster: Cluster, name: str = PUSH) -> None:
    """Do what `kubectl apply` of another Secret of the name does."""
    cluster.put(cluster.objects["Secret", NAMESPACE, name])


def end(acting: Acting, phase: str, step: str) -> str:
    """Let the newest run end with this step; returns the run's name."""
    name: str = acting.own["run"]
    acting.play(name, phase=phase, nodes={step: node(step, phase)})
    return name


@pytest.fixture
def begun(acting: Acting) -> Acting:
    """An operator that has begun a run."""
    acting.apply()
    acting.look()
    return acting


@pytest.mark.parametrize("step", ["model", "push", "deploy"])
def test_a_run_that_failed_in_a_step_with_the_secret_is_tried_again_once(
    begun: Acting, cluster: Cluster, step: str
) -> None:
    before = end(begun, "Failed", step)
    begun.look()
    assert len(begun.runs) == 1
    change(cluster)
    begun.look()
    begun.look()
    assert len(begun.runs) == 2
    assert begun.own["run"] != before
    said = dict(begun.said)["RunStarted"]
    assert said.endswith(f": run {before} failed, and a Secret that it used has changed")


def test_secrets_that_go_on_changing_begin_three_runs_at_most(
    begun: Acting, cluster: Cluster
) -> None:
    for _ in range(4):
        end(begun, "Failed", "push")
        change(cluster)
        begun.look()
    assert len(begun.runs) == 3
    told = dict(begun.said)["NotRunAgain"]
    assert told.endswith(
        "3 runs of this content are there already, so no other begins: another value of"
        " metadata.annotations.argotune.dev/rerun asks for one"
    )
    begun.look()
    assert [reason for reason, _ in begun.said].count("NotRunAgain") == 1
    begun.annotate(rerun="2")
    begun.look()
    assert len(begun.runs) == 4


def test_a_run_that_failed_for_another_reason_is_not(begun: Acting, cluster: Cluster) -> None:
    end(begun, "Failed", "tune")
    change(cluster)
    begun.look()
    assert len(begun.runs) == 1


def test_a_run_that_a_person_stopped_is_not(begun: Acting, cluster: Cluster) -> None:
    name: str = begun.own["run"]
    nodes = {"push": node("push", "Failed")}
    begun.play(name, phase="Failed", message="Stopped with strategy 'Stop'", nodes=nodes)
    change(cluster)
    begun.look()
    assert len(begun.runs) == 1


def test_a_run_that_ended_well_is_not_run_again_for_a_new_password(
    begun: Acting, cluster: Cluster
) -> None:
    end(begun, "Succeeded", "deploy")
    begun.look()
    noted = begun.workspace["metadata"]["annotations"][SECRETS]
    change(cluster)
    begun.look()
    assert len(begun.runs) == 1
    assert begun.workspace["metadata"]["annotations"][SECRETS] != noted
    assert begun.condition("Planned")[0] == "True"


def test_a_secret_that_changed_is_a_reason_to_plan(begun: Acting, cluster: Cluster) -> None:
    end(begun, "Succeeded", "deploy")
    cluster.take("WorkflowTemplate", NAMESPACE, "finetune")
    begun.look()
    assert begun.condition("Planned")[0] == "True"
    change(cluster)
    begun.look()
    assert "WorkflowTemplate finetune is not in" in begun.condition("Planned")[2]


def test_a_secret_that_goes_away_is_said_until_it_is_there_again(
    begun: Acting, cluster: Cluster
) -> None:
    end(begun, "Succeeded", "deploy")
    secret = cluster.take("Secret", NAMESPACE, PUSH)
    begun.look()
    assert begun.condition("Planned") == (
        "False",
        "Refused",
        f"tuning.output.imagePushSecret: '{PUSH}'; no Secret of this name is in namespace team-a",
    )
    assert [reason for reason, _ in begun.said] == ["RunStarted", "Refused"]
    cluster.put(secret)
    begun.look()
    assert begun.condition("Planned")[0] == "True"
    assert len(begun.runs) == 1


def test_one_that_changes_while_the_run_goes_on_counts_when_it_has_failed(
    begun: Acting, cluster: Cluster
) -> None:
    change(cluster)
    begun.look()
    assert len(begun.runs) == 1
    end(begun, "Failed", "push")
    begun.restart()
    begun.look()
    assert len(begun.runs) == 2


def test_a_suspended_workspace_waits_with_it(begun: Acting, cluster: Cluster) -> None:
    end(begun, "Failed", "push")
    change(cluster)
    begun.annotate(suspend="true")
    begun.look()
    assert len(begun.runs) == 1
    assert begun.condition("Planned")[1] == "Suspended"
    begun.annotate(suspend=None)
    begun.look()
    assert len(begun.runs) == 2


def test_where_a_secret_may_help_it_is_looked_for_each_minute(begun: Acting) -> None:
    waits = {}
    for step in ("push", "tune"):
        end(begun, "Failed", step)
        waits[step] = begun.look()
    assert waits == {"push": 60.0, "tune": 600.0}


@pytest.mark.parametrize(
    "text", [None, "edited", "[]", '{"push-secret": 3}', '{"push-secret": ["theirs", ""]}']
)
def test_a_workspace_without_a_readable_note_gets_one_and_no_run(
    begun: Acting, text: str | None
) -> None:
    noted = begun.workspace["metadata"]["annotations"][SECRETS]
    end(begun, "Failed", "push")
    metadata = begun.workspace["metadata"]
    annotations = {**metadata["annotations"], SECRETS: text}
    kept = {name: it for name, it in annotations.items() if it is not None}
    begun.cluster.put({**begun.workspace, "metadata": {**metadata, "annotations": kept}})
    begun.look()
    assert len(begun.runs) == 1
    assert begun.workspace["metadata"]["annotations"][SECRETS] == noted
