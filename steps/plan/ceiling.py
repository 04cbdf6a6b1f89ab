"""The most tokens per second that a card's own rates allow, whatever the loop.

A token takes 4 operations for each weight of the linear layers, forwards and backwards to the
activations, and 6 where they are recomputed; frozen weights have no gradient. Beside the products
its block moves, in numbers of 2 bytes (H: hidden size, Q and K: width of all queries and of all
keys, I: inner size of the MLPs that compute a token), as tests/bench/tune/counts.py counts it:

    kept         19 (H + Q) + 21 K + 16 I
    recomputed   26 (H + Q) + 31 K + 21 I

These are the least of all architectures. Head, loss, adapter, attention and 4-bit weights are left
out, because their share depends on the data: so no run is faster, and most are slower.
"""

from __future__ import annotations

from argotune.presets.schema import Architecture, Family
from argotune.presets.sizes import computed_width, key_width, linear_parameters, query_width

PRODUCTS_REACHED, BYTES_REACHED = 0.8, 0.9
"""Of a data sheet's rates, what large products and copies reach at most: on an H100 790 of 989
TFLOP/s and 3.0 of 3.35 TB/s. Stage `machine` of `make gpu-check` measures both."""

_KEPT, _RECOMPUTED = (19, 21, 16), (26, 31, 21)
"""Numbers that a block moves for each of H + Q, of K and of I."""
_BYTES = 2


def most_tokens_per_second(
    architecture: Architecture,
    family: Family,
    *,
    recomputed_share: float,
    tflops: float,
    memory_gb_per_second: float,
) -> float:
    """The ceiling of one GPU with these data-sheet rates, tokens per second."""
    operations = (4 + 2 * recomputed_share) * _weights_of_a_token(architecture, family)
    moved = _moved(architecture, _KEPT) * (1 - recomputed_share)
    moved += _moved(architecture, _RECOMPUTED) * recomputed_share
    seconds = operations / (PRODUCTS_REACHED * tflops * 1e12)
    seconds += moved / (BYTES_REACHED * memory_gb_per_second * 1e9)
    return 1 / seconds


def _weights_of_a_token(architecture: Architecture, family: Family) -> int:
    """Weights of the linear layers that a token is multiplied with, its experts' included."""
    chosen = (architecture.num_experts_per_tok or 0) * (architecture.moe_intermediate_size or 0)
    experts = architecture.num_hidden_layers * 3 * chosen * architecture.hidden_size
    return linear_parameters(architecture, family) + experts


def _moved(architecture: Architecture, numbers: tuple[int, int, int]) -> float:
    """Bytes that a token moves beside the products, in all blocks."""
    outer, key, inner = numbers
    width = architecture.hidden_size + query_width(architecture)
    block = outer * width + key * key_width(architecture) + inner * computed_width(architecture)
    return _BYTES * architecture.num_hidden_layers * block
