"""A run that may cost so much: what it spends, and who ends it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from argotune.steps.common.errors import ParamsError, PermanentError
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.stop_time import KEY
from argotune.steps.nodes.cost_limit import reserve_seconds
from argotune.steps.nodes.made_node import spent_usd
from argotune.steps.release.params import Params as ReleaseParams
from argotune.steps.release.run import run as release
from argotune.steps.watch.params import Result
from tests.fakes.kube import Fault, serving
from tests.steps.nodes.karpenter.world import RUN, START
from tests.steps.watch.test_run import (
    FIRST,
    HOUR,
    Karpenter,
    has_had,
    params,
    tuned,
    written,
)

LIMIT_USD = 2.0
MINUTE_USD = 3.673 / 60
RESERVE_SECONDS = reserve_seconds(ends_by_itself=True)
CONFIG_MAP = ("ConfigMap", "team", "phi-abc-stop")


@pytest.fixture
def tuning() -> Karpenter:
    made = Karpenter()
    has_had(made, FIRST)
    return made


def told(tuning: Karpenter) -> datetime | None:
    """The time that tune reads; None where nobody has told it one."""
    found = tuning.cluster.objects.get(CONFIG_MAP)
    return None if found is None else datetime.fromisoformat(found["data"][KEY])


def ends_by_itself(tuning: Karpenter, *, after_seconds: float = 90.0) -> None:
    """A tune that sees its time in the file, and needs so long for its export and its pod's end."""

    def look() -> None:
        ends_at = told(tuning)
        if ends_at is not None and tuning.world.now() >= ends_at:
            tuning.world.after(after_seconds, lambda: tuned(tuning.cluster))
        else:
            tuning.world.after(5, look)

    tuning.world.after(5, look)


def watch(tuning: Karpenter, **changes: Any) -> Result:
    return tuning.watch(**{"max_cost_usd": LIMIT_USD, "at_cost_limit": "push"} | changes)


def released(tuning: Karpenter) -> None:
    """The exit handler of a run that was stopped, a minute later."""
    tuning.world.sleep(60)
    with serving(tuning.cluster) as kube:
        release(
            ReleaseParams(
                provider="karpenter",
                run=RUN,
                workflow="phi-abc",
                namespace="team",
                status="Failed",
            ),
            progress=Progress(),
            provider=tuning.world.provider(kube),
            kube=kube,
            clock=tuning.clock,
        )


def spent(tuning: Karpenter) -> float:
    found = spent_usd(written(tuning), tuning.world.now())
    assert found is not None
    return found


def test_tune_is_told_when_to_end_and_the_node_goes_as_soon_as_it_has(tuning: Karpenter) -> None:
    ends_by_itself(tuning)
    result = watch(tuning)
    assert told(tuning) == START + timedelta(seconds=HOUR - RESERVE_SECONDS)
    assert "shutdown" not in tuning.cluster.objects[("Workflow", "team", "phi-abc")]["spec"]
    assert tuning.cluster.nodes == []
    (row,) = written(tuning)
    assert row.until is not None
    assert result.node_hours == pytest.approx(row.hours(START), abs=0.03)
    assert 0.5 * LIMIT_USD < spent(tuning) <= LIMIT_USD


def test_the_config_map_goes_with_the_run(tuning: Karpenter) -> None:
    ends_by_itself(tuning)
    watch(tuning)
    (owner,) = tuning.cluster.objects[CONFIG_MAP]["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("Workflow", "phi-abc", RUN)


def test_a_tune_that_does_not_end_by_itself_is_stopped_within_a_minute_of_the_limit(
    tuning: Karpenter,
) -> None:
    with pytest.raises(PermanentError, match=r"may cost 2 USD \(max-cost-usd\)"):
        watch(tuning)
    released(tuning)
    assert told(tuning) is not None
    assert tuning.cluster.nodes == []
    assert spent(tuning) <= LIMIT_USD + MINUTE_USD


def test_a_node_that_replaces_one_has_its_own_time(tuning: Karpenter) -> None:
    tuning.lose(after_seconds=HOUR / 4)
    times: list[datetime | None] = []
    tuning.world.after(HOUR / 4 - 1, lambda: times.append(told(tuning)))
    ends_by_itself(tuning)
    assert watch(tuning).replaced == 1
    lost, second = written(tuning)
    left_usd = LIMIT_USD - 2.0 * lost.hours(START)
    expected = second.since + timedelta(seconds=left_usd / 3.673 * HOUR - RESERVE_SECONDS)
    ends_at = told(tuning)
    assert ends_at is not None
    assert abs((ends_at - expected).total_seconds()) <= 1
    assert times[0] is not None
    assert times[0] > ends_at, "the second node costs more"
    assert 0.5 * LIMIT_USD < spent(tuning) <= LIMIT_USD


def test_neither_a_watch_that_is_started_again_nor_an_api_server_that_is_away_matters(
    tuning: Karpenter,
) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    tuning.cluster.faults = [Fault("PATCH", "/configmaps/", 503, "away", times=20)]
    tuning.world.after(HOUR / 4, stop)
    with pytest.raises(KeyboardInterrupt):
        watch(tuning)
    ends_by_itself(tuning)
    watch(tuning)
    assert told(tuning) == START + timedelta(seconds=HOUR - RESERVE_SECONDS)
    assert spent(tuning) <= LIMIT_USD


def test_a_run_that_is_to_be_stopped_at_its_limit_tells_tune_nothing(tuning: Karpenter) -> None:
    with pytest.raises(PermanentError, match="so the run was stopped"):
        watch(tuning, at_cost_limit="stop")
    assert told(tuning) is None


def test_pushing_at_no_limit_is_refused() -> None:
    with pytest.raises(ParamsError) as caught:
        params(RUN, {"a": "b"}, at_cost_limit="push")
    assert caught.value.problems == [
        "--at-cost-limit: push without a limit; give max-cost-usd too, or leave it out"
    ]


KEEPING = {"keep_node_seconds": 2 * HOUR}


def test_after_tune_the_node_goes_at_once_though_no_limit_is_near(tuning: Karpenter) -> None:
    tuning.world.after(HOUR / 4, lambda: tuned(tuning.cluster))
    result = tuning.watch()
    assert tuning.cluster.nodes == []
    assert (result.replaced, result.node) == (0, "")
    (row,) = written(tuning)
    assert row.hours(START) == pytest.approx(0.25, abs=0.05)


def test_a_node_that_the_next_run_may_have_is_left_to_release(tuning: Karpenter) -> None:
    tuning.world.after(HOUR / 4, lambda: tuned(tuning.cluster))
    watch(tuning, **KEEPING)
    assert len(tuning.cluster.nodes) == 1
    assert written(tuning) == (FIRST,)


def test_a_node_whose_money_is_spent_is_not_kept(tuning: Karpenter) -> None:
    ends_by_itself(tuning)
    watch(tuning, **KEEPING)
    assert tuning.cluster.nodes == []


def test_a_run_whose_tune_failed_leaves_its_node_to_release(tuning: Karpenter) -> None:
    tuning.world.after(HOUR / 4, lambda: tuned(tuning.cluster, "Failed"))
    watch(tuning)
    assert len(tuning.cluster.nodes) == 1


def test_a_node_that_cannot_be_given_back_does_not_fail_the_run(
    tuning: Karpenter, caplog: pytest.LogCaptureFixture
) -> None:
    tuning.cluster.faults = [Fault("DELETE", "/nodeclaims/", 403, "no right", times=1000)]
    tuning.world.after(HOUR / 4, lambda: tuned(tuning.cluster))
    assert watch(tuning).replaced == 0
    assert "cannot-give-back" in caplog.text
    assert written(tuning) == (FIRST,)


def test_a_node_of_unknown_price_sets_no_end(tuning: Karpenter) -> None:
    has_had(tuning, replace(FIRST, price_usd_per_hour=None))
    tuning.world.after(HOUR / 4, lambda: tuned(tuning.cluster))
    watch(tuning)
    assert told(tuning) is None
