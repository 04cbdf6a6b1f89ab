"""Cron expressions as Argo reads them, by robfig/cron's ParseStandard."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from argotune.workflows.workspace.manifests import random_name
from argotune.workflows.workspace.schedule import next_time, schedule_problems

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
"""A Thursday."""


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0 3 * * *", "2026-01-02T03:00"),
        ("*/20 * * * *", "2026-01-01T12:20"),
        ("50/5 * * * *", "2026-01-01T12:50"),
        ("7-59/10 * * * *", "2026-01-01T12:07"),
        ("0 0 ? * sun", "2026-01-04T00:00"),
        ("0 0 * feb,APR mon-fri", "2026-02-02T00:00"),
        # From a day to the end of the week, and no further.
        ("0 0 * * 3/2", "2026-01-02T00:00"),
        # A star with a step is no star to robfig: either day will do.
        ("0 0 */10 * 6", "2026-01-03T00:00"),
        ("0 0 29 2 *", "2028-02-29T00:00"),
        ("@weekly", "2026-01-04T00:00"),
        ("@midnight", "2026-01-02T00:00"),
    ],
)
def test_the_next_time_is_that_of_argo(expression: str, expected: str) -> None:
    assert schedule_problems("my-model", [expression], "Etc/UTC") == []
    found = next_time([expression], "Etc/UTC", NOW)
    assert found == datetime.fromisoformat(expected).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("expression", "before", "expected"),
    [
        # On 8 March 2020 at 2:00 the clocks went on to 3:00.
        ("59 1 * * *", "2020-03-07T08:00", ["07 01:59 PST", "08 01:59 PST", "09 01:59 PDT"]),
        ("0 2 * * *", "2020-03-07T08:00", ["07 02:00 PST", "09 02:00 PDT", "10 02:00 PDT"]),
        ("0 3 * * *", "2020-03-07T08:00", ["07 03:00 PST", "08 03:00 PDT", "09 03:00 PDT"]),
        # On 1 November at 2:00 they went back to 1:00.
        ("59 0 * * *", "2020-10-31T07:00", ["31 00:59 PDT", "01 00:59 PDT", "02 00:59 PST"]),
        ("0 1 * * *", "2020-10-31T07:00", ["31 01:00 PDT", "01 01:00 PDT", "01 01:00 PST"]),
        ("*/30 1 * * *", "2020-11-01T08:10", ["01 01:30 PDT", "01 01:00 PST", "01 01:30 PST"]),
        ("0 2 * * *", "2020-10-31T07:00", ["31 02:00 PDT", "01 02:00 PST", "02 02:00 PST"]),
    ],
)
def test_a_time_that_the_clocks_skip_or_repeat_is_as_in_argos_documentation(
    expression: str, before: str, expected: list[str]
) -> None:
    time, found = datetime.fromisoformat(f"{before}+00:00"), []
    for _ in expected:
        time = next_time([expression], "America/Los_Angeles", time)
        found.append(f"{time:%d %H:%M %Z}")
    assert found == expected


def test_the_first_of_several_schedules_counts_in_its_time_zone() -> None:
    found = next_time(["0 3 * * *", "30 13 * * *"], "Europe/Berlin", NOW)
    assert found.isoformat() == "2026-01-01T13:30:00+01:00"


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("", "accepted are five fields"),
        ("every night", "accepted are five fields"),
        ("0 3 * *", "accepted are five fields"),
        # Seconds, which robfig's standard parser does not have.
        ("0 0 3 * * *", "accepted are five fields"),
        ("@reboot", "accepted are five fields"),
        ("60 3 * * *", "minute '60'"),
        ("0 24 * * *", "hour '24'"),
        ("0 3 0 * *", "day-of-month '0'"),
        ("0 3 * 13 *", "month '13'"),
        # What cronsim and others read, and robfig does not.
        ("0 3 * * 7", "day-of-week '7'"),
        ("0 3 L * *", "day-of-month 'L'"),
        ("0 3 * * 5#2", "day-of-week '5#2'"),
        ("*/0 * * * *", "minute '*/0'"),
        ("5-1 * * * *", "minute '5-1'"),
        ("1,,2 * * * *", "minute '1,,2'"),
        ("-5 * * * *", "minute '-5'"),
        ("*/x * * * *", "minute '*/x'"),
        ("0 3 30 2 *", "no month has that day, so it never runs"),
        ("@every 1h", "@every counts from when Argo's controller began"),
        ("CRON_TZ=Asia/Tokyo 0 3 * * *", "the time zone is a field of its own"),
    ],
)
def test_an_expression_on_which_argo_never_runs(expression: str, problem: str) -> None:
    (found,) = schedule_problems("my-model", [expression], "Etc/UTC")
    assert found.startswith("schedule ")
    assert problem in found
    with pytest.raises(ValueError, match=r"accepted|no month has|of its own"):
        next_time([expression], "Etc/UTC", NOW)


@pytest.mark.parametrize("name", ["", "Mars/Phobos", "../etc/passwd", "Europe", "/etc/localtime"])
def test_a_time_zone_that_nobody_knows(name: str) -> None:
    assert schedule_problems("my-model", ["@daily"], name) == [
        f"--timezone {name!r}: no time zone of this name; accepted are names such as Etc/UTC and"
        " Europe/Berlin"
    ]


def test_a_name_that_argo_does_not_schedule() -> None:
    assert schedule_problems(44 * "a", ["@daily"], "Etc/UTC") == []
    (found,) = schedule_problems(45 * "a", ["@daily"], "Etc/UTC")
    assert "53 characters, and Argo runs none with more than 52" in found


@pytest.mark.parametrize("workspace", ["a", 57 * "a", 63 * "a"])
def test_a_runs_name_is_cut_to_what_a_label_takes_as_kubernetes_does(workspace: str) -> None:
    name = random_name(workspace)
    assert len(name) == min(63, len(workspace) + len("-x7k2p"))
    assert name[:-5] in (f"{workspace}-", workspace[:58])
