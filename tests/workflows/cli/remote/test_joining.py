"""An adapter that joined a service, as the commands show it and take it out, and before its run."""

from __future__ import annotations

import json
from typing import Any

import pytest

from argotune.presets.loader import model_preset
from argotune.steps.contracts.in_service import InService
from argotune.workflows.cli.login import Login
from argotune.workflows.cli.remote.cluster import Cluster as Remote
from argotune.workflows.cli.remote.rollback import begin_rollback
from tests.fakes.kube import Cluster
from tests.workflows.cli.command import Argotune
from tests.workflows.cli.commands.test_rollback import KNOWN, installed
from tests.workflows.cli.conftest import Write
from tests.workflows.workspace.helpers import changed

__all__ = ["installed"]

BASE = "presets/argotune--tiny/another"
OF = ("-n", "team-a")
JOINED = InService(
    adapter=f"acr.io/team/other@sha256:{64 * 'c'}",
    version="v2",
    previous=f"acr.io/team/other@sha256:{64 * 'd'}",
    settings={"serve-with": "phi", "question": "Who?", "api-keys-secret": "clients"},
)


@pytest.fixture
def joined(installed: Cluster) -> Cluster:
    """Service phi with one server, which adapter other has joined."""
    service = installed.objects["Deployment", "team-a", "phi"]
    annotations = {**KNOWN.annotations(), "joined.argotune.dev/other": dumped(JOINED)}
    service["metadata"] |= {"annotations": annotations, "creationTimestamp": "2026-01-01T00:00:00Z"}
    flags = [f"--model-dir=/argotune/models/{BASE}", "--adapters-dir=/argotune/models/joined/phi"]
    service["spec"] = {
        "replicas": 1,
        "template": {"spec": {"containers": [{"args": flags}], "volumes": []}},
    }
    service["status"] = {"readyReplicas": 1}
    return installed


def dumped(known: InService) -> str:
    return json.dumps(known.annotations())


def test_both_names_are_shown_with_the_service_that_answers(
    joined: Cluster, argotune: Argotune
) -> None:
    rows = [line.split() for line in argotune("status", *OF).out.splitlines()[1:3]]
    assert [(row[0], row[-3:-1]) for row in rows] == [
        ("other", ["True", "True"]),
        ("phi", ["True", "True"]),
    ]
    assert argotune("status", "other", *OF).out.splitlines()[:3] == [
        "service: http://phi.team-a.svc, 1 of 1 ready",
        "model in requests: other, which joined the service phi",
        'ask it: argotune chat other "A question" -n team-a',
    ]
    assert "adapters that joined it: other" in argotune("status", "phi", *OF).out.splitlines()


def test_chat_asks_the_servers_of_the_service(joined: Cluster, argotune: Argotune) -> None:
    answer = argotune("chat", "other", "Who?", *OF)
    assert (answer.code, answer.err) == (
        2,
        "error: 'other': no server of this service is ready in namespace team-a; look with"
        " `kubectl get pods -l argotune.dev/service=phi -n team-a`\n",
    )


def test_a_rollback_joins_the_same_service(joined: Cluster) -> None:
    begin_rollback(Remote(), "other", None, Login())
    given = arguments(joined)
    assert (given["name"], given["serve-with"], given["leave"]) == ("other", "phi", "false")
    assert given["reference"] == JOINED.previous


def test_stop_takes_out_the_adapter_alone(joined: Cluster, argotune: Argotune) -> None:
    answer = argotune("stop", "other", "--service", *OF)
    (made,) = joined.of_kind("Workflow")
    run = made["metadata"]["name"]
    assert (answer.code, answer.out) == (
        0,
        f"other: run {run} takes it out of service phi, which stays; `argotune status {run} -n"
        " team-a` shows it\n",
    )
    given = arguments(joined)
    assert (given["serve-with"], given["leave"]) == ("phi", "true")
    assert ("Deployment", "team-a", "phi") in joined.objects


def test_who_joined_a_service_is_said_when_it_goes(joined: Cluster, argotune: Argotune) -> None:
    answer = argotune("stop", "phi", "--service", *OF)
    assert (answer.code, answer.err) == (
        0,
        "warning: other joined service phi and go with it; the next run of each, with another"
        " serve-with or none, serves it again\n",
    )
    assert ("Deployment", "team-a", "phi") not in joined.objects


def test_an_adapter_that_joined_has_no_servers_to_start(
    joined: Cluster, argotune: Argotune
) -> None:
    answer = argotune("start", "other", *OF)
    assert (answer.code, answer.err) == (
        2,
        "error: 'other': joined service phi, which has the servers; `argotune start phi -n team-a`"
        " starts them\n",
    )


TINY = model_preset("tiny")


@pytest.mark.parametrize(
    ("given", "problems"),
    [
        (
            {"argotune.dev/serve-with": "nothing"},
            ["no service of this name in namespace team-a; there are phi"],
        ),
        (
            {"argotune.dev/serve-with": "phi", "argotune.dev/api-keys-secret": "argotune-api-keys"},
            ["it has no keys, and api-keys-secret is argotune-api-keys"],
        ),
    ],
)
def test_what_differs_is_refused_before_the_run(
    joined: Cluster,
    argotune: Argotune,
    write: Write,
    given: dict[str, str],
    problems: list[str],
) -> None:
    flags = container(joined)["args"]
    flags[0] = flags[0].replace(BASE, f"presets/argotune--tiny/{TINY.revision}")
    changes: dict[str, Any] = {"metadata/annotations": given, "tuning/preset/name": "tiny"}
    answer = argotune("submit", write("workspace.yaml", changed(changes)), *OF)
    name = given["argotune.dev/serve-with"]
    place = f"metadata.annotations.argotune.dev/serve-with: {name!r}: "
    assert (answer.code, answer.errors) == (2, [f"{place}{each}" for each in problems])
    assert joined.of_kind("Workflow") == []


def test_an_adapter_of_another_base_gets_a_service_of_its_own_with_the_reason(
    joined: Cluster, argotune: Argotune, write: Write
) -> None:
    given = {"argotune.dev/serve-with": "phi", "argotune.dev/service-memory": "3Gi"}
    changes: dict[str, Any] = {"metadata/annotations": given, "tuning/preset/name": "tiny"}
    answer = argotune("submit", write("workspace.yaml", changed(changes)), *OF)
    assert answer.code == 0
    assert [line for line in answer.err.splitlines() if "serve-with" in line] == [
        "warning: metadata.annotations.argotune.dev/serve-with: 'phi': it serves the base"
        f" {BASE}, and the adapter belongs to presets/argotune--tiny/{TINY.revision}; so the"
        " adapter gets a service of its own"
    ]
    # Which its settings are of.
    assert "no effect" not in answer.err
    (made,) = joined.of_kind("Workflow")
    values = {each["name"]: each["value"] for each in made["spec"]["arguments"]["parameters"]}
    assert (values["serve-with"], values["service-memory"]) == ("", "3Gi")


def container(cluster: Cluster) -> dict[str, Any]:
    pod = cluster.objects["Deployment", "team-a", "phi"]["spec"]["template"]["spec"]
    found: dict[str, Any] = pod["containers"][0]
    return found


def arguments(cluster: Cluster) -> dict[str, str]:
    (made,) = cluster.of_kind("Workflow")
    assert made["spec"]["workflowTemplateRef"] == {"name": "rollback"}
    return {each["name"]: each["value"] for each in made["spec"]["arguments"]["parameters"]}
