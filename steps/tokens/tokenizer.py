"""Load a model's configuration and tokenizer from its directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoTokenizer

from argotune.steps.common.errors import PermanentError


def load_config(model_dir: Path) -> Any:
    """The model's configuration. Raises PermanentError if there is none."""
    try:
        return AutoConfig.from_pretrained(model_dir, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise PermanentError(f"{model_dir}: no usable config.json: {error}") from error


def load_tokenizer(model_dir: Path) -> Any:
    """The model's fast tokenizer. Raises PermanentError if it needs tokens that the model lacks."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            model_dir, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise PermanentError(f"{model_dir}: no usable tokenizer: {error}") from error
    if not tokenizer.is_fast:
        raise PermanentError(f"{model_dir}: the tokenizer has no tokenizer.json (a fast one)")
    _refuse_added_tokens(tokenizer, load_config(model_dir))
    return tokenizer


def _refuse_added_tokens(tokenizer: Any, config: Any) -> None:
    """Raise PermanentError for tokens without an embedding, which the adapter would have to add."""
    added = sorted(
        (number, token)
        for token, number in tokenizer.get_vocab().items()
        if number >= config.vocab_size
    )
    if added:
        names = ", ".join(token for _, token in added[:5])
        more = f" and {len(added) - 5} more" if len(added) > 5 else ""
        raise PermanentError(
            f"the tokenizer has tokens beyond the model's vocabulary of {config.vocab_size}: "
            f"{names}{more}; vLLM refuses adapters with new embeddings, so use a reserved "
            "token of the tokenizer, or write the markers as plain text"
        )
