"""The serving contract: what a server must do as training did, in serving.json beside the adapter.

A chat template, a stop token or a rotary scaling that differs between training and serving makes
answers worse without an error; so `tune` writes them down and `serve` follows.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from argotune.steps.common.errors import PermanentError
from argotune.steps.common.fs import atomic_write

FILE_NAME = "serving.json"

Message = Mapping[str, str]
"""One turn: `role` (system, user, assistant) and `content`."""

Rope = Literal["default", "short", "long"]
"""LongRoPE's factors: transformers picks them by the longest row of a batch, vLLM by the longest
that it may get, so training decides once; `default` for models without LongRoPE."""


class Base(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The model that the adapter belongs to."""

    repository: str
    revision: str
    family: str
    """transformers' model_type."""


class Adapter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What vLLM's --max-lora-rank and --lora-target-modules are made from."""

    name: str
    """Name to serve it under."""
    r: int
    alpha: int
    target_modules: list[str]


class Generation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Defaults of a request that does not say."""

    max_new_tokens: int = 256
    temperature: float = 0.0
    """0 picks the likeliest token each time."""
    top_p: float = 1.0


class ServingContract(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    version: Literal[1] = 1
    base: Base
    adapter: Adapter
    quantization: str | None
    """4-bit type of the base during training, e.g. nf4; None for 16 or 32 bit."""
    chat_template: str
    """Jinja, as in chat_template.jinja beside the adapter: the base model's, and for one that
    would drop a system turn a line before it that merges it into the first user's."""
    stop_tokens: list[str]
    stop_token_ids: list[int]
    max_length: int
    """Most tokens of question and answer together; vLLM's --max-model-len."""
    longest_row: int
    """Longest row seen in training, tokens."""
    rope: Rope
    generation: Generation = Generation()


def write_contract(directory: Path, contract: ServingContract) -> None:
    """Write serving.json into an adapter's directory."""
    text = msgspec.json.format(msgspec.json.encode(contract), indent=2)
    atomic_write(directory / FILE_NAME, text + b"\n")


def read_contract(directory: Path) -> ServingContract:
    """Read serving.json from an adapter's directory. Raises PermanentError naming what is wrong."""
    path = directory / FILE_NAME
    try:
        return msgspec.json.decode(path.read_bytes(), type=ServingContract)
    except OSError as error:
        raise PermanentError(
            f"{path}: {error.strerror}; the tune step writes it beside the adapter"
        ) from error
    except msgspec.DecodeError as error:
        raise PermanentError(f"{path}: not a serving contract: {error}") from error


def rope_choice(longest_row: int, original_max_position_embeddings: int | None) -> Rope:
    """Short factors if every row fits the original context, for they are better there."""
    if original_max_position_embeddings is None:
        return "default"
    return "long" if longest_row > original_max_position_embeddings else "short"


def fix_rope(config: Any, choice: Rope) -> None:
    """Make both of LongRoPE's factor lists the chosen one in a transformers config.

    Then no row, and no mixture of rows in a batch, can switch the factors.
    """
    if choice == "default":
        return
    parameters = config.rope_parameters
    chosen = parameters[f"{choice}_factor"]
    config.rope_parameters = {**parameters, "short_factor": chosen, "long_factor": chosen}
