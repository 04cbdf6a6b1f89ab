from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import pytest

from argotune.steps.common.errors import PermanentError
from argotune.steps.push.adapter import adapter_files
from tests.fakes.adapter import safetensors, write_adapter


def problems(directory: Path) -> str:
    with pytest.raises(PermanentError) as caught:
        adapter_files(directory)
    return str(caught.value).removeprefix(f"{directory} is not an adapter: ")


def test_an_adapters_files_are_listed_by_name(tmp_path: Path) -> None:
    directory = write_adapter(tmp_path / "adapter")
    (directory / ".adapter_model.safetensors.x.part").write_text("left by an interrupted write")
    assert [path.name for path in adapter_files(directory)] == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "chat_template.jinja",
        "serving.json",
    ]


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(PermanentError) as caught:
        adapter_files(tmp_path / "adapter")
    assert str(caught.value) == (
        f"{tmp_path / 'adapter'}: no such directory; the tune step writes the adapter there"
    )


def test_every_problem_is_said_at_once(tmp_path: Path) -> None:
    directory = write_adapter(tmp_path / "adapter")
    (directory / "adapter_config.json").unlink()
    (directory / "optimizer.pt").write_bytes(b"")
    (directory / "run.sh").write_bytes(b"")
    (directory / "checkpoint-1").mkdir()
    (directory / "tokenizer.json").symlink_to("/etc/passwd")
    os.mkfifo(directory / "vocab.json")
    assert problems(directory) == (
        "adapter_config.json is missing; checkpoint-1 is not a plain file; optimizer.pt may "
        "contain code (pickle); only safetensors are accepted; run.sh is not a file of an "
        "adapter; accepted: .json, .safetensors, .jinja, .model, .txt, .md; tokenizer.json is a "
        "link; only plain files go into an image; vocab.json is not a plain file"
    )


def _header(value: object) -> bytes:
    text = json.dumps(value).encode()
    return struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is not safetensors: its header does not fit into 0 bytes"),
        (b"PK\x03\x04 a zip", "is not safetensors: its header does not fit into 10 bytes"),
        (struct.pack("<Q", 2) + b"no", "is not safetensors: its header cannot be read"),
        (_header([]), "is not safetensors: its header cannot be read"),
        (_header({}), "has no tensors"),
        (
            safetensors()[:-1],
            "has the wrong size: its tensors take 64 bytes, the file has 63",
        ),
        (
            _header({"a": {"data_offsets": [4, 8]}}) + b"\0" * 8,
            "is not safetensors: its tensors overlap or leave a gap",
        ),
    ],
)
def test_weights_that_are_not_whole_safetensors_are_refused(
    tmp_path: Path, content: bytes, problem: str
) -> None:
    directory = write_adapter(tmp_path / "adapter")
    (directory / "adapter_model.safetensors").write_bytes(content)
    assert problems(directory) == f"adapter_model.safetensors {problem}"


def test_configuration_must_be_a_json_object(tmp_path: Path) -> None:
    directory = write_adapter(tmp_path / "adapter")
    (directory / "adapter_config.json").write_text("[]")
    assert problems(directory) == "adapter_config.json is not a JSON object"
