"""The serving contract: serving.json beside the adapter, with what serving must do as training did.

A chat template, a stop token or a rotary scaling that differs between training and serving makes
answers worse without an error. So `tune` writes them to this file and `serve` reads them from it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec

from argotune.steps.common.errors import PermanentError
from argotune.steps.common.fs import atomic_write

FILE_NAME = "serving.json"

Rope = Literal["default", "short", "long"]
"""LongRoPE's factors, which training chooses once; `default` for models without LongRoPE.
transformers would choose them by the longest row of each batch, vLLM by its --max-model-len."""


class Base(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The model that the adapter belongs to, as its files were found and not as a preset says."""

    repository: str
    """Hub repository, or the source of other files: `oci:IMAGE` or `dir:DIRECTORY`."""
    revision: str
    """Commit of that repository, or sha256:HEX of what the source had."""
    family: str
    """transformers' model_type."""
    source: str = "hub"
    """`hub`; `made` for a model that argotune made; `oci:IMAGE` or `dir:DIRECTORY`."""
    digest: str = ""
    """sha256:HEX over the model's files in the cache; empty in adapters of an earlier version."""

    @property
    def is_on_hub(self) -> bool:
        """Whether repository and revision can be fetched from the Hub."""
        return self.source == "hub"


class Adapter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The adapter's name and shape; vLLM needs r and target_modules as flags."""

    name: str
    """Name of the adapter in requests."""
    r: int
    alpha: int
    target_modules: list[str]
    """Names of the layers; of an adapter of others it may be one regular expression of PEFT."""
    use_dora: bool = False
    """DoRA adapters are served by transformers and PEFT; vLLM refuses them."""


class Generation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Defaults for parameters that a request does not set."""

    max_new_tokens: int | None = None
    """Most tokens of an answer; None: as many as fit beside the question."""
    temperature: float = 0.0
    """0: always the most likely token."""
    top_p: float = 1.0


class ServingContract(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of serving.json."""

    version: Literal[1] = 1
    base: Base
    adapter: Adapter
    quantization: str | None
    """4-bit type of the base during training, e.g. nf4; None for 16 or 32 bit."""
    chat_template: str
    """Jinja template, as in chat_template.jinja beside the adapter: the base model's. If that one
    drops system turns, it has an added first line that merges them into the first user turn; if it
    writes today's date, one that writes the date of training."""
    stop_tokens: list[str]
    stop_token_ids: list[int]
    max_length: int
    """Longest question and answer together, tokens; vLLM's --max-model-len."""
    longest_row: int
    """Longest row in training, tokens."""
    rope: Rope
    generation: Generation = Generation()


def write_contract(directory: Path, contract: ServingContract) -> None:
    """Write serving.json into the adapter's directory."""
    text = msgspec.json.format(msgspec.json.encode(contract), indent=2)
    atomic_write(directory / FILE_NAME, text + b"\n")


def read_contract(directory: Path) -> ServingContract:
    """Read serving.json from the adapter's directory. Raises PermanentError if it is invalid."""
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
    """Short factors if every row fits the original context, where they are more accurate."""
    if original_max_position_embeddings is None:
        return "default"
    return "long" if longest_row > original_max_position_embeddings else "short"


def fix_rope(config: Any, choice: Rope) -> None:
    """Set both of LongRoPE's factor lists to the chosen one in a transformers config.

    Then transformers uses the same factors for rows of any length.
    """
    if choice == "default":
        return
    parameters = config.rope_parameters
    chosen = parameters[f"{choice}_factor"]
    config.rope_parameters = {**parameters, "short_factor": chosen, "long_factor": chosen}
