"""preset of tuning or inference, and tuning.method: the base model and the method."""

from __future__ import annotations

from dataclasses import dataclass

from argotune.presets.schema import Method
from argotune.steps.common.errors import ParamsError, PermanentError
from argotune.steps.common.values import is_dns_subdomain
from argotune.steps.plan.planning import find_base_model, text_of_own
from argotune.steps.settings.run_settings import PREFIX
from argotune.workflows.workspace.fields import Fields
from argotune.workflows.workspace.output import warn_of_internal_registry
from argotune.workflows.workspace.own_presets import OwnPresets

ACCESS_MODES = ("public", "private")


@dataclass(frozen=True, kw_only=True)
class ChosenPreset:
    """The base model of a file."""

    name: str = ""
    """Aliases resolved; empty where it is wrong."""
    text: str = ""
    """The preset itself, where it is none of argotune's."""


def read_preset(fields: Fields, own: OwnPresets, section: str = "tuning") -> ChosenPreset:
    """Find the base model, in the files of a model of the Hub where no preset has the name.

    `section` is tuning or inference, as below. Raises TransientError where the Hub does not answer.
    """
    path = f"{section}.preset.name"
    accepted = "one of `argotune presets`, or OWNER/NAME of the Hub"
    name = fields.required_text(path, accepted, flag="preset")
    if name is None:
        return ChosenPreset()
    shown = fields.shown(path, "preset")
    try:
        preset = find_base_model(name, own.find)
    except ParamsError as error:
        reason = own.not_looked_at
        remark = f"; presets of the installation were not looked at: {reason}" if reason else ""
        fields.problems += [
            f"{shown}: {problem.removeprefix('preset: ')}{remark}" for problem in error.problems
        ]
        return ChosenPreset()
    except PermanentError as error:
        fields.problems.append(f"{shown}: {error}")
        return ChosenPreset()
    own.warn_of_unused()
    return ChosenPreset(name=preset.name, text=text_of_own(preset))


def read_method(fields: Fields) -> Method:
    """Read the method, lora or qlora, in any case of letters as in Kaito."""
    method = fields.required_text("tuning.method", "lora or qlora", flag="method")
    lowered = (method or "qlora").lower()
    if lowered == "lora":
        return "lora"
    if lowered != "qlora":
        path = fields.shown("tuning.method", "method")
        fields.problems.append(f"{path}: {method!r}; accepted are lora and qlora")
    return "qlora"


def read_model_source(fields: Fields, annotated: str | None, section: str = "tuning") -> str | None:
    """Read Kaito's private model image, or the annotation of argotune."""
    image_path, access_path = (
        f"{section}.preset.presetOptions.image",
        f"{section}.preset.accessMode",
    )
    image = fields.text(image_path)
    access = fields.get(access_path)
    if access not in (None, "", *ACCESS_MODES):
        fields.problems.append(f"{access_path}: {access!r}; accepted are public and private")
    if access == "private" and image is None:
        fields.problems.append(
            f"{image_path}: missing; accepted is the image of the weights, because {access_path} is"
            " private"
        )
    if image is not None and annotated is not None:
        fields.problems.append(
            f"{image_path} and metadata.annotations.{PREFIX}model-source "
            "both name the source of the weights; keep one"
        )
    place = f"metadata.annotations.{PREFIX}model-source"
    if image is not None:
        place = image_path
    source = annotated or (f"oci:{image}" if image else None)
    warn_of_internal_registry((source or "").partition("oci:")[2], fields, place)
    return source


def read_model_access_secret(fields: Fields, section: str = "tuning") -> str | None:
    """Read the Secret with the Hub's token."""
    path = f"{section}.preset.presetOptions.modelAccessSecret"
    name = fields.text(path)
    if name is not None and not is_dns_subdomain(name):
        fields.problems.append(f"{path}: {name!r}; accepted is the name of a Secret")
    return name
