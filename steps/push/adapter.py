"""Selection and checks of the adapter's files for the image."""

from __future__ import annotations

import json
import logging
import stat
from pathlib import Path

from argotune.steps.common import log
from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.safetensors_file import safetensors_problem

_LOGGER = logging.getLogger(__name__)

_REQUIRED = ("adapter_config.json", "adapter_model.safetensors")
_ACCEPTED_SUFFIXES = (".json", ".safetensors", ".jinja", ".model", ".txt", ".md")
_PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".pkl", ".ckpt", ".pickle")


def adapter_files(directory: Path) -> list[Path]:
    """The files of an adapter, sorted by name.

    Hidden files, which interrupted writes leave, are skipped. Raises PermanentError with all
    problems: a file that is missing, not a plain file, a pickle, or truncated.
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
        return f"{path.name} may contain code (pickle); only safetensors are accepted"
    if path.suffix not in _ACCEPTED_SUFFIXES:
        return f"{path.name} is not a file of an adapter; accepted: {', '.join(_ACCEPTED_SUFFIXES)}"
    if path.suffix == ".safetensors":
        return safetensors_problem(path)
    if path.suffix == ".json":
        return _json_problem(path)
    return None


def _json_problem(path: Path) -> str | None:
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        return f"{path.name} is not JSON ({error})"
    return None if isinstance(value, dict) else f"{path.name} is not a JSON object"
