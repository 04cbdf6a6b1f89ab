"""Read Kaito's training_config.yaml; every key sets something, is refused, or gives a warning."""

from __future__ import annotations

import dataclasses
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from argotune.presets.names import nearest
from argotune.presets.schema import Method, ModelPreset
from argotune.steps.common import strict_yaml
from argotune.steps.contracts.training_plan import columns_problem
from argotune.steps.plan.key import Fixed, Key, Mapped
from argotune.steps.plan.keys import SECTIONS
from argotune.steps.plan.readers import WrongParts
from argotune.steps.plan.schedulers import scheduler_problem
from argotune.steps.plan.settings import ROWS_PER_STEP, Settings, preset_defaults

ROOT = "training_config"


@dataclass(frozen=True, kw_only=True)
class KeyHelp:
    """One row of the reference of all keys."""

    section: str
    key: str
    effect: str
    default: str
    """Value if the key is missing, as text."""


class _Reading:
    """Values, problems and warnings collected while the config is read."""

    def __init__(self) -> None:
        self.values: dict[str, object] = {}
        self.origins: dict[str, str] = {}
        self.problems: list[str] = []
        self.warnings: list[str] = []

    def set(self, key: Mapped, path: str, value: object) -> None:
        earlier = self.origins.get(key.field)
        if earlier is not None and self.values[key.field] != value:
            self.problems.append(f"{earlier} and {path} set the same value; keep one")
            return
        self.values[key.field] = value
        self.origins[key.field] = path


def read_config(
    text: str,
    preset: ModelPreset,
    method: Method,
    *,
    has_validation_files: bool = False,
    problems: list[str],
    warnings: list[str],
) -> Settings:
    """The settings of a training config; an empty text gives the defaults.

    Problems are appended to `problems`. The settings then leave out the wrong keys, so that the
    caller can check the rest.
    """
    reading = _Reading()
    _read_sections(_parse(text, reading), reading)
    _check_method(reading, method)
    _check_quantized_cache(reading, method)
    _check_columns(reading)
    values = preset_defaults(preset) | reading.values
    settings = _derive(Settings(**values), reading, preset)  # type: ignore[arg-type]
    if has_validation_files:
        settings = _without_split(settings, reading)
    _check_evaluation(settings, reading)
    problems += reading.problems
    warnings += reading.warnings
    return settings


def document_keys() -> list[KeyHelp]:
    """Every key that sets a value, for the reference page and the README."""
    defaults = {field.name: field.default for field in dataclasses.fields(Settings)}
    return [
        KeyHelp(section=section, key=name, effect=key.doc, default=_default(defaults[key.field]))
        for section, keys in SECTIONS.items()
        for name, key in keys.items()
        if isinstance(key, Mapped)
    ]


def _default(value: object) -> str:
    if value is dataclasses.MISSING:
        return "the preset's"
    return "" if value in (None, ()) else str(value)


def _parse(text: str, reading: _Reading) -> Mapping[Any, Any]:
    try:
        document = strict_yaml.load(text)
    except strict_yaml.YamlProblem as problem:
        reading.problems.append(f"{ROOT}.yaml: {problem}")
        return {}
    if document is None:
        return {}
    if not isinstance(document, dict) or list(document) != [ROOT]:
        found = ", ".join(map(str, document)) if isinstance(document, dict) else repr(document)
        reading.problems.append(f"{ROOT}.yaml: {found}; accepted is one root key, {ROOT}")
        return {}
    return _mapping(document[ROOT], ROOT, reading)


def _mapping(value: object, path: str, reading: _Reading) -> Mapping[Any, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        reading.problems.append(f"{path}: {value!r} is not a mapping")
        return {}
    return value


def _read_sections(sections: Mapping[Any, Any], reading: _Reading) -> None:
    for section, content in sections.items():
        path = f"{ROOT}.{section}"
        if section not in SECTIONS:
            reading.problems.append(f"{path}: {_unknown(section, SECTIONS, 'section')}")
            continue
        for name, value in _mapping(content, path, reading).items():
            _read_key(name, value, f"{path}.{name}", SECTIONS[section], reading)


def _read_key(
    name: object, value: object, path: str, keys: Mapping[str, Key], reading: _Reading
) -> None:
    if not isinstance(name, str) or name not in keys:
        reading.problems.append(f"{path}: {_unknown(name, keys, 'key')}")
        return
    key = keys[name]
    if isinstance(key, Mapped):
        _read_mapped(key, value, path, reading)
    elif isinstance(key, Fixed):
        if not _among(value, key.accepted):
            accepted = " or ".join(_yaml(each) for each in key.accepted)
            reading.problems.append(f"{path}: {value!r}; accepted is {accepted}: {key.reason}")
    elif name == "output_dir":
        _read_output_dir(value, path, key.reason, reading)
    elif not _among(value, key.usual):
        reading.warnings.append(f"{path}: {value!r} has no effect: {key.reason}")


def _read_mapped(key: Mapped, value: object, path: str, reading: _Reading) -> None:
    try:
        reading.set(key, path, key.read(value))
    except WrongParts as error:
        reading.problems += [f"{path}{problem}" for problem in error.problems]
    except ValueError as error:
        reading.problems.append(f"{path}: {value!r}; accepted is {error}")


def _read_output_dir(value: object, path: str, reason: str, reading: _Reading) -> None:
    """Apply Kaito's rule for output_dir; the directory itself is not used."""
    if not isinstance(value, str) or not _below_mnt(value):
        reading.problems.append(f"{path}: {value!r}; accepted is a directory below /mnt")
    elif value != "/mnt/results":
        reading.warnings.append(f"{path}: {value!r} has no effect: {reason}")


def _below_mnt(directory: str) -> bool:
    return posixpath.normpath(posixpath.join("/mnt", directory)).startswith("/mnt/")


def _unknown(name: object, known: Mapping[str, Any], kind: str) -> str:
    found = nearest(str(name), known)
    if found is not None:
        return f"unknown {kind}; did you mean {found}?"
    if len(known) <= 12:
        return f"unknown {kind}; known are {', '.join(known)}"
    homes = [section for section, keys in SECTIONS.items() if name in keys]
    return f"unknown {kind}; move it to {' or '.join(homes)}" if homes else f"unknown {kind}"


def _among(value: object, accepted: tuple[object, ...]) -> bool:
    # 1 == True in Python, but a number is not accepted for a boolean.
    return any(
        value == each and isinstance(value, bool) == isinstance(each, bool) for each in accepted
    )


def _yaml(value: object) -> str:
    if value is None:
        return "null"
    if value == "":
        return '""'
    return str(value).lower() if isinstance(value, bool) else str(value)


def _check_method(reading: _Reading, method: Method) -> None:
    wanted = method == "qlora"
    if reading.values.get("load_in_4bit", wanted) == wanted:
        return
    path = reading.origins["load_in_4bit"]
    reading.problems.append(
        f"{path}: {_yaml(not wanted)}; method {method} needs {_yaml(wanted)}, "
        f"method {'lora' if wanted else 'qlora'} needs {_yaml(not wanted)}"
    )


def _check_quantized_cache(reading: _Reading, method: Method) -> None:
    if method == "lora" and reading.values.get("cache_quantized"):
        path = reading.origins["cache_quantized"]
        reading.problems.append(
            f"{path}: true; needs method qlora, because method lora has no 4-bit weights"
        )


def _check_columns(reading: _Reading) -> None:
    fields = ("messages_column", "context_column", "response_column")
    messages, context, response = (reading.values.get(field) for field in fields)
    problem = columns_problem(messages, context, response)  # type: ignore[arg-type]
    if problem:
        reading.problems.append(f"{ROOT}.DatasetConfig: {problem}")
        for field in fields:
            reading.values.pop(field, None)


def _derive(settings: Settings, reading: _Reading, preset: ModelPreset) -> Settings:
    """Convert settings in Kaito's and transformers' form to the plan's."""
    _check_length(settings, reading, preset)
    if settings.train_share is not None:
        _one_of(reading, "train_share", "validation_share")
        settings = replace(settings, validation_share=round(1 - settings.train_share, 6))
    if settings.rows_per_micro_batch is not None:
        _one_of(reading, "rows_per_micro_batch", "micro_batch_tokens")
        tokens = settings.rows_per_micro_batch * settings.max_length
        settings = replace(settings, micro_batch_tokens=tokens)
    settings = _derive_min_steps(settings, reading)
    if "tokens_per_step" not in reading.origins:
        tokens = min(settings.tokens_per_step, ROWS_PER_STEP * settings.max_length)
        settings = replace(settings, tokens_per_step=tokens)
    _check_scheduler(settings, reading)
    _check_lora(settings, reading)
    return _derive_warmup(settings, reading)


def _without_split(settings: Settings, reading: _Reading) -> Settings:
    """Turn the split off, because validation files have the held-out rows."""
    for name, nothing_held_out in (("train_share", 1), ("validation_share", 0)):
        if name in reading.origins and reading.values[name] != nothing_held_out:
            reading.problems.append(
                f"{reading.origins[name]}: {reading.values[name]}; the held-out rows are those of"
                " tuning.input.validationUrls (validation-urls), and all others are trained on:"
                f" leave one of the two out, or set {nothing_held_out}"
            )
    if "split_seed" in reading.origins:
        reading.warnings.append(
            f"{reading.origins['split_seed']}: {settings.split_seed} has no effect: the held-out"
            " rows are those of tuning.input.validationUrls (validation-urls)"
        )
    return replace(settings, validation_share=0.0, has_validation_files=True)


def _derive_warmup(settings: Settings, reading: _Reading) -> Settings:
    """Convert warmup_steps below 1, a share as in transformers 5, to the plan's warmup_ratio."""
    steps = settings.warmup_steps
    if not steps:
        return settings
    if "warmup_ratio" in reading.origins:
        reading.warnings.append(
            f"{reading.origins['warmup_ratio']}: {settings.warmup_ratio:g} has no effect beside "
            f"warmup_steps: {steps:g}, as in transformers"
        )
    if steps < 1:
        return replace(settings, warmup_ratio=steps, warmup_steps=0)
    return settings


def _derive_min_steps(settings: Settings, reading: _Reading) -> Settings:
    """Keep a batch that the user has set as it is."""
    own = [n for n in ("rows_per_micro_batch", "accumulation_steps") if n in reading.origins]
    for name in own:
        _one_of(reading, name, "tokens_per_step")
        _one_of(reading, name, "min_steps")
    return replace(settings, min_steps=None) if own else settings


def _check_evaluation(settings: Settings, reading: _Reading) -> None:
    held_out = settings.has_validation_files or settings.validation_share > 0
    if settings.checks and not held_out:
        reading.problems.append(
            f"{reading.origins['checks']}: checks need held-out rows, and no rows are held out; "
            "hold some out, or remove the checks"
        )
    for name in ("check_rows", "check_tokens"):
        if name in reading.origins and not settings.checks:
            reading.warnings.append(f"{reading.origins[name]}: has no effect without checks")


def _check_scheduler(settings: Settings, reading: _Reading) -> None:
    problem = scheduler_problem(settings)
    if problem:
        path = reading.origins.get("scheduler_kwargs") or reading.origins["scheduler"]
        reading.problems.append(f"{path}: {problem}")
    named = [name for name in ("warmup_steps", "warmup_ratio") if reading.values.get(name)]
    if settings.scheduler == "constant" and named:
        reading.warnings.append(
            f"{reading.origins[named[0]]}: has no effect with lr_scheduler_type: constant, as in "
            "transformers; constant_with_warmup has a warm-up"
        )


def _check_lora(settings: Settings, reading: _Reading) -> None:
    if settings.init_lora_weights == "orthogonal" and settings.r % 2:
        reading.problems.append(
            f"{reading.origins['init_lora_weights']}: orthogonal; needs an even rank, not "
            f"{settings.r}"
        )
    if settings.use_dora and settings.shard:
        reading.problems.append(
            f"{reading.origins['use_dora']}: true; needs whole weights, whose norms it learns, but "
            f"{reading.origins['shard']} shards them; remove one of the two"
        )


def _one_of(reading: _Reading, first: str, second: str) -> None:
    if second in reading.origins:
        reading.problems.append(
            f"{reading.origins[first]} and {reading.origins[second]} set the same value; keep one"
        )


def _check_length(settings: Settings, reading: _Reading, preset: ModelPreset) -> None:
    context = preset.architecture.max_position_embeddings
    if settings.max_length > context:
        reading.problems.append(
            f"{reading.origins['max_length']}: {settings.max_length}; accepted is at most "
            f"{context}, the context of {preset.name}"
        )
    tokens = settings.micro_batch_tokens
    if tokens is not None and tokens < settings.max_length:
        reading.problems.append(
            f"{reading.origins['micro_batch_tokens']}: {tokens}; accepted is max_length "
            f"({settings.max_length}) or more, because a row is never split"
        )
