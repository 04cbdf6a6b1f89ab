"""What several processes send each other: NCCL hangs where one calls another collective, or one of
another size, than its peers.

torch's fake process group is one process of as many as one likes; it sends nothing, and the calls
are read on their way to it.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from argotune.steps.causal_lm.device import Device
from argotune.steps.contracts.training_plan import Execution, TrainingPlan
from argotune.steps.tune.distributed import World
from argotune.steps.tune.load import load_model, trainable_parameters
from argotune.steps.tune.loop import train
from argotune.steps.tune.report import NoReport
from argotune.steps.tune.shard import shard_base
from argotune.steps.tune.stop import StopRequest
from tests.fakes.jobs import bare_job
from tests.steps.tune.models import tiny_plan
from tests.steps.tune.test_pack import packed, rows_of

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

# The types of a GPU, which 4-bit weights are stored in for sharding.
DEVICE = Device(torch.device("cpu"), torch.bfloat16, torch.bfloat16)
BLOCKS, MICRO_BATCHES, STEPS = 2, 3, 2
GATHER, SUM = "_allgather_base_", "allreduce_"

Call = tuple[str, tuple[int, ...], torch.dtype]
"""Name of a collective, number of elements of each of its tensors, and their type."""


class Calls(TorchDispatchMode):
    """The collectives that are called within, in their order."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Call] = []

    def __torch_dispatch__(
        self, operator: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if operator.namespace == "c10d":
            tensors = [each for each in tree_leaves(args) if isinstance(each, torch.Tensor)]
            (dtype,) = {tensor.dtype for tensor in tensors}
            name = operator.overloadpacket.__name__
            self.seen.append((name, tuple(tensor.numel() for tensor in tensors), dtype))
        return operator(*args, **(kwargs or {}))


@dataclasses.dataclass
class Seen:
    """A run of one process, and what it would have sent."""

    model: Any
    calls: list[Call]

    def named(self, name: str) -> list[tuple[int, ...]]:
        return [sizes for each, sizes, _ in self.calls if each == name]

    def frozen_of_block(self, index: int) -> list[DTensor]:
        block = self.model.get_base_model().get_decoder().layers[index]
        return [each for each in block.parameters() if not each.requires_grad]


@contextlib.contextmanager
def one_of(size: int, rank: int) -> Iterator[None]:
    dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=size)
    try:
        yield
    finally:
        dist.destroy_process_group()


def trained(work_dir: Path, model_dir: Path, plan: TrainingPlan, rank: int) -> Seen:
    """Two steps of three micro-batches in one of the plan's processes."""
    size, sharded = plan.execution.processes or 1, plan.execution.shard
    world = World(rank, size, lockstep=sharded)
    with one_of(size, rank), Calls() as calls, StopRequest() as stop:
        model = load_model(plan, model_dir, DEVICE, "default", sharded=sharded, leads=False)
        if sharded:
            shard_base(model, world)
        packs = packed(rows_of(*(100,) * MICRO_BATCHES), 100)
        job = bare_job(model, DEVICE, plan.training, packs, work_dir / str(rank), stop)
        train(dataclasses.replace(job, world=world, report=NoReport()))
    return Seen(model, calls.seen)


def plan_of(method: str, size: int, *, shard: bool, **training: Any) -> TrainingPlan:
    return tiny_plan(
        method=method,
        execution=Execution(processes=size, shard=shard),
        accumulation_steps=MICRO_BATCHES,
        max_steps=STEPS,
        **training,
    )


@pytest.mark.parametrize("size", [2, 4, 8])
@pytest.mark.parametrize(
    ("method", "training"), [("qlora", {}), ("lora", {"gradient_checkpointing": True})]
)
def test_each_pass_gathers_each_block_once_in_every_process_alike(
    tmp_path: Path, model_dir: Path, method: str, training: dict[str, Any], size: int
) -> None:
    plan = plan_of(method, size, shard=True, **training)
    first, last = (trained(tmp_path, model_dir, plan, rank) for rank in (0, size - 1))
    assert first.calls == last.calls

    blocks = [
        sum(weight.to_local().numel() for weight in first.frozen_of_block(index))
        for index in range(BLOCKS)
    ]
    # Forwards, and backwards from the last block; recomputation takes what is there.
    in_order = [*blocks, *reversed(blocks)]
    rounds = STEPS * -(-MICRO_BATCHES // size)
    assert first.named(GATHER) == [(size * share, share) for share in in_order] * rounds
    assert {dtype for name, _, dtype in first.calls if name == GATHER} == {torch.bfloat16}


@pytest.mark.parametrize("shard", [True, False])
def test_a_step_sums_its_loss_and_the_adapters_gradients_and_nothing_else(
    tmp_path: Path, model_dir: Path, shard: bool
) -> None:
    seen = trained(tmp_path, model_dir, plan_of("qlora", 4, shard=shard), rank=3)
    adapter = sum(each.numel() for each in trainable_parameters(seen.model).values())
    # Before the first step: whether any process is out of time.
    assert seen.named(SUM) == [(1,), *[(3,), (adapter,)] * STEPS]
    assert {name for name, _, _ in seen.calls} == ({SUM, GATHER} if shard else {SUM})
    assert {dtype for name, _, dtype in seen.calls if name == SUM} == {torch.float32}


@pytest.mark.parametrize("size", [2, 3, 8])
def test_4_bit_weights_are_cut_into_rows_and_nothing_of_the_adapter_is(
    model_dir: Path, size: int
) -> None:
    shares = []
    for rank in range(size):
        plan = plan_of("qlora", size, shard=True)
        with one_of(size, rank):
            model = load_model(plan, model_dir, DEVICE, "default", sharded=True, leads=False)
            shard_base(model, World(rank, size, lockstep=True))
        block = model.get_base_model().get_decoder().layers[0]
        layer = block.self_attn.qkv_proj
        # Two 4-bit numbers in a byte, two bytes in an element; the scales stay whole.
        elements = layer.in_features * layer.out_features // 4
        assert tuple(layer.base_layer.weight.shape) == (elements, 1)
        assert layer.base_layer.quant_state.shape == (layer.out_features, layer.in_features)
        shares.append(layer.base_layer.weight.to_local().shape[0])
        assert not any(isinstance(each, DTensor) for each in trainable_parameters(model).values())
        outside = [
            name
            for name, each in model.named_parameters()
            if isinstance(each, DTensor) and ".layers." not in name
        ]
        assert outside == []
    assert sum(shares) == elements
    assert max(shares) == -(-elements // size)
