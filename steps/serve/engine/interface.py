"""What the HTTP part asks of an engine, without torch, so that it is tested without a model."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy

from argotune.steps.contracts.serving import ServingContract

FinishReason = Literal["stop", "length"]

TokenMask = numpy.ndarray[Any, numpy.dtype[numpy.int32]]
"""[ceil(vocabulary / 32)]; bit i % 32 of word i // 32 is set where token i is allowed. The form of
llguidance and xgrammar."""


LEAST_TEMPERATURE = 1e-5
"""Below it the likeliest token is chosen: its share is 1 in float32, in which engines compute, and
far below it, logits divided by the temperature are infinite there."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Parameters of the choice of each token."""

    temperature: float
    """0: always the most likely token."""
    top_p: float
    """Sample from the most likely tokens with this total probability."""
    seed: int | None
    """Equal seeds give equal answers; None: a random seed for each answer."""


class TokenConstraint(Protocol):
    """Which tokens an answer may have, such as those of a JSON schema; one object per answer."""

    @property
    def grammar(self) -> str:
        """The same as a grammar in llguidance's form, for engines that compute masks themselves."""

    def allowed(self) -> TokenMask | None:
        """The tokens that may come next, stop tokens included; None: all of them."""

    def advance(self, token: int) -> None:
        """Take note of the token that was chosen; not called for the stop token."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """One checked and tokenized request."""

    prompt: tuple[int, ...]
    """At least one token."""
    adapter: str | None
    """Name of the adapter to answer with; None: the base model alone."""
    max_new_tokens: int
    sampling: Sampling
    stop_texts: tuple[str, ...] = ()
    top_logprobs: int | None = None
    """Most likely tokens to return for each position, beside the chosen one; None: no log
    probabilities at all."""
    constraint: TokenConstraint | None = None

    def __post_init__(self) -> None:
        if not self.prompt:
            raise ValueError("a question has at least one token")


@dataclass(frozen=True)
class TokenLogprob:
    """A token and its log probability."""

    id: int
    text: str
    """What it decodes to alone; U+FFFD where it is a part of a character."""
    data: bytes
    """Its bytes, also where they are a part of a character."""
    logprob: float
    """Natural logarithm of its probability by the model, before temperature and top_p."""
    top: tuple[TokenLogprob, ...] = ()
    """The most likely tokens at its position, best first; theirs have no `top`."""


@dataclass(frozen=True)
class Piece:
    """A part of an answer."""

    text: str
    """Complete characters; nothing of a stop text."""
    tokens: tuple[TokenLogprob, ...] = ()
    """The tokens since the last piece, if the question has `top_logprobs`, without the stop token.
    Their texts may be ahead of `text`: it waits for whole characters and possible stop texts."""


@dataclass
class Answer:
    """Facts about an answer, complete when its pieces have been read to the end."""

    finish_reason: FinishReason = "length"
    tokens: int = 0
    """Generated so far, a stop token included."""
    started: float | None = None
    """time.monotonic() of the first token."""


class EngineError(Exception):
    """An answer failed for a reason that is the engine's and not the question's."""


class UnknownAdapterError(EngineError):
    """The engine has no adapter of this name, or none any more."""


class Engine(Protocol):
    """A base model with any number of adapters, which answers several questions at once.

    It never queues: the caller holds one of `slots` places for each question that it asks.
    """

    @property
    def slots(self) -> int:
        """How many answers are generated at once."""

    @property
    def failure(self) -> str | None:
        """Why it cannot answer any more; None while it can."""

    @property
    def base_contract(self) -> ServingContract:
        """How questions to the base model alone are put: as those to the first adapter."""

    def adapters(self) -> Mapping[str, ServingContract]:
        """The adapters by name, each with its serving.json."""

    def answer(self, question: Question, answer: Answer, deadline: float) -> AsyncGenerator[Piece]:
        """Yield the answer in pieces and fill `answer`.

        The generation stops when the caller closes the generator. Raises TimeoutError at
        `deadline`, in seconds of time.monotonic(), UnknownAdapterError, and EngineError if the
        model fails.
        """

    async def add_adapter(self, name: str, directory: Path) -> None:
        """Load an adapter of the same base while others answer. Raises PermanentError.

        One that had the name answers what it has begun, and is forgotten then.
        """

    async def remove_adapter(self, name: str) -> None:
        """Take no more questions for an adapter, and forget it once the running ones are answered.

        Raises UnknownAdapterError.
        """

    def close(self) -> None:
        """End what generates; answers that are not complete stay so."""
