"""Server-sent events, as OpenAI's clients read them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack, aclosing
from typing import Any, TypeVar

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from argotune.steps.serve.errors import ApiError
from argotune.steps.serve.outcomes import note_failure

T = TypeVar("T")

_DONE = "data: [DONE]\n\n"


class EventStream(StreamingResponse):
    """Events that release their places in the queue in every case."""

    def __init__(
        self, events: AsyncIterator[str], places: ExitStack, headers: Mapping[str, str]
    ) -> None:
        super().__init__(
            events,
            media_type="text/event-stream",
            headers={**headers, "Cache-Control": "no-cache"},
        )
        self._places = places

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        with self._places:
            await super().__call__(scope, receive, send)


async def events_of(
    head: Mapping[str, Any],
    choices: Sequence[AsyncGenerator[dict[str, Any]]],
    usage: Callable[[], dict[str, int]] | None,
) -> AsyncIterator[str]:
    """Yield the answers as OpenAI's chunks; an error during an answer is the last chunk.

    Args:
        head: What each chunk begins with.
        choices: Each answer in pieces.
        usage: Counts the tokens for a last chunk; None: there is none.
    """
    head = {**head, **({"usage": None} if usage else {})}
    try:
        async with aclosing(_merged(choices)) as pieces:
            async for piece in pieces:
                yield _event({**head, "choices": [piece]})
    except ApiError as error:
        note_failure(error.status)
        yield _event(error.body())
        return
    if usage:
        yield _event({**head, "choices": [], "usage": usage()})
    yield _DONE


def named_event(data: Mapping[str, Any]) -> str:
    """An event with the name that its data have as `type`."""
    return f"event: {data['type']}\n{_event(data)}"


def _event(data: Mapping[str, Any]) -> str:
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n"


async def _merged(streams: Sequence[AsyncGenerator[T]]) -> AsyncGenerator[T]:
    """What several streams yield, as it comes; the first that fails ends all."""
    if len(streams) == 1:
        # Without a queue the client's pace holds the stream back.
        async with aclosing(streams[0]) as only:
            async for item in only:
                yield item
        return
    queue: asyncio.Queue[T | Exception | None] = asyncio.Queue(maxsize=1)
    tasks = [asyncio.ensure_future(_forward(stream, queue)) for stream in streams]
    try:
        left = len(tasks)
        while left:
            found = await queue.get()
            if isinstance(found, Exception):
                raise found
            if found is None:
                left -= 1
            else:
                yield found
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _forward(stream: AsyncGenerator[T], queue: asyncio.Queue[T | Exception | None]) -> None:
    end: Exception | None = None
    try:
        async with aclosing(stream) as items:
            async for item in items:
                await queue.put(item)
    # Whatever it is, the reader of the queue raises it.
    except Exception as error:
        end = error
    await queue.put(end)
