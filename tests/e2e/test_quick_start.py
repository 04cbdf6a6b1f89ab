"""Kaito's quick start on the operator that `argotune install --operator` brings: a Workspace is
applied, shown ready, asked, tuned on the data of another URL while clients go on asking, and
deleted. Two runs of the real steps, 4 minutes."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.e2e.cluster import Object, wait_for
from tests.e2e.doubles import OTHER_DATASET_FILE, Answer, Asked
from tests.e2e.operator import API
from tests.e2e.runs import ARGO
from tests.e2e.site import QUESTION, RUN_SECONDS, Site
from tests.e2e.stories import STORY_SECONDS, story

pytestmark = [pytest.mark.cluster, pytest.mark.shard5, pytest.mark.timeout(STORY_SECONDS)]

_NAME = "quick-start"
_CLIENTS = 4


@dataclass(frozen=True, kw_only=True)
class QuickStart:
    """What a user sees."""

    table: str
    wide: str
    service: Object
    answer: Answer
    served: list[str]
    """Reference of the adapter after each of the two runs."""
    requests: str
    """Log of the server of datasets."""
    asked: Asked
    """By clients while the second run went on."""
    runs: list[str]
    left: list[str]
    """KIND/NAME of what is there after the deletion."""


@story
def quick_start(site: Site) -> QuickStart:
    site.argotune("install", f"--namespace={site.namespace}", "--operator", seconds=RUN_SECONDS)
    file = site.directory / "workspace.yaml"
    file.write_text(site.workspace(_NAME))
    kubectl = site.cluster.kubectl
    kubectl("apply", "-f", str(file))
    _wait(site, "WorkspaceSucceeded", lambda: len(_runs(site)) == 1)
    table, wide = kubectl("get", "workspace"), kubectl("get", "workspace", "-o", "wide")
    service = site.cluster.read("v1", "services", _NAME)
    assert service is not None
    address = service["spec"]["clusterIP"]
    answer = site.doubles.ask(f"http://{address}/chat", QUESTION)
    served = [site.served(_NAME)]
    with site.doubles.keep_asking(f"http://{_NAME}/chat", QUESTION, clients=_CLIENTS) as asked:
        file.write_text(site.workspace(_NAME, url=site.other_dataset))
        kubectl("apply", "-f", str(file))
        wait_for("second run", lambda: len(_runs(site)) == 2, seconds=RUN_SECONDS)
        _wait(site, "WorkspaceSucceeded", lambda: site.served(_NAME) != served[0])
    served.append(site.served(_NAME))
    runs = _runs(site)
    kubectl("delete", "-f", str(file), f"--timeout={RUN_SECONDS}s", seconds=RUN_SECONDS)
    wait_for("end of the runs", lambda: not _runs(site), seconds=RUN_SECONDS)
    there = [f"runs/{name}" for name in _runs(site)]
    return QuickStart(
        table=table,
        wide=wide,
        service=service,
        answer=answer,
        served=served,
        requests=site.cluster.log("dataset"),
        asked=asked,
        runs=runs,
        left=[*site.service_objects(_NAME), *there],
    )


def _wait(site: Site, condition: str, further: Callable[[], bool]) -> None:
    def met() -> bool:
        found = site.cluster.read(API, "workspaces", _NAME)
        conditions = (found or {}).get("status", {}).get("conditions", [])
        holds = {each["type"]: each["status"] for each in conditions}
        return holds.get(condition) == "True" and further()

    def explain() -> str:
        return site.cluster.kubectl("describe", "workspace", _NAME)

    wait_for(condition, met, seconds=RUN_SECONDS, explain=explain)


def _runs(site: Site) -> list[str]:
    selector = f"argotune.dev/workspace={_NAME}"
    found = site.cluster.items(ARGO, "workflows", labelSelector=selector)
    return [str(item["metadata"]["name"]) for item in found]


def test_kubectl_shows_it_ready(quick_start: QuickStart) -> None:
    head, row = quick_start.table.splitlines()
    assert head.split() == [
        *("NAME", "INSTANCE", "RESOURCEREADY", "INFERENCEREADY", "WORKSPACEREADY", "AGE"),
    ]
    assert re.fullmatch(rf"{_NAME}\s+True\s+True\s+True\s+\S+", row.strip())
    assert quick_start.runs[0] in quick_start.wide or quick_start.runs[1] in quick_start.wide


def test_its_service_answers_at_its_address(quick_start: QuickStart) -> None:
    assert [port["port"] for port in quick_start.service["spec"]["ports"]] == [80]
    assert quick_start.answer.response


def test_a_changed_url_is_run_while_the_service_answers(quick_start: QuickStart) -> None:
    first, second = quick_start.served
    assert first != second
    assert f"/{OTHER_DATASET_FILE}" in quick_start.requests
    assert quick_start.asked.errors == {}
    assert sum(quick_start.asked.answers.values()) > 0
    assert len(quick_start.runs) == 2


def test_nothing_stays_of_a_deleted_one(quick_start: QuickStart) -> None:
    assert quick_start.left == []
