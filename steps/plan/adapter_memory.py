"""What dropout and DoRA keep in GPU memory beside a plain adapter's weights.

With either, PEFT's own forward pass takes the place of `steps/tune/lora.py`, which keeps nothing of
the kind. Under autocast to bfloat16 it keeps, per token of each adapted layer with i inputs and
o outputs:

    dropout  4 i bytes: the mask and the dropped input, which the layers of a block no longer share
    DoRA     4 o bytes: the frozen layer's output and the adapter's, whose sum the magnitude scales

DoRA also computes the norm of the whole adapted matrix in each pass: 17 bytes for each of its
i o weights, while it computes that layer (the matrix in 16 bits, the adapter's product, both scaled
and added, and their float32 copy). tests/steps/tune/test_kept_activations.py counts all three.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from argotune.presets.schema import Architecture, Family
from argotune.presets.sizes import linear_layers

DROPOUT_BYTES = 4
"""Per token and input of an adapted layer."""
DORA_BYTES = 4
"""Per token and output of an adapted layer."""
NORM_BYTES = 17
"""Per weight of the layer whose norm is computed."""


@dataclass(frozen=True, kw_only=True)
class AdapterExtras:
    """What an adapter takes that is not plain LoRA."""

    weights: int = 0
    """Trained weights beside A and B: DoRA's magnitudes, one per output."""
    token_bytes: int = 0
    """Bytes per token of one block's activations."""
    passing_bytes: int = 0
    """Bytes while the largest layer is computed."""


PLAIN = AdapterExtras()


def adapter_extras(
    architecture: Architecture, family: Family, targets: Iterable[str], *, dropout: bool, dora: bool
) -> AdapterExtras:
    """Count what an adapter on these layers of every block takes beside plain LoRA."""
    layers = linear_layers(architecture, family)
    sizes = [layers[name] for name in targets]
    inputs, outputs = sum(each[0] for each in sizes), sum(each[1] for each in sizes)
    token_bytes = DROPOUT_BYTES * inputs * dropout + DORA_BYTES * outputs * dora
    if not dora:
        return AdapterExtras(token_bytes=token_bytes)
    return AdapterExtras(
        weights=architecture.num_hidden_layers * outputs,
        token_bytes=token_bytes,
        passing_bytes=NORM_BYTES * max(rows * columns for rows, columns in sizes),
    )
