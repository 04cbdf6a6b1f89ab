"""What a plan reads of a model: its small files, and what its source says of it. No weights."""

from __future__ import annotations

import hashlib
import json
import re
import struct
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from argotune.presets.names import HubName
from argotune.steps.common.errors import ParamsError, PermanentError
from argotune.steps.contracts.model_source import CONFIG, is_weights_file
from argotune.steps.contracts.safetensors_file import stored_numbers
from argotune.steps.contracts.training_plan import UNKNOWN_LICENSE
from argotune.steps.registry.layers import Image, extract_image, resolve_image
from argotune.steps.registry.oci import LayoutReference, parse_image_or_layout
from argotune.steps.registry.skopeo import Registry

if TYPE_CHECKING:
    from huggingface_hub import ModelInfo

GENERATION_CONFIG = "generation_config.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
SPECIAL_TOKENS = "special_tokens_map.json"
CHAT_TEMPLATE = "chat_template.jinja"
OLD_CHAT_TEMPLATE = "chat_template.json"
SMALL_FILES = (
    CONFIG,
    GENERATION_CONFIG,
    TOKENIZER_CONFIG,
    SPECIAL_TOKENS,
    CHAT_TEMPLATE,
    OLD_CHAT_TEMPLATE,
)
_LARGEST_BYTES = 32 << 20
"""tokenizer_config.json of 100,000 added tokens has 20 MB."""
# The Hub writes SPDX identifiers in small letters; others, as llama3.1 and gemma, are its own.
_SPDX = {each.lower(): each for each in ("Apache-2.0", "MIT", "BSD-3-Clause", "CC-BY-NC-4.0")}


@dataclass(frozen=True, kw_only=True)
class ModelFiles:
    """A model's files at one commit."""

    name: str
    """The model as plans name it: OWNER/NAME, dir:DIRECTORY or oci:DIRECTORY."""
    repository: str
    """OWNER/NAME; local/NAME of a directory or an image."""
    revision: str
    """The commit, 40 hex digits; of a directory or an image the digest of the small files."""
    source: str
    """As `ModelPreset.source`."""
    names: frozenset[str]
    """All files of its top directory."""
    contents: Mapping[str, bytes]
    """Those of SMALL_FILES that are there."""
    license: str
    gated: bool
    base_model: str | None = None
    """Model of which this one is a version, as its card says; None: it says nothing."""
    stored_numbers: int | None
    """Numbers in all tensors of the weights; None: not known without fetching them."""

    def json(self, name: str) -> dict[str, Any] | None:
        """The JSON object in a small file; None where it is missing or something else."""
        try:
            value = json.loads(self.contents.get(name, b""))
        except (ValueError, RecursionError):
            return None
        return value if isinstance(value, dict) else None


def files_of_hub(
    name: HubName,
    *,
    timeout_seconds: float,
    endpoint: str | None = None,
    ca_file: Path | None = None,
) -> ModelFiles:
    """Ask the Hub, or the mirror in HF_ENDPOINT, with HF_TOKEN where it is set.

    `ca_file` is a private authority to trust beside the public ones.

    Raises PermanentError for what the user must change, else TransientError.
    """
    # Imported here because it takes 0.3 s, and the command line may be installed without.
    try:
        from argotune.steps.hub.client import HubClient
    except ImportError as error:
        raise PermanentError(
            f"preset {name.repository}: to ask the Hub takes the package huggingface-hub; install"
            " argotune[model], or name one of `argotune presets`"
        ) from error

    hub = HubClient(timeout_seconds=timeout_seconds, endpoint=endpoint, ca_file=ca_file)
    info = hub.info(name.repository, name.revision)
    sizes = {file.rfilename: int(file.size or 0) for file in info.siblings or []}
    repository, commit = str(info.id or name.repository), str(info.sha)
    for file in SMALL_FILES:
        if sizes.get(file, 0) > _LARGEST_BYTES:
            raise PermanentError(
                f"{hub.endpoint}/{repository}: {file} has {sizes[file]} bytes; accepted are"
                f" {_LARGEST_BYTES}"
            )
    return ModelFiles(
        name=repository,
        repository=repository,
        revision=commit,
        source="hub",
        names=frozenset(sizes),
        contents={
            file: hub.read(repository, commit, file) for file in SMALL_FILES if file in sizes
        },
        license=_license_of(info),
        gated=bool(info.gated),
        base_model=_base_of(info),
        stored_numbers=info.safetensors.total if info.safetensors is not None else None,
    )


def files_of_place(place: str) -> ModelFiles:
    """Read a directory of this machine, dir:DIRECTORY, or an image in one, oci:DIRECTORY.

    Raises ParamsError or PermanentError with what to do.
    """
    kind, _, path = place.partition(":")
    if kind == "dir":
        directory = Path(path).expanduser()
        if not directory.is_dir():
            raise PermanentError(f"{place}: no such directory")
        return _files_of_directory(directory, place)
    try:
        reference = parse_image_or_layout(path)
    except ValueError as error:
        raise ParamsError(f"preset {place}: {error}") from error
    if not isinstance(reference, LayoutReference):
        raise ParamsError(
            f"preset {place}: an image of a registry comes only whole, and its configuration with"
            f" it; name the model as preset, OWNER/NAME or one of `argotune presets`, and"
            f" {place} as argotune.dev/model-source"
        )
    return _files_of_image(resolve_image(reference, Registry(), name=place), place)


def _files_of_directory(directory: Path, place: str) -> ModelFiles:
    names = sorted(path.name for path in directory.iterdir() if path.is_file())
    contents = _small_files(directory)
    weights = [directory / name for name in names if is_weights_file(name)]
    return ModelFiles(
        name=place,
        repository=_local_repository(directory.name),
        revision=_digest(contents, weights),
        source=place,
        names=frozenset(names),
        contents=contents,
        license=UNKNOWN_LICENSE,
        gated=False,
        stored_numbers=stored_numbers(weights),
    )


def _files_of_image(image: Image, place: str) -> ModelFiles:
    """Read the small files; of the weights only that they are there."""
    names: dict[str, set[str]] = {}

    def is_wanted(directory: str, name: str) -> bool:
        names.setdefault(directory, set()).add(name)
        return name in SMALL_FILES

    with tempfile.TemporaryDirectory() as scratch:
        places = extract_image(
            image,
            Path(scratch),
            is_wanted,
            registry=Registry(),
            on_progress=lambda done, total: None,
        )
        found = [each for each, path in places.items() if (path / CONFIG).is_file()]
        if len(found) != 1:
            raise PermanentError(
                f"{place}: {len(found)} directories with {CONFIG}; expected exactly one"
            )
        contents = _small_files(places[found[0]])
    return ModelFiles(
        name=place,
        repository=_local_repository(Path(place.partition(":")[2]).name.partition(":")[0]),
        revision=image.digest.removeprefix("sha256:")[:40],
        source=place,
        names=frozenset(names[found[0]]),
        contents=contents,
        license=UNKNOWN_LICENSE,
        gated=False,
        stored_numbers=None,
    )


def _small_files(directory: Path) -> dict[str, bytes]:
    paths = [directory / name for name in SMALL_FILES]
    return {path.name: path.read_bytes() for path in paths if path.is_file()}


def _local_repository(name: str) -> str:
    """A name of the form OWNER/NAME, as adapters and the model cache have it."""
    return f"local/{re.sub(r'[^A-Za-z0-9._]+', '-', name).strip('-.') or 'model'}"


def _digest(contents: Mapping[str, bytes], weights: Iterable[Path]) -> str:
    """40 hex digits that change with the small files and with sizes of weights."""
    digest = hashlib.sha256()
    for name, content in sorted(contents.items()):
        digest.update(name.encode() + struct.pack("<Q", len(content)) + content)
    for path in weights:
        digest.update(path.name.encode() + struct.pack("<Q", path.stat().st_size))
    return digest.hexdigest()[:40]


def _license_of(info: ModelInfo) -> str:
    card = info.card_data
    named = [card.license, card.license_name] if card is not None else []
    tagged = [tag.removeprefix("license:") for tag in info.tags or [] if tag.startswith("license:")]
    said = [str(each) for each in (*named, *tagged) if each and each != "other"]
    if not said:
        return "other" if tagged else UNKNOWN_LICENSE
    return _SPDX.get(said[0].lower(), said[0])


def _base_of(info: ModelInfo) -> str | None:
    base = info.card_data.base_model if info.card_data is not None else None
    first = base[0] if isinstance(base, list) and base else base
    return first if isinstance(first, str) else None
