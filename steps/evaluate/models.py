"""The base model, the new adapter and the one in service as one model that is switched."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from peft import PeftModel

from argotune.steps.causal_lm.base import load_base
from argotune.steps.causal_lm.device import Device
from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.serving import ServingContract, read_contract
from argotune.steps.contracts.training_plan import TrainingPlan

Name: TypeAlias = Literal["base", "new", "live"]


@dataclass(frozen=True)
class Models:
    """One base with its adapters in memory."""

    model: Any
    names: tuple[Name, ...]

    @contextlib.contextmanager
    def using(self, name: Name) -> Iterator[Any]:
        """Yield the model as the one with this name."""
        if name == "base":
            with self.model.disable_adapter():
                yield self.model
            return
        self.model.set_adapter(name, inference_mode=True)
        yield self.model


def load_models(
    plan: TrainingPlan, model_dir: Path, new_dir: Path, live_dir: Path | None, device: Device
) -> Models:
    """Load the plan's base once, with the new adapter and the one in service if there is one.

    Raises PermanentError if one of them cannot be loaded.
    """
    rope = read_contract(new_dir).rope
    base = load_base(
        plan,
        model_dir,
        device,
        rope,
        attention="sdpa",
        spread=plan.execution.shard,
        writes_cache=False,
    )
    with warnings.catch_warnings():
        # PEFT 0.21 reads an attribute by a name that is deprecated in transformers 5.23.
        warnings.simplefilter("ignore", FutureWarning)
        model = _load(PeftModel.from_pretrained, base, new_dir, "new")
        if live_dir is None:
            return Models(model, ("base", "new"))
        _load(PeftModel.load_adapter, model, live_dir, "live")
    return Models(model, ("base", "new", "live"))


def _load(load: Any, model: Any, directory: Path, name: Name) -> Any:
    if not (directory / "adapter_model.safetensors").exists():
        raise PermanentError(f"{directory}: adapter_model.safetensors is missing")
    try:
        return load(model, str(directory), adapter_name=name, is_trainable=False)
    except (OSError, ValueError, RuntimeError) as error:
        raise PermanentError(f"adapter {directory} cannot be loaded: {error}") from error


def difference_of(new: ServingContract, live: ServingContract) -> str:
    """Why the adapter in service cannot be measured on the base of the new one; empty: it can."""
    if _base_of(new) != _base_of(live):
        return (
            f"it belongs to {live.base.repository}@{live.base.revision[:12]}, and this run tuned "
            f"{new.base.repository}@{new.base.revision[:12]}"
        )
    if new.rope != live.rope:
        return f"it uses LongRoPE's {live.rope} factors, and the new adapter the {new.rope} ones"
    return ""


def _base_of(contract: ServingContract) -> tuple[str, ...]:
    """What identifies a base: its files' digest, which adapters of an earlier version lack."""
    base = contract.base
    return (base.digest,) if base.digest else (base.repository, base.revision)
