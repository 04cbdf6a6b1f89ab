from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from typing import Any

import pytest

from argotune.steps.serve.admission import Admission
from argotune.steps.serve.app import make_app
from argotune.steps.serve.authentication import set_client
from argotune.steps.serve.errors import ApiError
from tests.fakes.engine import FakeEngine
from tests.steps.serve.conftest import ask, make_service


class Crowd:
    """Clients before a queue; the test lets one after the other go on."""

    def __init__(self, admission: Admission) -> None:
        self.admission = admission
        self.inside: list[str] = []
        self.order: list[str] = []
        self.refused: list[tuple[str, ApiError]] = []
        self._go_on: dict[str, asyncio.Event] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def come(self, *names: str) -> None:
        """Requests of clients; the client is what stands before the dash."""
        for name in names:
            self._go_on[name] = asyncio.Event()
            self._tasks.append(asyncio.create_task(self._ask(name)))
            await settle()

    async def go(self, name: str) -> None:
        """A request that has a slot is answered."""
        self._go_on[name].set()
        await settle()

    async def vanish(self, number: int) -> None:
        """The client of the request with this number closes its connection."""
        self._tasks[number].cancel()
        await settle()

    async def serve_all(self) -> list[str]:
        """All in the order in which they had their turns."""
        while self.inside:
            await self.go(self.inside[0])
        return self.order

    async def _ask(self, name: str) -> None:
        set_client(name.partition("-")[0])
        try:
            with self.admission.admit():
                async with self.admission.slot(math.inf):
                    self.inside.append(name)
                    self.order.append(name)
                    try:
                        await self._go_on[name].wait()
                    finally:
                        self.inside.remove(name)
        except ApiError as error:
            self.refused.append((name, error))


async def settle() -> None:
    for _ in range(8):
        await asyncio.sleep(0)


def crowd_of(
    test: Callable[[Crowd], Coroutine[Any, Any, None]], slots: int = 1, queue_size: int = 100
) -> Crowd:
    async def run() -> Crowd:
        crowd = Crowd(Admission(slots, queue_size))
        await test(crowd)
        return crowd

    return asyncio.run(run())


def test_one_clients_requests_are_answered_in_their_order() -> None:
    async def test(crowd: Crowd) -> None:
        await crowd.come("a-1", "a-2", "a-3")
        assert await crowd.serve_all() == ["a-1", "a-2", "a-3"]

    crowd_of(test)


def test_a_client_with_one_request_is_next_before_one_with_forty() -> None:
    async def test(crowd: Crowd) -> None:
        await crowd.come(*(f"greedy-{number}" for number in range(40)))
        await crowd.come("polite-1")
        assert (crowd.inside, crowd.admission.waiting) == (["greedy-0"], 40)
        await crowd.go("greedy-0")
        assert crowd.inside == ["polite-1"]
        await crowd.go("polite-1")
        # And once more, when it comes again a little later.
        await crowd.come("polite-2")
        await crowd.go("greedy-1")
        assert crowd.inside == ["polite-2"]

    crowd_of(test)


def test_clients_take_turns() -> None:
    async def test(crowd: Crowd) -> None:
        await crowd.come("a-1", "a-2", "a-3", "b-1", "b-2", "c-1")
        assert await crowd.serve_all() == ["a-1", "b-1", "c-1", "a-2", "b-2", "a-3"]

    crowd_of(test)


def test_clients_that_always_come_again_leave_turns_to_those_who_wait() -> None:
    async def test(crowd: Crowd) -> None:
        await crowd.come("a-1", "b-1", "b-2")
        for number in range(1, 4):
            await crowd.go(crowd.inside[0])
            await crowd.come(f"a-{number + 1}")
        assert crowd.order == ["a-1", "b-1", "b-2", "a-2"]

    crowd_of(test)


def test_one_client_cannot_fill_the_queue() -> None:
    async def test(crowd: Crowd) -> None:
        await crowd.come(*(f"greedy-{number}" for number in range(6)))
        await crowd.come("polite-1", "polite-2", "third-1", "fourth-1")

    crowd = crowd_of(test, queue_size=4)
    assert [(name, error.message) for name, error in crowd.refused] == [
        *(
            (f"greedy-{number}", "2 requests of this client are already waiting; try again later")
            for number in (3, 4, 5)
        ),
        ("polite-2", "1 requests of this client are already waiting; try again later"),
        ("fourth-1", "4 requests are already waiting; try again later"),
    ]
    assert {(error.status, error.code) for _, error in crowd.refused} == {(429, "queue_full")}


@pytest.mark.parametrize(("slots", "queue_size"), [(16, 64), (1, 0), (1, 8), (3, 0), (16, 7)])
def test_one_client_alone_finds_as_much_room_as_is_said(slots: int, queue_size: int) -> None:
    admission = Admission(slots, queue_size)
    with ExitStack() as places:
        for _ in range(admission.most_of_one):
            places.enter_context(admission.admit())
        with pytest.raises(ApiError):
            admission.admit()


def test_a_request_that_would_never_find_room_is_refused_with_the_limit() -> None:
    app = make_app(make_service(FakeEngine(), queue_size=8), max_body_bytes=4096)
    body = {"model": "demo", "prompt": ["a"] * 3, "max_tokens": 1}
    url = "/v1/completions"
    many, few = ask(
        app,
        {"method": "POST", "url": url, "json": {**body, "n": 2}},
        {"method": "POST", "url": url, "json": {**body, "n": 1}},
    )
    assert (many.status_code, few.status_code) == (400, 200)
    assert many.json()["error"]["message"] == (
        "the request asks for 6 answers, prompts times n; this server takes at most 5 of one "
        "client at once, so send them in several requests"
    )


def test_retry_after_is_when_those_who_wait_have_been_served() -> None:
    time = [0.0]

    async def run() -> None:
        crowd = Crowd(Admission(2, 12, clock=lambda: time[0]))
        await crowd.come("a-1")
        time[0] += 10.0
        await crowd.go("a-1")
        await crowd.come(*(f"a-{number}" for number in range(2, 11)))
        ((_, error),) = crowd.refused
        assert error.headers == {"Retry-After": "30"}  # 6 wait, 2 at once, 10 s each
        await crowd.serve_all()

    asyncio.run(run())


def test_who_leaves_gives_the_turn_to_the_next() -> None:
    async def test(crowd: Crowd) -> None:
        await crowd.come("a-1", "b-1", "c-1")
        await crowd.vanish(1)
        assert crowd.admission.waiting == 1
        await crowd.vanish(0)
        assert crowd.order == ["a-1", "c-1"]
        await crowd.go("c-1")
        assert crowd.admission.waiting == 0
        await crowd.come("d-1")
        assert crowd.inside == ["d-1"]

    crowd_of(test)


def test_who_leaves_just_when_a_slot_is_free_does_not_keep_it() -> None:
    async def run() -> None:
        admission = Admission(1, 10)

        async def hold() -> None:
            async with admission.slot(math.inf):
                pass

        async with admission.slot(math.inf):
            waits = asyncio.create_task(hold())
            await settle()
        waits.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waits
        await hold()

    asyncio.run(run())


def test_nobody_waits_beyond_the_deadline() -> None:
    async def run() -> None:
        admission = Admission(1, 10)
        async with admission.slot(math.inf):
            with pytest.raises(TimeoutError):
                await admission.slot(deadline=0.0).__aenter__()
        async with admission.slot(math.inf):
            pass

    asyncio.run(run())


def test_a_closed_queue_sends_away_who_waits_and_lets_the_others_end() -> None:
    async def test(crowd: Crowd) -> None:
        await crowd.come("a-1", "b-1")
        crowd.admission.close()
        await crowd.come("c-1")
        assert crowd.inside == ["a-1"]
        await crowd.go("a-1")

    crowd = crowd_of(test)
    assert [(name, error.status) for name, error in crowd.refused] == [("b-1", 503), ("c-1", 503)]
    assert all(error.headers == {"Retry-After": "1"} for _, error in crowd.refused)
