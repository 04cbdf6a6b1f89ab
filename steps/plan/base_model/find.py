"""From the name of a base model to its preset."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from argotune.presets.loader import model_preset, model_presets
from argotune.presets.names import HubName, UnknownName, hub_name, is_place, is_preset_name
from argotune.presets.schema import ModelPreset
from argotune.steps.common.errors import ParamsError
from argotune.steps.plan.base_model.described import Described, describe
from argotune.steps.plan.base_model.files import files_of_hub, files_of_place
from argotune.steps.plan.base_model.own import (
    WrongPreset,
    dump_preset,
    load_preset,
    parse_own_preset,
)

FindOwn = Callable[[str], str | None]
"""Name of a preset of one's own -> its text; None: there is none of this name."""
OTHER_MODELS = "a model of the Hub is OWNER/NAME"
HUB_TIMEOUT_SECONDS = 15.0


def find_base_model(
    name: str,
    find_own: FindOwn | None = None,
    *,
    timeout_seconds: float = HUB_TIMEOUT_SECONDS,
    hub_endpoint: str | None = None,
    ca_file: Path | None = None,
) -> ModelPreset:
    """Return the preset of a name: one's own, argotune's, or made of the files of a model.

    A Hub id without a revision is the commit that its branch main has now; the Hub may have a
    certificate of the authority in `ca_file`. Raises ParamsError with
    every problem, PermanentError for a model that is not there or not given to this account,
    TransientError where the Hub does not answer.
    """
    asked = hub_name(name)
    if find_own is not None and is_preset_name(name) and (own := find_own(name)) is not None:
        return own_preset(name, own)
    if asked is not None:
        known = _known_by_hub_id(asked)
        if known is not None:
            return known
    if asked is not None or is_place(name):
        return describe_base_model(
            name, timeout_seconds=timeout_seconds, hub_endpoint=hub_endpoint, ca_file=ca_file
        ).preset
    try:
        return model_preset(name)
    except UnknownName as error:
        raise ParamsError(f"preset: {error}; {OTHER_MODELS}") from error


def describe_base_model(
    name: str,
    *,
    chat_template: str | None = None,
    timeout_seconds: float = HUB_TIMEOUT_SECONDS,
    hub_endpoint: str | None = None,
    ca_file: Path | None = None,
) -> Described:
    """Make a preset of the files of a Hub id, dir:DIRECTORY or oci:DIRECTORY, with its sources.

    `chat_template` is for a tokenizer without one. Raises as `find_base_model`.
    """
    asked = hub_name(name)
    if asked is not None:
        files = files_of_hub(
            asked, timeout_seconds=timeout_seconds, endpoint=hub_endpoint, ca_file=ca_file
        )
    elif is_place(name):
        files = files_of_place(name)
    else:
        raise ParamsError(f"{name!r}: accepted is OWNER/NAME or OWNER/NAME@REVISION of the Hub")
    return describe(files, chat_template=chat_template)


def own_preset(name: str, text: str) -> ModelPreset:
    """The preset of one's own in a text. Raises ParamsError with every problem."""
    try:
        return parse_own_preset(text, name)
    except WrongPreset as error:
        raise ParamsError([f"preset {name}: {problem}" for problem in error.problems]) from error


def complete(
    preset: str,
    own_preset: str,
    presets_dir: Path | None,
    *,
    timeout_seconds: float = HUB_TIMEOUT_SECONDS,
    hub_endpoint: str | None = None,
    ca_file: Path | None = None,
) -> tuple[str, str]:
    """Return a plan step's `preset` and `own_preset`, as the command line gives both.

    A run that was submitted without it names the preset alone. Raises as `find_base_model`.
    """
    if own_preset:
        return preset, own_preset
    found = find_base_model(
        preset,
        own_presets(presets_dir),
        timeout_seconds=timeout_seconds,
        hub_endpoint=hub_endpoint,
        ca_file=ca_file,
    )
    return found.name, text_of_own(found)


def own_presets(presets_dir: Path | None, given: str = "") -> FindOwn:
    """Find presets of one's own: the one that the command line gave as JSON, the installation's.

    Raises ParamsError for a text that is none.
    """
    texts: dict[str, str] = {}
    if given:
        try:
            texts[load_preset(given).name] = given
        except WrongPreset as error:
            raise ParamsError([f"own-preset: {problem}" for problem in error.problems]) from error

    def find_own(name: str) -> str | None:
        path = (presets_dir or Path()) / f"{name}.yaml"
        if name not in texts and presets_dir is not None and path.is_file():
            texts[name] = path.read_text("utf-8")
        return texts.get(name)

    return find_own


def text_of_own(preset: ModelPreset) -> str:
    """The preset as JSON for the plan step; empty for one of argotune's, which it has."""
    return "" if preset in model_presets() else dump_preset(preset)


def _known_by_hub_id(asked: HubName) -> ModelPreset | None:
    """The preset of a Hub id, unless another revision is asked for."""
    for preset in model_presets():
        if preset.source == "hub" and preset.repository.lower() == asked.repository.lower():
            return preset if asked.revision in (None, preset.revision) else None
    return None
