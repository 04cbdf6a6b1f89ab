"""Reads the preset files; each is read once per process.

Try it: python -c "from argotune.presets.loader import model_preset; print(model_preset('tiny'))"
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
import yaml

from argotune.presets.schema import AnchorFile, ModelPreset, Sku, SkuCatalog

PRESETS_DIR = Path(__file__).parent

# libyaml's parser is ten times faster; not every build of PyYAML has it.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

T = TypeVar("T")
Entry = TypeVar("Entry", bound=ModelPreset | Sku)


class UnknownName(LookupError):
    """No preset or SKU has this name; the message lists what there is."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.name = name
        self.known = tuple(known)
        self.nearest = nearest(name, self.known)
        hint = f"did you mean {self.nearest}? " if self.nearest else ""
        super().__init__(f"{name!r} is no {kind}; {hint}known are {', '.join(self.known)}")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like the given one, if any comes close."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    found = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def model_preset(name: str) -> ModelPreset:
    """The preset of this name or alias, in any case of letters. Raises UnknownName."""
    return _find("model preset", name, model_presets())


@functools.cache
def model_presets() -> tuple[ModelPreset, ...]:
    """All model presets by name."""
    paths = sorted((PRESETS_DIR / "models").glob("*.yaml"), key=lambda path: path.stem)
    return tuple(_read(path, ModelPreset) for path in paths)


def sku(name: str) -> Sku:
    """The SKU of this name or alias, in any case of letters. Raises UnknownName."""
    return _find("GPU SKU", name, skus_of_azure().skus)


@functools.cache
def skus_of_azure() -> SkuCatalog:
    """Azure's GPU sizes."""
    return _read(PRESETS_DIR / "skus" / "azure.yaml", SkuCatalog)


@functools.cache
def published_speeds() -> AnchorFile:
    """Measurements of tuning speed that others published, and the rates of the cards."""
    return _read(PRESETS_DIR / "anchors.yaml", AnchorFile)


def _find(kind: str, name: str, entries: Sequence[Entry]) -> Entry:
    for entry in entries:
        if name.lower() in map(str.lower, (entry.name, *entry.aliases)):
            return entry
    raise UnknownName(kind, name, [known.name for known in entries])


def _read(path: Path, kind: type[T]) -> T:
    try:
        return msgspec.convert(yaml.load(path.read_text(), _Loader), kind)
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise ValueError(f"{path.relative_to(PRESETS_DIR)}: {error}") from error
