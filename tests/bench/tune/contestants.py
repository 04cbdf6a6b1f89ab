"""Our training loop and its rivals, on the same model files, adapter, rows and settings.

Every token but a row's first is learned, for one of the rivals can do nothing else.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from argotune.steps.common.progress import Progress
from argotune.steps.contracts.steps_of_run import pack_rows
from argotune.steps.contracts.training_plan import TrainingPlan
from argotune.steps.tokens.template import chat_template
from argotune.steps.tokens.tokenise import read_rows
from argotune.steps.tokens.tokenizer import load_tokenizer
from argotune.steps.tune.device import find_device
from argotune.steps.tune.load import load_model, trainable_parameters
from argotune.steps.tune.loop import mean_loss, train
from argotune.steps.tune.pack import Packs, pack
from argotune.steps.tune.stop import StopRequest
from tests.fakes.jobs import bare_job


class Round(msgspec.Struct, kw_only=True):
    """What training on all rows once took, the preparations not counted."""

    seconds: float
    cpu_seconds: float
    loss: float
    """Nats per token."""


class Contestant(Protocol):
    """A way to train the adapter that a worker process keeps ready."""

    model: Any

    def train(self, *, whole: bool) -> Round:
        """Train on all rows once; `whole`: in one optimizer step whose gradient is not clipped."""


class Ours:
    """The tune step's own loop, from the tokens on."""

    def __init__(self, directory: Path, plan: TrainingPlan) -> None:
        self._plan, self._directory = plan, directory
        self._device = find_device()
        self.packs = all_tokens_packed(directory, plan)
        self.model = load_model(plan, directory / "model", self._device, "default")
        fill_adapter(self.model)

    def train(self, *, whole: bool, progress: Progress | None = None) -> Round:
        training = self._plan.training
        if whole:
            training = msgspec.structs.replace(
                training, accumulation_steps=len(self.packs), max_grad_norm=0.0
            )
        with tempfile.TemporaryDirectory(dir=self._directory) as name, StopRequest() as stop:
            job = bare_job(
                self.model, self._device, training, self.packs, Path(name), stop, progress
            )
            began, cpu_began = time.perf_counter(), time.process_time()
            outcome = train(job)
            return Round(
                seconds=time.perf_counter() - began,
                cpu_seconds=time.process_time() - cpu_began,
                loss=mean_loss(outcome.position),
            )


def all_tokens_packed(directory: Path, plan: TrainingPlan) -> Packs:
    """The rows as the tune step packs them, but with every token labelled."""
    tokenizer = load_tokenizer(directory / "model")
    template = chat_template(tokenizer, directory / "model")
    rows, _ = read_rows(directory / "train.parquet", template, tokenizer, plan.training.max_length)
    labelled = np.ones_like(rows.labelled)
    labelled[rows.starts[:-1]] = False
    rows = dataclasses.replace(rows, labelled=labelled)
    return Packs(pack(rows, pack_rows(rows.lengths.tolist(), plan.training)))


def fill_adapter(model: Any) -> None:
    """The same small numbers in both halves of every pair: a fresh adapter's second half is zero,
    and so would be half of the gradients that are compared."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _, parameter in sorted(trainable_parameters(model).items()):
            parameter.copy_(0.02 * torch.randn(parameter.shape, generator=generator))


@contextmanager
def first_gradients(model: Any) -> Iterator[dict[str, torch.Tensor]]:
    """Filled with the adapter's gradients just before the first optimizer step."""
    found: dict[str, torch.Tensor] = {}

    def keep(optimizer: Any, arguments: Any, options: Any) -> None:
        if not found:
            for name, parameter in sorted(trainable_parameters(model).items()):
                if parameter.grad is not None:
                    found[name] = parameter.grad.detach().float().cpu().clone()

    handle = register_optimizer_step_pre_hook(keep)
    try:
        yield found
    finally:
        handle.remove()
