"""A workspace as the rest of argotune sees it, whatever version of Kaito's API it came in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from argotune.presets.schema import Method
from argotune.workflows.workspace.run_settings import SETTINGS

Options = Mapping[str, str]
"""The settings that annotations or flags give, by their names in the table of settings: the texts
of the file, checked. What is not given is not in it."""


def provider_of(options: Options) -> str:
    """The provider of the run's node; where none is given, what `argotune submit` takes."""
    return options.get("provider", SETTINGS["provider"].default)


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """One fine-tuning job."""

    name: str
    """A DNS label; also of the service and of the served adapter."""
    namespace: str | None
    """None: the one that the command works in."""
    labels: Mapping[str, str]
    """The file's labels, which its runs have too."""
    preset: str
    """Name of the model preset, aliases resolved."""
    method: Method
    urls: tuple[str, ...]
    """Dataset URLs; their queries may be secret."""
    config: str
    """Text of training_config.yaml; empty for the preset's defaults."""
    output_image: str
    """REGISTRY/REPOSITORY[:TAG], or oci:DIRECTORY[:TAG] with an absolute directory."""
    push_secret: str | None
    """Secret for the output image; None for oci: directories."""
    instance_type: str | None
    """Cloud SKU; None for existing nodes and this machine."""
    label_selector: Mapping[str, str]
    """Labels of the GPU nodes."""
    model_source: str | None
    """Where the weights come from instead of the preset's own place."""
    model_access_secret: str | None
    """Secret with the Hub's token for gated models."""
    options: Options
    warnings: tuple[str, ...]
    """What the user may want to know, one sentence each."""
    problems_before_submit: tuple[str, ...]
    """What may stand in a file that is only looked at, but not in one that is run: placeholders
    that the user has to fill in."""
