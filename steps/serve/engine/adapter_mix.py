"""Several adapters in one forward pass: each token of the packed row has its own, or none.

PEFT does this too (`adapter_names`), by rows of a batch; here a row has the tokens of all answers.
PEFT loads the adapters and holds their layers, of which only the forward pass is ours.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftConfig, PeftModel
from peft.tuners import lora
from peft.tuners.tuners_utils import check_target_module_exists
from peft.utils import SAFETENSORS_WEIGHTS_NAME

from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.lora_config import change_of_base

LEAST_ROWS = 16
"""Fewest rows of a matrix product. MKL computes products of one row, of a few and of many with
different kernels, whose sums differ in the last bit; from 16 rows on, each row's sum was the same
beside any number of others, in all shapes that were tried, with one thread and with two. An answer
would otherwise depend on what else runs."""


@dataclass(frozen=True)
class _Group:
    """The tokens of one adapter."""

    adapter: str
    rows: torch.Tensor
    """Their places in the packed row, the first one repeated up to LEAST_ROWS."""
    count: int


class AdapterMix:
    """The adapters of a model, and which token has which of them in this step.

    The model is one of PEFT with its adapters, or a base that has none yet.
    """

    def __init__(self, model: Any) -> None:
        self._model = model if isinstance(model, PeftModel) else None
        # PEFT asks its active adapter for it, which may be removed later.
        self.base = model.get_base_model() if self._model is not None else model
        self._groups: list[_Group] = []
        for config in self._configs().values():
            self._check(config)
        self._mix_layers()

    def assign(self, adapters: Sequence[str | None], device: torch.device) -> None:
        """Each token's adapter for the next forward pass, by PEFT's name; None: the base alone."""
        places: dict[str, list[int]] = {}
        for place, adapter in enumerate(adapters):
            if adapter is not None:
                places.setdefault(adapter, []).append(place)
        self._groups = [
            _Group(
                adapter,
                torch.tensor(rows + rows[:1] * (LEAST_ROWS - len(rows)), device=device),
                len(rows),
            )
            for adapter, rows in places.items()
        ]

    def add(self, adapter: str, directory: Path) -> None:
        """Load an adapter under PEFT's name for it. Raises PermanentError, without a trace."""
        try:
            config = PeftConfig.from_pretrained(str(directory))
            self._check(config)
            if not (directory / SAFETENSORS_WEIGHTS_NAME).is_file():
                raise PermanentError(f"it has no {SAFETENSORS_WEIGHTS_NAME}")
            if self._model is None:
                # Its layers go into the base where they are; the weights follow.
                self._model = _with_layers(self.base, config, adapter)
            result = self._model.load_adapter(
                str(directory),
                adapter,
                torch_device=str(self.base.device),
                low_cpu_mem_usage=True,
            )
            # Without its weights a layer fails each step, and with it the answers of all others.
            wrong = [f"{key} is missing" for key in result.missing_keys]
            wrong += [f"{key} is of none of its layers" for key in result.unexpected_keys]
            if wrong:
                more = f", and {len(wrong) - 1} more" if wrong[1:] else ""
                raise PermanentError(
                    f"its weights do not fit its adapter_config.json: {wrong[0]}{more}"
                )
            self._mix_layers()
        # safetensors' error for a file that is cut off is a plain Exception.
        except Exception as error:
            if adapter in self._configs():
                self.remove(adapter)
            raise PermanentError(f"adapter {directory} cannot be loaded: {error}") from error

    def has(self, adapter: str | None) -> bool:
        """Whether tokens can be assigned to it; to None, the base, they always can."""
        return adapter is None or adapter in self._configs()

    def remove(self, adapter: str) -> None:
        """Forget an adapter and its weights."""
        if self._model is not None:
            self._model.delete_adapter(adapter)

    def _configs(self) -> dict[str, Any]:
        return {} if self._model is None else dict(self._model.peft_config)

    def _mix_layers(self) -> None:
        """Let all layers of adapters add what `assign` says."""
        layers: list[Any] = [m for m in self.base.modules() if isinstance(m, lora.LoraLayer)]
        for layer in layers:
            layer.forward = functools.partial(self._forward, layer)

    def _check(self, config: Any) -> None:
        """Raise PermanentError for an adapter that changes the model beside its linear layers."""
        if not isinstance(config, LoraConfig):
            raise PermanentError(f"it is a {config.peft_type} adapter; only LoRA is served")
        if reason := change_of_base(vars(config)):
            raise PermanentError(reason)
        for name, module in self.base.named_modules():
            base = module.get_base_layer() if isinstance(module, lora.LoraLayer) else module
            if check_target_module_exists(config, name) and not isinstance(base, torch.nn.Linear):
                raise PermanentError(
                    f"it is on {name}, which is no linear layer; tune one whose target_modules "
                    "are linear layers"
                )

    def _forward(self, layer: Any, states: torch.Tensor) -> torch.Tensor:
        """[1, tokens, inputs] to [1, tokens, outputs]."""
        output: torch.Tensor = layer.base_layer(states)
        flat, changed = states.flatten(0, -2), output.view(-1, output.shape[-1])
        for group in self._groups:
            if group.adapter not in layer.lora_A:
                continue
            rows, own = group.rows[: group.count], flat[group.rows]
            if group.adapter in layer.lora_variant:
                variant = layer.lora_variant[group.adapter]
                result = variant.forward(
                    layer, active_adapter=group.adapter, x=own, result=changed[group.rows]
                )
                changed[rows] = result[: group.count].to(output.dtype)
                continue
            a, b = layer.lora_A[group.adapter], layer.lora_B[group.adapter]
            added = b(a(own.to(a.weight.dtype))) * layer.scaling[group.adapter]
            changed.index_add_(0, rows, added[: group.count].to(output.dtype))
        return output


def _with_layers(base: Any, config: Any, adapter: str) -> PeftModel:
    """A PEFT model of the base, whose layers for the first adapter have no weights of its yet."""
    with warnings.catch_warnings():
        # PEFT 0.21 reads an attribute by a name that is deprecated in transformers 5.23.
        warnings.simplefilter("ignore", FutureWarning)
        return PeftModel(base, config, adapter_name=adapter).eval()
