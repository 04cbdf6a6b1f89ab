"""Which tokens an answer may have by a grammar."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import subprocess
import sys
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy
from llguidance import LLMatcher, LLTokenizer

from argotune.steps.serve.engine.interface import TokenMask
from argotune.steps.serve.errors import ApiError
from argotune.steps.serve.grammar_limits import LIMITS

_MOST_GRAMMAR_BYTES = 1 << 16
_MOST_CHECKS = 2
"""At once."""
_CPU_SECONDS = 3
"""Of a check; real schemas take milliseconds, beside a quarter of a second to start."""
_CHECK_SECONDS = 10.0
"""By the clock, on a busy machine."""
_MOST_KEPT = 32


class GrammarConstraint:
    """The tokens of one answer; the engine asks it before each token."""

    def __init__(self, matcher: LLMatcher) -> None:
        self._matcher = matcher

    @property
    def problem(self) -> str:
        """Why the grammar ended the answer, such as a limit of its cost; empty: it did not."""
        return self._matcher.get_error()

    def allowed(self) -> TokenMask:
        """The tokens that may come next; after a problem only those that end the answer."""
        return numpy.frombuffer(self._matcher.compute_bitmask(), dtype=numpy.int32)

    def advance(self, token: int) -> None:
        """Take note of the token that was chosen."""
        self._matcher.consume_token(token)


class Constraints:
    """Makes constraints from grammars, with what the same grammar took before kept."""

    def __init__(self, tokenizer: Any) -> None:
        """`tokenizer` is transformers', a fast one."""
        self._tokenizer = tokenizer
        self._lock = threading.Lock()
        self._tokens: dict[tuple[int, ...], LLTokenizer] = {}
        self._checks = asyncio.Semaphore(_MOST_CHECKS)
        self._kept: OrderedDict[tuple[str, tuple[int, ...]], LLMatcher] = OrderedDict()

    async def constraint(
        self, grammar: str, stop_token_ids: Sequence[int], *, param: str
    ) -> GrammarConstraint:
        """The constraint of one answer. Raises ApiError 400 about `param` if it cannot be made."""
        if len(grammar.encode()) > _MOST_GRAMMAR_BYTES:
            raise _refusal(f"it is larger than {_MOST_GRAMMAR_BYTES} bytes", param)
        key = (hashlib.sha256(grammar.encode()).hexdigest(), tuple(stop_token_ids))
        if key not in self._kept:
            async with self._checks:
                problem = await asyncio.to_thread(_check, grammar)
            if problem:
                raise _refusal(problem, param)
            matcher = await asyncio.to_thread(self._compile, grammar, key[1])
            if matcher.is_error():
                raise _refusal(matcher.get_error(), param)
            self._keep(key, matcher)
        return GrammarConstraint(self._kept[key].deep_copy())

    def _keep(self, key: tuple[str, tuple[int, ...]], matcher: LLMatcher) -> None:
        self._kept[key] = matcher
        while len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)

    def _compile(self, grammar: str, stop_token_ids: tuple[int, ...]) -> LLMatcher:
        # About a second for a large vocabulary, and once.
        with self._lock:
            if stop_token_ids not in self._tokens:
                text = self._tokenizer.backend_tokenizer.to_str()
                self._tokens[stop_token_ids] = LLTokenizer(text, eos_token=list(stop_token_ids))
        return LLMatcher(self._tokens[stop_token_ids], grammar, log_level=0, limits=LIMITS)


def _check(grammar: str) -> str:
    """What is wrong with a grammar; empty: nothing. Raises ApiError 503 on a server too busy."""
    try:
        return problem_of_grammar(grammar)
    except subprocess.CalledProcessError:
        return "it takes too long to compile"
    except subprocess.TimeoutExpired as error:
        raise ApiError(
            503,
            f"the schema could not be checked within {_CHECK_SECONDS:g} s; try again later",
            kind="unavailable_error",
            code="busy",
            headers={"Retry-After": "10"},
        ) from error


@functools.lru_cache(maxsize=256)
def problem_of_grammar(grammar: str, cpu_seconds: int = _CPU_SECONDS) -> str:
    """What is wrong with a grammar; empty if nothing is.

    Raises CalledProcessError where the process was ended, by its limits for instance, and
    TimeoutExpired where it took too long.
    Neither is kept, because the next time may end otherwise.
    """
    return subprocess.run(
        [sys.executable, "-m", "argotune.steps.serve.check_grammar", str(cpu_seconds)],
        input=grammar,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        timeout=_CHECK_SECONDS,
        check=True,
    ).stdout


def _refusal(problem: str, param: str) -> ApiError:
    # A schema's problem stands at the end of the first line, before a part of the grammar.
    reason = problem.partition("\n")[0].rpartition("JSON schema: ")[2]
    return ApiError(
        400,
        f"{param}: this server cannot hold an answer to it: {reason}",
        param=param,
        code="invalid_schema",
    )
