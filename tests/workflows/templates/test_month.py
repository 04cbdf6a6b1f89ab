"""March 2026 of a workspace on a schedule, on the engine: what becomes of each night.

The CronWorkflow is the rendered one, and so are the templates; the steps are the real ones but for
those that tests/fakes/retraining.py names. On the 29th the clocks go on from 2:00 to 3:00.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tests.fakes.http import file_server
from tests.fakes.retraining import ZONE, Retraining

SCHEDULE = "30 2 * * *"
_NO_GPU = {"plan", "dataset", "release"}
"""The steps of a run that costs no node."""

Change = Callable[[Retraining], None]


def at(day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2026, 3, day, hour, minute, tzinfo=ZONE)


@dataclass(frozen=True, kw_only=True)
class Left:
    """What stands in the evening, in the registry and in the records for schedules."""

    live: str = ""
    previous: str = ""
    tuned_last: str = ""
    """The version of whose data a schedule makes no other."""
    rejected: int = 0
    """Adapters with a tag of rejected ones."""
    rejection: str = ""
    """The last one on record: by the gate and which version it lost to, or by a person."""


def nothing(world: Retraining) -> None:
    """A day like the one before."""


def data(loss: float) -> Change:
    return lambda world: world.put_data(loss)


def settings(**changed: str) -> Change:
    return lambda world: world.set(**changed)


def roll_back(version: str) -> Change:
    return lambda world: world.roll_back(version)


def bad_hosts_day(world: Retraining) -> None:
    world.put_data(0.9)
    world.break_host()


def slow_training(world: Retraining) -> None:
    world.put_data(1.4)
    world.tuning_seconds = 30 * 3600


def fast_again(world: Retraining) -> None:
    world.tuning_seconds = 0.0


def bad_model_that_fails_the_run(world: Retraining) -> None:
    world.put_data(3.0)
    # Nobody is asked to approve it.
    world.set(on_rejected="fail", approval="required")


def approval_that_nobody_gives(world: Retraining) -> None:
    world.put_data(1.3)
    world.set(approval="required", approval_timeout_seconds=str(60 * 3600))


def approval_by_ann(world: Retraining) -> None:
    world.put_data(1.2)
    world.answer_at(at(23, 10), "approve")


def half_an_hour_down(world: Retraining) -> None:
    world.put_data(1.1)
    world.set()
    world.miss(at(25, 2, 15), at(25, 2, 45))


def a_morning_down(world: Retraining) -> None:
    world.put_data(1.0)
    world.miss(at(26, 2, 15), at(26, 9))


# Of each day what changes before its night, how the night's run ends, and what is left by then.
V1 = Left(live="v1", tuned_last="v1")
V2 = Left(live="v2", previous="v1", tuned_last="v2")
LOST = Left(live="v2", previous="v1", tuned_last="v2", rejected=1, rejection="gate v2")
V3 = Left(live="v3", previous="v2", tuned_last="v3", rejected=2, rejection="gate v2")
BACK = Left(live="v2", previous="v3", tuned_last="v3", rejected=2, rejection="gate v2")
BACK_LOST = Left(live="v2", previous="v3", tuned_last="v3", rejected=3, rejection="gate v2")
V4 = Left(live="v4", previous="v1", tuned_last="v4", rejected=3, rejection="gate v2")
V5 = Left(live="v5", previous="v4", tuned_last="v5", rejected=3, rejection="gate v2")
FAILED = Left(live="v5", previous="v4", tuned_last="v5", rejected=4, rejection="gate v5")
NOT_APPROVED = Left(live="v5", previous="v4", tuned_last="v5", rejected=5, rejection="person")
V6 = Left(live="v6", previous="v5", tuned_last="v6", rejected=5, rejection="person")
V7 = Left(live="v7", previous="v6", tuned_last="v7", rejected=5, rejection="person")
V8 = Left(live="v8", previous="v7", tuned_last="v8", rejected=5, rejection="person")
V9 = Left(live="v9", previous="v8", tuned_last="v9", rejected=5, rejection="person")
MONTH: tuple[tuple[Change, str, Left], ...] = (
    (data(2.0), "v1", V1),
    (nothing, "unchanged", V1),
    (data(1.5), "v2", V2),
    (bad_hosts_day, "Failed: dataset", V2),
    (data(1.5), "unchanged", V2),
    (data(3.0), "kept v2", LOST),
    (nothing, "unchanged", LOST),
    (data(1.55), "kept v2", Left(**{**vars(LOST), "rejected": 2})),
    (settings(min_improvement_over_live="-0.1"), "v3", V3),
    (settings(), "unchanged", V3),
    (roll_back("v2"), "unchanged", BACK),
    (data(1.8), "kept v2", BACK_LOST),
    (roll_back("v1"), "v4", V4),
    (slow_training, "v5", V5),
    (fast_again, "no run", V5),
    (nothing, "unchanged", V5),
    (bad_model_that_fails_the_run, "Failed: reject", FAILED),
    (approval_that_nobody_gives, "nobody decided in time", NOT_APPROVED),
    (nothing, "no run", NOT_APPROVED),
    (nothing, "no run", NOT_APPROVED),
    (nothing, "unchanged", NOT_APPROVED),
    (approval_by_ann, "v6", V6),
    (nothing, "no run", V6),
    (nothing, "unchanged", V6),
    (half_an_hour_down, "v7", V7),
    (a_morning_down, "no run", V7),
    (nothing, "v8", V8),
    (lambda world: world.pause(), "no run", V8),
    (lambda world: world.pause(is_paused=False), "no run", V8),
    (data(0.9), "v9", V9),
    (nothing, "unchanged", V9),
)


def outcome(world: Retraining, runs: int) -> str:
    """How the run of a night ended, if there was one."""
    begun = world.runs[runs:]
    if not begun:
        return "no run"
    (run,) = begun
    nodes = {node["name"]: node for node in run["status"]["nodes"].values()}
    if run["status"]["phase"] != "Succeeded":
        failed = {
            node["templateName"]
            for node in nodes.values()
            if (node["type"], node["phase"]) == ("Pod", "Failed")
        }
        return f"Failed: {', '.join(failed)}"
    parameters = nodes[run["metadata"]["name"]]["outputs"]["parameters"]
    said = {each["name"]: each["value"] for each in parameters}
    if set(world.pods.ran) <= _NO_GPU:
        return "unchanged"
    return said["version"] or said["outcome"] or said["approval-reason"]


def test_each_night_of_a_month_ends_as_said(tmp_path: Path) -> None:
    with file_server() as server:
        world = Retraining(tmp_path, server, SCHEDULE)
        live_through(world)


def test_nights_that_only_push_leave_the_tag_live_to_the_first_service(tmp_path: Path) -> None:
    pushed, v2 = Left(tuned_last="v1"), Left(live="v2", tuned_last="v2")
    with file_server() as server:
        world = Retraining(tmp_path, server, SCHEDULE)
        only_push = settings(deploy_to="none")
        world.put_data(2.0)
        live_through(
            world,
            # The same data are tuned on again when there is to be a service.
            [(only_push, "v1", pushed), (nothing, "unchanged", pushed), (settings(), "v2", v2)],
        )


def live_through(world: Retraining, nights: Sequence[tuple[Change, str, Left]] = MONTH) -> None:
    for day, (change, expected, left) in enumerate(nights, start=1):
        change(world)
        runs, world.pods.ran[:] = len(world.runs), []
        world.controller.go_on_to(at(day, 20))
        found = Left(**{name: getattr(world, name) for name in vars(left)})
        assert (day, outcome(world, runs), found) == (day, expected, left)
        assert world.served == world.live, "the schedule's record and the tag say the same"
