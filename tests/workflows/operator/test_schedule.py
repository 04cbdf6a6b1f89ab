"""The CronWorkflow that an annotation asks for."""

from __future__ import annotations

from typing import Any

import pytest

from tests.workflows.operator.acting import NAMESPACE, Acting

NAME = "retrain-my-model"


def crons(acting: Acting) -> list[dict[str, Any]]:
    return acting.cluster.of_kind("CronWorkflow")


@pytest.fixture
def scheduled(acting: Acting) -> Acting:
    acting.apply()
    acting.annotate(schedule="0 3 * * 1", schedule_timezone="Europe/Berlin")
    acting.look()
    return acting


def test_the_schedule_has_times_zone_and_arguments(scheduled: Acting) -> None:
    (cron,) = crons(scheduled)
    assert cron["metadata"]["name"] == NAME
    assert cron["spec"]["schedules"] == ["0 3 * * 1"]
    assert cron["spec"]["timezone"] == "Europe/Berlin"
    assert len(scheduled.runs) == 1


def test_it_follows_the_annotation_and_starts_no_run(scheduled: Acting) -> None:
    scheduled.annotate(schedule="@daily")
    scheduled.look()
    (cron,) = crons(scheduled)
    assert cron["spec"]["schedules"] == ["@daily"]
    assert len(scheduled.runs) == 1
    scheduled.annotate(schedule=None, schedule_timezone=None)
    scheduled.look()
    assert crons(scheduled) == []


def test_it_follows_the_content(scheduled: Acting) -> None:
    annotations = {
        "argotune.dev/provider": "existing",
        "argotune.dev/schedule": "0 3 * * 1",
    }
    scheduled.apply({"tuning/method": "qlora", "metadata/annotations": annotations})
    scheduled.look()
    (cron,) = crons(scheduled)
    parameters = cron["spec"]["workflowSpec"]["arguments"]["parameters"]
    assert {"name": "method", "value": "qlora"} in parameters


def test_it_is_paused_with_its_workspace(scheduled: Acting) -> None:
    for suspend, is_paused in (("true", True), (None, False)):
        scheduled.annotate(suspend=suspend)
        scheduled.look()
        (cron,) = crons(scheduled)
        assert bool(cron["spec"].get("suspend")) is is_paused


def test_it_goes_with_its_workspace(scheduled: Acting) -> None:
    (run,) = scheduled.runs
    scheduled.play(run["metadata"]["name"], phase="Succeeded")
    scheduled.delete()
    scheduled.look()
    assert crons(scheduled) == []
    assert ("Workspace", NAMESPACE, "my-model") not in scheduled.cluster.objects


@pytest.mark.parametrize(
    ("annotations", "said"),
    [
        ({"schedule": "0 3 * * 7"}, "argotune.dev/schedule: day-of-week '7': no such time"),
        (
            {"schedule": "@daily", "schedule_timezone": "Mars"},
            "metadata.annotations.argotune.dev/schedule-timezone: 'Mars': no time zone",
        ),
        ({"schedule_timezone": "Europe/Berlin"}, "which is missing"),
        ({"suspend": "yes"}, "argotune.dev/suspend: 'yes'; accepted is true or false"),
        ({"rollback": "3"}, "argotune.dev/rollback: '3'; accepted is a version such as v3"),
    ],
)
def test_a_wrong_annotation_is_refused(
    acting: Acting, annotations: dict[str, str], said: str
) -> None:
    acting.apply()
    acting.annotate(**annotations)
    acting.look()
    assert acting.runs == []
    assert said in acting.condition("Planned")[2]
