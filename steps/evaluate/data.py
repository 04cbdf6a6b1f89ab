"""What models are measured on: rows, their tokens, and prompts to answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from argotune.steps.contracts.training_plan import TrainingPlan
from argotune.steps.evaluate.answers import Question, find_questions
from argotune.steps.evaluate.decide import Tokens
from argotune.steps.evaluate.measure import learned_tokens
from argotune.steps.tokens.template import ChatTemplate, chat_template
from argotune.steps.tokens.tokenise import TokenRows, read_rows
from argotune.steps.tokens.tokenizer import load_tokenizer


@dataclass(frozen=True, kw_only=True)
class Data:
    """The same for all models."""

    rows: TokenRows
    tokens: Tokens
    questions: Sequence[Question]
    """Prompts of the first rows that have one."""
    template: ChatTemplate
    tokenizer: Any

    def text(self, ids: Sequence[int]) -> str:
        """Decode tokens, without special ones and white space around."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=True)).strip()


def held_out_file(work_dir: Path) -> Path:
    """Where the dataset step left the run's held-out rows."""
    return work_dir / "dataset" / "validation.parquet"


def read_data(rows_file: Path, model_dir: Path, plan: TrainingPlan, *, questions: int) -> Data:
    """Read the rows as the base model's tokenizer and template make them, and so many questions.

    Raises StepError.
    """
    tokenizer = load_tokenizer(model_dir)
    template = chat_template(tokenizer, model_dir, plan.model.chat_template)
    longest = plan.training.max_length
    rows, _ = read_rows(rows_file, template, tokenizer, longest)
    return Data(
        rows=rows,
        tokens=learned_tokens(rows),
        questions=find_questions(rows_file, template, tokenizer, longest, wanted=questions),
        template=template,
        tokenizer=tokenizer,
    )
