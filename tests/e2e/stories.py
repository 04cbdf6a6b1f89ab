"""Runs that go on beside each other while the tests wait for theirs.

Most of a run is waiting, so every story that the session's tests ask for begins when the first of
them is asked for. A story is a function of the site; `@story` makes it a fixture, whose value is
what the function returns. A story with cases is a function of the site and the case; its tests
name the cases by `parametrize(..., indirect=True)`, and only those of them that run are played.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

import pytest

from tests.e2e.cluster import GIVEN_UP
from tests.e2e.site import Site

T = TypeVar("T")
Case = Any
Name = tuple[str, Case]
"""Of a story and its case, None where it has none."""

# Where two cores are saturated, more at once end no sooner, and every pod and every command waits
# minutes for its turn.
_AT_ONCE = 3
STORY_SECONDS = 3000
"""Longest wait of a test for its story, which waits for others' cores and GPUs."""
_known: dict[str, Callable[..., Any]] = {}


def story(function: Callable[..., T]) -> Any:
    """The fixture of a story."""
    name = function.__name__
    _known[name] = function

    @pytest.fixture(scope="session", name=name)
    def told(stories: dict[Name, Future[Any]], request: pytest.FixtureRequest) -> Any:
        return stories[name, getattr(request, "param", None)].result()

    return told


def wanted(items: Iterable[pytest.Item]) -> list[Name]:
    """The stories that these tests ask for."""
    return list(dict.fromkeys(name for item in items for name in _asked_for(item)))


def _asked_for(item: pytest.Item) -> Iterator[Name]:
    cases = item.callspec.params if hasattr(item, "callspec") else {}
    for name in getattr(item, "fixturenames", ()):
        if name in _known:
            yield name, cases.get(name)


def _play(name: Name, site: Site) -> Any:
    function, case = _known[name[0]], name[1]
    return function(site) if case is None else function(site, case)


def stories_last(items: Iterable[pytest.Item]) -> list[pytest.Item]:
    """The tests that wait for a story after those that need not, so that the stories go on
    meanwhile; those that want a quiet cluster end the list."""

    def rank(item: pytest.Item) -> int:
        names = set(getattr(item, "fixturenames", ()))
        if "stories_told" in names:
            return 2
        return 1 if names & _known.keys() else 0

    return sorted(items, key=rank)


@pytest.fixture(scope="session")
def stories(request: pytest.FixtureRequest) -> Iterator[dict[Name, Future[Any]]]:
    """The stories of this session's tests, all begun."""
    pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="story")
    names = wanted(request.session.items)
    # By name, for without stories no site need be made.
    yield {name: pool.submit(_play, name, request.getfixturevalue("site")) for name in names}
    # All are done, unless somebody ended the session.
    GIVEN_UP.set()
    pool.shutdown(cancel_futures=True)


@pytest.fixture(scope="session")
def stories_told(stories: dict[Name, Future[Any]]) -> None:
    """All stories have come to their end, well or not: the cluster is quiet."""
    wait(stories.values())
