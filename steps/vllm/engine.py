"""The engine on vLLM, which computes in processes of its own; what is asked of it needs no vLLM.

vLLM's client belongs to one event loop. That is a thread of the engine's own, for the server's loop
does not run yet while a model is loaded, and adapters are followed from another thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import logging
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec

from argotune.steps.common import log
from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.serving import ServingContract
from argotune.steps.serve.base_contract import contract_of_adapter
from argotune.steps.serve.engine.adapter_fit import check_fits
from argotune.steps.serve.engine.growing_answer import GrowingAnswer, Pieces, read_pieces
from argotune.steps.serve.engine.interface import (
    Answer,
    EngineError,
    Piece,
    Question,
    TokenLogprob,
    UnknownAdapterError,
)
from argotune.steps.serve.engine.token_texts import TokenTexts
from argotune.steps.vllm.engine_args import MOST_ADAPTERS, reason_against, reason_against_files

_logger = logging.getLogger(__name__)

_DEAD = "vLLM's engine has ended; the lines before say why"

T = TypeVar("T")


@dataclass(frozen=True)
class Chosen:
    """A token that vLLM chose."""

    id: int
    logprob: float = 0.0
    """Natural logarithm of its probability, where the question has `top_logprobs`."""
    top: tuple[tuple[int, float], ...] = ()
    """The most likely tokens at its position with theirs, best first."""


@dataclass(frozen=True)
class Lora:
    """An adapter as vLLM knows it."""

    number: int
    """From 1 on, and never given again."""
    name: str
    directory: Path


class Vllm(Protocol):
    """vLLM's client, of one event loop; see client.py."""

    @property
    def has_ended(self) -> bool:
        """Whether it can answer no more."""

    @property
    def max_length(self) -> int:
        """Tokens of question and answer for which there is memory."""

    def generate(
        self, question: Question, stop_token_ids: Sequence[int], lora: Lora | None
    ) -> AsyncGenerator[Sequence[Chosen]]:
        """Yield the tokens of an answer as they come, its stop token too."""

    async def add_lora(self, lora: Lora) -> None:
        """Load an adapter."""

    async def remove_lora(self, lora: Lora) -> None:
        """Forget an adapter."""

    def close(self) -> None:
        """End vLLM's processes."""


@dataclass(eq=False)
class _Adapter:
    """An adapter that is served, or that is on its way out. The rest is of the engine's loop."""

    lora: Lora
    contract: ServingContract
    answers: int = 0
    is_leaving: bool = False
    unused: asyncio.Event = field(default_factory=asyncio.Event)
    """Set where it is leaving and no answer needs it any more."""


class VllmEngine:
    """Answers up to `slots` questions at once; see interface.Engine."""

    def __init__(
        self,
        start: Callable[[], Vllm],
        tokenizer: Any,
        contract: ServingContract,
        *,
        name: str,
        directory: Path | None,
        slots: int,
        max_rank: int,
    ) -> None:
        """`start` is called in the engine's loop. Raises what it raises, and PermanentError.

        `name` and `directory` are the first adapter's; without a directory there is none.
        """
        self.slots = slots
        self._max_rank = max_rank
        self._tokenizer = tokenizer
        self._texts = TokenTexts(tokenizer)
        self._numbers = itertools.count(1)
        self._adapters: dict[str, _Adapter] = {}
        self._vllm: Vllm | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="vllm", daemon=True)
        self._thread.start()
        try:
            self._vllm = self._submit(_called(start)).result()
            self.base_contract = self._fitted(contract)
            if directory is not None:
                self._submit(self._load(name, directory, contract)).result()
        except BaseException:
            self.close()
            raise
        if self.base_contract.max_length < contract.max_length:
            log.warn(
                _logger,
                "memory for shorter conversations",
                tokens=self.base_contract.max_length,
                wanted=contract.max_length,
            )

    @property
    def failure(self) -> str | None:
        """Why it cannot answer any more; None while it can."""
        return _DEAD if self._client.has_ended else None

    def close(self) -> None:
        """End vLLM and the engine's thread; answers that are not complete stay so."""
        self._submit(self._end()).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def adapters(self) -> Mapping[str, ServingContract]:
        """The adapters by name, each with its serving.json."""
        return {name: adapter.contract for name, adapter in self._adapters.items()}

    async def answer(
        self, question: Question, answer: Answer, deadline: float
    ) -> AsyncGenerator[Piece]:
        """Yield the answer in pieces and fill `answer`; see Engine.answer."""
        if self.failure is not None:
            raise EngineError(self.failure)
        adapter = None
        if question.adapter is not None:
            adapter = self._adapters.get(question.adapter)
            if adapter is None:
                raise UnknownAdapterError(question.adapter)
        pieces: Pieces = asyncio.Queue()
        put = functools.partial(_put, asyncio.get_running_loop(), pieces)
        work = self._submit(self._generate(question, answer, adapter, put))
        try:
            async with aclosing(read_pieces(pieces, deadline)) as found:
                async for piece in found:
                    yield piece
        finally:
            work.cancel()

    async def add_adapter(self, name: str, directory: Path) -> None:
        """Load an adapter of the same base while others answer. Raises PermanentError.

        One that had the name answers until then, and what it has begun.
        """
        contract = await asyncio.to_thread(contract_of_adapter, directory, self.base_contract)
        check_fits(name, contract, self.base_contract, directory)
        unread = await asyncio.to_thread(reason_against_files, directory)
        self._check_served(name, contract, unread)
        await asyncio.wrap_future(self._submit(self._load(name, directory, contract)))

    async def remove_adapter(self, name: str) -> None:
        """Take no more questions for an adapter, and forget it once the running ones are answered.

        Raises UnknownAdapterError.
        """
        adapter = self._adapters.pop(name, None)
        if adapter is None:
            raise UnknownAdapterError(name)
        await asyncio.wrap_future(self._submit(self._forget(adapter)))

    @property
    def _client(self) -> Vllm:
        if self._vllm is None:
            raise AssertionError("vLLM is started with the engine")
        return self._vllm

    def _submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _fitted(self, contract: ServingContract) -> ServingContract:
        length = min(contract.max_length, self._client.max_length)
        return msgspec.structs.replace(contract, max_length=length)

    def _check_served(self, name: str, contract: ServingContract, unread: str) -> None:
        """Raise PermanentError for an adapter that this server has no place for.

        `unread` is what vLLM would pass over of its files.
        """
        if reason := reason_against(contract) or unread:
            raise PermanentError(f"{reason}; give it a server of its own, on transformers")
        if contract.adapter.r > self._max_rank:
            raise PermanentError(
                f"its rank is {contract.adapter.r}, and this server was started for ranks up to "
                f"{self._max_rank}; start the server again, which then makes room for it"
            )
        if name not in self._adapters and len(self._adapters) > MOST_ADAPTERS:
            raise PermanentError(
                f"{len(self._adapters)} adapters are served, the most that a server holds; take "
                "one out, or give it a server of its own"
            )

    async def _load(self, name: str, directory: Path, contract: ServingContract) -> None:
        """Serve an adapter by a name; this and all below runs in the engine's loop."""
        lora = Lora(next(self._numbers), name, directory)
        try:
            await self._client.add_lora(lora)
        # vLLM has errors of many kinds for files that it does not take.
        except Exception as error:
            raise PermanentError(f"adapter {directory} cannot be loaded: {error}") from error
        replaced = self._adapters.get(name)
        self._adapters[name] = _Adapter(lora, self._fitted(contract))
        if replaced is not None:
            self._leaving = asyncio.ensure_future(self._forget(replaced))

    async def _end(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._vllm is not None:
            self._vllm.close()

    async def _forget(self, adapter: _Adapter) -> None:
        adapter.is_leaving = True
        if adapter.answers:
            await adapter.unused.wait()
        await self._client.remove_lora(adapter.lora)

    async def _generate(
        self,
        question: Question,
        answer: Answer,
        adapter: _Adapter | None,
        put: Callable[[Piece | EngineError | None], None],
    ) -> None:
        """Put the pieces of an answer, and then None or why it failed."""
        if adapter is not None and adapter.is_leaving:
            # Removed while the question was on its way; vLLM would read its files again.
            put(UnknownAdapterError(question.adapter))
            return
        with _used(adapter):
            try:
                await self._put_pieces(question, answer, adapter, put)
            # Whatever it is, the request must be answered.
            except Exception as error:
                if not self._client.has_ended:
                    _logger.exception("failed answer")
                put(EngineError(self.failure or f"{type(error).__name__}: {error}"))

    async def _put_pieces(
        self,
        question: Question,
        answer: Answer,
        adapter: _Adapter | None,
        put: Callable[[Piece | EngineError | None], None],
    ) -> None:
        stop_ids = (adapter.contract if adapter else self.base_contract).stop_token_ids
        growing = GrowingAnswer(question, answer, self._tokenizer, stop_ids)
        lora = None if adapter is None else adapter.lora
        async with aclosing(self._client.generate(question, stop_ids, lora)) as steps:
            async for step in steps:
                for chosen in step:
                    piece = growing.add(chosen.id, functools.partial(self._named, chosen))
                    if piece is not None:
                        put(piece)
                    if growing.ended:
                        break
                if growing.ended:
                    break
        rest = growing.rest()
        if rest is not None:
            put(rest)
        put(None)

    def _named(self, chosen: Chosen, top: int) -> TokenLogprob:
        likeliest = tuple(self._texts.named(*other) for other in chosen.top[:top])
        return self._texts.named(chosen.id, chosen.logprob, likeliest)


async def _called(function: Callable[[], T]) -> T:
    return function()


@contextlib.contextmanager
def _used(adapter: _Adapter | None) -> Iterator[None]:
    """Keep the adapter until the end of the block."""
    if adapter is None:
        yield
        return
    adapter.answers += 1
    try:
        yield
    finally:
        adapter.answers -= 1
        if adapter.is_leaving and not adapter.answers:
            adapter.unused.set()


def _put(
    loop: asyncio.AbstractEventLoop, pieces: Pieces, piece: Piece | EngineError | None
) -> None:
    # The loop is closed if the server has stopped meanwhile.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(pieces.put_nowait, piece)
