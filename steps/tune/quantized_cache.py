"""The base in 4 bits, kept beside the model's own directory: later runs read a quarter of the bytes
and quantise nothing.

No run depends on it. What cannot be read is quantised anew, and what cannot be written is left out.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import logging
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig

from argotune.steps.common import log
from argotune.steps.common.fs import free_bytes_of, fsync
from argotune.steps.contracts.model_cache import MARKER, damage, mark_complete, read_marker
from argotune.steps.tune.device import Device

_FORMAT = "1"
"""Counts up when the same base would be kept in another way."""
_MADE_FROM = "made_from.json"
_FILE_SIZE = "1GB"
"""Of the weights' files: each one's tensors stand in host memory while it is written."""
_ABANDONED_SECONDS = 24 * 3600
"""A directory that is older and unfinished belongs to a run that was killed."""
_FAILURES = (OSError, ValueError, KeyError, RuntimeError, SafetensorError)
"""What transformers and safetensors raise for files that they cannot read or write."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class QuantizedCache:
    """The place of one base in one 4-bit format."""

    directory: Path
    made_from: dict[str, Any]
    """All that its bytes follow from."""

    def read(self, config: Any, load: Callable[..., Any]) -> Any:
        """What `load` makes of the directory and the base's own `config`, as this run has changed
        it; None where nothing usable is kept."""
        began = time.monotonic()
        try:
            if not self.directory.is_dir():
                return None
            problem = self._problem()
            if problem is None:
                model = load(self.directory, config=self._quantized(config))
        except torch.cuda.OutOfMemoryError:
            raise
        except _FAILURES as error:
            self._disown()
            problem = str(error)
        if problem is not None:
            log.warn(
                _logger,
                "quantized_cache_unusable",
                directory=self.directory,
                problem=problem,
                effect="the weights are quantised anew",
            )
            return None
        seconds = time.monotonic() - began
        log.event(_logger, "quantized_cache_read", directory=self.directory, seconds=seconds)
        return model

    def write(
        self, model: Any, config: Any, *, free_bytes: Callable[[Path], int] = free_bytes_of
    ) -> None:
        """Keep a base that was just quantised, with the unchanged `config` of its directory."""
        began = time.monotonic()
        try:
            written = self._write(model, config, free_bytes)
        except _FAILURES as error:
            log.warn(
                _logger,
                "quantized_cache_not_written",
                directory=self.directory,
                reason=error,
                effect="the next run quantises again",
            )
            return
        log.event(
            _logger,
            "quantized_cache_written",
            directory=self.directory,
            gb=written / 1e9,
            seconds=time.monotonic() - began,
        )

    def _problem(self) -> str | None:
        """Why what is kept cannot be used; file contents are not read."""
        problems = damage(self.directory)
        if problems:
            return "; ".join(problems)
        found = json.loads((self.directory / _MADE_FROM).read_text())
        other = [key for key, value in self.made_from.items() if found.get(key) != value]
        if other:
            key = other[0]
            return f"it was made from {key} {found.get(key)} instead of {self.made_from[key]}"
        return None

    def _quantized(self, config: Any) -> Any:
        """The config with the note by which transformers knows weights that are 4-bit already."""
        config = copy.deepcopy(config)
        config.quantization_config = dict(self.made_from["quantization"])
        return config

    def _disown(self) -> None:
        """Take the marker from files that are whole and yet do not load, so that they are made
        anew."""
        with contextlib.suppress(OSError):
            (self.directory / MARKER).unlink()

    def _write(self, model: Any, config: Any, free_bytes: Callable[[Path], int]) -> int:
        parent, prefix = self.directory.parent, f".{self.directory.name}."
        _remove_abandoned(parent, prefix)
        needed = sum(tensor.nbytes for tensor in model.state_dict().values())
        free = free_bytes(parent)
        if needed > free:
            raise OSError(f"it needs {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free")
        with tempfile.TemporaryDirectory(
            prefix=prefix, suffix=".partial", dir=parent, ignore_cleanup_errors=True
        ) as work:
            made = Path(work, "made")
            model.save_pretrained(made, max_shard_size=_FILE_SIZE)
            # In the model's own config, LongRoPE's factors are those that this run has chosen.
            config.quantization_config = model.config.quantization_config
            config.save_pretrained(made)
            (made / _MADE_FROM).write_text(json.dumps(self.made_from, indent=2) + "\n")
            for path in made.iterdir():
                # safetensors makes files for the owner only.
                path.chmod(0o644)
                fsync(path)
            written = mark_complete(made).size
            self._put(made, Path(work, "old"))
        return written

    def _put(self, made: Path, old: Path) -> None:
        """Give the directory its name; one that is unusable makes way."""
        if self.directory.is_dir():
            if self._problem() is None:
                raise OSError("another run has written it meanwhile")
            self.directory.rename(old)
        made.rename(self.directory)
        fsync(self.directory.parent)


def with_quantized_cache(
    load: Callable[..., Any], device: Device, *, writes: bool
) -> Callable[..., Any]:
    """`load`, transformers' from_pretrained, which first looks for the base in 4 bits and otherwise
    keeps what it quantises, if it `writes`."""

    def load_or_read(model_dir: Path, *, config: Any, quantization_config: Any) -> Any:
        cache = quantized_cache(model_dir, quantization_config, device)
        if cache is not None and (kept := cache.read(config, load)) is not None:
            return kept
        model = load(model_dir, config=config, quantization_config=quantization_config)
        if cache is not None and writes:
            unchanged = AutoConfig.from_pretrained(
                model_dir, local_files_only=True, trust_remote_code=False
            )
            cache.write(model, unchanged)
        return model

    return load_or_read


def quantized_cache(model_dir: Path, quantization: Any, device: Device) -> QuantizedCache | None:
    """Where the base is kept as transformers' `quantization` makes it on this device.

    None, with a warning, for a base without a marker: nothing says which weights it has.
    """
    base = _digest(model_dir)
    if base is None:
        log.warn(
            _logger,
            "quantized_cache_off",
            reason=f"{model_dir / MARKER} is missing, so nothing says which weights these are",
        )
        return None
    settings = json.loads(json.dumps(quantization.to_dict()))
    form = (
        settings["bnb_4bit_quant_type"],
        "double" if settings["bnb_4bit_use_double_quant"] else "single",
        settings["bnb_4bit_compute_dtype"],
        settings["bnb_4bit_quant_storage"],
    )
    made_from = {
        "format": _FORMAT,
        "base": base,
        "quantization": settings,
        "device": device.torch_device.type,
        **{package: version(package) for package in ("bitsandbytes", "torch", "transformers")},
    }
    # No revision has a plus sign in it, so no model can have this name.
    return QuantizedCache(model_dir.with_name(f"{model_dir.name}+{'-'.join(form)}"), made_from)


def _digest(model_dir: Path) -> str | None:
    """Of the weights and their shapes as the marker names them; they need not be there."""
    marker = read_marker(model_dir)
    if marker is None:
        return None
    lines = [
        f"{name} {file.size} {file.sha256}\n"
        for name, file in sorted(marker.files.items())
        if name.endswith(".safetensors") or name == "config.json"
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _remove_abandoned(parent: Path, prefix: str) -> None:
    """What runs that were killed have left; another run may be writing a younger one."""
    for path in parent.glob(f"{prefix}*.partial"):
        if time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:
            shutil.rmtree(path, ignore_errors=True)
