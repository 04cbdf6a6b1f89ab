"""What the models are that `argotune evaluate` is given by name: presets, images, services."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from argotune.presets.loader import model_preset, model_presets
from argotune.presets.names import UnknownName, nearest
from argotune.presets.schema import ModelPreset
from argotune.steps.contracts.serving import ServingContract, read_contract
from argotune.steps.contracts.versions import LIVE
from argotune.steps.registry.adapter import unpack_adapter
from argotune.steps.registry.oci import (
    ImageReference,
    LayoutReference,
    parse_reference,
    with_digest,
)
from argotune.steps.registry.skopeo import Registry
from argotune.steps.registry.versions import find_live, repository_of
from argotune.workflows.cli.errors import InputError
from argotune.workflows.cli.home import Home
from argotune.workflows.cli.local.runs import local_runs, runs_meant
from argotune.workflows.cli.local.start import last_deployed
from argotune.workflows.cli.show.workflow_json import inputs_of_node, node_of_step

Image = ImageReference | LayoutReference


@dataclass(frozen=True, kw_only=True)
class NamedModel:
    """A model that was named."""

    name: str
    """As it was named."""
    preset: ModelPreset | None = None
    """The base model that it is; None: it is an adapter."""
    image: str = ""
    """The adapter's image by digest."""
    directory: Path | None = None
    """Where the adapter's files are."""


@dataclass(frozen=True, kw_only=True)
class Models:
    """Models of one base."""

    preset: ModelPreset
    """The base model of all."""
    quantization: str | None
    """4-bit type of the base, as the adapters were tuned on; None for 16 bit."""
    models: tuple[NamedModel, ...]


def find_models(names: Sequence[str], here: Home, directory: Path, registry: Registry) -> Models:
    """Find the models, and unpack their adapters below the directory.

    A lone adapter gets its base beside it. Raises InputError for a name that is none and for models
    of several bases, StepError for an image that cannot be fetched.
    """
    found = [_find(name, here, directory, registry) for name in names]
    adapters = [(each, read_contract(each.directory)) for each in found if each.directory]
    bases = [each.preset for each in found if each.preset is not None]
    preset = _base_of(bases, adapters)
    if len(found) == 1 and adapters:
        found = [NamedModel(name=preset.name, preset=preset), *found]
    quantization = adapters[0][1].quantization if adapters else None
    return Models(preset=preset, quantization=quantization, models=tuple(found))


def _find(name: str, here: Home, directory: Path, registry: Registry) -> NamedModel:
    try:
        return NamedModel(name=name, preset=model_preset(name))
    except UnknownName:
        pass
    if name.startswith("oci:") or "/" in name:
        try:
            image = parse_reference(name)
        except ValueError as error:
            raise InputError(str(error)) from error
        image = _resolve(image, name, registry)
    else:
        image = _in_service(name, here, registry)
    unpacked = directory / (image.digest or "").removeprefix("sha256:")
    return NamedModel(
        name=name, image=str(image), directory=unpack_adapter(image, unpacked, registry)
    )


def _resolve(image: Image, name: str, registry: Registry) -> Image:
    if image.digest is not None:
        return image
    tag = image.tag or LIVE
    found = repository_of(image, registry).find(tag)
    if found is None:
        advice = f": {name}:TAG, or {name}@sha256:HEX" if image.tag is None else ""
        raise InputError(f"{name}: there is no image with the tag {tag}; name one that is{advice}")
    return with_digest(image, found.digest)


def _in_service(name: str, here: Home, registry: Registry) -> Image:
    """The image of the adapter that a workspace of this machine has in service."""
    if not runs_meant(local_runs(here), name):
        presets = [preset.name for preset in model_presets()]
        near = nearest(name, presets)
        raise InputError(
            f"{name}: no preset"
            + (f" (did you mean {near}?)" if near else "")
            + ", no workspace that has run on this machine, and no image, which would be"
            " REGISTRY/REPOSITORY:TAG or oci:DIRECTORY:TAG"
        )
    run = last_deployed(here, name)
    image = parse_reference(inputs_of_node(node_of_step(run.workflow, "deploy"))["reference"])
    live = find_live(repository_of(image, registry), run.workspace)
    return image if live is None else with_digest(image, live.digest)


def _base_of(
    presets: Sequence[ModelPreset], adapters: Sequence[tuple[NamedModel, ServingContract]]
) -> ModelPreset:
    """The one base of all. Raises InputError where they have several, with all of them."""
    found = [*presets, *(_preset_of(model, contract) for model, contract in adapters)]
    ways = {(contract.quantization, contract.rope) for _, contract in adapters}
    if len({preset.name for preset in found}) > 1 or len(ways) > 1:
        named = [(preset.name, preset.name) for preset in presets]
        named += [
            (model.name, f"{preset.name} in {contract.quantization or '16 bits'}")
            for (model, contract), preset in zip(adapters, found[len(presets) :], strict=True)
        ]
        raise InputError(
            "models are compared on one base that is loaded in one way, and these have several: "
            + ", ".join(f"{name} has {base}" for name, base in named)
        )
    return found[0]


def _preset_of(model: NamedModel, contract: ServingContract) -> ModelPreset:
    base = contract.base
    for preset in model_presets():
        if (preset.repository, preset.revision) == (base.repository, base.revision):
            return preset
    raise InputError(
        f"{model.name}: it was tuned on {base.repository}@{base.revision[:19]}, which is no preset"
        " of this version; adapters are measured on the weights of a preset"
    )
