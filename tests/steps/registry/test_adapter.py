from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from argotune.steps.common.errors import PermanentError
from argotune.steps.push.layout import write_image
from argotune.steps.registry.adapter import extract
from tests.fakes.adapter import safetensors, write_adapter

WHOLE = {"data/adapter_config.json": b"{}", "data/adapter_model.safetensors": safetensors()}
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"


def add_blob(layout: Path, content: bytes) -> str:
    digest = hashlib.sha256(content).hexdigest()
    path = layout / "blobs" / "sha256" / digest
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return f"sha256:{digest}"


def tar_of(*members: tuple[tarfile.TarInfo, bytes], mode: Any = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def files(**changes: bytes) -> list[tuple[tarfile.TarInfo, bytes]]:
    return [(tarfile.TarInfo(name), content) for name, content in (WHOLE | changes).items()]


def image(layout: Path, layer: bytes, media_type: str = OCI_LAYER) -> str:
    layers = [{"mediaType": media_type, "digest": add_blob(layout, layer)}]
    return add_blob(layout, json.dumps({"layers": layers}).encode())


def problem(layout: Path, digest: str, tmp_path: Path) -> str:
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(PermanentError) as caught:
        extract(layout, digest, target)
    return str(caught.value).replace(digest, "DIGEST")


def test_what_push_wrote_comes_out_again(tmp_path: Path) -> None:
    adapter, target = write_adapter(tmp_path / "adapter"), tmp_path / "target"
    target.mkdir()
    pushed = write_image(
        tmp_path / "image", list(adapter.iterdir()), tag="1", created="2026", annotations={}
    )
    extract(tmp_path / "image", pushed.digest, target)
    found = {path.name: path.read_bytes() for path in target.iterdir()}
    assert found == {path.name: path.read_bytes() for path in adapter.iterdir()}
    assert found


@pytest.mark.parametrize("prefix", ["", "./", "/"])
def test_kaitos_compressed_layers_are_read(tmp_path: Path, prefix: str) -> None:
    members = [(tarfile.TarInfo(prefix + name), content) for name, content in WHOLE.items()]
    layer = tar_of(*members, mode="w:gz")
    digest = image(tmp_path, layer, "application/vnd.oci.image.layer.v1.tar+gzip")
    target = tmp_path / "target"
    target.mkdir()
    extract(tmp_path, digest, target)
    assert sorted(path.name for path in target.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]


def _special(kind: bytes, link: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo("data/tokenizer.json")
    member.type = kind
    member.linkname = link
    return member


@pytest.mark.parametrize(
    "member",
    [
        _special(tarfile.SYMTYPE, "/etc/passwd"),
        _special(tarfile.LNKTYPE, "data/adapter_config.json"),
        _special(tarfile.FIFOTYPE),
        _special(tarfile.CHRTYPE),
        tarfile.TarInfo("data/../../evil.json"),
        tarfile.TarInfo("data/sub/evil.json"),
        tarfile.TarInfo("etc/evil.json"),
        tarfile.TarInfo("data/.hidden.json"),
        tarfile.TarInfo("data/optimizer.pt"),
        tarfile.TarInfo("data"),
    ],
    ids=lambda member: f"{member.name}-{member.type.decode()}",
)
def test_what_no_adapter_has_is_refused(tmp_path: Path, member: tarfile.TarInfo) -> None:
    digest = image(tmp_path, tar_of(*files(), (member, b"")))
    assert problem(tmp_path, digest, tmp_path) == (
        f"image DIGEST: {member.name!r} does not belong to an adapter; accepted are plain files "
        "/data/NAME with .json, .safetensors, .jinja, .model, .txt, .md"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["blobs", "target"]


def test_an_image_of_something_else_is_refused(tmp_path: Path) -> None:
    digest = image(tmp_path, tar_of((tarfile.TarInfo("data/README.md"), b"hi")))
    assert problem(tmp_path, digest, tmp_path) == (
        "image DIGEST is not an adapter: /data has no adapter_config.json and no "
        "adapter_model.safetensors"
    )


def test_an_unknown_compression_is_refused(tmp_path: Path) -> None:
    digest = image(tmp_path, b"", "application/vnd.oci.image.layer.v1.tar+zstd")
    assert problem(tmp_path, digest, tmp_path) == (
        "image DIGEST: a layer of type 'application/vnd.oci.image.layer.v1.tar+zstd' cannot be "
        "read; push it as application/vnd.oci.image.layer.v1.tar"
    )


def test_an_index_of_several_images_is_refused(tmp_path: Path) -> None:
    digest = add_blob(tmp_path, b'{"manifests": []}')
    assert problem(tmp_path, digest, tmp_path) == (
        "image DIGEST: not an image manifest; an index of several images cannot be served"
    )


@pytest.mark.parametrize("layer", [b"", b"no tar", tar_of(*files())[:700]])
def test_a_layer_that_is_no_whole_archive_is_refused(tmp_path: Path, layer: bytes) -> None:
    said = problem(tmp_path, image(tmp_path, layer), tmp_path)
    assert said.startswith("image DIGEST: a layer is a damaged tar file: ")


def test_a_damaged_blob_is_noticed(tmp_path: Path) -> None:
    digest = image(tmp_path, tar_of(*files()))
    (tmp_path / "blobs/sha256" / digest[7:]).write_text('{"layers": []}')
    assert problem(tmp_path, digest, tmp_path) == (
        f"OCI layout {tmp_path}: the blob of DIGEST is damaged; push again"
    )


def test_a_missing_blob_is_named(tmp_path: Path) -> None:
    digest = "sha256:" + "0" * 64
    assert problem(tmp_path, digest, tmp_path) == (
        f"OCI layout {tmp_path} has no DIGEST; was the image moved?"
    )


def test_a_digest_that_is_a_path_is_refused(tmp_path: Path) -> None:
    layers = [{"mediaType": OCI_LAYER, "digest": "sha256:../../../etc/passwd"}]
    digest = add_blob(tmp_path, json.dumps({"layers": layers}).encode())
    assert problem(tmp_path, digest, tmp_path) == (
        "'sha256:../../../etc/passwd' is not sha256: and 64 lower-case hex digits"
    )
