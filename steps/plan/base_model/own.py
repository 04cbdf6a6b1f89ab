"""Presets that are none of argotune's: of one's own, or made of a model's files.

They have the schema of presets/models and are held to the same rules. Between the command line and
the plan step they travel as JSON, in a parameter of the Workflow.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import msgspec

from argotune.presets.loader import model_preset_names
from argotune.presets.schema import ModelPreset
from argotune.presets.sizes import linear_layers, total_parameters
from argotune.steps.common import strict_yaml
from argotune.steps.plan.base_model.described import Described

_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")


class WrongPreset(ValueError):
    """A text that is no preset; `problems` has all that is wrong."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("; ".join(problems))


def parse_own_preset(text: str, name: str) -> ModelPreset:
    """Parse a preset of one's own, YAML, that its file or its user names so.

    Raises WrongPreset with every problem, also for the name of one of argotune's.
    """
    try:
        # YAML 1.1 has 1e-5 as a text, unlike 1.0e-5.
        preset = msgspec.convert(strict_yaml.load(text), ModelPreset, strict=False)
    except (strict_yaml.YamlProblem, msgspec.ValidationError) as error:
        raise WrongPreset([str(error)]) from error
    problems = [*_name_problems(preset), *_problems(preset)]
    if preset.name != name:
        problems.append(f"name: {preset.name!r}; accepted is the file's name")
    if preset.source not in ("hub", "cache"):
        problems.append(
            f"source: {preset.source!r}; accepted are hub and cache; other weights are"
            " argotune.dev/model-source in the workspace file"
        )
    if problems:
        raise WrongPreset(problems)
    return preset


def load_preset(text: str) -> ModelPreset:
    """Read what `dump_preset` wrote. Raises WrongPreset with every problem."""
    try:
        preset = msgspec.json.decode(text, type=ModelPreset)
    except (msgspec.DecodeError, RecursionError) as error:
        raise WrongPreset([f"not a preset as JSON: {error}"]) from error
    problems = list(_problems(preset))
    if problems:
        raise WrongPreset(problems)
    return preset


def dump_preset(preset: ModelPreset) -> str:
    """Write the preset as JSON in one line, in which nothing is a tag of Argo's."""
    text = json.dumps(msgspec.to_builtins(preset), separators=(",", ":"))
    # Two braces follow each other in texts only, such as a chat template, never between values.
    return text.replace("{{", "{\\u007b")


def write_own_preset(described: Described, name: str) -> str:
    """Write a preset as a file of one's own, YAML, after the sources of its values."""
    preset = msgspec.structs.replace(described.preset, name=name)
    header = "".join(f"# {line}.\n" for line in described.sources)
    tried = f"# Try it: argotune presets show {name}\n"
    values = {
        key: value for key, value in msgspec.to_builtins(preset).items() if value not in (None, [])
    }
    return f"{header}{tried}{strict_yaml.dump(values)}"


def _name_problems(preset: ModelPreset) -> Iterator[str]:
    for name in (preset.name, *preset.aliases):
        if not _NAME.fullmatch(name):
            yield f"name: {name!r}; accepted are lower-case letters, digits, '.' and '-'"
    for name in sorted({preset.name, *preset.aliases} & model_preset_names()):
        yield f"name: {name!r} is a preset of argotune; give yours another name"


def _problems(preset: ModelPreset) -> Iterator[str]:
    """What tests check of argotune's own files."""
    architecture, defaults = preset.architecture, preset.defaults
    if not _REPOSITORY.fullmatch(preset.repository):
        yield f"repository: {preset.repository!r}; accepted is OWNER/NAME"
    if not _COMMIT.fullmatch(preset.revision):
        yield (
            f"revision: {preset.revision!r}; accepted is a commit, 40 hex digits, because a branch"
            " or a tag can move"
        )
    counted = total_parameters(architecture, preset.family)
    if counted != preset.parameters:
        yield f"parameters: {preset.parameters}; the architecture's numbers give {counted}"
    layers = linear_layers(architecture, preset.family)
    unknown = [name for name in preset.lora_target_modules if name not in layers]
    if unknown or not preset.lora_target_modules:
        yield (
            f"lora_target_modules: {', '.join(unknown) or 'empty'}; the linear layers of"
            f" {preset.family} are {', '.join(layers)}"
        )
    longest = architecture.max_position_embeddings
    if not 0 < defaults.max_length <= longest:
        yield f"defaults.max_length: {defaults.max_length}; accepted is 1 to {longest}"
    if defaults.tokens_per_step < defaults.max_length:
        yield (
            f"defaults.tokens_per_step: {defaults.tokens_per_step}; accepted is max_length,"
            f" {defaults.max_length}, or more"
        )
