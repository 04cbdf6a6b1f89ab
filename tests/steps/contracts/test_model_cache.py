from __future__ import annotations

from pathlib import Path

import pytest

from argotune.steps.common.errors import ParamsError
from argotune.steps.contracts.model_cache import (
    MARKER,
    cache_path,
    damage,
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
    assert cache_path(tmp_path, "microsoft/phi-4", "abc") == tmp_path / "microsoft--phi-4" / "abc"
    assert cache_path(tmp_path, "gpt2", "main") == tmp_path / "gpt2" / "main"


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
    marker = mark_complete(model)
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
