"""Sharding of the base weights over the GPUs with FSDP2, for models too large for one GPU.

Only the frozen weights of the blocks are sharded; they are gathered for each block's pass and freed
after it. The adapter, its optimizer, and embeddings and norms outside the blocks are complete on
each GPU, so that gradients, checkpoints and the export are those of an unsharded run.
"""

from __future__ import annotations

from typing import Any

import torch
from bitsandbytes.nn.modules import Linear4bit
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from argotune.steps.tune.distributed import World


def shard_base(model: Any, world: World) -> None:
    """Shard the frozen weights over the processes; a collective operation."""
    decoder = model.get_base_model().get_decoder()
    frozen = {p for p in decoder.layers.parameters() if not p.requires_grad}
    others = set(model.parameters()) - frozen
    _move_rest(model, others, world.device)
    mesh = init_device_mesh(world.device.type, (world.size,))
    for block in decoder.layers:
        fully_shard(block, mesh=mesh, ignored_params=others)
    # The root of the blocks, so that weights are prefetched while another block computes.
    fully_shard(decoder, mesh=mesh, ignored_params=others)


def _move_rest(model: Any, others: set[torch.nn.Parameter], device: torch.device) -> None:
    """Move everything that FSDP does not shard to the device; FSDP moves only what it shards."""
    for parameter in others:
        parameter.data = parameter.data.to(device)
    for module in model.modules():
        if isinstance(module, Linear4bit):
            # Scales of the 4-bit weights, which bitsandbytes reads from the module after sharding
            # has replaced the parameter that had them.
            weight: Any = module.weight
            weight.quant_state.to(device)
            module.quant_state = weight.quant_state
