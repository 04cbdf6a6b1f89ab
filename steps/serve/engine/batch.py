"""The answers that are generated together: one forward pass gives a token to each of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from argotune.steps.serve.engine.adapter_mix import LEAST_ROWS, AdapterMix
from argotune.steps.serve.engine.row_attention import BY_ROW, RowCache, Segment

_CHUNK_TOKENS = 64
"""A prompt is read in pieces of this size, beside others or alone: other pieces would be other
calls of attention, and other last bits."""
_BUSY_TOKENS, _IDLE_TOKENS = 64, 512
"""Tokens of prompts in a step, while an answer waits for its next token and while none does."""


@dataclass(eq=False)
class Row:
    """An answer in the batch."""

    pending: Sequence[int]
    """Tokens that the model has not seen: the rest of the prompt, or the last token."""
    adapter: str | None
    """PEFT's name of its adapter; None: the base alone."""
    cache: RowCache
    seen: int = 0
    """Tokens in the cache."""


class Batch:
    """Rows, and the model that they are answered with."""

    def __init__(self, mix: AdapterMix) -> None:
        self.rows: list[Row] = []
        # PEFT's own wrapper would look at every layer in each pass.
        self._model = mix.base
        self._model.set_attn_implementation(BY_ROW)
        self._mix = mix

    @torch.inference_mode()
    def step(self) -> list[tuple[Row, torch.Tensor]]:
        """One forward pass: the logits [vocabulary], float32 on the CPU, of each row that is read.

        A row without logits still has pending tokens of its prompt. The others get a pending token
        from the caller before the next step.
        """
        packed = _Packed(self.rows)
        # By turns, so that a short prompt does not wait for a long one, nor a long one for many.
        self.rows.sort(key=lambda row: row in packed.begun)
        device = self._model.device
        self._mix.assign(packed.adapters, device)
        output = self._model(
            input_ids=torch.tensor([_filled(packed.tokens)], device=device),
            position_ids=torch.tensor([_filled(packed.positions)], device=device),
            logits_to_keep=torch.tensor(_filled(packed.last), device=device),
            use_cache=False,
            segments=packed.segments,
        )
        logits = output.logits[0].float().cpu()
        return list(zip(packed.read, logits, strict=False))


class _Packed:
    """The tokens of one step."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self.tokens: list[int] = []
        self.positions: list[int] = []
        self.adapters: list[str | None] = []
        self.segments: list[Segment] = []
        self.read: list[Row] = []
        """Rows that have no pending tokens after this step."""
        self.last: list[int] = []
        """The place of the last token of each."""
        self.begun: list[Row] = []
        """Rows of which a part of the prompt was taken."""
        reading = deque(row for row in rows if len(row.pending) > 1)
        answering = [row for row in rows if len(row.pending) == 1]
        for row in answering:
            self._take(row)
        most = len(self.tokens) + (_BUSY_TOKENS if answering else _IDLE_TOKENS)
        while reading and len(self.tokens) < most:
            row = reading.popleft()
            self._take(row)
            self.begun.append(row)
            if row.pending:
                reading.append(row)

    def _take(self, row: Row) -> None:
        chunk, row.pending = row.pending[:_CHUNK_TOKENS], row.pending[_CHUNK_TOKENS:]
        at = slice(len(self.tokens), len(self.tokens) + len(chunk))
        self.segments.append(Segment(row.cache, row.seen, at))
        self.tokens += chunk
        self.positions += range(row.seen, row.seen + len(chunk))
        self.adapters += [row.adapter] * len(chunk)
        row.seen += len(chunk)
        if not row.pending:
            self.read.append(row)
            self.last.append(at.stop - 1)


def _filled(numbers: list[int]) -> list[int]:
    """With zeros up to LEAST_ROWS: then the sums of a row are those that it has beside others."""
    return numbers + [0] * (LEAST_ROWS - len(numbers))
