"""A stand-in for vLLM's client: answers by a rule, and notes what it is asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from argotune.steps.serve.engine.interface import Question
from argotune.steps.vllm.engine import Chosen, Lora
from tests.fakes.engine import ANSWER
from tests.fakes.tokenizer import make_tokenizer


class FakeVllm:
    """Adapters say ANSWER, two tokens at once; the base says that it is the base."""

    def __init__(self, max_length: int = 4096) -> None:
        self.max_length = max_length
        self.has_ended = False
        self.is_closed = False
        self.tokenizer: Any = make_tokenizer()
        self.loras: list[Lora] = []
        """Those that are loaded."""
        self.refuses = False
        """Whether it takes no adapter."""
        self.error: Exception | None = None
        """Why every answer fails from now on."""
        self.running = 0
        """Answers that are neither read to their end nor closed."""
        self.gate = asyncio.Event()
        """Held before each step, until it is set in the engine's loop."""
        self.gate.set()

    async def generate(
        self, question: Question, stop_token_ids: Sequence[int], lora: Lora | None
    ) -> AsyncGenerator[Sequence[Chosen]]:
        assert lora is None or lora in self.loras, "vLLM would read its files again"
        self.running += 1
        try:
            said = "I am the base." if lora is None else ANSWER
            ids = self.tokenizer(said, add_special_tokens=False)["input_ids"]
            tokens = [*ids, *stop_token_ids[:1]][: question.max_new_tokens]
            for at in range(0, len(tokens), 2):
                await self.gate.wait()
                await asyncio.sleep(0)
                if self.error is not None:
                    raise self.error
                yield [
                    Chosen(token, -0.5, ((token, -0.5), (token + 1, -1.5), (token + 2, -2.5)))
                    for token in tokens[at : at + 2]
                ]
        finally:
            self.running -= 1

    async def add_lora(self, lora: Lora) -> None:
        if self.refuses:
            raise ValueError("unexpected modules")
        self.loras.append(lora)

    async def remove_lora(self, lora: Lora) -> None:
        self.loras.remove(lora)

    def close(self) -> None:
        self.is_closed = self.has_ended = True
