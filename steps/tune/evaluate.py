"""Loss of one micro-batch and of all held-out rows."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from argotune.steps.causal_lm.device import Device
from argotune.steps.causal_lm.head import Head
from argotune.steps.causal_lm.loss import summed_loss
from argotune.steps.common.errors import PermanentError
from argotune.steps.tune.attention import SEGMENTED
from argotune.steps.tune.distributed import World
from argotune.steps.tune.pack import MicroBatch, Packs
from argotune.steps.tune.stop import StopRequest
from argotune.steps.tune.varlen import VARLEN


class Documents:
    """Lengths of a pack's documents, in tokens, for the attention.

    Not a tuple: torch.compile specializes on tuples, and would recompile the blocks for each
    number of documents.
    """

    def __init__(self, lengths: Sequence[int]) -> None:
        self._lengths = tuple(lengths)

    def __iter__(self) -> Iterator[int]:
        return iter(self._lengths)


def micro_batch_loss(
    model: Any, batch: MicroBatch, noise_alpha: float | None = None
) -> torch.Tensor:
    """Summed loss (nats) of a micro-batch on the model's device, a scalar.

    With `noise_alpha` the embeddings have NEFTune's noise.
    """
    states = hidden_states(model, batch, noise_alpha)
    head = Head.of(model.get_base_model())
    return summed_loss(states, batch.label_positions, batch.targets, head)


def hidden_states(model: Any, batch: MicroBatch, noise_alpha: float | None = None) -> torch.Tensor:
    """The final hidden states of a micro-batch, [1, tokens, width].

    With transformers' own attention each document is a pass of its own (`steps/tune/trial.py`).
    """
    base = model.get_base_model()
    packs = base.config._attn_implementation in (SEGMENTED, VARLEN)
    passes = [batch] if packs else batch.documents_apart()
    states = [_decoded(base, each, noise_alpha, packs=packs) for each in passes]
    return states[0] if len(states) == 1 else torch.cat(states, dim=1)


def _decoded(
    base: Any, batch: MicroBatch, noise_alpha: float | None, *, packs: bool
) -> torch.Tensor:
    noise = contextlib.nullcontext() if noise_alpha is None else _noise(base, batch, noise_alpha)
    lengths = {"document_lengths": Documents(batch.document_lengths)} if packs else {}
    with noise:
        # With a cache or an attention mask transformers would treat the pack as one document.
        states: torch.Tensor = base.get_decoder()(
            input_ids=batch.input_ids, position_ids=batch.position_ids, use_cache=False, **lengths
        ).last_hidden_state
    return states


@contextlib.contextmanager
def _noise(base: Any, batch: MicroBatch, alpha: float) -> Iterator[None]:
    """Add uniform noise of up to alpha / sqrt(tokens x width) to the embeddings (NEFTune).

    The tokens are those of each document. transformers' hook takes those of the whole pack, whose
    noise would be too small for each row of it.
    """

    def add(_: torch.nn.Module, inputs: tuple[torch.Tensor], states: torch.Tensor) -> torch.Tensor:
        lengths = torch.tensor(batch.document_lengths, device=states.device)
        scales = alpha / torch.sqrt(lengths * states.shape[-1])
        scale = torch.repeat_interleave(scales, lengths, output_size=batch.tokens)[:, None]
        return states + (torch.rand_like(states) * 2 - 1) * scale.to(states.dtype)

    hook = base.get_input_embeddings().register_forward_hook(add)
    try:
        yield
    finally:
        hook.remove()


@torch.no_grad()
def held_out_loss(
    model: Any, packs: Packs, device: Device, stop: StopRequest, world: World
) -> float | None:
    """Mean loss per label (nats) over all held-out rows, without dropout; None after a signal.

    Raises PermanentError for a loss that is no finite number, which no later step accepts.
    """
    was_training = model.training
    model.eval()
    # Loss, labels, and the number of processes that received a signal.
    totals = torch.zeros(3, dtype=torch.float64, device=device.torch_device)
    for index, counts in world.deal(range(len(packs))):
        if stop.name is not None and not world.lockstep:
            break
        batch = packs.micro_batch(index)
        with device.precision():
            loss = micro_batch_loss(model, batch.to(device.torch_device))
        if counts:
            totals[0] += loss
            totals[1] += batch.labels
    totals[2] += stop.name is not None
    model.train(was_training)
    loss_sum, labels, stopped = world.sum(totals).tolist()
    if stopped:
        return None
    mean: float = loss_sum / labels
    if not math.isfinite(mean):
        raise PermanentError(
            f"the loss on the held-out rows is {mean}: the model overflows in {device.weights}, or "
            "its weights are damaged; check them, or try a lower learning_rate"
        )
    return mean
