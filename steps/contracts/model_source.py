"""What a plan's model source is, and what it has now, where that can be told without a login."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path

from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.model_cache import CachedFile, Origin, digest_of, measure
from argotune.steps.contracts.training_plan import Model

CONFIG = "config.json"
INDEX = "model.safetensors.index.json"
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")
_TOKENIZER_FILES = frozenset(
    {
        CONFIG,
        *TOKENIZERS,
        "added_tokens.json",
        "chat_template.jinja",
        "chat_template.json",
        "generation_config.json",
        "merges.txt",
        "special_tokens_map.json",
        "tokenizer_config.json",
    }
)
_OTHER_FILES = frozenset(
    {INDEX, "LICENSE", "LICENSE.md", "LICENSE.txt", "NOTICE", "NOTICE.md", "NOTICE.txt"}
)
# Mistral's repositories have the same weights a second time as consolidated*.safetensors.
_WEIGHTS = re.compile(r"model(-\d+-of-\d+)?\.safetensors")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_PINNED = re.compile(r".*@(sha256:[0-9a-f]{64})")


def is_weights_file(name: str) -> bool:
    """Whether a file with this name has weights of a model."""
    return _WEIGHTS.fullmatch(name) is not None


def is_tokenizer_file(name: str) -> bool:
    """Whether a file with this name is of a tokenizer, or of the configuration that goes with it.

    These files are small, and with them rows can be made into tokens.
    """
    return name in _TOKENIZER_FILES


def is_model_file(name: str) -> bool:
    """Whether a file with this name belongs to a model: weights, configuration, tokenizer."""
    return is_tokenizer_file(name) or name in _OTHER_FILES or is_weights_file(name)


def missing_files(available: Collection[str]) -> str | None:
    """What a model's directory lacks of what every model needs; None: nothing."""
    if CONFIG not in available:
        return f"{CONFIG} is missing; is it a transformers model?"
    if not any(map(is_weights_file, available)):
        pickles = sorted(name for name in available if name.endswith(_PICKLES))
        if pickles:
            return (
                f"the weights are pickle files ({pickles[0]}), which can run code when they are "
                "loaded; only safetensors are accepted"
            )
        return "there are no weights model*.safetensors"
    if not set(TOKENIZERS).intersection(available):
        return f"there is no tokenizer: none of {', '.join(TOKENIZERS)}"
    return None


def files_of_directory(directory: Path) -> dict[str, CachedFile]:
    """Read the model's files in a directory: sizes and sums by name.

    Raises PermanentError if there is no such directory.
    """
    if not directory.is_dir():
        raise PermanentError(f"dir:{directory}: no such directory")
    names = sorted(path.name for path in directory.iterdir() if is_model_file(path.name))
    return measure(directory, names)


def origin_of_directory(directory: Path, files: Mapping[str, CachedFile]) -> Origin:
    """The origin of what a directory has now, which was read as `files`."""
    return Origin(source=f"dir:{directory}", version=digest_of(files))


def version_of(model: Model) -> str | None:
    """What the plan's source has now; None for an image that is named by its tag.

    A directory is read for it, so this takes seconds per GB. Raises PermanentError if there is no
    such directory.
    """
    kind, _, place = model.source.partition(":")
    if kind == "dir":
        directory = Path(place)
        return origin_of_directory(directory, files_of_directory(directory)).version
    if kind == "oci":
        pinned = _PINNED.fullmatch(place)
        return pinned[1] if pinned else None
    return model.revision
