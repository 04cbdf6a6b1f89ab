from __future__ import annotations

import hashlib
import json
import os
import tarfile
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from argotune.steps.common.errors import PermanentError
from argotune.steps.push.layout import Image, write_image
from tests.fakes.adapter import write_adapter

CREATED = "2026-01-01T00:00:00Z"


def write(layout: Path, adapter: Path, tag: str = "1") -> Image:
    files = sorted(adapter.iterdir(), reverse=True)
    return write_image(layout, files, tag=tag, created=CREATED, annotations={"a": "ä"})


def blob(layout: Path, digest: str) -> Path:
    return layout / "blobs" / "sha256" / digest.removeprefix("sha256:")


def load(path: Path) -> Any:
    return json.loads(path.read_bytes())


def tags(layout: Path) -> dict[str, str]:
    return {
        entry["annotations"]["org.opencontainers.image.ref.name"]: entry["digest"]
        for entry in load(layout / "index.json")["manifests"]
    }


def contents(directory: Path) -> dict[str, bytes]:
    found = {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }
    assert found
    return found


def test_equal_input_gives_equal_bytes(tmp_path: Path) -> None:
    first, second = write_adapter(tmp_path / "a"), write_adapter(tmp_path / "b")
    os.utime(second / "serving.json", (1, 1))
    (second / "serving.json").chmod(0o600)
    write(tmp_path / "one", first)
    write(tmp_path / "two", second)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_the_digest_does_not_move(tmp_path: Path) -> None:
    # A change of this value makes every user's unchanged adapter a new image: have a reason.
    adapter = write_adapter(tmp_path / "adapter")
    (adapter / "serving.json").write_text('{"max_length": 512}')
    image = write(tmp_path / "image", adapter)
    assert image.digest == "sha256:e82e1f7550cb57867be51a9b13e92c8955cc9b322e8872e7ec9bed7566cac2c9"


def test_every_blob_has_the_digest_and_size_that_name_it(tmp_path: Path) -> None:
    layout = tmp_path / "image"
    image = write(layout, write_adapter(tmp_path / "adapter"))
    entry = load(layout / "index.json")["manifests"][0]
    manifest = load(blob(layout, entry["digest"]))
    descriptors = [entry, manifest["config"], *manifest["layers"]]
    for descriptor in descriptors:
        content = blob(layout, descriptor["digest"]).read_bytes()
        assert descriptor["digest"] == f"sha256:{hashlib.sha256(content).hexdigest()}"
        assert descriptor["size"] == len(content)
    assert image.size_bytes == sum(descriptor["size"] for descriptor in descriptors)
    assert len(contents(layout / "blobs")) == len(descriptors)


def test_the_image_can_be_mounted_by_containerd(tmp_path: Path) -> None:
    layout = tmp_path / "image"
    manifest = load(blob(layout, write(layout, write_adapter(tmp_path / "adapter")).digest))
    config = load(blob(layout, manifest["config"]["digest"]))
    assert manifest["config"]["mediaType"] == "application/vnd.oci.image.config.v1+json"
    assert manifest["layers"][0]["mediaType"] == "application/vnd.oci.image.layer.v1.tar"
    assert (config["architecture"], config["os"]) == ("amd64", "linux")
    assert config["rootfs"] == {
        "type": "layers",
        "diff_ids": [manifest["layers"][0]["digest"]],
    }
    assert config["created"] == CREATED
    assert manifest["annotations"] == {"a": "ä"}
    assert load(layout / "oci-layout") == {"imageLayoutVersion": "1.0.0"}


def test_the_layer_is_kaitos_data_directory_owned_by_root(tmp_path: Path) -> None:
    layout = tmp_path / "image"
    adapter = write_adapter(tmp_path / "adapter")
    manifest = load(blob(layout, write(layout, adapter).digest))
    with tarfile.open(blob(layout, manifest["layers"][0]["digest"])) as tar:
        members = tar.getmembers()
        weights = tar.extractfile("data/adapter_model.safetensors")
        assert weights is not None
        assert weights.read() == (adapter / "adapter_model.safetensors").read_bytes()
    assert [(member.name, member.mode) for member in members] == [
        ("data", 0o755),
        ("data/adapter_config.json", 0o644),
        ("data/adapter_model.safetensors", 0o644),
        ("data/chat_template.jinja", 0o644),
        ("data/serving.json", 0o644),
    ]
    assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in members} == {(0, 0, "", "", 0)}


def test_other_tags_stay_and_the_same_tag_is_replaced(tmp_path: Path) -> None:
    layout, adapter = tmp_path / "image", write_adapter(tmp_path / "adapter")
    old = write(layout, adapter, "1")
    write(layout, adapter, "stable")
    (adapter / "serving.json").write_text('{"max_length": 1024}')
    new = write(layout, adapter, "1")
    assert new.digest != old.digest
    assert tags(layout) == {"1": new.digest, "stable": old.digest}
    assert blob(layout, old.digest).exists()


def test_a_killed_writers_leftovers_are_removed(tmp_path: Path) -> None:
    layout, adapter = tmp_path / "image", write_adapter(tmp_path / "adapter")
    write(layout, adapter)
    before = contents(layout)
    for name in ("blobs/sha256/.layer.part", ".index.json.part"):
        (layout / name).write_text("half")
    write(layout, adapter)
    assert contents(layout) == before


def test_a_push_that_was_killed_over_its_first_file_can_be_repeated(tmp_path: Path) -> None:
    layout, adapter = tmp_path / "image", write_adapter(tmp_path / "adapter")
    layout.mkdir()
    (layout / ".oci-layout.part").write_text("{")
    write(layout, adapter)
    assert sorted(path.name for path in layout.iterdir()) == ["blobs", "index.json", "oci-layout"]


def test_a_directory_of_something_else_is_left_alone(tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "adapter")
    home = tmp_path / "home"
    home.mkdir()
    (home / "notes.txt").write_text("mine")
    with pytest.raises(PermanentError) as caught:
        write(home, adapter)
    assert str(caught.value) == (
        f"{home} has files but is not an OCI layout; use an empty or a new directory"
    )
    assert contents(home) == {"notes.txt": b"mine"}


def test_a_broken_index_is_named(tmp_path: Path) -> None:
    layout, adapter = tmp_path / "image", write_adapter(tmp_path / "adapter")
    write(layout, adapter)
    (layout / "index.json").write_text('{"manifests": 1}')
    with pytest.raises(PermanentError, match=r"index\.json: not the index of an OCI layout"):
        write(layout, adapter)


def test_large_files_are_streamed(tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "adapter")
    with (adapter / "adapter_model.safetensors").open("wb") as file:
        file.truncate(64_000_000)
    heard: list[int] = []
    tracemalloc.start()
    write_image(
        tmp_path / "image",
        list(adapter.iterdir()),
        tag="1",
        created=CREATED,
        annotations={},
        progress=heard.append,
    )
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8_000_000
    assert heard == sorted(heard)
    assert heard[-1] > 64_000_000
    assert len(heard) > 10
