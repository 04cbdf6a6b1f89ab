"""The step notify: what a webhook gets, and what keeps it from arriving."""

from __future__ import annotations

import base64
import gzip
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from argotune.steps.common.clock import Clock
from argotune.steps.common.progress import Progress
from argotune.steps.notify.params import Params, Result
from argotune.steps.notify.run import run
from tests.fakes.kube import Cluster, serving
from tests.fakes.webhook import webhook

UID = "5f0c"


def node(name: str, phase: str = "Succeeded", message: str = "", **outputs: str) -> dict[str, Any]:
    parameters = [{"name": key.replace("_", "-"), "value": text} for key, text in outputs.items()]
    return {
        "id": name,
        "displayName": name,
        "type": "Pod",
        "phase": phase,
        "message": message,
        "finishedAt": "2026-01-01T00:00:07Z",
        "outputs": {"parameters": parameters},
    }


TUNE = node("tune", base_loss="2.5", tuned_loss="0.5")
DEPLOY = node("deploy", endpoint="http://mine.team-a.svc")
PUSH = node("push", reference="registry.example.com/mine@sha256:0", report="beside it")

WORSE = node("evaluate", verdict="rejected", reason="worse")


def workflow(*nodes: dict[str, Any]) -> dict[str, Any]:
    return {
        "kind": "Workflow",
        "metadata": {"name": "mine-abcde", "namespace": "team-a", "uid": UID},
        "status": {"phase": "Running", "nodes": {each["id"]: each for each in nodes}},
    }


def packed(run: dict[str, Any]) -> dict[str, Any]:
    """The run, with its nodes compressed as Argo does it."""
    nodes = json.dumps(run["status"]["nodes"]).encode()
    compressed = base64.b64encode(gzip.compress(nodes)).decode()
    return {**run, "status": {"phase": "Running", "compressedNodes": compressed}}


def notify(
    tmp_path: Path, *nodes: dict[str, Any], url: str, form: str = "", **more: Any
) -> tuple[Result, list[float]]:
    """Run the step over a run of this machine; also the seconds that it slept."""
    record = tmp_path / "workflow.json"
    record.write_text(json.dumps(workflow(*nodes)))
    given = {"status": "Succeeded", "allow_loopback": True, "run_record": record, **more}
    params = Params(run=UID, workflow="mine-abcde", namespace="team-a", workspace="mine", **given)
    slept: list[float] = []
    environ = {"ARGOTUNE_NOTIFY_URL": url, "ARGOTUNE_NOTIFY_FORMAT": form}
    clock = Clock(sleep=slept.append, wall=lambda: 0.0)
    return run(params, progress=Progress(), environ=environ, clock=clock), slept


def test_an_event_says_what_the_run_came_to(tmp_path: Path) -> None:
    deployed = node("deploy", version="v3", endpoint="http://mine.team-a.svc")
    with webhook() as inbox:
        result, _ = notify(tmp_path, TUNE, PUSH, deployed, url=inbox.url)
    assert result == Result(sent="finished", problem="")
    (call,) = inbox.calls
    assert call.content_type == "application/cloudevents+json"
    assert call.message == {
        "specversion": "1.0",
        "id": f"{UID}.finished",
        "source": "/argotune/namespaces/team-a/workspaces/mine",
        "type": "dev.argotune.run.finished",
        "subject": "mine-abcde",
        "time": "1970-01-01T00:00:00Z",
        "datacontenttype": "application/json",
        "data": {
            "workspace": "mine",
            "run": "mine-abcde",
            "namespace": "team-a",
            "outcome": "finished",
            "reason": "",
            "base-loss": "2.5",
            "tuned-loss": "0.5",
            "reference": "registry.example.com/mine@sha256:0",
            "report": "beside it",
            "version": "v3",
        },
    }


def test_slack_gets_text_in_which_nothing_is_markup(tmp_path: Path) -> None:
    gate = node("evaluate", verdict="rejected", reason="<!channel> & worse")
    with webhook() as inbox:
        result, _ = notify(tmp_path, TUNE, gate, PUSH, url=inbox.url, form="slack")
    assert result.sent == "rejected"
    (call,) = inbox.calls
    assert call.content_type == "application/json"
    head = "mine: run mine-abcde was rejected; what is in service stays"
    assert call.message["text"] == head
    text = call.message["blocks"][0]["text"]
    assert text["type"] == "mrkdwn"
    assert text["text"].splitlines() == [
        f"*{head}*",
        "&lt;!channel&gt; &amp; worse",
        "base-loss: 2.5",
        "tuned-loss: 0.5",
        "reference: registry.example.com/mine@sha256:0",
        "report: beside it",
    ]


@pytest.mark.parametrize(
    ("nodes", "status", "sent", "reason"),
    [
        ([PUSH], "", "awaiting-approval", ""),
        (
            [node("tune(0)", "Failed", "main: Error (exit code 3): a\nerror: no luck"), PUSH],
            "Failed",
            "failed",
            "tune: error: no luck",
        ),
        ([WORSE, PUSH], "Succeeded", "rejected", "worse"),
        (
            [WORSE, PUSH, node("reject", "Failed", "kept v3: worse, and on-rejected is fail")],
            "Failed",
            "rejected",
            "reject: kept v3: worse, and on-rejected is fail",
        ),
        (
            [WORSE, node("push", "Failed", "registry.example.com is down", reference="")],
            "Failed",
            "failed",
            "push: registry.example.com is down",
        ),
        ([node("approve", decision="reject", reason="worse")], "Succeeded", "rejected", "worse"),
        ([node("approve", decision="approve", reason="good"), DEPLOY], "Succeeded", "finished", ""),
        ([PUSH, node("deploy", endpoint="", version="v3")], "Succeeded", "pushed", ""),
    ],
    ids=[
        "waits",
        "failed",
        "rejected",
        "rejected and fails",
        "not sent",
        "rejected by a person",
        "approved",
        "only pushed",
    ],
)
def test_the_outcome_is_that_of_the_steps(
    tmp_path: Path, nodes: list[dict[str, Any]], status: str, sent: str, reason: str
) -> None:
    with webhook() as inbox:
        result, _ = notify(tmp_path, *nodes, url=inbox.url, status=status)
    assert (result.sent, inbox.calls[0].message["data"]["reason"]) == (sent, reason)


def test_a_run_that_changed_nothing_is_no_news(tmp_path: Path) -> None:
    with webhook() as inbox:
        result, _ = notify(tmp_path, node("dataset", changed="false"), url=inbox.url)
    assert result == Result(
        sent="", problem="data and plan are those of an adapter that was deployed or rejected"
    )
    assert inbox.calls == []


def test_a_webhook_that_fails_is_tried_again_and_fails_nothing(tmp_path: Path) -> None:
    with webhook(503, 429) as inbox:
        result, slept = notify(tmp_path, DEPLOY, url=inbox.url)
    assert (result.sent, len(inbox.calls), slept) == ("finished", 3, [2.0, 4.0])
    with webhook(500, 500, 500) as inbox:
        result, _ = notify(tmp_path, DEPLOY, url=inbox.url)
    assert (result.problem, len(inbox.calls)) == ("127.0.0.1: it answers 500", 3)
    with webhook(404) as inbox:
        result, _ = notify(tmp_path, DEPLOY, url=inbox.url)
    assert (result.problem, len(inbox.calls)) == ("127.0.0.1: it answers 404", 1)
    result, slept = notify(tmp_path, DEPLOY, url=inbox.url)
    assert (result.problem, len(slept)) == ("127.0.0.1: ConnectError", 2)


def test_what_a_webhook_answers_beside_its_status_is_not_read(tmp_path: Path) -> None:
    with webhook(200) as inbox:
        inbox.headers = {"Content-Encoding": "gzip", "Content-Length": str(10**12)}
        inbox.body = b"ok"
        result, slept = notify(tmp_path, DEPLOY, url=inbox.url)
    assert (result.sent, len(inbox.calls), slept) == ("finished", 1, [])


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", "the Secret that notify-secret names is missing or has no key url"),
        ("hello", "the Secret's url is no https URL"),
        ("https://10.0.0.8/secret-path", "10.0.0.8: 10.0.0.8 is an internal or special address"),
        ("https://kubernetes.default.svc/secret-path", "kubernetes.default.svc: "),
        ("http://example.com/secret-path", "example.com: http is not accepted here; use https"),
        ("http://127.0.0.1/secret-path", "127.0.0.1: "),
    ],
)
def test_what_is_inside_the_network_gets_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, url: str, problem: str
) -> None:
    with caplog.at_level(logging.INFO):
        result, _ = notify(tmp_path, url=url, allow_loopback=False)
    assert result.sent == ""
    assert result.problem.startswith(problem)
    assert "secret-path" not in caplog.text + result.problem


def test_an_allowed_host_may_be_inside_and_without_tls(tmp_path: Path) -> None:
    with webhook() as inbox:
        host = inbox.url.partition("//")[2].partition("/")[0]
        result, _ = notify(
            tmp_path, DEPLOY, url=inbox.url, allow_loopback=False, allowed_hosts=(host,)
        )
    assert result.sent == "finished"


def test_an_allowed_host_without_a_port_in_the_url_is_asked_at_the_schemes(tmp_path: Path) -> None:
    allowed = {"allow_loopback": False, "allowed_hosts": ("127.0.0.1:80",)}
    result, _ = notify(tmp_path, DEPLOY, url="http://127.0.0.1/hook", **allowed)
    # Whatever is there, if anything is.
    assert "http is not accepted" not in result.problem
    refused = {**allowed, "allowed_hosts": ("127.0.0.1:443",)}
    result, _ = notify(tmp_path, DEPLOY, url="http://127.0.0.1/hook", **refused)
    assert "http is not accepted" in result.problem


def test_the_secrets_url_is_in_no_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "argotune"), webhook(500, 500, 500) as inbox:
        result, _ = notify(tmp_path, DEPLOY, url=inbox.url)
    assert "not-sent" in caplog.text
    assert "secret" not in caplog.text.replace("Secret", "") + result.problem


def test_a_format_that_is_none_is_named(tmp_path: Path) -> None:
    result, _ = notify(tmp_path, url="https://example.com/", form="teams")
    assert result.problem == "the Secret's format is 'teams'; accepted are slack and cloudevents"


def test_on_a_cluster_the_run_is_read_from_the_api_server(tmp_path: Path) -> None:
    cluster = Cluster()
    cluster.put(packed(workflow(TUNE, DEPLOY)))
    with serving(cluster) as kube, webhook() as inbox:
        environ = {"ARGOTUNE_NOTIFY_URL": inbox.url}
        params = Params(
            run=UID,
            workflow="mine-abcde",
            namespace="team-a",
            workspace="mine",
            status="Succeeded",
            allow_loopback=True,
        )
        result = run(params, progress=Progress(), kube=kube, environ=environ)
    assert result.sent == "finished"
    assert inbox.calls[0].message["data"]["tuned-loss"] == "0.5"


def test_a_run_that_cannot_be_read_is_told_of_without_its_results(tmp_path: Path) -> None:
    with webhook() as inbox:
        result, _ = notify(
            tmp_path, url=inbox.url, status="Failed", run_record=tmp_path / "missing"
        )
    assert (result.sent, inbox.calls[0].message["data"]["reason"]) == ("failed", "")


def test_only_a_run_whose_deploy_is_known_is_said_to_be_in_service(tmp_path: Path) -> None:
    with webhook() as inbox:
        result, _ = notify(tmp_path, url=inbox.url, form="slack", run_record=tmp_path / "missing")
    assert result.sent == "ended"
    said = "mine: run mine-abcde ended Succeeded; its results could not be read"
    assert inbox.calls[0].message["text"] == said
