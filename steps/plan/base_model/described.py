"""A preset made of a model's own files, with the source of every number."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from argotune.presets.loader import model_preset
from argotune.presets.schema import Architecture, Defaults, ModelPreset
from argotune.presets.sizes import linear_layers, total_parameters
from argotune.steps.common.errors import ParamsError
from argotune.steps.contracts.model_source import CONFIG
from argotune.steps.contracts.training_plan import UNKNOWN_LICENSE
from argotune.steps.plan.base_model.architecture import (
    FoundArchitecture,
    read_architecture,
    refusals,
)
from argotune.steps.plan.base_model.chat import read_chat
from argotune.steps.plan.base_model.files import ModelFiles

LARGE_PARAMETERS = 13_000_000_000
"""From here on presets have half the learning rate."""
_SMALL, _LARGE = "phi-3-mini-4k-instruct", "phi-3-medium-4k-instruct"
_TOLERANCE = 0.01
"""Share by which stored numbers may differ from the count: buffers, and heads beside lm_head."""


@dataclass(frozen=True, kw_only=True)
class Described:
    """A preset, and where its values come from."""

    preset: ModelPreset
    sources: tuple[str, ...]
    """One sentence for each group of values."""


def describe(files: ModelFiles, *, chat_template: str | None = None) -> Described:
    """Make a preset of a model's files.

    `chat_template` is for a tokenizer without one. Raises ParamsError with every reason why the
    model cannot be tuned.
    """
    problems = refusals(files)
    found, chat = None, None
    if not problems:
        try:
            found = read_architecture(files)
            problems += _count_problems(found, files)
        except ValueError as error:
            problems.append(str(error))
    try:
        chat = read_chat(files, chat_template)
    except ValueError as error:
        # A model that cannot be tuned anyway may well have none.
        problems += [] if problems else [str(error)]
    if problems or found is None or chat is None:
        where = f"{files.name}@{files.revision[:12]}" if files.source == "hub" else files.name
        raise ParamsError([f"preset: {where}: {problem}" for problem in problems])
    architecture, family = found.architecture, found.family
    parameters = total_parameters(architecture, family)
    preset = ModelPreset(
        name=files.name,
        title=f"{files.repository}, {parameters / 1e9:.1f}B",
        family=family,
        repository=files.repository,
        revision=files.revision,
        license=files.license,
        gated=files.gated,
        source=files.source,
        parameters=parameters,
        architecture=architecture,
        lora_target_modules=list(linear_layers(architecture, family)),
        chat=chat,
        defaults=_defaults(parameters, architecture),
    )
    return Described(preset=preset, sources=tuple(_sources(files, found, preset)))


def _count_problems(found: FoundArchitecture, files: ModelFiles) -> Iterator[str]:
    """Compare the count of the architecture with the weights that are stored.

    A tied lm_head may be stored all the same.
    """
    stored, architecture = files.stored_numbers, found.architecture
    if stored is None:
        return
    counted = total_parameters(architecture, found.family)
    again = architecture.vocab_size * architecture.hidden_size
    counts = [counted, counted + again] if architecture.tie_word_embeddings else [counted]
    if all(abs(stored - count) > _TOLERANCE * count for count in counts):
        yield (
            f"the numbers of {CONFIG} give {counted} parameters, and the weights have {stored}, so"
            f" this is no plain {found.family}, and its memory cannot be planned"
        )


def _defaults(parameters: int, architecture: Architecture) -> Defaults:
    """Argotune's hyperparameters for a model of this size, those of a preset of such a size."""
    like = _LARGE if parameters >= LARGE_PARAMETERS else _SMALL
    defaults = model_preset(like).defaults
    longest = min(
        defaults.max_length,
        architecture.max_position_embeddings,
        architecture.original_max_position_embeddings or defaults.max_length,
    )
    return msgspec.structs.replace(
        defaults, max_length=longest, source=f"as preset {like}: {defaults.source}"
    )


def _sources(files: ModelFiles, found: FoundArchitecture, preset: ModelPreset) -> Iterator[str]:
    at = f"{files.repository} at {files.revision}" if files.source == "hub" else files.name
    yield f"Architecture: {CONFIG} of {at}"
    if found.left_out:
        yield f"Not in it, so as transformers has it: {', '.join(found.left_out)}"
    counted = "" if files.stored_numbers is None else f"; the weights have {files.stored_numbers}"
    yield f"Parameters: counted from the architecture{counted}"
    yield f"Chat: {preset.chat.notes}"
    said = "the Hub's record of the model" if files.source == "hub" else "no source says it"
    yield f"License and gate: {said if files.license != UNKNOWN_LICENSE else 'no source says it'}"
