"""What the models of an evaluation are: base models, and adapters of one base."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from argotune.presets.loader import model_preset, model_presets
from argotune.presets.names import HubName, UnknownName, is_place, is_preset_name
from argotune.presets.schema import ModelPreset
from argotune.steps.common.errors import ParamsError, PermanentError
from argotune.steps.contracts.safetensors_file import safetensors_problem, stored_numbers
from argotune.steps.contracts.serving import ServingContract, read_contract
from argotune.steps.contracts.side_by_side import ComparedModel, adapter_dir
from argotune.steps.plan.adapter_images import Image, with_found_digest
from argotune.steps.plan.base_model.described import describe
from argotune.steps.plan.base_model.files import ModelFiles, files_of_hub, files_of_place
from argotune.steps.plan.base_model.find import HUB_TIMEOUT_SECONDS, FindOwn, find_base_model
from argotune.steps.registry.adapter import unpack_adapter
from argotune.steps.registry.oci import parse_reference
from argotune.steps.registry.skopeo import Registry

AskHub = Callable[[HubName], ModelFiles]
OF_HUB = "hub:"
"""Before a model of the Hub, whose name may be that of an image."""
_WEIGHTS = "adapter_model.safetensors"
# No image begins so: what is before a path has a dot or a port, or is `oci:`.
_NAMED = re.compile(
    r"(?P<name>(?!oci:)[a-z0-9]([a-z0-9-]*[a-z0-9])?(:[a-z0-9]([a-z0-9-]*[a-z0-9])?)?)=(?P<image>.+)"
)


@dataclass(frozen=True, kw_only=True)
class NamedModel:
    """A model as it was asked for."""

    name: str
    base: str = ""
    """The base model that it is: a preset, maybe of one's own, or a model of the Hub; empty: it is
    an adapter."""
    image: Image | None = None
    """The adapter's image."""


@dataclass(frozen=True, kw_only=True)
class Models:
    """Models of one base."""

    preset: ModelPreset
    """The base model of all."""
    quantization: str | None
    """4-bit type of the base, as the adapters were tuned on; None for 16 bit."""
    models: tuple[ComparedModel, ...]
    adapter_weights: int
    """Of all adapters together."""


def read_models(texts: Sequence[str], find_own: FindOwn | None = None) -> list[NamedModel]:
    """Parse what the models are called. Raises ParamsError with all problems."""
    found: list[NamedModel] = []
    problems: list[str] = []
    for text in texts:
        try:
            found.append(_read(text, find_own))
        except ValueError as error:
            problems.append(f"models: {text}: {error}")
    problems += _twice(texts, found)
    if not texts:
        problems.append("models: empty; give a JSON list of presets and adapters' images")
    if problems:
        raise ParamsError(problems)
    return found


def find_models(
    named: Sequence[NamedModel],
    work_dir: Path,
    registry: Registry,
    hub_endpoint: str | None = None,
    find_own: FindOwn | None = None,
) -> Models:
    """Find the adapters, and unpack them onto the volume.

    A lone adapter gets its base beside it. Raises ParamsError for what is not there and for models
    of several bases, another StepError for an image that cannot be fetched.
    """
    images = {
        model.name: _resolve(model.name, model.image, registry)
        for model in named
        if model.image is not None
    }
    adapters = {name: _unpack(image, work_dir, registry) for name, image in images.items()}
    bases = {
        model.name: find_base_model(
            model.base, find_own, hub_endpoint=hub_endpoint, ca_file=registry.ca_file
        )
        for model in named
        if model.base
    }
    ask_hub = functools.partial(
        files_of_hub,
        timeout_seconds=HUB_TIMEOUT_SECONDS,
        endpoint=hub_endpoint,
        ca_file=registry.ca_file,
    )
    preset = _base_of(bases, adapters, ask_hub)
    models = [
        ComparedModel(name=each.name, image=str(images[each.name]) if each.image else "")
        for each in named
    ]
    if len(models) == 1 and adapters:
        models.insert(0, ComparedModel(name=preset.name))
    first = next(iter(adapters.values()), None)
    return Models(
        preset=preset,
        quantization=first.quantization if first is not None else None,
        models=tuple(models),
        adapter_weights=sum(_weights(name, image, work_dir) for name, image in images.items()),
    )


def _weights(name: str, image: Image, work_dir: Path) -> int:
    file = adapter_dir(work_dir, str(image)) / _WEIGHTS
    problem = safetensors_problem(file)
    numbers = None if problem else stored_numbers([file])
    if numbers is None:
        raise PermanentError(f"models: {name}: {image}: {problem or f'{_WEIGHTS} is damaged'}")
    return numbers


def _read(text: str, find_own: FindOwn | None) -> NamedModel:
    found = _NAMED.fullmatch(text)
    name, place = (found["name"], found["image"]) if found else (text, text)
    if place.startswith(OF_HUB):
        return NamedModel(name=name, base=place.removeprefix(OF_HUB))
    if not place.startswith("oci:") and "/" not in place:
        try:
            return NamedModel(name=name, base=model_preset(place).name)
        except UnknownName as error:
            if find_own is not None and is_preset_name(place) and find_own(place) is not None:
                return NamedModel(name=name, base=place)
            raise ValueError(
                f"{error}; another base model is {OF_HUB}OWNER/NAME, and an adapter is named by"
                " its image, such as REGISTRY/REPOSITORY:TAG"
            ) from error
    return NamedModel(name=name, image=parse_reference(place))


def _twice(texts: Sequence[str], models: Sequence[NamedModel]) -> Iterator[str]:
    for what, names in (("given", texts), ("called", [model.name for model in models])):
        repeated = [name for name, count in Counter(names).items() if count > 1]
        if repeated:
            yield from (f"models: {name} is {what} twice; name each once" for name in repeated)
            return


def _resolve(name: str, image: Image, registry: Registry) -> Image:
    try:
        return with_found_digest(image, registry)
    except ValueError as error:
        raise ParamsError(f"models: {name}: {error}") from error


def _unpack(image: Image, work_dir: Path, registry: Registry) -> ServingContract:
    directory = adapter_dir(work_dir, str(image))
    return read_contract(unpack_adapter(image, directory, registry))


def _base_of(
    presets: Mapping[str, ModelPreset],
    adapters: Mapping[str, ServingContract],
    ask_hub: AskHub,
) -> ModelPreset:
    """The one base of all. Raises ParamsError where they have several, with all of them."""
    of_adapters = {
        name: _preset_of(name, contract, presets.values(), ask_hub)
        for name, contract in adapters.items()
    }
    ways = {(contract.quantization, contract.rope) for contract in adapters.values()}
    found = [*presets.values(), *of_adapters.values()]
    if len({(preset.repository, preset.revision) for preset in found}) > 1 or len(ways) > 1:
        named = [f"{name} has {preset.name}" for name, preset in presets.items()]
        named += [
            f"{name} has {preset.name} in {_way(adapters[name])}"
            for name, preset in of_adapters.items()
        ]
        raise ParamsError(
            "models: they are compared on one base that is loaded in one way, and these have"
            f" several: {', '.join(named)}"
        )
    return found[0]


def _way(contract: ServingContract) -> str:
    """How the base is loaded for an adapter."""
    factors = "" if contract.rope == "default" else f" with LongRoPE's {contract.rope} factors"
    return f"{contract.quantization or '16 bits'}{factors}"


def _preset_of(
    name: str,
    contract: ServingContract,
    others: Iterable[ModelPreset],
    ask_hub: AskHub,
) -> ModelPreset:
    """The base of an adapter; `others` may be of one's own."""
    base = contract.base
    for preset in (*model_presets(), *others):
        if (preset.repository, preset.revision) == (base.repository, base.revision):
            return preset
    if is_place(base.source):
        files = files_of_place(base.source)
    elif base.source == "hub":
        hub_id = HubName(repository=base.repository, revision=base.revision)
        files = ask_hub(hub_id)
    else:
        raise ParamsError(
            f"models: {name}: it was tuned on {base.repository}@{base.revision[:19]}, which is no"
            " preset of this version; adapters are measured on the weights of a preset"
        )
    # The template of its training: that of a base model without one was the preset's.
    return describe(files, chat_template=contract.chat_template).preset
