from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from argotune.steps.common.errors import ParamsError, PermanentError
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.model_cache import MARKER, is_complete
from argotune.steps.model.params import Params, Result
from argotune.steps.model.run import run
from argotune.steps.registry.oci import parse_image
from argotune.steps.registry.skopeo import Registry, push
from tests.fakes.registry import serving
from tests.steps.model.conftest import model_files, safetensors

NewParams = Callable[..., Params]
Json = dict[str, Any]

TAR = "application/vnd.oci.image.layer.v1.tar"
GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
WEIGHTS = "workspace/tfs/weights"


class Layout:
    """An OCI layout in the making."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.manifests: list[Json] = []
        (directory / "blobs" / "sha256").mkdir(parents=True)
        (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')

    def blob(self, content: bytes, media_type: str, **more: object) -> Json:
        digest = hashlib.sha256(content).hexdigest()
        (self.directory / "blobs" / "sha256" / digest).write_bytes(content)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)} | more

    def json(self, value: Json, media_type: str) -> Json:
        return self.blob(json.dumps(value).encode(), media_type)

    def image(self, layers: Sequence[Json]) -> Json:
        config = self.json(
            {
                "architecture": "amd64",
                "os": "linux",
                "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]},
            },
            "application/vnd.oci.image.config.v1+json",
        )
        media_type = "application/vnd.oci.image.manifest.v1+json"
        manifest = {"schemaVersion": 2, "mediaType": media_type, "config": config}
        return self.json(manifest | {"layers": list(layers)}, media_type)

    def tag(self, name: str, manifest: Json) -> None:
        annotations = {"org.opencontainers.image.ref.name": name}
        self.manifests.append(manifest | {"annotations": annotations})
        index = {"schemaVersion": 2, "manifests": self.manifests}
        (self.directory / "index.json").write_text(json.dumps(index))


def tar(files: Mapping[str, bytes], *members: tarfile.TarInfo) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for member in members:
            archive.addfile(member)
    return buffer.getvalue()


def under(directory: str, files: Mapping[str, bytes]) -> dict[str, bytes]:
    return {f"{directory}/{name}": content for name, content in files.items()}


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "layout")


def fetch(new_params: NewParams, source: object) -> tuple[Result, Path]:
    params = new_params(source=f"oci:{source}")
    result = run(params, progress=Progress())
    return result, params.cache_dir / result.model_dir


@pytest.mark.parametrize("media_type", [TAR, GZIP, DOCKER])
def test_model_is_found_wherever_it_lies_in_the_image(
    layout: Layout, new_params: NewParams, media_type: str
) -> None:
    base = {"etc/passwd": b"root", "usr/lib/python3/config.json": b"{}", "a/tokenizer.json": b"{}"}
    contents = [tar(base), tar(under(WEIGHTS, model_files()))]
    if media_type != TAR:
        contents = [gzip.compress(content) for content in contents]
    layout.tag("v1", layout.image([layout.blob(content, media_type) for content in contents]))
    result, directory = fetch(new_params, f"{layout.directory}:v1")
    assert not result.cached
    assert {path.name for path in directory.iterdir()} == {MARKER, *model_files()}
    assert is_complete(directory)
    for name, content in model_files().items():
        assert (directory / name).read_bytes() == content


def test_a_tag_that_moved_is_another_model(layout: Layout, new_params: NewParams) -> None:
    results = []
    for number in (b"1", b"2"):
        files = model_files(**{"tokenizer.json": b'{"new": ' + number + b"}"})
        layout.manifests.clear()
        manifest = layout.image([layout.blob(tar(under(WEIGHTS, files)), TAR)])
        layout.tag("v1", manifest)
        results.append(fetch(new_params, f"{layout.directory}:v1")[0])
        assert results[-1].origin == f"oci:{layout.directory}:v1 at {manifest['digest']}"
    assert not results[1].cached
    assert results[0].model_dir != results[1].model_dir
    assert fetch(new_params, f"{layout.directory}:v1")[0].cached


def test_later_layers_replace_and_remove_files(layout: Layout, new_params: NewParams) -> None:
    old = under(WEIGHTS, model_files() | {"generation_config.json": b"{}"})
    other = under("old/weights", model_files())
    new = {
        f"{WEIGHTS}/tokenizer.json": b'{"new": 1}',
        f"{WEIGHTS}/.wh.generation_config.json": b"",
        "old/.wh.weights": b"",
    }
    layers = [layout.blob(tar(files), TAR) for files in (old | other, new)]
    layout.tag("v1", layout.image(layers))
    _, directory = fetch(new_params, layout.directory)
    assert (directory / "tokenizer.json").read_bytes() == b'{"new": 1}'
    assert not (directory / "generation_config.json").exists()


def test_opaque_directory_hides_what_was_below(layout: Layout, new_params: NewParams) -> None:
    old = under(WEIGHTS, model_files() | {"generation_config.json": b"{}"})
    new = {f"{WEIGHTS}/.wh..wh..opq": b""} | under(WEIGHTS, model_files())
    layers = [layout.blob(tar(files), TAR) for files in (old, new)]
    layout.tag("v1", layout.image(layers))
    _, directory = fetch(new_params, layout.directory)
    assert {path.name for path in directory.iterdir()} == {MARKER, *model_files()}


def test_artifact_with_one_layer_a_file_is_read(layout: Layout, new_params: NewParams) -> None:
    title = "org.opencontainers.image.title"
    layers = [
        layout.blob(content, "application/octet-stream", annotations={title: f"weights/{name}"})
        for name, content in model_files().items()
    ]
    layout.tag("v1", layout.image(layers))
    _, directory = fetch(new_params, layout.directory)
    assert is_complete(directory)


def test_packed_directory_of_an_artifact_is_read(layout: Layout, new_params: NewParams) -> None:
    annotations = {
        "org.opencontainers.image.title": "weights",
        "io.deis.oras.content.unpack": "true",
    }
    content = gzip.compress(tar(under("weights", model_files())))
    layer = layout.blob(content, GZIP, annotations=annotations)
    layout.tag("v1", layout.image([layer]))
    _, directory = fetch(new_params, layout.directory)
    assert is_complete(directory)


def test_links_and_paths_that_lead_elsewhere_do_nothing(
    layout: Layout, new_params: NewParams, tmp_path: Path
) -> None:
    link = tarfile.TarInfo(f"{WEIGHTS}/vocab.json")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    evil = {"../../../evil/config.json": b"{}", "/absolute/tokenizer.json": b"{}"}
    content = tar(under(WEIGHTS, model_files()) | evil, link)
    layout.tag("v1", layout.image([layout.blob(content, TAR)]))
    _, directory = fetch(new_params, layout.directory)
    assert {path.name for path in directory.iterdir()} == {MARKER, *model_files()}
    assert not list(tmp_path.rglob("evil"))


def test_platform_of_the_cluster_is_chosen(layout: Layout, new_params: NewParams) -> None:
    wrong = layout.image([layout.blob(tar({"x": b""}), TAR)])
    right = layout.image([layout.blob(tar(under(WEIGHTS, model_files())), TAR)])
    manifests = [
        wrong | {"platform": {"os": "linux", "architecture": "arm64"}},
        right | {"platform": {"os": "linux", "architecture": "amd64"}},
    ]
    media_type = "application/vnd.oci.image.index.v1+json"
    layout.tag("v1", layout.json({"schemaVersion": 2, "manifests": manifests}, media_type))
    _, directory = fetch(new_params, layout.directory)
    assert is_complete(directory)


def test_tag_that_is_not_there_lists_those_that_are(layout: Layout, new_params: NewParams) -> None:
    image = layout.image([layout.blob(tar(under(WEIGHTS, model_files())), TAR)])
    layout.tag("v1", image)
    layout.tag("v2", image)
    with pytest.raises(PermanentError) as caught:
        fetch(new_params, f"{layout.directory}:v3")
    assert str(caught.value) == (f"oci:{layout.directory}:v3: no such tag; the layout has v1, v2")


@pytest.mark.parametrize(("copies", "found"), [(0, "no directory"), (2, "2 directories")])
def test_image_must_have_one_model(
    layout: Layout, new_params: NewParams, copies: int, found: str
) -> None:
    files = {"etc/config.json": b"{}"}
    for number in range(copies):
        files |= under(f"models/{number}", model_files())
    layout.tag("v1", layout.image([layout.blob(tar(files), TAR)]))
    with pytest.raises(PermanentError) as caught:
        fetch(new_params, layout.directory)
    assert str(caught.value) == (
        f"oci:{layout.directory}: {found} with config.json and model*.safetensors; expected "
        "exactly one"
    )


def test_damaged_blob_is_refused(layout: Layout, new_params: NewParams) -> None:
    layer = layout.blob(tar(under(WEIGHTS, model_files())), TAR)
    layout.tag("v1", layout.image([layer]))
    path = layout.directory / "blobs" / "sha256" / layer["digest"].removeprefix("sha256:")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(PermanentError, match="is damaged: its content has another digest"):
        fetch(new_params, layout.directory)


def test_layer_that_is_cut_is_refused(layout: Layout, new_params: NewParams) -> None:
    content = gzip.compress(tar(under(WEIGHTS, model_files())))
    layout.tag("v1", layout.image([layout.blob(content[: len(content) // 2], GZIP)]))
    with pytest.raises(PermanentError, match="a layer is a damaged tar file"):
        fetch(new_params, layout.directory)


def test_directory_that_is_no_layout_is_refused(tmp_path: Path, new_params: NewParams) -> None:
    with pytest.raises(PermanentError, match=r"is not an OCI layout: no index\.json"):
        fetch(new_params, tmp_path)


def test_reference_that_is_none_is_refused(new_params: NewParams) -> None:
    with pytest.raises(ParamsError, match=r"^model source oci:Registry/Image: "):
        fetch(new_params, "Registry/Image")


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")
def test_model_comes_from_a_registry(layout: Layout, new_params: NewParams) -> None:
    manifest = layout.image([layout.blob(tar(under(WEIGHTS, model_files())), TAR)])
    layout.tag("v1", manifest)
    with serving() as server:
        image = f"{server.host}/models/small:v1"
        reference = parse_image(image)
        push(layout.directory, "v1", reference, manifest["digest"], Registry(attempts=1))
        _, directory = fetch(new_params, image)
    assert is_complete(directory)
    assert not (directory / ".image").exists()


def test_file_that_only_looks_like_weights_is_refused(
    layout: Layout, new_params: NewParams
) -> None:
    files = model_files() | {"model.safetensors": safetensors()[:20]}
    layout.tag("v1", layout.image([layout.blob(tar(under(WEIGHTS, files)), TAR)]))
    with pytest.raises(PermanentError, match=r"model\.safetensors is not safetensors"):
        fetch(new_params, layout.directory)
