from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from argotune.steps.common.clock import Clock
from argotune.steps.common.errors import CapacityError, PermanentError
from argotune.steps.common.progress import Progress
from argotune.steps.nodes.alternatives import place, placements
from argotune.steps.nodes.errors import PlacementRefused
from argotune.steps.nodes.provider import Node, NodeRequest, Placement
from argotune.steps.nodes.waiting import Waiting


class Cloud:
    """Refuses what it is told to; a try takes ten seconds."""

    def __init__(self, refusals: dict[str, Callable[[], Exception]] | None = None) -> None:
        self.refusals = refusals or {}
        self.tried: list[str] = []
        self.seconds = 0.0
        self.tried_at: list[float] = []

    def attempt(self, placement: Placement) -> Node:
        self.tried_at.append(self.seconds)
        self.seconds += 10
        self.tried.append(str(placement))
        if str(placement) in self.refusals:
            raise self.refusals[str(placement)]()
        return Node(name="n", accelerator="1 x A10", selector={}, placement=placement)

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds

    def place(self, request: NodeRequest, progress: Progress | None = None, **options: Any) -> Node:
        clock = Clock(now=lambda: self.seconds, sleep=self.sleep)
        waiting = Waiting(request.timeout_seconds, clock=clock, progress=progress or Progress())
        return place(request, self.attempt, waiting, **options)


def asked(**changes: Any) -> NodeRequest:
    values: dict[str, Any] = {"run": "r", "gpus": 1, "timeout_seconds": 600.0}
    return NodeRequest(**values | {"instance_types": ("a", "b")} | changes)


def full() -> Exception:
    return PlacementRefused("full", may_pass=True)


def test_capacity_types_come_before_instance_types_and_those_before_zones() -> None:
    found = placements(asked(capacity_types=("spot", "regular"), zones=("1", "any")))
    assert [str(each) for each in found] == [
        "a spot in zone 1",
        "a spot",
        "b spot in zone 1",
        "b spot",
        "a regular in zone 1",
        "a regular",
        "b regular in zone 1",
        "b regular",
    ]


def test_a_machine_on_which_the_tune_pod_does_not_fit_is_never_asked_for() -> None:
    cloud = Cloud()
    request = asked(zones=("1", "2"), too_small={"a": "1 CPU, 4 needed"})
    assert [str(each) for each in cloud.place(request).tried] == [
        "a regular in zone 1 (0 s): not requested: 1 CPU, 4 needed",
        "a regular in zone 2: not tried, for the same reason as a regular in zone 1",
        "b regular in zone 1 (10 s): node n",
    ]
    assert cloud.tried == ["b regular in zone 1"]
    with pytest.raises(CapacityError, match="not requested"):
        Cloud().place(asked(too_small={"a": "small", "b": "small"}))


def test_without_zones_the_cloud_chooses() -> None:
    assert [str(each) for each in placements(asked())] == ["a regular", "b regular"]


def test_the_first_that_gives_a_node_ends_it(tmp_path: Path) -> None:
    cloud = Cloud({"a regular": lambda: PlacementRefused("no quota")})
    progress = Progress(tmp_path / "progress", interval_seconds=0)
    node = cloud.place(asked(), progress)
    assert [str(each) for each in node.tried] == [
        "a regular (10 s): no quota",
        "b regular (10 s): node n",
    ]
    assert (tmp_path / "progress").read_text() == "1/1\n"


def test_a_refusal_that_stands_for_others_saves_their_tries() -> None:
    cloud = Cloud({"a spot": lambda: PlacementRefused("no spot", alike=("capacity_type",))})
    node = cloud.place(asked(capacity_types=("spot", "regular")))
    assert cloud.tried == ["a spot", "a regular"]
    assert str(node.tried[1]) == "b spot: not tried, for the same reason as a spot"


def test_a_family_is_refused_together() -> None:
    def family() -> Exception:
        alike = ("instance_type", "capacity_type")
        return PlacementRefused("quota", alike=alike, instance_types=["a", "b"])  # type: ignore[arg-type]

    cloud = Cloud({"a regular": family})
    assert cloud.place(asked(instance_types=("a", "b", "c"))).placement == Placement(
        instance_type="c"
    )
    assert cloud.tried == ["a regular", "c regular"]


def test_a_lack_of_machines_is_tried_again_later_and_later() -> None:
    cloud = Cloud({"a regular": full, "b regular": lambda: PlacementRefused("no quota")})
    with pytest.raises(CapacityError) as caught:
        cloud.place(asked())
    assert cloud.tried == ["a regular", "b regular", *["a regular"] * 3]
    pauses = [60.0, 120.0, 240.0]
    assert cloud.tried_at == [
        0.0,
        10.0,
        *(20.0 + 10.0 * i + sum(pauses[: i + 1]) for i in range(3)),
    ]
    assert str(caught.value) == (
        "no GPU node: a regular (10 s, 4 tries): full; b regular (10 s): no quota"
    )


def test_machines_that_come_back_are_taken() -> None:
    refusals: dict[str, Callable[[], Exception]] = {"a regular": full, "b regular": full}
    cloud = Cloud(refusals)

    def comes_back(seconds: float) -> None:
        cloud.seconds += seconds
        refusals.clear()

    cloud.sleep = comes_back  # type: ignore[method-assign]
    node = cloud.place(asked())
    assert [str(each) for each in node.tried] == [
        "a regular (10 s, 2 tries): node n",
        "b regular (10 s): full",
    ]


def test_what_will_not_change_is_not_tried_again() -> None:
    refused = {f"{name} regular": lambda: PlacementRefused("no quota") for name in "ab"}
    cloud = Cloud({**refused})
    with pytest.raises(CapacityError):
        cloud.place(asked())
    assert cloud.tried == ["a regular", "b regular"]
    assert cloud.tried_at == [0.0, 10.0]


def test_what_nothing_helps_against_ends_it_at_once() -> None:
    cloud = Cloud({"a regular": lambda: PermanentError("no right")})
    with pytest.raises(PermanentError, match=r"^no right$"):
        cloud.place(asked())
    assert cloud.tried == ["a regular"]


def test_the_time_of_the_request_is_kept() -> None:
    cloud = Cloud({f"{name} regular": full for name in "abc"})
    with pytest.raises(CapacityError) as caught:
        cloud.place(asked(instance_types=("a", "b", "c"), timeout_seconds=15.0))
    assert cloud.tried == ["a regular", "b regular"]
    assert str(caught.value) == "no GPU node: a regular (10 s): full; b regular (10 s): full"


def test_where_an_earlier_try_got_to_comes_first() -> None:
    cloud = Cloud()
    cloud.place(asked(), first=Placement(instance_type="b"))
    assert cloud.tried == ["b regular"]


def test_an_unknown_first_changes_nothing() -> None:
    cloud = Cloud()
    cloud.place(asked(), first=Placement(instance_type="z"))
    assert cloud.tried == ["a regular"]
