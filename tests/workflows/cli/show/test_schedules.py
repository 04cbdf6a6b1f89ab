"""When a CronWorkflow runs, and why it does not."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from argotune.workflows.cli.show.schedules import schedule_of
from tests.workflows.cli.cluster_workflows import cron_of

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
YESTERDAY = "2025-12-31T03:00:00Z"


def said(cron: dict[str, Any], *templates: str) -> str:
    return str(schedule_of(cron, templates or ("finetune",), NOW))


def test_a_schedule_says_when_it_ran_and_when_it_will() -> None:
    when = "retrain-my-model, 0 3 * * * Etc/UTC: "
    assert said(cron_of()) == f"{when}no run yet, next 2026-01-02 03:00"
    assert said(cron_of(lastScheduledTime=YESTERDAY)) == (
        f"{when}last 2025-12-31 03:00, next 2026-01-02 03:00"
    )


def test_argo_before_4_has_one_time() -> None:
    cron = cron_of()
    cron["spec"]["schedule"] = cron["spec"].pop("schedules")[0]
    assert said(cron).endswith("next 2026-01-02 03:00")


@pytest.mark.parametrize(
    ("spec", "status", "reason"),
    [
        ({"suspend": True}, {}, "paused"),
        (
            {"schedules": ["0 3 30 2 *"]},
            {},
            "'0 3 30 2 *': no month has that day, so it never runs",
        ),
        ({"timezone": "Mars/Phobos"}, {}, "'Mars/Phobos': no time zone of this name"),
        ({"schedules": []}, {}, "it has no schedule"),
        ({}, {"phase": "Stopped"}, "stopped by its stopStrategy"),
    ],
)
def test_a_schedule_that_does_not_run_says_why(
    spec: dict[str, Any], status: dict[str, Any], reason: str
) -> None:
    cron = cron_of(**status)
    cron["spec"] |= spec
    schedule = schedule_of(cron, ["finetune"], NOW)
    assert schedule.next is None
    assert schedule.reasons[0].startswith(reason)


def test_a_schedule_whose_template_is_missing_or_whose_name_is_long() -> None:
    assert said(cron_of(), "gc").endswith("; WorkflowTemplate finetune is not there")
    cron = cron_of()
    cron["metadata"]["name"] = 53 * "a"
    assert said(cron).endswith("; its name has 53 characters, and Argo runs none with more than 52")


def test_what_argo_says_is_wrong_with_it_is_told() -> None:
    conditions = [
        {"type": "SubmissionError", "status": "True", "message": "admission webhook denied it"},
        {"type": "SpecError", "status": "False", "message": "of old"},
    ]
    assert said(cron_of(conditions=conditions)).endswith(
        "; SubmissionError: admission webhook denied it"
    )
