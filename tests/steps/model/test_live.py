"""The adapter in service, from a layout and from a registry."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.adapter_image import WORKSPACE
from argotune.steps.contracts.live_adapter import DIRECTORY, LiveAdapter, read_live_adapter
from argotune.steps.contracts.versions import LIVE
from argotune.steps.model.live import bring_live_adapter
from argotune.steps.push.layout import Image, write_image
from argotune.steps.registry.oci import ImageReference
from argotune.steps.registry.skopeo import Registry, push
from tests.fakes.adapter import write_adapter
from tests.fakes.registry import docker_config, serving

needs_skopeo = pytest.mark.skipif(
    shutil.which("skopeo") is None, reason="skopeo is not installed on this machine"
)


def put_images(layout: Path, *tags: str, **annotations: str) -> Image:
    """One image under each tag."""
    write_adapter(layout.parent / "adapter")
    files = sorted((layout.parent / "adapter").iterdir())
    for tag in tags:
        image = write_image(
            layout,
            files,
            tag=tag,
            created="2026-01-01T00:00:00Z",
            annotations={"made": tags[0], **annotations},
        )
    return image


def test_the_live_adapter_of_a_layout_is_unpacked_with_its_version(tmp_path: Path) -> None:
    layout, work_dir = tmp_path / "out", tmp_path / "work"
    image = put_images(layout, "v2", LIVE)
    put_images(layout, "v3")
    found = bring_live_adapter(work_dir, f"oci:{layout}:0.1", "phi", Registry())
    assert found == LiveAdapter(digest=image.digest, version="v2")
    assert read_live_adapter(work_dir) == found
    assert (work_dir / DIRECTORY / "adapter_model.safetensors").is_file()


def test_before_the_first_adapter_there_is_none(tmp_path: Path) -> None:
    found = bring_live_adapter(tmp_path / "work", f"oci:{tmp_path / 'out'}", "phi", Registry())
    assert (found, found.is_there) == (LiveAdapter(), False)


def test_a_run_keeps_to_the_one_that_it_found(tmp_path: Path) -> None:
    layout, work_dir = tmp_path / "out", tmp_path / "work"
    first = put_images(layout, "v1", LIVE)
    bring_live_adapter(work_dir, f"oci:{layout}", "phi", Registry())
    put_images(layout, "v2", LIVE)
    assert bring_live_adapter(work_dir, f"oci:{layout}", "phi", Registry()).digest == first.digest


def test_that_of_another_workspace_is_refused(tmp_path: Path) -> None:
    layout, work_dir = tmp_path / "out", tmp_path / "work"
    put_images(layout, LIVE, **{WORKSPACE: "other"})
    with pytest.raises(PermanentError, match="of workspace other, and phi needs one of its own"):
        bring_live_adapter(work_dir, f"oci:{layout}", "phi", Registry())
    assert read_live_adapter(work_dir) is None


def test_a_damaged_one_is_said_and_the_run_goes_on(tmp_path: Path) -> None:
    layout, work_dir = tmp_path / "out", tmp_path / "work"
    image = put_images(layout, "v1", LIVE)
    manifest = json.loads((layout / "blobs/sha256" / image.digest[7:]).read_bytes())
    (layout / "blobs/sha256" / manifest["layers"][0]["digest"][7:]).write_bytes(b"x")
    found = bring_live_adapter(work_dir, f"oci:{layout}", "phi", Registry())
    assert (found.version, found.is_there) == ("v1", False)
    assert "damaged" in found.problem
    assert not (work_dir / DIRECTORY).exists()


@needs_skopeo
def test_the_live_adapter_of_a_registry_is_pulled_by_its_login(tmp_path: Path) -> None:
    layout, work_dir = tmp_path / "out", tmp_path / "work"
    image = put_images(layout, "v1", LIVE)
    with serving() as fake:
        fake.login = True
        auth_file = tmp_path / "config.json"
        auth_file.write_text(docker_config(fake.host))
        registry = Registry(auth_file=auth_file, attempts=1)
        name = f"{fake.host}/team/phi"
        assert bring_live_adapter(work_dir, f"{name}:1", "phi", registry) == LiveAdapter()
        for tag in ("v1", LIVE):
            target = ImageReference(registry=fake.host, repository="team/phi", tag=tag)
            push(layout, tag, target, image.digest, registry)
        later = tmp_path / "later"
        found = bring_live_adapter(later, f"{name}:1", "phi", registry)
    assert found == LiveAdapter(digest=image.digest, version="v1")
    assert (later / DIRECTORY / "adapter_config.json").is_file()
    assert sorted(path.name for path in later.iterdir()) == [DIRECTORY, "live-adapter.json"]


@needs_skopeo
def test_a_registry_that_refuses_is_said_and_the_run_goes_on(tmp_path: Path) -> None:
    with serving() as fake:
        fake.login = True
        image = f"{fake.host}/team/phi:1"
        found = bring_live_adapter(tmp_path / "work", image, "phi", Registry(attempts=1))
    assert found.digest == ""
    assert "refused" in found.problem
