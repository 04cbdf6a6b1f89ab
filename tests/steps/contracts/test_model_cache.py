from __future__ import annotations

from pathlib import Path

import pytest

from argotune.steps.common.errors import ParamsError, PermanentError
from argotune.steps.contracts.model_cache import (
    MARKER,
    Origin,
    base_of,
    cache_path,
    damage,
    entry_path,
    is_complete,
    mark_complete,
    read_marker,
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    directory = tmp_path / "owner--name" / "main"
    (directory / "sub").mkdir(parents=True)
    (directory / "config.json").write_text("{}")
    (directory / "sub" / "weights.safetensors").write_bytes(b"12345678")
    (directory / ".lock").write_text("not part of the model")
    return directory


def test_path_has_owner_name_and_revision(tmp_path: Path) -> None:
    assert cache_path(tmp_path, "microsoft/phi-4", "abc") == (
        tmp_path / "presets" / "microsoft--phi-4" / "abc"
    )
    assert cache_path(tmp_path, "gpt2", "main") == tmp_path / "presets" / "gpt2" / "main"


@pytest.mark.parametrize(
    ("repository", "revision"),
    [("../x", "main"), ("a/b/c", "main"), ("a/..", "main"), ("", "main"), ("a/b", "refs/pr/1")],
)
def test_names_that_lead_elsewhere_are_refused(
    tmp_path: Path, repository: str, revision: str
) -> None:
    with pytest.raises(ParamsError):
        cache_path(tmp_path, repository, revision)


def test_both_wrong_names_are_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(ParamsError) as caught:
        cache_path(tmp_path, "..", "..")
    assert caught.value.problems == [
        "model repository '..': expected OWNER/NAME or NAME",
        "model revision '..': expected a commit, tag or branch without /",
    ]


def test_directory_is_complete_only_with_its_marker(model: Path) -> None:
    assert not is_complete(model)
    marker = mark_complete(model, Origin(source="made", version="main"))
    assert is_complete(model)
    assert list(marker.files) == ["config.json", "sub/weights.safetensors"]
    assert marker.size == 10


def test_missing_directory_is_not_complete(tmp_path: Path) -> None:
    assert not is_complete(tmp_path / "absent")


def test_cut_file_makes_the_model_incomplete(model: Path) -> None:
    mark_complete(model)
    (model / "sub" / "weights.safetensors").write_bytes(b"1234")
    assert not is_complete(model)
    assert damage(model) == ["sub/weights.safetensors has 4 bytes instead of 8"]


def test_missing_file_makes_the_model_incomplete(model: Path) -> None:
    mark_complete(model)
    (model / "config.json").unlink()
    assert damage(model) == ["config.json is missing"]


def test_changed_bytes_are_found_when_contents_are_read(model: Path) -> None:
    mark_complete(model)
    (model / "sub" / "weights.safetensors").write_bytes(b"1234567x")
    assert damage(model) == []
    assert damage(model, read_contents=True) == ["sub/weights.safetensors differs from its SHA-256"]


def test_unreadable_marker_counts_as_none(model: Path) -> None:
    (model / MARKER).write_text("{")
    assert read_marker(model) is None
    assert damage(model) == [f"{MARKER} is missing or unreadable"]


def test_every_source_and_every_version_of_it_has_its_own_place(tmp_path: Path) -> None:
    origins = [
        Origin(source=source, version=version)
        for source in ("dir:/a", "dir:/b", "oci:/a", "oci:r.io/a:1")
        for version in (f"sha256:{64 * 'a'}", f"sha256:{64 * 'b'}")
    ]
    origins += [Origin(source="hub", version="main")]
    places = {entry_path(tmp_path, "owner/name", origin) for origin in origins}
    assert len(places) == len(origins)
    assert entry_path(tmp_path, "owner/name", origins[-1]) == cache_path(
        tmp_path, "owner/name", "main"
    )


def test_a_model_that_does_not_say_where_it_comes_from_is_no_base(model: Path) -> None:
    """As in the earlier layout, which had foreign weights under a preset's name."""
    mark_complete(model)
    assert not is_complete(model)
    with pytest.raises(PermanentError, match="does not say where the weights come from"):
        base_of(model)


def test_a_base_is_known_by_all_of_its_files(model: Path) -> None:
    origin = Origin(source="dir:/a", version="sha256:aa")
    mark_complete(model, origin)
    found, digest = base_of(model)
    assert found == origin
    (model / "config.json").write_text("[]")
    mark_complete(model, origin)
    assert base_of(model)[1] != digest
