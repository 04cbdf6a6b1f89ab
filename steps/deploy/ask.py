"""Client of the inference service: readiness check and one question."""

from __future__ import annotations

import logging

import httpx

from argotune.steps.common import log
from argotune.steps.common.errors import PermanentError, TransientError

_LOGGER = logging.getLogger(__name__)
_READY_TIMEOUT_SECONDS = 5.0
_LONGEST_ANSWER = 500


def serves(endpoint: str, name: str) -> bool:
    """Whether the service lists the adapter among its models."""
    try:
        answer = httpx.get(f"{endpoint}/v1/models", timeout=_READY_TIMEOUT_SECONDS, trust_env=False)
        models = answer.json()["data"] if answer.is_success else []
        return name in {model["id"] for model in models}
    except (httpx.HTTPError, ValueError, KeyError, TypeError, RecursionError):
        return False


def ask(endpoint: str, question: str, *, timeout_seconds: float) -> str:
    """Send the question to POST /chat; returns the answer, truncated to 500 characters.

    Raises TransientError if there is no response, PermanentError if it is not an answer.
    """
    try:
        reply = httpx.post(
            f"{endpoint}/chat",
            json={"prompt": question},
            timeout=timeout_seconds,
            # The service is on this machine or in this cluster, so proxies are ignored.
            trust_env=False,
        )
    except httpx.HTTPError as error:
        reason = str(error) or type(error).__name__
        raise TransientError(f"{endpoint}/chat gave no answer: {reason}") from error
    if not reply.is_success:
        raise PermanentError(
            f"{endpoint}/chat answered {reply.status_code}: {reply.text[:_LONGEST_ANSWER]}"
        )
    answer = _answer_in(reply, endpoint)
    if not answer.strip():
        log.warn(_LOGGER, "empty-answer", endpoint=endpoint, question=question)
    return answer[:_LONGEST_ANSWER]


def _answer_in(reply: httpx.Response, endpoint: str) -> str:
    try:
        answer = reply.json()["response"]
    except (ValueError, KeyError, TypeError, RecursionError):
        answer = None
    if not isinstance(answer, str):
        raise PermanentError(
            f"{endpoint}/chat answered something other than "
            f'{{"response": TEXT}}: {reply.text[:_LONGEST_ANSWER]}'
        )
    return answer
