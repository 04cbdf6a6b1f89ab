"""Cache of the 4-bit base weights beside the model's directory.

Later runs read a quarter of the bytes and do not quantize. No run depends on the cache: if it
cannot be read, the weights are quantized again, and if it cannot be written, it is skipped.
"""

from __future__ import annotations

import contextlib
import copy
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig

from argotune.steps.causal_lm.device import Device
from argotune.steps.common import log
from argotune.steps.common.fs import free_bytes_of, locked, replacing_directory
from argotune.steps.contracts.model_cache import (
    MARKER,
    damage,
    digest_of,
    mark_complete,
    read_marker,
)

_FORMAT = "1"
"""Increased with every change of the cache's format."""
_MADE_FROM = "made_from.json"
_FILE_SIZE = "1GB"
"""Size of the weight files: the tensors of one file are in host memory while it is written."""
_FAILURES = (OSError, ValueError, KeyError, RuntimeError, SafetensorError)
"""Errors of transformers and safetensors for files that they cannot read or write."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class QuantizedCache:
    """The cache of one base model in one 4-bit format."""

    directory: Path
    made_from: dict[str, Any]
    """Everything that determines the cached bytes."""

    def read(self, config: Any, load: Callable[..., Any]) -> Any:
        """The model that `load` returns for the cache; None if the cache is missing or unusable.

        `config` is the base's configuration with this run's changes.
        """
        began = time.monotonic()
        try:
            if not self.directory.is_dir():
                return None
            problem = self._problem()
            if problem is None:
                model = load(self.directory, config=self._with_quantization(config))
                # Another run may have written its own in the meantime.
                problem = self._problem()
        except torch.cuda.OutOfMemoryError:
            raise
        except _FAILURES as error:
            self._invalidate()
            problem = str(error)
        if problem is not None:
            log.warn(
                _logger,
                "quantized_cache_unusable",
                directory=self.directory,
                problem=problem,
                effect="the weights are quantized again",
            )
            return None
        seconds = time.monotonic() - began
        log.event(_logger, "quantized_cache_read", directory=self.directory, seconds=seconds)
        return model

    def write(
        self, model: Any, config: Any, *, free_bytes: Callable[[Path], int] = free_bytes_of
    ) -> None:
        """Store a newly quantized base; `config` is its directory's unchanged configuration."""
        began = time.monotonic()
        try:
            written = self._write(model, config, free_bytes)
        except _FAILURES as error:
            log.warn(
                _logger,
                "quantized_cache_not_written",
                directory=self.directory,
                reason=error,
                effect="the next run quantizes again",
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
        """Why the cache cannot be used, or None; file contents are not read."""
        problems = damage(self.directory)
        if problems:
            return "; ".join(problems)
        found = json.loads((self.directory / _MADE_FROM).read_text())
        other = [key for key, value in self.made_from.items() if found.get(key) != value]
        if other:
            key = other[0]
            return f"it was made from {key} {found.get(key)} instead of {self.made_from[key]}"
        return None

    def _with_quantization(self, config: Any) -> Any:
        """The config with the entry that tells transformers that the weights are already 4-bit."""
        config = copy.deepcopy(config)
        config.quantization_config = dict(self.made_from["quantization"])
        return config

    def _invalidate(self) -> None:
        """Delete the marker of complete files that do not load, so that they are written again."""
        with contextlib.suppress(OSError):
            (self.directory / MARKER).unlink()

    def _write(self, model: Any, config: Any, free_bytes: Callable[[Path], int]) -> int:
        lock = self.directory.with_name(f".{self.directory.name}.lock")
        with locked(lock, on_wait=_refuse_to_wait):
            if self.directory.is_dir() and self._problem() is None:
                raise OSError("another run has written it in the meantime")
            needed = sum(tensor.nbytes for tensor in model.state_dict().values())
            free = free_bytes(self.directory.parent)
            if needed > free:
                raise OSError(f"it needs {needed / 1e9:.1f} GB, but {free / 1e9:.1f} GB are free")
            return self._write_locked(model, config)

    def _write_locked(self, model: Any, config: Any) -> int:
        with replacing_directory(self.directory) as made:
            model.save_pretrained(made, max_shard_size=_FILE_SIZE)
            # The model's own config has only the LongRoPE factors that this run uses.
            config.quantization_config = model.config.quantization_config
            config.save_pretrained(made)
            (made / _MADE_FROM).write_text(json.dumps(self.made_from, indent=2) + "\n")
            return mark_complete(made).size


def with_quantized_cache(
    load: Callable[..., Any], device: Device, *, writes: bool
) -> Callable[..., Any]:
    """Wrap `load`, transformers' from_pretrained, so that it reads the 4-bit base from the cache.

    Without a usable cache it calls `load`, and stores the quantized base if it `writes`.
    """

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
    """The cache of the base for transformers' `quantization` settings on this device.

    None, with a warning, for a base without a marker, which identifies the weights.
    """
    base = _digest(model_dir)
    if base is None:
        log.warn(
            _logger,
            "quantized_cache_off",
            reason=f"{model_dir / MARKER}, which identifies the weights, is missing",
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
    # Revisions have no plus sign, so no model has this name.
    return QuantizedCache(model_dir.with_name(f"{model_dir.name}+{'-'.join(form)}"), made_from)


def _digest(model_dir: Path) -> str | None:
    """Digest of weights and configuration from the marker's entries; the files may be missing."""
    marker = read_marker(model_dir)
    if marker is None:
        return None
    return digest_of(
        {
            name: file
            for name, file in marker.files.items()
            if name.endswith(".safetensors") or name == "config.json"
        }
    )


def _refuse_to_wait() -> None:
    raise OSError("another run is writing it")
