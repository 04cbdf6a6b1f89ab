"""Checkpoints, with everything that an interrupted run needs to resume with the same results.

Each is a directory that is created atomically by a rename, with a marker that lists its files and
their checksums. It records the run's settings, and a run with other settings refuses it. A damaged
one is passed over, and stays until the run has written a newer one.

A thread writes it, so that the GPU waits only for the copy to host memory. The adapter of a 7B
model and its moments are 0.5 GB: a tenth of a second at 5 GB/s, and five on a volume of 100 MB/s.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import msgspec
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch.utils._pytree import tree_map_only

from argotune.steps.common import log
from argotune.steps.common.errors import PermanentError
from argotune.steps.common.fs import (
    atomic_write,
    remove_directory,
    remove_partials,
    replacing_directory,
)
from argotune.steps.contracts.model_cache import damage, mark_complete
from argotune.steps.contracts.training_plan import TrainingPlan
from argotune.steps.tune.load import trainable_parameters

_KEPT = 2
_WITHOUT_EFFECT = ("save_steps", "gradient_checkpointing", "kept_blocks")
"""Keys of the plan's section training on which no result depends."""
_BASE = "base_loss.json"
_STATE, _ADAPTER, _BEST, _OPTIMIZER = (
    "state.json",
    "adapter.safetensors",
    "best.safetensors",
    "optimizer.pt",
)

Tensors = dict[str, torch.Tensor]

_logger = logging.getLogger(__name__)


class Position(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Progress of a run."""

    step: int = 0
    """Optimizer steps done; with the seed this also determines the next rows."""
    recent: list[tuple[float, int]] = []
    """Summed loss (nats) and number of labels of the last steps, oldest first."""
    best_loss: float | None = None
    """Lowest held-out loss, nats per token."""
    best_step: int = 0
    evaluations_without_gain: int = 0
    last_loss: float | None = None
    """Held-out loss of the last evaluation."""
    evaluated_step: int | None = None
    stopped_early: bool = False


class _State(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    identity: dict[str, str]
    position: Position


class BaseLoss(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The held-out loss before training."""

    loss: float
    """Nats per token."""
    seconds: float = 0.0
    """Duration of its evaluation, and so of each later one; 0: unknown."""


class _KeptBaseLoss(BaseLoss, kw_only=True, forbid_unknown_fields=True):
    identity: dict[str, str]


def identity_of(plan: TrainingPlan, dataset_digest: str, base_digest: str) -> dict[str, str]:
    """The settings that a run's results depend on, by name.

    Neither the interval of checkpoints is one, nor which activations are kept, so that a retry may
    keep fewer where memory was too small.
    """
    sections: dict[str, Any] = {
        "model": {"repository": plan.model.repository, "revision": plan.model.revision},
        "lora": msgspec.to_builtins(plan.lora),
        "quantization": msgspec.to_builtins(plan.quantization) or {"quant_type": "none"},
        "training": {**msgspec.to_builtins(plan.training), **dict.fromkeys(_WITHOUT_EFFECT, "any")},
    }
    values = {
        f"{section}.{key}": str(value)
        for section, fields in sections.items()
        for key, value in fields.items()
    }
    return {"dataset": dataset_digest, "base": base_digest, **values}


@dataclass(frozen=True)
class _Copy:
    """What a checkpoint consists of, in host memory, where training changes none of it."""

    state: bytes
    adapter: Tensors
    best: Tensors | None
    optimizer: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run; `writer` is one thread that writes them."""

    def __init__(
        self, directory: Path, identity: Mapping[str, str], *, writer: Executor | None = None
    ) -> None:
        self._directory = directory
        self._identity = dict(identity)
        self._at: Path | None = None
        """The checkpoint that was restored last, or whose writing began last."""
        self._writer = writer or ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future[None] | None = None
        directory.mkdir(parents=True, exist_ok=True)
        remove_partials(directory)

    def begin(
        self,
        position: Position,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        best: Tensors | None,
    ) -> None:
        """Copy a checkpoint to host memory and begin to write it, then to delete older ones.

        Waits for the one before, and raises what that one failed with.
        """
        self.finish()
        target = self._path(position.step)
        copy = None
        if target != self._at:
            copy = _Copy(
                state=msgspec.json.encode(_State(identity=self._identity, position=position)),
                adapter=_on_cpu(trainable_parameters(model)),
                best=best,
                optimizer={"optimizer": _copied(optimizer.state_dict()), **_rng()},
            )
            self._at = target
        self._writing = self._writer.submit(self._write, target, copy)

    def finish(self) -> None:
        """Wait until what began is written. Raises what it failed with."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def _write(self, target: Path, copy: _Copy | None) -> None:
        """Write the copy, if it is not there yet, and delete all but it and the one before."""
        if copy is not None:
            with replacing_directory(target) as made:
                safetensors.torch.save_file(copy.adapter, made / _ADAPTER)
                if copy.best is not None:
                    safetensors.torch.save_file(copy.best, made / _BEST)
                # Into an open file: torch's own writer does not say why it could not write.
                with (made / _OPTIMIZER).open("wb") as file:
                    torch.save(copy.optimizer, file)
                (made / _STATE).write_bytes(copy.state)
                mark_complete(made)
        # What is newer was passed over as damaged.
        kept = [path for path in self._all() if path <= target][-_KEPT:]
        for path in self._all():
            if path not in kept:
                remove_directory(path)

    def restore(
        self, model: torch.nn.Module, optimizer: torch.optim.Optimizer
    ) -> tuple[Position, Tensors | None]:
        """Load the newest whole checkpoint into model, optimizer and random generators.

        Without one the position is the start. Raises PermanentError as `check`.
        """
        newest = self._newest
        if newest is None:
            return Position(), None
        state = self._read(newest)
        try:
            adapter = safetensors.torch.load_file(newest / _ADAPTER)
            saved = torch.load(newest / _OPTIMIZER, map_location="cpu", weights_only=True)
            best = newest / _BEST
            best_adapter = safetensors.torch.load_file(best) if best.exists() else None
        except (OSError, RuntimeError, SafetensorError, UnpicklingError) as error:
            raise PermanentError(
                f"{newest} is whole but cannot be loaded ({error}); retry with the image that "
                "wrote it, or delete it to resume from the one before"
            ) from error
        self._at = newest
        load_tensors(model, adapter)
        optimizer.load_state_dict(saved["optimizer"])
        _set_rng(saved)
        return state.position, best_adapter

    def check(self) -> None:
        """Raise PermanentError if the newest whole checkpoint is of a run with other settings.

        The error names the differences.
        """
        if self._newest is not None:
            self._read(self._newest)

    def base_loss(self) -> BaseLoss | None:
        """The base model's held-out loss, if an earlier attempt of this run measured it."""
        try:
            kept = msgspec.json.decode((self._directory / _BASE).read_bytes(), type=_KeptBaseLoss)
        except (OSError, msgspec.DecodeError):
            return None
        return kept if kept.identity == self._identity else None

    def keep_base_loss(self, base: BaseLoss) -> None:
        """Store the base model's held-out loss for later attempts."""
        kept = _KeptBaseLoss(identity=self._identity, loss=base.loss, seconds=base.seconds)
        atomic_write(self._directory / _BASE, msgspec.json.encode(kept))

    @functools.cached_property
    def _newest(self) -> Path | None:
        """The newest whole checkpoint; the log names the damaged ones that are newer."""
        problems: dict[str, str] = {}
        newest = None
        for path in reversed(self._all()):
            found = damage(path, read_contents=True)
            if not found:
                newest = path
                break
            problems[path.name] = "; ".join(found)
        for name, problem in problems.items():
            log.warn(
                _logger,
                "checkpoint_damaged",
                checkpoint=name,
                problem=problem,
                effect=f"training resumes from {newest.name}" if newest else "training begins anew",
            )
        return newest

    def _read(self, path: Path) -> _State:
        try:
            state = msgspec.json.decode((path / _STATE).read_bytes(), type=_State)
        except (OSError, msgspec.DecodeError) as error:
            raise PermanentError(
                f"{path} is not a checkpoint of this version of argotune ({error}); retry with the "
                f"image that wrote it, or delete {self._directory} to start over"
            ) from error
        differences = mismatches(state.identity, self._identity)
        if differences:
            raise PermanentError(
                f"{path.name} is of a run with other settings: {'; '.join(differences)}; "
                f"restore these, or delete {self._directory} to start over"
            )
        return state

    def _path(self, step: int) -> Path:
        return self._directory / f"step-{step:08}"

    def _all(self) -> list[Path]:
        return sorted(self._directory.glob("step-*"))


def mismatches(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """A text with both values for each name whose value differs."""
    return [
        f"{name} was {then.get(name, 'absent')}, is {now.get(name, 'absent')}"
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name)
    ]


def snapshot(model: torch.nn.Module) -> Tensors:
    """A copy of the adapter's weights on the CPU."""
    return _on_cpu(trainable_parameters(model))


@torch.no_grad()
def load_tensors(model: torch.nn.Module, tensors: Tensors) -> None:
    """Load saved weights into the adapter. Raises PermanentError if its layers differ."""
    parameters = trainable_parameters(model)
    if parameters.keys() != tensors.keys():
        raise PermanentError("the checkpoint's adapter has other layers than the plan's")
    for name, parameter in parameters.items():
        parameter.copy_(tensors[name])


def _on_cpu(parameters: Mapping[str, torch.nn.Parameter]) -> Tensors:
    return {name: p.detach().to("cpu", copy=True).contiguous() for name, p in parameters.items()}


def _copied(tree: Any) -> Any:
    """The same structure with all tensors copied to host memory."""
    return tree_map_only(torch.Tensor, lambda each: each.detach().to("cpu", copy=True), tree)


def _rng() -> dict[str, Any]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"rng_cpu": torch.get_rng_state(), "rng_cuda": cuda}


def _set_rng(saved: Mapping[str, Any]) -> None:
    torch.set_rng_state(saved["rng_cpu"])
    # A node with another number of GPUs has other generators; that affects only dropout.
    if len(saved["rng_cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(saved["rng_cuda"])
