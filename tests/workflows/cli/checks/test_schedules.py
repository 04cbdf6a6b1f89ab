from __future__ import annotations

from argotune.workflows.cli.checks import schedules
from tests.fakes.api_server import ApiServer
from tests.workflows.cli.checks.cluster import healthy, look, messages
from tests.workflows.cli.cluster_workflows import cron_of


def with_schedule(*, suspend: bool = False, **status: object) -> ApiServer:
    cluster = healthy()
    cron = cron_of(**status)
    cron["spec"]["suspend"] = suspend
    cluster.put(cron)
    return cluster


def test_a_schedule_that_runs() -> None:
    (found,) = messages(look(with_schedule(), schedules.schedules))
    assert found.startswith("ok: schedule retrain-my-model, 0 3 * * * Etc/UTC: no run yet, next 2")


def test_a_suspended_schedule_is_no_fault() -> None:
    (found,) = look(with_schedule(suspend=True), schedules.schedules)
    assert (found.level, found.command) == ("info", "argo cron resume retrain-my-model -n team-a")


def test_a_schedule_that_argo_cannot_run() -> None:
    error = {"type": "SubmissionError", "status": "True", "message": "policy says no"}
    (found,) = look(with_schedule(conditions=[error]), schedules.schedules)
    assert found.level == "warning"
    assert found.message.endswith("; SubmissionError: policy says no")


def test_gc_is_told_of_where_it_runs() -> None:
    cluster = healthy()
    assert look(cluster, schedules.schedules) == []
    (path,) = [path for path in cluster.objects if path.endswith("/cronworkflows/gc")]
    cluster.objects[path]["spec"]["suspend"] = False
    (found,) = messages(look(cluster, schedules.schedules))
    assert found.startswith("ok: schedule gc, 7-59/10 * * * * Etc/UTC: ")
