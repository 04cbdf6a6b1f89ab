"""A trial of packing on the model itself, before anything is trained.

The documents of a pack must not see each other, which depends on how a model's modeling file calls
attention and counts positions. Two short documents are computed as a pack and by transformers' own
attention one by one. Where the results differ, each document is a pass of its own from then on:
slower, for short documents fill no GPU, but never wrong.
"""

from __future__ import annotations

import logging
from typing import Any

import torch

from argotune.steps.causal_lm.device import Device
from argotune.steps.causal_lm.head import Head
from argotune.steps.common import log
from argotune.steps.common.errors import PermanentError
from argotune.steps.tune.distributed import World
from argotune.steps.tune.evaluate import hidden_states
from argotune.steps.tune.pack import MicroBatch

_LENGTHS = (24, 40)
_MOST_DIFFERENCE = 1e-3
"""Of the norm of all numbers. A document that sees another one differs by its own size."""
_MOST_DIFFERENCE_IN_BFLOAT16 = 0.1
"""It has 8 bits, and a sum in another order may choose another expert."""

_logger = logging.getLogger(__name__)


@torch.no_grad()
def try_packing(model: Any, device: Device, world: World) -> None:
    """Compute documents one by one from now on if packing changes what the model makes of them.

    Raises PermanentError if its logits are not those of its own forward pass.
    """
    was_training = model.training
    model.eval()
    base = model.get_base_model()
    packing = base.config._attn_implementation
    batch = _documents(base.config.vocab_size).to(device.torch_device)
    with device.precision():
        packed = hidden_states(model, batch)
        base.set_attn_implementation("sdpa" if base._supports_sdpa else "eager")
        apart = hidden_states(model, batch)
        logits = Head.of(base)(apart)
        own = [
            base(input_ids=each.input_ids, use_cache=False).logits
            for each in batch.documents_apart()
        ]
    model.train(was_training)
    if (difference := _difference(logits, torch.cat(own, dim=1))) > _most(device):
        raise PermanentError(
            f"the loss of this {base.config.model_type} model cannot be computed: its logits differ"
            f" from those of lm_head by {difference:.2g}; use a model of a preset"
        )
    difference = _difference(packed, apart)
    if not world.any(difference > _most(device)):
        base.set_attn_implementation(packing)
        return
    log.warn(
        _logger,
        "no_packing",
        difference=f"{difference:.2g}",
        reason=f"documents of a pack see each other in this {base.config.model_type} model",
        effect="each document is computed by itself, which is slower where they are short",
    )


def _documents(vocabulary: int) -> MicroBatch:
    # Its own generator, so that the trial does not change the run's random numbers.
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(vocabulary, (1, sum(_LENGTHS)), generator=generator)
    places = torch.cat([torch.arange(length) for length in _LENGTHS])
    return MicroBatch(ids, places[None], places[:0], places[:0], _LENGTHS)


def _difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Norm of the difference, as a share of the expected numbers' norm."""
    expected = expected.float()
    return float((found.float() - expected).norm() / expected.norm())


def _most(device: Device) -> float:
    is_half = device.weights is torch.bfloat16
    return _MOST_DIFFERENCE_IN_BFLOAT16 if is_half else _MOST_DIFFERENCE
