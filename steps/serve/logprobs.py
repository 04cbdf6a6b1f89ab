"""Log probabilities of tokens in OpenAI's two forms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from argotune.steps.serve.engine.interface import TokenLogprob

_LEAST = -9999.0
"""What OpenAI writes for a token without probability; JSON has no infinity."""


def chat_logprobs(tokens: Sequence[TokenLogprob]) -> dict[str, Any]:
    """The form of chat completions."""
    return {"content": token_logprobs(tokens), "refusal": None}


def token_logprobs(tokens: Sequence[TokenLogprob]) -> list[dict[str, Any]]:
    """Each token with the likeliest ones at its place, as in a text of a response."""
    return [
        {**_token(token), "top_logprobs": [_token(other) for other in token.top]}
        for token in tokens
    ]


def completion_logprobs(tokens: Sequence[TokenLogprob], offset: int) -> dict[str, Any]:
    """The form of plain completions; `offset` is where the first token's text begins."""
    offsets = [offset]
    for token in tokens:
        offsets.append(offsets[-1] + len(token.text))
    return {
        "tokens": [token.text for token in tokens],
        "token_logprobs": [_finite(token.logprob) for token in tokens],
        "top_logprobs": [
            {each.text: _finite(each.logprob) for each in (*token.top, token)} for token in tokens
        ],
        "text_offset": offsets[:-1],
    }


def _token(token: TokenLogprob) -> dict[str, Any]:
    return {
        "token": token.text,
        "bytes": list(token.data),
        "logprob": _finite(token.logprob),
    }


def _finite(logprob: float) -> float:
    return max(logprob, _LEAST)
