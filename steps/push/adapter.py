"""The adapter's files: which of them go into the image, and whether they are what they say."""

from __future__ import annotations

import json
import logging
import stat
import struct
from pathlib import Path

from steps.common import log
from steps.common.errors import PermanentError

_LOGGER = logging.getLogger(__name__)

_REQUIRED = ("adapter_config.json", "adapter_model.safetensors")
_ACCEPTED_SUFFIXES = (".json", ".safetensors", ".jinja", ".model", ".txt", ".md")
_PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".pkl", ".ckpt", ".pickle")
_LARGEST_HEADER_BYTES = 100_000_000
"""The safetensors library refuses longer headers, too."""


def adapter_files(directory: Path) -> list[Path]:
    """The files of an adapter, sorted by name.

    Hidden files, which are what an interrupted write leaves, are left out. Raises PermanentError
    with every problem: a file that is missing, not a plain file, a pickle, or not whole.
    """
    if not directory.is_dir():
        raise PermanentError(
            f"{directory}: no such directory; the tune step writes the adapter there"
        )
    hidden, files = _split_hidden(directory)
    for path in hidden:
        log.warn(_LOGGER, "skipped", file=path.name, reason="hidden file")
    names = {path.name for path in files}
    problems = [f"{name} is missing" for name in _REQUIRED if name not in names]
    problems += [problem for path in files if (problem := _problem(path)) is not None]
    if problems:
        raise PermanentError(f"{directory} is not an adapter: {'; '.join(problems)}")
    return files


def _split_hidden(directory: Path) -> tuple[list[Path], list[Path]]:
    paths = sorted(directory.iterdir(), key=lambda path: path.name)
    hidden = [path for path in paths if path.name.startswith(".")]
    return hidden, [path for path in paths if not path.name.startswith(".")]


def _problem(path: Path) -> str | None:
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return f"{path.name} is a link; only plain files go into an image"
    if not stat.S_ISREG(mode):
        return f"{path.name} is not a plain file"
    if path.suffix in _PICKLE_SUFFIXES:
        return f"{path.name} may hold code (pickle); weights are safetensors only"
    if path.suffix not in _ACCEPTED_SUFFIXES:
        return f"{path.name} is no file of an adapter; accepted are {', '.join(_ACCEPTED_SUFFIXES)}"
    if path.suffix == ".safetensors":
        return _safetensors_problem(path)
    if path.suffix == ".json":
        return _json_problem(path)
    return None


def _json_problem(path: Path) -> str | None:
    try:
        value = json.loads(path.read_bytes())
    except ValueError as error:
        return f"{path.name} is not JSON ({error})"
    return None if isinstance(value, dict) else f"{path.name} is not a JSON object"


def _safetensors_problem(path: Path) -> str | None:
    """Check header and offsets: https://github.com/huggingface/safetensors#format."""
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(8)
        header_size = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else size
        if header_size > min(_LARGEST_HEADER_BYTES, size - 8):
            return f"{path.name} is not safetensors: its header does not fit into {size} bytes"
        header_text = file.read(header_size)
    try:
        header = json.loads(header_text)
        offsets = sorted(
            tuple(tensor["data_offsets"])
            for name, tensor in header.items()
            if name != "__metadata__"
        )
    except (ValueError, AttributeError, KeyError, TypeError):
        return f"{path.name} is not safetensors: its header cannot be read"
    end = 0
    for offset in offsets:
        if len(offset) != 2 or offset[0] != end or offset[1] < offset[0]:
            return f"{path.name} is not safetensors: its tensors overlap or leave a gap"
        end = offset[1]
    if end != size - 8 - header_size:
        return (
            f"{path.name} is not whole: its tensors take {end} bytes, the file has "
            f"{size - 8 - header_size}"
        )
    return f"{path.name} has no tensors" if not offsets else None
