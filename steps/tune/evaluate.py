"""Loss of one micro-batch, and of all held-out rows."""

from __future__ import annotations

from typing import Any

import torch

from steps.tune.device import Device
from steps.tune.loss import summed_loss
from steps.tune.pack import MicroBatch, Packs
from steps.tune.stop import StopRequest


def micro_batch_loss(model: Any, batch: MicroBatch) -> torch.Tensor:
    """Summed loss of a micro-batch that lies on the model's device."""
    causal = model.get_base_model()
    # With a cache or an attention mask transformers would take the pack for one document.
    hidden = causal.get_decoder()(
        input_ids=batch.input_ids,
        position_ids=batch.position_ids,
        use_cache=False,
        document_lengths=batch.document_lengths,
    ).last_hidden_state
    return summed_loss(hidden, batch.label_positions, batch.targets, causal.get_output_embeddings())


@torch.no_grad()
def held_out_loss(model: Any, packs: Packs, device: Device, stop: StopRequest) -> float | None:
    """Mean loss per label over all held-out rows, without dropout; None when asked to stop."""
    was_training = model.training
    model.eval()
    total = torch.zeros((), dtype=torch.float64, device=device.torch_device)
    labels = 0
    for index in range(len(packs)):
        if stop.name is not None:
            return None
        batch = packs.micro_batch(index)
        with device.precision():
            total += micro_batch_loss(model, batch.to(device.torch_device))
        labels += batch.labels
    model.train(was_training)
    return float(total) / labels
