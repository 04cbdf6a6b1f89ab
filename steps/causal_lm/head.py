"""lm_head with what a model does to its logits: Granite divides them, Gemma bounds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from argotune.steps.causal_lm.softcap import softcapped


@dataclass(frozen=True)
class Head:
    """The last layer of a causal language model."""

    layer: torch.nn.Module
    """lm_head, hidden size to vocabulary."""
    divisor: float = 1.0
    """What its logits are divided by."""
    cap: float | None = None
    """Bound of the logits after that, cap * tanh(logits / cap); None: there is none."""

    @staticmethod
    def of(model: Any) -> Head:
        """The head of a transformers model, with the keys of its configuration."""
        return Head(
            model.get_output_embeddings(),
            divisor=getattr(model.config, "logits_scaling", 1.0),
            cap=getattr(model.config, "final_logit_softcapping", None),
        )

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        """Logits [..., vocabulary] of states [..., width]."""
        logits: torch.Tensor = self.layer(states)
        if self.divisor != 1.0:
            logits = logits / self.divisor
        return logits if self.cap is None else softcapped(logits, self.cap)
