"""What every engine takes from the directories of the base model and the adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoTokenizer

from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.model_cache import read_marker
from argotune.steps.contracts.service_plan import ADAPTERS
from argotune.steps.contracts.serving import ServingContract


def load_tokenizer(model_dir: Path, contract: ServingContract) -> Any:
    """The base model's tokenizer with training's chat template. Raises PermanentError."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            model_dir, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise PermanentError(f"{model_dir}: no usable tokenizer: {error}") from error
    tokenizer.chat_template = contract.chat_template
    return tokenizer


def load_config(model_dir: Path, contract: ServingContract) -> Any:
    """The base model's config. Raises PermanentError unless it is that of training."""
    try:
        config = AutoConfig.from_pretrained(
            model_dir, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise PermanentError(f"{model_dir}: no usable config.json: {error}") from error
    _check_base(config, contract, model_dir)
    return config


def adapters_of_service(service_dir: Path | None) -> list[Path]:
    """Directories of the adapters that the service has from the beginning."""
    if service_dir is None:
        return []
    return sorted((service_dir / ADAPTERS).iterdir())


def check_weights(adapter_dir: Path) -> None:
    """Raise PermanentError unless the adapter has weights in the one format that is read."""
    weights = adapter_dir / "adapter_model.safetensors"
    if not weights.exists():
        raise PermanentError(f"{weights} is missing; only safetensors are supported")


def _check_base(config: Any, contract: ServingContract, model_dir: Path) -> None:
    """Raise PermanentError unless this is the base model of the adapter's training."""
    marker = read_marker(model_dir)
    known = contract.base.digest
    if known and marker is not None and marker.digest != known:
        raise PermanentError(
            f"{model_dir} has other files ({marker.digest}) than the base model of the adapter's "
            f"training, {contract.base.repository} ({known}); serve the adapter on that one"
        )
    if config.model_type != contract.base.family:
        raise PermanentError(
            f"{model_dir} has a {config.model_type} model, but the adapter belongs to "
            f"{contract.base.repository}, a {contract.base.family} model"
        )
