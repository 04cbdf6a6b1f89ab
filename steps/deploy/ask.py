"""Client of the inference service: readiness check and one question."""

from __future__ import annotations

import logging

import httpx

from argotune.steps.common import log
from argotune.steps.common.clock import REAL_CLOCK, Clock
from argotune.steps.common.errors import PermanentError, TransientError
from argotune.steps.contracts.served import ADAPTER_HEADER

_LOGGER = logging.getLogger(__name__)
_READY_TIMEOUT_SECONDS = 5.0
_TOKEN_TIMEOUT_SECONDS = 60.0
_LONGEST_ANSWER = 500
_MOST_TOKENS = 128
"""Of the answer: without a limit, one that does not end would go on to the end of the context."""
_TRIES = 5
_PAUSE_SECONDS = 2.0


def serves(endpoint: str, name: str, key: str | None = None) -> bool:
    """Whether the service lists the adapter among its models; asked with a client's key."""
    try:
        answer = httpx.get(
            f"{endpoint}/v1/models",
            headers=_headers(key),
            timeout=_READY_TIMEOUT_SECONDS,
            trust_env=False,
        )
        models = answer.json()["data"] if answer.is_success else []
        return name in {model["id"] for model in models}
    except (httpx.HTTPError, ValueError, KeyError, TypeError, RecursionError):
        return False


def serves_digest(endpoint: str, model: str, digest: str, *, key: str | None = None) -> bool:
    """Whether the server answers for an adapter of this name with that image; asks for a token."""
    body: dict[str, object] = {"prompt": "Hello", "model": model, "max_new_tokens": 1}
    try:
        reply = _post(endpoint, body, key, timeout_seconds=_TOKEN_TIMEOUT_SECONDS)
    except TransientError:
        return False
    return reply.is_success and reply.headers.get(ADAPTER_HEADER) == digest


def ask(
    endpoint: str,
    question: str,
    *,
    timeout_seconds: float,
    model: str | None = None,
    key: str | None = None,
    clock: Clock = REAL_CLOCK,
) -> str:
    """Send the question to POST /chat; returns the beginning of the answer.

    `model` is the name of an adapter that joined the service; None: the service's own.

    It has at most 128 tokens and 500 characters; an answer that was cut ends with an ellipsis.

    Where nothing answers, or the server says that it cannot now (5xx, 429), it is asked again, five
    times in all: a proxy that does not know the new pod yet, or a full queue, says nothing of the
    adapter. Any other status, and what is no answer, is final. Raises TransientError if there is
    no response, PermanentError if it is not an answer.
    """
    deadline = clock.now() + timeout_seconds
    for tries_left in reversed(range(_TRIES)):
        left = max(1.0, deadline - clock.now())
        try:
            return _ask_once(endpoint, question, model, key, timeout_seconds=left)
        except (TransientError, _NotNow) as error:
            if not tries_left or clock.now() >= deadline:
                raise
            log.warn(_LOGGER, "asked-again", endpoint=endpoint, reason=error)
        clock.sleep(_PAUSE_SECONDS)
    raise AssertionError("the last try returns or raises")


class _NotNow(PermanentError):
    """The server answered that it cannot answer now."""


def _headers(key: str | None) -> dict[str, str]:
    return {} if key is None else {"Authorization": f"Bearer {key}"}


def _ask_once(
    endpoint: str, question: str, model: str | None, key: str | None, *, timeout_seconds: float
) -> str:
    asked: dict[str, object] = (
        {"prompt": question}
        if model is None
        else {
            "prompt": question,
            "model": model,
        }
    )
    body = {**asked, "max_new_tokens": _MOST_TOKENS}
    reply = _post(endpoint, body, key, timeout_seconds=timeout_seconds)
    if reply.status_code == 400 and "context_length_exceeded" in reply.text:
        # So short a context is a limit itself.
        reply = _post(endpoint, asked, key, timeout_seconds=timeout_seconds)
    if not reply.is_success:
        kind = _NotNow if reply.status_code >= 500 or reply.status_code == 429 else PermanentError
        raise kind(f"{endpoint}/chat answered {reply.status_code}: {reply.text[:_LONGEST_ANSWER]}")
    answer, is_cut = _answer_in(reply, endpoint)
    if not answer.strip():
        log.warn(_LOGGER, "empty-answer", endpoint=endpoint, question=question)
    is_cut = is_cut or len(answer) > _LONGEST_ANSWER
    return answer[:_LONGEST_ANSWER] + ("…" if is_cut else "")


def _post(
    endpoint: str, body: dict[str, object], key: str | None, *, timeout_seconds: float
) -> httpx.Response:
    try:
        return httpx.post(
            f"{endpoint}/chat",
            json=body,
            headers=_headers(key),
            timeout=timeout_seconds,
            # The service is on this machine or in this cluster, so proxies are ignored.
            trust_env=False,
        )
    except httpx.HTTPError as error:
        reason = str(error) or type(error).__name__
        raise TransientError(f"{endpoint}/chat gave no answer: {reason}") from error


def _answer_in(reply: httpx.Response, endpoint: str) -> tuple[str, bool]:
    """The answer, and whether it ended at the most tokens."""
    try:
        body = reply.json()
        answer, is_cut = body["response"], body.get("finish_reason") == "length"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        answer, is_cut = None, False
    if not isinstance(answer, str):
        raise PermanentError(
            f"{endpoint}/chat answered something other than "
            f'{{"response": TEXT}}: {reply.text[:_LONGEST_ANSWER]}'
        )
    return answer, is_cut
