"""Tags of versions, in a layout on disk and through the real skopeo in a registry."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeAlias

import pytest

from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.versions import CANDIDATE, LIVE, PREVIOUS, rejected_tag
from argotune.steps.push.layout import write_image
from argotune.steps.registry import skopeo
from argotune.steps.registry.layers import resolve_image
from argotune.steps.registry.oci import ImageReference, LayoutReference
from argotune.steps.registry.versions import (
    OtherWorkspace,
    Recorded,
    Repository,
    find_live,
    list_versions,
    record_in_service,
    repository_of,
)
from tests.fakes.adapter import write_adapter
from tests.fakes.registry import Fault, serving

Write: TypeAlias = Callable[[str], str]
"""Content -> digest of the image that was written with the tag latest."""
Place: TypeAlias = Callable[[Path], AbstractContextManager[tuple[Repository, Write]]]

needs_skopeo = pytest.mark.skipif(
    shutil.which("skopeo") is None, reason="skopeo is not installed on this machine"
)
_ONE_TRY = skopeo.Registry(attempts=1)


def _write(layout: Path, content: str) -> str:
    adapter = write_adapter(layout.parent / "adapter")
    (adapter / "chat_template.jinja").write_text(content)
    files = sorted(adapter.iterdir())
    annotations = {"org.opencontainers.image.title": content}
    time = "2026-01-01T00:00:00Z"
    return write_image(layout, files, tag="latest", created=time, annotations=annotations).digest


@contextlib.contextmanager
def _layout(tmp_path: Path) -> Iterator[tuple[Repository, Write]]:
    layout = tmp_path / "dist"
    reference = LayoutReference(directory=layout)
    yield repository_of(reference, _ONE_TRY), lambda content: _write(layout, content)


@contextlib.contextmanager
def _registry(
    tmp_path: Path, faults: list[Fault] | None = None
) -> Iterator[tuple[Repository, Write]]:
    layout = tmp_path / "image"
    with serving(faults=faults) as fake:

        def write(content: str) -> str:
            digest = _write(layout, content)
            image = ImageReference(registry=fake.host, repository="team/phi", tag="latest")
            skopeo.push(layout, "latest", image, digest, _ONE_TRY)
            return digest

        reference = ImageReference(registry=fake.host, repository="team/phi", tag="0.1")
        yield repository_of(reference, _ONE_TRY), write


places = pytest.mark.parametrize(
    "place", [pytest.param(_layout), pytest.param(_registry, marks=needs_skopeo)]
)


def _digest(repository: Repository, tag: str) -> str | None:
    found = repository.find(tag)
    return found.digest if found is not None else None


@places
def test_nothing_is_in_service_before_the_first_push(place: Place, tmp_path: Path) -> None:
    with place(tmp_path) as (repository, _):
        assert find_live(repository, "phi") is None
        assert list_versions(repository) == []


@places
def test_the_adapter_in_service_gets_the_next_number_and_the_old_one_stays_at_hand(
    place: Place, tmp_path: Path
) -> None:
    with place(tmp_path) as (repository, write):
        first = write("one")
        assert record_in_service(repository, first) == Recorded(number=1, previous="")
        assert _digest(repository, PREVIOUS) is None
        second = write("two")
        repository.point(CANDIDATE, second)
        assert record_in_service(repository, second) == Recorded(number=2, previous=first)
        rejected = write("three")
        repository.point(rejected_tag(rejected), rejected)
        listed = list_versions(repository)
    assert [(version.adapter.digest, version.tags) for version in listed] == [
        (first, {"v1", PREVIOUS}),
        (second, {"v2", LIVE, CANDIDATE}),
        (rejected, {rejected_tag(rejected)}),
    ]
    assert [version.number for version in listed] == [1, 2, None]
    assert listed[0].adapter.annotations == {"org.opencontainers.image.title": "one"}


@places
def test_an_adapter_that_goes_back_into_service_keeps_its_number(
    place: Place, tmp_path: Path
) -> None:
    with place(tmp_path) as (repository, write):
        first, second = write("one"), write("two")
        for digest, number in ((first, 1), (second, 2), (second, 2), (first, 1), (first, 1)):
            assert record_in_service(repository, digest).number == number
        assert _digest(repository, LIVE) == first
        assert _digest(repository, PREVIOUS) == second
        assert repository.find("v3") is None


def test_the_adapter_in_service_is_that_of_the_workspace(tmp_path: Path) -> None:
    with _layout(tmp_path) as (repository, write):
        digest = write("one")
        record_in_service(repository, digest)
        found = find_live(repository, "one")
        assert found is not None
        assert found.digest == digest
        with pytest.raises(OtherWorkspace, match=r"of workspace one, and phi needs one of its own"):
            find_live(repository, "phi")


def test_an_interrupted_record_is_completed_by_the_next(tmp_path: Path) -> None:
    with _layout(tmp_path) as (repository, write):
        first, second = write("one"), write("two")
        record_in_service(repository, first)
        repository.point("v2", second)
        repository.point(PREVIOUS, first)
        assert record_in_service(repository, second) == Recorded(number=2, previous=first)
        assert (_digest(repository, LIVE), _digest(repository, PREVIOUS)) == (second, first)


def test_a_number_is_not_given_again_when_its_image_was_deleted(tmp_path: Path) -> None:
    with _layout(tmp_path) as (repository, write):
        record_in_service(repository, write("one"))
        second = write("two")
        record_in_service(repository, second)
        blobs = tmp_path / "dist" / "blobs" / "sha256"
        (blobs / second.removeprefix("sha256:")).unlink()
        assert record_in_service(repository, write("three")).number == 3
        assert [version.number for version in list_versions(repository)] == [1, 3]


def test_a_tag_is_not_put_at_an_image_that_the_layout_does_not_have(tmp_path: Path) -> None:
    with _layout(tmp_path) as (repository, write):
        write("one")
        with pytest.raises(PermanentError, match="was it moved"):
            record_in_service(repository, f"sha256:{64 * 'a'}")


@needs_skopeo
def test_a_registry_that_locks_its_tags_says_so(tmp_path: Path) -> None:
    fault = Fault("PUT", "manifests/v1$", status=409, body="TAG_LOCKED")
    with _registry(tmp_path, [fault]) as (repository, write):
        digest = write("one")
        with pytest.raises(PermanentError, match="409"):
            record_in_service(repository, digest)
        assert repository.find(LIVE) is None


def test_a_layout_whose_tags_all_stand_for_one_image_needs_no_tag(tmp_path: Path) -> None:
    with _layout(tmp_path) as (repository, write):
        digest = write("one")
        record_in_service(repository, digest)
    image = LayoutReference(directory=tmp_path / "dist")
    assert resolve_image(image, _ONE_TRY, name="dist").digest == digest
