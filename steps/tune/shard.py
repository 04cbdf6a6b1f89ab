"""Base weights in parts, one on each GPU, for models that one GPU does not hold (FSDP2).

Only the frozen weights of the blocks are sharded: gathered for each block's pass and let go of
after it. The adapter, its optimizer, embeddings and norms outside of the blocks stay whole on each
GPU, so that gradients, checkpoints and the export are those of a run that is not sharded.
"""

from __future__ import annotations

from typing import Any

import torch
from bitsandbytes.nn.modules import Linear4bit
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from argotune.steps.tune.distributed import World


def shard_base(model: Any, world: World) -> None:
    """Leave each process with its part of the frozen weights; all call it together."""
    decoder = model.get_base_model().get_decoder()
    frozen = {p for p in decoder.layers.parameters() if not p.requires_grad}
    others = set(model.parameters()) - frozen
    _move_rest(model, others, world.device)
    mesh = init_device_mesh(world.device.type, (world.size,))
    for block in decoder.layers:
        fully_shard(block, mesh=mesh, ignored_params=others)
    # The root of the blocks, so that one's weights are fetched while another computes.
    fully_shard(decoder, mesh=mesh, ignored_params=others)


def _move_rest(model: Any, others: set[torch.nn.Parameter], device: torch.device) -> None:
    """Bring to the device what FSDP does not move: it leaves alone what it does not shard."""
    for parameter in others:
        parameter.data = parameter.data.to(device)
    for module in model.modules():
        if isinstance(module, Linear4bit):
            # Scales of the 4-bit weights; bitsandbytes finds them by the module when sharding has
            # taken the parameter that had them.
            weight: Any = module.weight
            weight.quant_state.to(device)
            module.quant_state = weight.quant_state
