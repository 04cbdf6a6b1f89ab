"""Begin training with the weights of another adapter instead of new ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from peft import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError

from argotune.steps.common.errors import PermanentError

_WEIGHTS = "adapter_model.safetensors"
_SHOWN_NAMES = 3


@torch.no_grad()
def begin_with(model: Any, directory: Path) -> None:
    """Load the adapter of a directory into the model's, which has the same names and shapes.

    Raises PermanentError for one that has others, which PEFT would leave out with a warning.
    """
    path = directory / _WEIGHTS
    try:
        found = safetensors.torch.load_file(path)
    except (OSError, SafetensorError) as error:
        raise PermanentError(f"{path}: cannot be read: {error}") from error
    own = get_peft_model_state_dict(model, save_embedding_layers=False)
    differing = sorted(
        name
        for name in own.keys() | found.keys()
        if name not in own or name not in found or own[name].shape != found[name].shape
    )
    if differing:
        raise PermanentError(
            f"{path}: {len(differing)} tensors are not those of the plan's adapter, such as"
            f" {', '.join(differing[:_SHOWN_NAMES])}; leave start-from out to train a new one"
        )
    set_peft_model_state_dict(model, found)
