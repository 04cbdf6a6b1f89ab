"""How a model's conversations look, by its tokenizer's files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from argotune.presets.schema import Chat
from argotune.steps.contracts.model_source import CONFIG
from argotune.steps.plan.base_model.files import (
    CHAT_TEMPLATE,
    GENERATION_CONFIG,
    OLD_CHAT_TEMPLATE,
    SPECIAL_TOKENS,
    TOKENIZER_CONFIG,
    ModelFiles,
)

_NO_TEMPLATE = (
    "its tokenizer has no chat template, as that of a base model; name the model's instruct"
    " version, or give it a template: `argotune presets add {name} --chat-template FILE`"
)


def read_chat(files: ModelFiles, template: str | None = None) -> Chat:
    """Read tokens and template; `template` is for a tokenizer without one.

    Raises ValueError where there is no template, or no token that ends a text.
    """
    own = _template_of(files)
    if own is None and template is None:
        raise ValueError(_NO_TEMPLATE.format(name=files.name))
    eos = _token(files, "eos_token")
    stops = _stop_tokens(files)
    if eos is None:
        if not stops:
            raise ValueError(
                f"neither {TOKENIZER_CONFIG} nor {SPECIAL_TOKENS} has an eos_token, so no answer"
                " would end"
            )
        eos = stops[0]
    return Chat(
        template=None if own is not None else template,
        end_of_turn=_end_of_turn(own or template or "", stops, eos),
        eos_token=eos,
        pad_token=_token(files, "pad_token"),
        notes=f"Read from {TOKENIZER_CONFIG} and {GENERATION_CONFIG} of the model.",
    )


def _template_of(files: ModelFiles) -> str | None:
    if CHAT_TEMPLATE in files.contents:
        return files.contents[CHAT_TEMPLATE].decode(errors="replace")
    for name in (TOKENIZER_CONFIG, OLD_CHAT_TEMPLATE):
        found = (files.json(name) or {}).get("chat_template")
        if isinstance(found, list):
            by_name = {each.get("name"): each for each in found if isinstance(each, dict)}
            found = by_name.get("default", {}).get("template")
        if isinstance(found, str) and found:
            return found
    return None


def _token(files: ModelFiles, key: str) -> str | None:
    for name in (TOKENIZER_CONFIG, SPECIAL_TOKENS):
        found = (files.json(name) or {}).get(key)
        if isinstance(found, dict):
            found = found.get("content")
        if isinstance(found, str) and found:
            return found
    return None


def _stop_tokens(files: ModelFiles) -> list[str]:
    """Texts of the tokens that end an answer, as far as the tokenizer's files name them."""
    added = (files.json(TOKENIZER_CONFIG) or {}).get("added_tokens_decoder")
    texts: Mapping[str, Any] = added if isinstance(added, dict) else {}
    for name in (GENERATION_CONFIG, CONFIG):
        ids = (files.json(name) or {}).get("eos_token_id")
        if ids is not None:
            entries = [texts.get(str(each)) for each in (ids if isinstance(ids, list) else [ids])]
            return [str(each["content"]) for each in entries if isinstance(each, dict)]
    return []


def _end_of_turn(template: str, stops: list[str], eos: str) -> str:
    """The token that the template writes after an answer: a stop token, as far as can be told."""
    written = [token for token in stops if token in template]
    if eos in written or "eos_token" in template or not written:
        return eos
    return written[-1]
