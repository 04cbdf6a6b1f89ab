"""What was asked as tokens, as training would make them, and off the event loop.

Texts of a conversation are text: `<|end|>` in a question is encoded as the letters that it is, as
in the dataset, and does not end the user's turn.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from argotune.steps.common import log
from argotune.steps.contracts.dataset_rows import Conversation
from argotune.steps.contracts.serving import ServingContract
from argotune.steps.serve.admission import Admission
from argotune.steps.serve.errors import ApiError, too_long
from argotune.steps.tokens.control_tokens import ControlTokens, without_marks
from argotune.steps.tokens.spans import Rendered, TemplateMismatch, render_text

_logger = logging.getLogger(__name__)

_PIECE_CHARACTERS = 16_384
"""Of a long text that is counted piece by piece; a piece takes about 20 ms."""
_LOST_BY_CUT = 16
"""Tokens by which pieces may have more than their text, at each cut."""
_MOST_WAITING = 64

T = TypeVar("T")


class PromptTokens:
    """Renders and encodes, one request after the other in a thread, in turns of their clients."""

    def __init__(self, tokenizer: Any, *, log_prompts: bool = False) -> None:
        """`log_prompts`: write what is asked into the log."""
        self._tokenizer = tokenizer
        # A tokenizer may be configured to truncate or pad; here what is too long is refused.
        tokenizer.backend_tokenizer.no_truncation()
        tokenizer.backend_tokenizer.no_padding()
        self._control = ControlTokens(tokenizer)
        self._names = {name: str(text) for name, text in tokenizer.special_tokens_map.items()}
        self._log_prompts = log_prompts
        self._admission = Admission(1, _MOST_WAITING)
        # One thread: each call of transformers' tokenizer sets options of its backend, for all.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tokens")

    async def off_loop(self, make: Callable[[], T], deadline: float) -> T:
        """What `make` returns, which encodes; other requests are answered meanwhile.

        Raises what it raises, ApiError 429 where too many wait, and TimeoutError at
        time.monotonic() `deadline`.
        """
        context = contextvars.copy_context()
        with self._admission.admit():
            async with self._admission.slot(deadline):
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._thread, context.run, make)

    def of_conversation(
        self,
        contract: ServingContract,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> list[int]:
        """The tokens of a conversation up to the answer. Raises ApiError 400."""
        row = Conversation(messages=messages, tools=tools)
        self._refuse_far_too_long("".join(_texts_in([messages, tools])), contract, "messages")
        is_marked = self._control.are_in(row)
        try:
            text = render_text(
                contract.chat_template,
                self._control.mark(row) if is_marked else row,
                self._names,
                add_generation_prompt=True,
            )
        except TemplateMismatch as error:
            raise ApiError(400, f"messages: {error}", param="messages") from error
        rendered = Rendered(text, [])
        if self._log_prompts:
            log.event(_logger, "prompt", text=without_marks(rendered).text)
        return self._control.encode(rendered).ids if is_marked else self._encode(text)

    def of_text(self, contract: ServingContract, text: str) -> list[int]:
        """The tokens of a text as it is, with those that begin every text. Raises ApiError 400."""
        self._refuse_far_too_long(text, contract, "prompt")
        if self._log_prompts:
            log.event(_logger, "prompt", text=text)
        ids: list[int] = self._tokenizer(text)["input_ids"]
        return ids

    def _refuse_far_too_long(self, text: str, contract: ServingContract, param: str) -> None:
        """Refuse what is too long before all of it is encoded, which could take seconds."""
        most = contract.max_length
        if len(text) <= max(_PIECE_CHARACTERS, 4 * most):
            return
        tokens = 0
        for start in range(0, len(text), _PIECE_CHARACTERS):
            tokens += len(self._encode(text[start : start + _PIECE_CHARACTERS])) - _LOST_BY_CUT
            if tokens > most:
                raise too_long(param, f"over {tokens} tokens", most)

    def _encode(self, text: str) -> list[int]:
        # Not `encode`, which holds Python's lock all the time.
        (encoding,) = self._tokenizer.backend_tokenizer.encode_batch_fast(
            [text], add_special_tokens=False
        )
        ids: list[int] = encoding.ids
        return ids


def _texts_in(value: Any) -> Iterator[str]:
    """The texts of a conversation or of tools, at any depth."""
    match value:
        case str():
            yield value
        case Mapping():
            for item in value.values():
                yield from _texts_in(item)
        case list() | tuple():
            for item in value:
                yield from _texts_in(item)
