"""The base model, the new adapter and the one in service as one model that is switched."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from peft import PeftModel

from argotune.steps.causal_lm.base import load_base
from argotune.steps.causal_lm.device import Device
from argotune.steps.common.errors import PermanentError
from argotune.steps.common.fs import sha256_file
from argotune.steps.contracts.live_adapter import DIRECTORY, LiveAdapter
from argotune.steps.contracts.serving import Rope, ServingContract, read_contract, rope_choice
from argotune.steps.contracts.training_plan import TrainingPlan

Name: TypeAlias = Literal["base", "new", "live"]
BASE: Literal["base"] = "base"
WEIGHTS = "adapter_model.safetensors"


@dataclass(frozen=True)
class Models:
    """One base with its adapters in memory."""

    model: Any
    names: tuple[Name, ...]

    def using(self, name: Name) -> contextlib.AbstractContextManager[Any]:
        """Yield the model as the one with this name."""
        return using(self.model, name)


@contextlib.contextmanager
def using(model: Any, name: str) -> Iterator[Any]:
    """Yield a model with adapters as the one with this name, or as its base by the name `base`."""
    if name == BASE:
        with model.disable_adapter():
            yield model
        return
    model.set_adapter(name, inference_mode=True)
    yield model


def load_models(
    plan: TrainingPlan, model_dir: Path, new_dir: Path, live_dir: Path | None, device: Device
) -> Models:
    """Load the plan's base once, with the new adapter and the one in service if there is one.

    Raises PermanentError if one of them cannot be loaded.
    """
    if live_dir is None:
        return Models(load_adapters(plan, model_dir, {"new": new_dir}, device), ("base", "new"))
    adapters = {"new": new_dir, "live": live_dir}
    return Models(load_adapters(plan, model_dir, adapters, device), ("base", "new", "live"))


def load_adapters(
    plan: TrainingPlan, model_dir: Path, adapters: Mapping[str, Path], device: Device
) -> Any:
    """Load the plan's base once, and adapters of it by their names, for `using`.

    Raises PermanentError if one of them cannot be loaded.
    """
    rope = next((read_contract(each).rope for each in adapters.values()), _rope_of(plan))
    model = load_base(
        plan,
        model_dir,
        device,
        rope,
        attention=None,
        spread=plan.execution.shard,
        writes_cache=False,
    )
    if not adapters:
        return _BaseAlone(model)
    with warnings.catch_warnings():
        # PEFT 0.21 reads an attribute by a name that is deprecated in transformers 5.23.
        warnings.simplefilter("ignore", FutureWarning)
        load: Any = PeftModel.from_pretrained
        for name, directory in adapters.items():
            loaded = _load(load, model, directory, name)
            if load is not PeftModel.load_adapter:
                model, load = loaded, PeftModel.load_adapter
    return model


class _BaseAlone:
    """A base model without adapters, with what those with adapters have."""

    def __init__(self, base: Any) -> None:
        self._base = base
        self.generate = base.generate

    def get_base_model(self) -> Any:
        return self._base

    def disable_adapter(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()


def _rope_of(plan: TrainingPlan) -> Rope:
    return rope_choice(plan.training.max_length, plan.model.original_max_position_embeddings)


def _load(load: Any, model: Any, directory: Path, name: str) -> Any:
    if not (directory / WEIGHTS).exists():
        raise PermanentError(f"{directory}: {WEIGHTS} is missing")
    try:
        return load(model, str(directory), adapter_name=name, is_trainable=False)
    except (OSError, ValueError, RuntimeError) as error:
        raise PermanentError(f"adapter {directory} cannot be loaded: {error}") from error


def comparable_live(work_dir: Path, live: LiveAdapter) -> tuple[Path | None, str]:
    """The directory of the adapter in service, and why it is not compared where it is None.

    Both are empty where there is no such adapter. Raises PermanentError for files that say nothing
    of their base.
    """
    problem = live.problem
    new_dir, live_dir = work_dir / "adapter", work_dir / DIRECTORY
    if live.digest and not problem:
        problem = difference_of(read_contract(new_dir), read_contract(live_dir))
    if problem:
        return None, f"the adapter in service was not compared: {problem}"
    if not live.digest:
        return None, ""
    if sha256_file(new_dir / WEIGHTS) == sha256_file(live_dir / WEIGHTS):
        # Neither is better.
        return None, f"its weights are those of {live.title} in service"
    return live_dir, ""


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
