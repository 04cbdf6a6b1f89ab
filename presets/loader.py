"""Load the preset files; each is read once per process.

Try it: python -c "from argotune.presets.loader import model_preset; print(model_preset('tiny'))"
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
import yaml

from argotune.presets.names import UnknownName
from argotune.presets.schema import AnchorFile, ModelPreset, Sku, SkuCatalog

PRESETS_DIR = Path(__file__).parent
_SKUS_DIR = PRESETS_DIR / "skus"

# libyaml's parser is ten times faster; not every build of PyYAML has it.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

T = TypeVar("T")
Entry = TypeVar("Entry", bound=ModelPreset | Sku)


def model_preset(name: str) -> ModelPreset:
    """The preset with this name, alias or Hub id, case-insensitive. Raises UnknownName."""
    return _find("model preset", name, model_presets())


@functools.cache
def model_preset_names() -> frozenset[str]:
    """The names and aliases of all model presets, in small letters."""
    presets = model_presets()
    return frozenset(name.lower() for each in presets for name in (each.name, *each.aliases))


@functools.cache
def model_presets() -> tuple[ModelPreset, ...]:
    """All model presets, sorted by name."""
    paths = sorted((PRESETS_DIR / "models").glob("*.yaml"), key=lambda path: path.stem)
    return tuple(_read(path, ModelPreset) for path in paths)


def sku(name: str, catalogs: Sequence[SkuCatalog] | None = None) -> Sku:
    """The SKU with this name or alias, case-insensitive. Raises UnknownName."""
    return _find("GPU SKU", name, skus(catalogs))


def skus(catalogs: Sequence[SkuCatalog] | None = None) -> tuple[Sku, ...]:
    """The GPU sizes of these catalogs, by default of all clouds."""
    known = sku_catalogs() if catalogs is None else catalogs
    return tuple(each for catalog in known for each in catalog.skus)


@functools.cache
def sku_catalogs(folder: Path = _SKUS_DIR) -> tuple[SkuCatalog, ...]:
    """The GPU sizes by cloud: one file of the folder each."""
    return tuple(map(_read_catalog, sorted(folder.glob("*.yaml"))))


def catalogs_of(
    provider: str, catalogs: Sequence[SkuCatalog], cloud: str = ""
) -> tuple[SkuCatalog, ...]:
    """The catalogs whose sizes the provider makes; all for a provider that makes no nodes.

    Where the cloud is known, that of the cloud alone: empty where the provider makes none there.
    """
    made = tuple(each for each in catalogs if provider in each.providers) or tuple(catalogs)
    return tuple(each for each in made if cloud in ("", each.cloud))


@functools.cache
def published_speeds() -> AnchorFile:
    """Published measurements of tuning speed, and the bfloat16 rates of the GPUs."""
    return _read(PRESETS_DIR / "anchors.yaml", AnchorFile)


def _find(kind: str, name: str, entries: Sequence[Entry]) -> Entry:
    for entry in entries:
        hub_id = [entry.repository] if isinstance(entry, ModelPreset) else []
        if name.lower() in map(str.lower, (entry.name, *entry.aliases, *hub_id)):
            return entry
    raise UnknownName(kind, name, [known.name for known in entries])


def _read_catalog(path: Path) -> SkuCatalog:
    catalog = _read(path, SkuCatalog)
    of_catalog = [
        msgspec.structs.replace(
            each, cloud=catalog.cloud, price_region=each.price_region or catalog.price_region
        )
        for each in catalog.skus
    ]
    return msgspec.structs.replace(catalog, skus=of_catalog)


def _read(path: Path, kind: type[T]) -> T:
    try:
        return msgspec.convert(yaml.load(path.read_text(), _Loader), kind)
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise ValueError(f"{path}: {error}") from error


def machines(names: Iterable[str]) -> Mapping[str, Sku]:
    """SKUs by the names that were given, in any case of letters, where known."""
    known = {each.name.casefold(): each for each in skus()}
    return {name: known[name.casefold()] for name in names if name.casefold() in known}
