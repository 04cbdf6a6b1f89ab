"""The engine on transformers and PEFT: one thread and one batch, which answers join and leave."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import logging
import queue
import threading
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from concurrent.futures import Future
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.serving import ServingContract
from argotune.steps.serve.base_contract import contract_of_adapter
from argotune.steps.serve.engine.adapter_fit import check_fits
from argotune.steps.serve.engine.adapter_mix import AdapterMix
from argotune.steps.serve.engine.batch import Batch, Row
from argotune.steps.serve.engine.choice import Choice
from argotune.steps.serve.engine.growing_answer import GrowingAnswer, Pieces, read_pieces
from argotune.steps.serve.engine.interface import (
    Answer,
    EngineError,
    Piece,
    Question,
    UnknownAdapterError,
)
from argotune.steps.serve.engine.logprobs import Logprobs
from argotune.steps.serve.engine.memory import room_problem, token_bytes, weights_bytes
from argotune.steps.serve.engine.row_attention import RowCache

_logger = logging.getLogger(__name__)

_SMALL_PARAMETERS = 50_000_000
_MOST_FAILURES = 3
"""Steps that fail one after the other before the engine counts as broken."""


@dataclass(eq=False)
class _Turn:
    """Connects the thread that generates an answer and the request that reads it."""

    question: Question
    answer: GrowingAnswer
    row: Row
    choice: Choice
    loop: asyncio.AbstractEventLoop
    pieces: Pieces = field(default_factory=asyncio.Queue)
    left: threading.Event = field(default_factory=threading.Event)
    """Set when nobody reads the answer any more."""


@dataclass(frozen=True)
class _Adapter:
    """An adapter that is served."""

    key: str
    """PEFT's name of it: the user's may have characters that torch does not take."""
    contract: ServingContract
    added_bytes: int = 0
    """Of its weights, if it was added to the running engine."""


class TransformersEngine:
    """A model that answers up to `slots` questions at once; see interface.Engine.

    It is PEFT's, with its first adapter, or a base without one.
    """

    failure: str | None = None

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        contract: ServingContract,
        *,
        name: str | None,
        slots: int = 16,
        free_bytes: int | None = None,
    ) -> None:
        """`free_bytes`: memory for answers and added adapters; None: it is not known."""
        self.base_contract = contract
        self.slots = slots
        self._free_bytes = free_bytes
        self._token_bytes = token_bytes(model)
        self._tokenizer = tokenizer
        self._logprobs = Logprobs(tokenizer)
        self._adapters: dict[str, _Adapter] = {}
        if name is not None:
            self._adapters[name] = _Adapter(model.active_adapter, contract)
        self._keys = (f"adapter-{number}" for number in itertools.count())
        _limit_threads(model)
        # From here on only the thread touches the model.
        self._mix = AdapterMix(model)
        self._batch = Batch(self._mix)
        self._turns: dict[Row, _Turn] = {}
        self._failures = 0
        self._later: list[Callable[[], None]] = []
        self._inbox: queue.SimpleQueue[_Turn | Callable[[], None]] = queue.SimpleQueue()
        self._outbox: dict[asyncio.AbstractEventLoop, list[Callable[[], None]]] = {}
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="generate", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread after its current step; answers that are not complete stay so."""

        def end() -> None:
            self._closed = True

        self._inbox.put(end)
        self._thread.join()

    def adapters(self) -> Mapping[str, ServingContract]:
        """The adapters by name, each with its serving.json."""
        return {name: adapter.contract for name, adapter in self._adapters.items()}

    async def answer(
        self, question: Question, answer: Answer, deadline: float
    ) -> AsyncGenerator[Piece]:
        """Yield the answer in pieces and fill `answer`; see Engine.answer."""
        if self.failure is not None:
            raise EngineError(self.failure)
        turn = self._turn(question, answer)
        self._inbox.put(turn)
        try:
            async with aclosing(read_pieces(turn.pieces, deadline)) as pieces:
                async for piece in pieces:
                    yield piece
        finally:
            turn.left.set()

    async def add_adapter(self, name: str, directory: Path) -> None:
        """Load an adapter of the same base between two steps, and serve it by this name.

        One that had the name answers until then, and what it has begun. Raises PermanentError.
        """
        contract = await asyncio.to_thread(contract_of_adapter, directory, self.base_contract)
        check_fits(name, contract, self.base_contract, directory)
        added_bytes = await asyncio.to_thread(weights_bytes, directory)
        self._check_room(contract, added_bytes, directory)
        key = next(self._keys)
        await asyncio.wrap_future(self._between_steps(lambda: self._mix.add(key, directory)))
        replaced = self._adapters.get(name)
        self._adapters[name] = _Adapter(key, contract, added_bytes)
        if replaced is not None:
            self._forget(replaced)

    async def remove_adapter(self, name: str) -> None:
        """Take no more questions for an adapter, and forget it once the running ones are answered.

        Raises UnknownAdapterError.
        """
        adapter = self._adapters.pop(name, None)
        if adapter is None:
            raise UnknownAdapterError(name)
        await asyncio.wrap_future(self._forget(adapter))

    def _check_room(self, contract: ServingContract, added_bytes: int, directory: Path) -> None:
        """Raise PermanentError for an adapter with which all slots may need too much memory.

        An adapter of the same name counts too: until its answers have ended, both are there.
        """
        served = [self.base_contract, *(each.contract for each in self._adapters.values())]
        length = max(each.max_length for each in [contract, *served])
        problem = room_problem(
            answers_bytes=self.slots * length * self._token_bytes,
            others_bytes=sum(each.added_bytes for each in self._adapters.values()),
            own_bytes=added_bytes,
            free_bytes=self._free_bytes,
        )
        if problem is not None:
            raise PermanentError(
                f"adapter {directory} has no room: {problem}, with {self.slots} answers of {length}"
                f" tokens at once, where the adapter has {contract.max_length}; take another one"
                " out, serve this one on its own, or start the server with fewer --slots"
            )

    def _forget(self, adapter: _Adapter) -> Future[None]:
        return self._between_steps(
            lambda: self._mix.remove(adapter.key), after=lambda: not self._answers_with(adapter)
        )

    def _turn(self, question: Question, answer: Answer) -> _Turn:
        key, contract = None, self.base_contract
        if question.adapter is not None:
            if question.adapter not in self._adapters:
                raise UnknownAdapterError(question.adapter)
            adapter = self._adapters[question.adapter]
            key, contract = adapter.key, adapter.contract
        return _Turn(
            question,
            GrowingAnswer(question, answer, self._tokenizer, contract.stop_token_ids),
            Row(question.prompt, key, RowCache(len(question.prompt) + question.max_new_tokens)),
            Choice(question.sampling, question.constraint),
            asyncio.get_running_loop(),
        )

    def _between_steps(
        self, change: Callable[[], None], *, after: Callable[[], bool] = lambda: True
    ) -> Future[None]:
        """Run the change in the engine's thread as soon as `after` is true there."""
        done: Future[None] = Future()

        def attempt() -> None:
            if not after():
                self._later.append(attempt)
                return
            try:
                change()
            # Whoever asked for the change gets it.
            except Exception as error:
                done.set_exception(error)
            else:
                done.set_result(None)

        self._inbox.put(attempt)
        return done

    def _answers_with(self, adapter: _Adapter) -> bool:
        return any(row.adapter == adapter.key for row in self._batch.rows)

    def _run(self) -> None:
        """Steps for as long as there are rows; this and all below runs in the engine's thread."""
        while not self._closed:
            self._receive()
            self._drop_left()
            if self._batch.rows:
                self._step()
            self._hand_out()

    def _receive(self) -> None:
        """Take what others put into the inbox; wait for it if there is nothing else to do."""
        waiting, self._later = self._later, []
        for change in waiting:
            change()
        idle = not self._batch.rows and not self._later
        while idle or not self._inbox.empty():
            received = self._inbox.get()
            idle = False
            if not isinstance(received, _Turn):
                received()
            elif self.failure is not None:
                self._put(received, EngineError(self.failure))
            elif not self._mix.has(received.row.adapter):
                # Removed while the question was on its way.
                self._put(received, UnknownAdapterError(received.question.adapter))
            else:
                self._turns[received.row] = received
                self._batch.rows.append(received.row)

    def _drop_left(self) -> None:
        for row, turn in list(self._turns.items()):
            if turn.left.is_set():
                self._drop(row)

    def _drop(self, row: Row) -> None:
        del self._turns[row]
        self._batch.rows.remove(row)

    def _step(self) -> None:
        try:
            read = self._batch.step()
        # After any error the requests must be answered and the thread must continue.
        except Exception as error:
            self._fail(error)
            return
        self._failures = 0
        for row, logits in read:
            turn = self._turns[row]
            try:
                ended = self._add_token(turn, logits)
            except Exception as error:
                _logger.exception("failed answer")
                self._put(turn, EngineError(str(error)))
                ended = True
            if ended:
                self._drop(row)

    def _fail(self, error: Exception) -> None:
        """Fail all answers of a step; after some of these the engine is broken."""
        _logger.exception("failed step")
        self._failures += 1
        reason = f"{type(error).__name__}: {error}"
        if self._failures >= _MOST_FAILURES:
            self.failure = f"{self._failures} steps of the model failed in a row: {reason}"
        for row, turn in list(self._turns.items()):
            self._put(turn, EngineError(reason))
            self._drop(row)

    def _add_token(self, turn: _Turn, logits: torch.Tensor) -> bool:
        """Choose the next token and hand out what it adds; whether the answer has ended."""
        token = turn.choice.choose(logits)
        self._put_piece(
            turn, turn.answer.add(token, lambda top: self._logprobs.of(token, logits, top))
        )
        if not turn.answer.ended:
            turn.row.pending = (token,)
            return False
        self._put_piece(turn, turn.answer.rest())
        self._put(turn, None)
        return True

    def _put_piece(self, turn: _Turn, piece: Piece | None) -> None:
        if piece is not None:
            self._put(turn, piece)

    def _put(self, turn: _Turn, piece: Piece | EngineError | None) -> None:
        put = functools.partial(turn.pieces.put_nowait, piece)
        self._outbox.setdefault(turn.loop, []).append(put)

    def _hand_out(self) -> None:
        """Give the requests what the step brought, and wake each event loop once."""
        for loop, puts in self._outbox.items():
            # The loop is closed if the server has stopped while this thread was generating.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(_call_all, puts)
        self._outbox = {}


def _call_all(calls: Iterable[Callable[[], None]]) -> None:
    for call in calls:
        call()


def _limit_threads(model: Any) -> None:
    """Compute a small model with one thread: several wait for each other longer than they compute.

    On tiny, 16 answers at once take 13 ms of CPU time a step with one thread and 25 with two.
    """
    if model.device.type == "cpu" and model.num_parameters() < _SMALL_PARAMETERS:
        torch.set_num_threads(1)
