"""Which tokens an answer may have by a grammar."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy
from llguidance import LLMatcher, LLTokenizer

from argotune.steps.serve.admission import Admission
from argotune.steps.serve.engine.interface import TokenMask
from argotune.steps.serve.errors import ApiError
from argotune.steps.serve.grammar_limits import LIMITS

_MOST_GRAMMAR_BYTES = 1 << 16
_MOST_CHECKS, _MOST_WAITING = 2, 64
"""At once, and in the queue before them."""
_CPU_SECONDS = 3
"""Of a check; real schemas take milliseconds, beside a quarter of a second to start."""
_CHECK_SECONDS = 10.0
"""By the clock, on a busy machine."""
_MOST_MATCHERS, _MOST_PROBLEMS = 32, 256
"""Kept; a matcher has up to 40 MB."""

_Digest = str
Check = Callable[[str], Awaitable[str]]
"""Says what is wrong with a grammar, in a text that is empty where nothing is."""
K = TypeVar("K")
V = TypeVar("V")


class GrammarConstraint:
    """The tokens of one answer; the engine asks it before each token."""

    def __init__(self, matcher: LLMatcher, grammar: str) -> None:
        self.grammar = grammar
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
    """Makes constraints from grammars, with what the same grammar took before kept.

    Grammars are checked in the turns of their clients, as tokens and answers are made: one client's
    hostile schemas take at most a turn of another.
    """

    def __init__(self, tokenizer: Any, *, check: Check) -> None:
        """`tokenizer` is transformers', a fast one; `check` is `problem_of_grammar`."""
        self._tokenizer = tokenizer
        self._check = check
        self._lock = threading.Lock()
        self._tokens: dict[tuple[int, ...], LLTokenizer] = {}
        self._admission = Admission(_MOST_CHECKS, _MOST_WAITING)
        self._threads = ThreadPoolExecutor(_MOST_CHECKS, thread_name_prefix="grammars")
        self._problems: OrderedDict[_Digest, str] = OrderedDict()
        """What is wrong with grammars that were checked; empty: nothing is."""
        self._matchers: OrderedDict[tuple[_Digest, tuple[int, ...]], LLMatcher] = OrderedDict()

    async def constraint(
        self, grammar: str, stop_token_ids: Sequence[int], *, param: str, deadline: float
    ) -> GrammarConstraint:
        """The constraint of one answer.

        Raises ApiError 400 about `param` if it cannot be made, 429 where too many wait, and
        TimeoutError at time.monotonic() `deadline`. Cancelled, it ends the check.
        """
        if len(grammar.encode()) > _MOST_GRAMMAR_BYTES:
            raise _refusal(f"it is larger than {_MOST_GRAMMAR_BYTES} bytes", param)
        digest = hashlib.sha256(grammar.encode()).hexdigest()
        key = (digest, tuple(stop_token_ids))
        if key not in self._matchers:
            with self._admission.admit():
                async with (
                    self._admission.slot(deadline),
                    asyncio.timeout(deadline - time.monotonic()),
                ):
                    await self._make(grammar, key, param)
        return GrammarConstraint(self._matchers[key].deep_copy(), grammar)

    async def _make(self, grammar: str, key: tuple[_Digest, tuple[int, ...]], param: str) -> None:
        """Keep a matcher of the grammar. Raises ApiError."""
        digest, stop_token_ids = key
        # Whoever asked with it while this request waited may have brought it.
        if digest not in self._problems:
            _keep(self._problems, digest, await self._problem(grammar, param), _MOST_PROBLEMS)
        if problem := self._problems[digest]:
            raise _refusal(problem, param)
        if key in self._matchers:
            return
        loop = asyncio.get_running_loop()
        matcher = await loop.run_in_executor(self._threads, self._compile, grammar, stop_token_ids)
        if matcher.is_error():
            raise _refusal(matcher.get_error(), param)
        _keep(self._matchers, key, matcher, _MOST_MATCHERS)

    async def _problem(self, grammar: str, param: str) -> str:
        """What is wrong with a grammar; empty: nothing. Raises ApiError.

        Neither refusal is kept, because the next check may end otherwise.
        """
        try:
            async with asyncio.timeout(_CHECK_SECONDS):
                return await self._check(grammar)
        except subprocess.CalledProcessError as error:
            raise _refusal("it takes too long to compile", param) from error
        except TimeoutError as error:
            raise ApiError(
                503,
                f"the schema could not be checked within {_CHECK_SECONDS:g} s; try again later",
                kind="unavailable_error",
                code="busy",
                headers={"Retry-After": "10"},
            ) from error

    def _compile(self, grammar: str, stop_token_ids: tuple[int, ...]) -> LLMatcher:
        # About a second for a large vocabulary, and once.
        with self._lock:
            if stop_token_ids not in self._tokens:
                text = self._tokenizer.backend_tokenizer.to_str()
                self._tokens[stop_token_ids] = LLTokenizer(text, eos_token=list(stop_token_ids))
        return LLMatcher(self._tokens[stop_token_ids], grammar, log_level=0, limits=LIMITS)


async def problem_of_grammar(grammar: str, cpu_seconds: int = _CPU_SECONDS) -> str:
    """What is wrong with a grammar; empty if nothing is. Cancelled, it ends the process.

    Raises CalledProcessError where the process was ended, by its limits for instance.
    """
    command = [sys.executable, "-m", "argotune.steps.serve.check_grammar", str(cpu_seconds)]
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        output, _ = await process.communicate(grammar.encode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return output.decode()


def _keep(kept: OrderedDict[K, V], key: K, value: V, most: int) -> None:
    """Keep the value, and no more than the `most` newest ones."""
    kept[key] = value
    while len(kept) > most:
        kept.popitem(last=False)


def _refusal(problem: str, param: str) -> ApiError:
    # A schema's problem stands at the end of the first line, before a part of the grammar.
    reason = problem.partition("\n")[0].rpartition("JSON schema: ")[2]
    return ApiError(
        400,
        f"{param}: this server cannot hold an answer to it: {reason}",
        param=param,
        code="invalid_schema",
    )
