"""What a pack asks of a GPU, counted without one: launches, bytes and operations for each token.

    python -m tests.bench.tune.counts [--presets NAME...] [--tokens 8192]

A preset's model at full width with QLoRA of rank 16 takes a pack forwards and backwards, as this
package computes it and as transformers and PEFT do. The tensors have shapes and no numbers. Of
every operation that is no view the bytes of its operands and results are counted; matrix products
and attention count by their operations too. Models of one and two blocks are counted, and the
others follow from the difference.

The prediction adds the bytes beside the products at a card's memory rate to the products at its
bfloat16 rate: no loop that launches these kernels one after the other is faster.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import torch
from peft import LoraConfig, get_peft_model
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoModelForCausalLM

from argotune.presets.loader import model_preset
from argotune.presets.schema import ModelPreset
from argotune.presets.sizes import linear_layers, linear_parameters
from argotune.steps.causal_lm import frozen_head
from argotune.steps.plan.memory import BFLOAT16_BYTES, NF4_BYTES
from argotune.steps.tune.blocks import FusedNorm, packed_blocks
from argotune.steps.tune.evaluate import micro_batch_loss
from argotune.steps.tune.load import recompute_activations
from argotune.steps.tune.lora import use_fused_layers
from argotune.steps.tune.pack import MicroBatch
from argotune.steps.tune.varlen import VARLEN
from tests.bench.tune.rig import preset_config

_PRESETS = ["phi-3-mini-4k-instruct", "mistral-7b", "qwen2.5-coder-7b-instruct"]
_ROW_TOKENS = 350
_LABELLED_SHARE = 0.75
_PRODUCTS = {"mm", "addmm", "addmm_", "bmm"}
_ATTENTION = {"_varlen_attn": 1.0, "_varlen_attn_backward": 2.5}
"""Attention of a pack, and its operations beside those of its forward pass."""
_Tensors = list[torch.Tensor]
_MOVED: Mapping[str, Callable[[_Tensors, _Tensors], _Tensors]] = {
    **dict.fromkeys(
        ("embedding", "gather", "index"), lambda read, written: [*written, *written, read[-1]]
    ),
    "scatter_add_": lambda read, written: read[1:],
}
"""Operations that touch a part of their operands: what they read and write."""
_NOTHING = {"empty", "empty_like", "new_empty", "lift_fresh"}

H100_BYTES_PER_SECOND, H100_OPERATIONS_PER_SECOND = 3.0e12, 790e12
"""What copies and products reach on an H100 with HBM3: nine and eight tenths of its data sheet."""
_REACHED = (0.6, 0.7)
"""Of this sum, what a loop in eager PyTorch is expected to reach."""


@dataclass(frozen=True)
class Work:
    """What a pack asks for, all its tokens together."""

    launches: float
    product_operations: float
    other_bytes: float
    """Moved by everything that is no matrix product."""

    def plus(self, other: Work, times: float = 1.0) -> Work:
        """The sum with another work, so many times."""
        return Work(
            self.launches + times * other.launches,
            self.product_operations + times * other.product_operations,
            self.other_bytes + times * other.other_bytes,
        )

    def seconds(self, operations_per_second: float, bytes_per_second: float) -> float:
        """The least time at these rates."""
        return self.product_operations / operations_per_second + self.other_bytes / bytes_per_second


@dataclass
class Counted(TorchDispatchMode):
    """Counts all operations that are computed within."""

    lengths: tuple[int, ...]
    launches: Counter[str] = field(default_factory=Counter)
    moved: Counter[str] = field(default_factory=Counter)
    operations: float = 0.0

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_dispatch__(
        self, operator: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        made = operator(*args, **(kwargs or {}))
        name = operator.overloadpacket.__name__
        # `out` is given and not read.
        named = {key: given for key, given in (kwargs or {}).items() if key != "out"}
        read, written = (
            [each for each in tree_leaves(tree) if isinstance(each, torch.Tensor)]
            for tree in ((args, named), made)
        )
        if name not in _NOTHING and not _is_view(operator, read, written):
            self.launches[name] += 1
            moved = _MOVED.get(name, lambda read, written: [*read, *written])(read, written)
            self.moved[name] += sum(each.nbytes for each in moved)
            if name in _PRODUCTS:
                left, right = read[-2:]
                self.operations += 2 * left.numel() * right.shape[-1]
            if name in _ATTENTION:
                pairs = sum(length * length / 2 for length in self.lengths)
                # Query by key, then shares by value: two products of the width of all heads.
                width = read[0].shape[-1] * read[0].shape[-2]
                self.operations += _ATTENTION[name] * 4 * pairs * width
        return made

    @property
    def work(self) -> Work:
        """The sum of what was counted."""
        other = sum(size for name, size in self.moved.items() if name not in _PRODUCTS)
        return Work(sum(self.launches.values()), self.operations, other)


def count(preset: ModelPreset, tokens: int, *, ours: bool, recomputed: bool = False) -> Work:
    """The work of one pack with QLoRA, whose activations are kept, or recomputed in all blocks."""
    shape = preset.architecture
    one, two = (
        _count_blocks(preset, tokens, blocks=each, ours=ours, recomputed=recomputed)
        for each in (1, 2)
    )
    whole = one.plus(two.plus(one, -1), shape.num_hidden_layers - 1)
    return whole.plus(_dequantised(preset), 3 if recomputed else 2)


def _dequantised(preset: ModelPreset) -> Work:
    """Making the linear layers' 4-bit weights whole, which each pass through a block does."""
    shape = preset.architecture
    layers = shape.num_hidden_layers * len(linear_layers(shape, preset.family))
    weights = linear_parameters(shape, preset.family)
    return Work(layers, 0, (NF4_BYTES + BFLOAT16_BYTES) * weights)


def _count_blocks(
    preset: ModelPreset, tokens: int, *, blocks: int, ours: bool, recomputed: bool
) -> Work:
    counted = Counted(_document_lengths(tokens))
    compute_pack(preset, tokens, counted, blocks=blocks, ours=ours, recomputed=recomputed)
    return counted.work


def compute_pack(
    preset: ModelPreset,
    tokens: int,
    mode: TorchDispatchMode,
    *,
    blocks: int,
    ours: bool = True,
    recomputed: bool = False,
) -> None:
    """Take a pack forwards and backwards within a mode, through a model of so many blocks."""
    model = _model(preset, blocks, ours=ours, recomputed=recomputed)
    gpu = _as_on_a_gpu() if ours else contextlib.nullcontext()
    with FakeTensorMode(allow_non_fake_inputs=True), gpu:
        _fill(model)
        batch = _batch(tokens)
        with mode:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = micro_batch_loss(model, batch)
            torch.autograd.backward(loss)


def _model(preset: ModelPreset, blocks: int, *, ours: bool, recomputed: bool) -> Any:
    """The preset's model with so many blocks and an adapter, on the meta device."""
    config = preset_config(
        preset,
        max_position_embeddings=preset.architecture.max_position_embeddings,
        pad_token_id=0,
    )
    config.num_hidden_layers = blocks
    parts = packed_blocks(preset.family) if ours else contextlib.nullcontext()
    with parts, torch.device("meta"):
        base: Any = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
            config, dtype=torch.bfloat16, attn_implementation=VARLEN
        )
    base.requires_grad_(False)
    if recomputed:
        recompute_activations(base, 0, draws=False)
    adapter = LoraConfig(r=16, lora_alpha=32, target_modules=list(preset.lora_target_modules))
    if ours:
        use_fused_layers(adapter, base.get_decoder().layers)
    with warnings.catch_warnings():
        # As in steps/tune/load.py.
        warnings.simplefilter("ignore", FutureWarning)
        return get_peft_model(base, adapter).train()


def _fill(model: torch.nn.Module) -> None:
    """Put tensors without numbers in the place of those on the meta device."""
    for module in model.modules():
        for name, weight in list(module._parameters.items()):
            if weight is not None:
                empty = torch.empty(weight.shape, dtype=weight.dtype)
                made = torch.nn.Parameter(empty, requires_grad=weight.requires_grad)
                module._parameters[name] = made
        for name, kept in list(module._buffers.items()):
            if kept is not None:
                module._buffers[name] = torch.empty(kept.shape, dtype=kept.dtype)


def _document_lengths(tokens: int) -> tuple[int, ...]:
    rows, rest = divmod(tokens, _ROW_TOKENS)
    return (_ROW_TOKENS,) * rows + (rest,) * bool(rest)


def _batch(tokens: int) -> MicroBatch:
    labels = int(_LABELLED_SHARE * tokens)
    return MicroBatch(
        input_ids=torch.zeros(1, tokens, dtype=torch.int64),
        position_ids=torch.zeros(1, tokens, dtype=torch.int64),
        label_positions=torch.zeros(labels, dtype=torch.int64),
        targets=torch.zeros(labels, dtype=torch.int64),
        document_lengths=_document_lengths(tokens),
    )


# These two are counted and never computed: only the shapes of what they make are known, below.
@torch.library.custom_op("argotune_bench::norm", mutates_args=())
def _norm(states: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    raise NotImplementedError


@torch.library.custom_op("argotune_bench::norm_backward", mutates_args=())
def _norm_backward(gradient: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
    raise NotImplementedError


_norm.register_fake(lambda states, weight: torch.empty_like(states))
_norm_backward.register_fake(lambda gradient, states: torch.empty_like(states))
_norm.register_autograd(
    lambda ctx, gradient: (_norm_backward(gradient, ctx.saved_tensors[0]), None),
    setup_context=lambda ctx, inputs, output: ctx.save_for_backward(inputs[0]),
)


@contextlib.contextmanager
def _as_on_a_gpu() -> Iterator[None]:
    """Let FusedNorm be one operation, as torch's kernel on a GPU is, and the loss take its way for
    a frozen head, whose type a tensor without numbers hides."""

    def forward(norm: Any, hidden_states: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = _norm(hidden_states, norm.weight)
        return made

    with (
        mock.patch.object(FusedNorm, "forward", forward),
        mock.patch.object(frozen_head, "_is_plain_and_frozen", return_value=True),
    ):
        yield


def _is_view(operator: Any, read: list[torch.Tensor], made: list[torch.Tensor]) -> bool:
    """Whether the operation only looks at its operands in another way."""
    if any(each.alias_info and each.alias_info.is_write for each in operator._schema.arguments):
        return False
    there = {each.untyped_storage()._cdata for each in read}
    return all(each.untyped_storage()._cdata in there for each in made)


def main() -> int:
    """Print a table of the presets, with the speed that follows for an H100."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--presets", nargs="+", default=_PRESETS)
    parser.add_argument("--tokens", type=int, default=8192)
    flags = parser.parse_args()
    print(
        f"a pack of {flags.tokens} tokens with QLoRA, for each token; H100 at "
        f"{H100_BYTES_PER_SECOND / 1e12:g} TB/s and {H100_OPERATIONS_PER_SECOND / 1e12:g} TFLOP/s"
    )
    print(f"{'':40} launches  kB beside products  GFLOP  at most tokens/s  expected")
    for name in flags.presets:
        for activations, recomputed in (("kept", False), ("recomputed", True)):
            for who, ours in (("transformers and PEFT", False), ("argotune", True)):
                work = count(model_preset(name), flags.tokens, ours=ours, recomputed=recomputed)
                print(_row(f"{name}, {activations}, {who}", work, flags.tokens))
    return 0


def _row(name: str, work: Work, tokens: int) -> str:
    most = tokens / work.seconds(H100_OPERATIONS_PER_SECOND, H100_BYTES_PER_SECOND)
    low, high = (f"{share * most:,.0f}" for share in _REACHED)
    return (
        f"{name:60} {work.launches:6.0f} {work.other_bytes / tokens / 1e3:10,.0f} "
        f"{work.product_operations / tokens / 1e9:6.1f} {most:10,.0f}  {low} to {high}"
    )


if __name__ == "__main__":
    sys.exit(main())
