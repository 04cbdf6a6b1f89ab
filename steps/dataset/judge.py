"""What the model's own tokenizer and chat template make of each row, before a node is asked for.

It is the code that tune runs too: a row that tune would drop is refused here, and its tokens are
those that tune will count. Importing it imports transformers, which takes a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from argotune.steps.contracts.dataset_rows import Conversation, read_batch
from argotune.steps.contracts.training_plan import TrainingPlan
from argotune.steps.dataset.conversations import (
    NO_END_OF_TURN,
    NO_TOKEN_LEARNED,
    TEMPLATE_REFUSES,
    Conversations,
)
from argotune.steps.dataset.token_counts import Judged, TokenCounts
from argotune.steps.dataset.write import record_batch
from argotune.steps.tokens import tokenise
from argotune.steps.tokens.template import chat_template
from argotune.steps.tokens.tokenizer import load_tokenizer

_BATCH_ROWS = 512
_CODES = {tokenise.NO_END_OF_TURN: NO_END_OF_TURN, tokenise.NO_LABEL: NO_TOKEN_LEARNED}


class Judge:
    """A model's tokenizer and chat template with the plan's max_length."""

    def __init__(self, directory: Path, plan: TrainingPlan) -> None:
        """Load the tokenizer. Raises PermanentError if it is none that tune can use."""
        self._tokenizer = load_tokenizer(directory)
        self._template = chat_template(self._tokenizer, directory, plan.model.chat_template)
        self._training = plan.training

    def rows(self, conversations: Conversations) -> Iterator[tokenise.TokenRow]:
        """Tokenize n rows; each has its text, and what of it is learned."""
        max_length = self._training.max_length
        return tokenise.tokenise(
            _batches(conversations), self._template, self._tokenizer, max_length
        )

    def judge(self, conversations: Conversations) -> Judged:
        """Tokenize n rows."""
        n = len(conversations.lengths)
        reasons, details = np.zeros(n, dtype=np.uint8), {}
        tokens, learned, cut = (np.zeros(n, dtype=np.int32) for _ in range(3))
        for row in self.rows(conversations):
            if row.problem:
                reasons[row.number] = _CODES.get(row.problem, TEMPLATE_REFUSES)
            if reasons[row.number] == TEMPLATE_REFUSES:
                details[row.number] = row.problem
            tokens[row.number] = len(row.ids)
            learned[row.number] = row.learned_tokens
            cut[row.number] = row.cut_tokens
        return Judged(
            reasons=reasons,
            details=details,
            tokens=tokens,
            learned_tokens=learned,
            cut_tokens=cut,
        )

    def check_cut(self, train: TokenCounts, rows: int) -> None:
        """Raise PermanentError if tune would find too many of the train rows too long."""
        census = tokenise.Census(rows=rows, truncated=train.cut_rows, cut_tokens=train.cut_tokens)
        tokenise.check_census(census, self._training.max_truncated_share, max_rejected_share=1.0)


def _batches(conversations: Conversations) -> Iterator[list[Conversation]]:
    """The rows as tune will read them, in batches."""
    rows = record_batch(conversations)
    for first in range(0, rows.num_rows, _BATCH_ROWS):
        yield read_batch(rows.slice(first, _BATCH_ROWS))
