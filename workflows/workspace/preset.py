"""tuning.preset and tuning.method: the base model and the method."""

from __future__ import annotations

from argotune.presets.loader import model_preset
from argotune.presets.names import UnknownName
from argotune.presets.schema import Method
from argotune.steps.common.values import is_dns_subdomain
from argotune.steps.settings.run_settings import PREFIX
from argotune.workflows.workspace.fields import Fields
from argotune.workflows.workspace.output import warn_of_internal_registry


def read_preset(fields: Fields) -> str:
    """Read the preset's own name, aliases resolved; empty where it is wrong."""
    accepted = "one of `argotune presets`"
    name = fields.required_text("tuning.preset.name", accepted, flag="preset")
    if name is None:
        return ""
    try:
        return model_preset(name).name
    except UnknownName as error:
        fields.problems.append(f"{fields.shown('tuning.preset.name', 'preset')}: {error}")
        return ""


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


def read_model_source(fields: Fields, annotated: str | None) -> str | None:
    """Read Kaito's private model image, or the annotation of argotune."""
    image = fields.text("tuning.preset.presetOptions.image")
    access = fields.get("tuning.preset.accessMode")
    if access not in (None, "", "public", "private"):
        fields.problems.append(
            f"tuning.preset.accessMode: {access!r}; accepted are public and private"
        )
    if access == "private" and image is None:
        fields.problems.append(
            "tuning.preset.presetOptions.image: missing; accepted is the image of the weights, "
            "because tuning.preset.accessMode is private"
        )
    if image is not None and annotated is not None:
        fields.problems.append(
            f"tuning.preset.presetOptions.image and metadata.annotations.{PREFIX}model-source "
            "both name the source of the weights; keep one"
        )
    place = f"metadata.annotations.{PREFIX}model-source"
    if image is not None:
        place = "tuning.preset.presetOptions.image"
    source = annotated or (f"oci:{image}" if image else None)
    warn_of_internal_registry((source or "").partition("oci:")[2], fields, place)
    return source


def read_model_access_secret(fields: Fields) -> str | None:
    """Read the Secret with the Hub's token."""
    path = "tuning.preset.presetOptions.modelAccessSecret"
    name = fields.text(path)
    if name is not None and not is_dns_subdomain(name):
        fields.problems.append(f"{path}: {name!r}; accepted is the name of a Secret")
    return name
