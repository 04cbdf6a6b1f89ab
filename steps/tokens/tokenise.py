"""Tokenize conversations, and label the tokens that the assistant writes."""

from __future__ import annotations

import itertools
import logging
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow
import pyarrow.parquet
from tokenizers import Encoding, Tokenizer

from argotune.steps.common import log
from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.dataset_rows import SCHEMA, Conversation, read_batch
from argotune.steps.contracts.row_origins import places_of
from argotune.steps.tokens.control_tokens import ControlTokens, MarkedEncoding, without_marks
from argotune.steps.tokens.spans import Rendered, Span, TemplateMismatch
from argotune.steps.tokens.template import ChatTemplate

_BATCH_ROWS = 512
_EXAMPLES = 5
_NO_IDS: npt.NDArray[np.int32] = np.zeros(0, dtype=np.int32)
_NO_LABELS: npt.NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)

NO_END_OF_TURN = "no end-of-turn token would be learned"
NO_LABEL = "no assistant token within max_length"

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TokenRows:
    """Rows of different lengths in flat arrays, five bytes per token."""

    ids: npt.NDArray[np.int32]
    labelled: npt.NDArray[np.bool_]
    """True for tokens that are labels. Never for a row's first token, which in a pack would be
    predicted from the end of another row."""
    starts: npt.NDArray[np.int64]
    """Start of each row in `ids` and `labelled`, and the end of the last one."""

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Number of tokens of each row, shape (rows,)."""
        return np.diff(self.starts)

    @property
    def longest(self) -> int:
        """Number of tokens of the longest row; 0 without rows."""
        return int(self.lengths.max(initial=0))


@dataclass
class Census:
    """Counts of used, truncated and unusable rows of one file."""

    rows: int = 0
    truncated: int = 0
    """Rows truncated at max_length; they count as used unless no label is left."""
    cut_tokens: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    """Number of unusable rows, by reason."""
    first_dropped: dict[str, list[int]] = field(default_factory=dict)
    """Numbers of the first of them in the file, from 1, by reason."""
    places: dict[str, list[str]] = field(default_factory=dict)
    """The same rows as the user knows them, `data.jsonl row 7`."""
    with_control_tokens: int = 0
    """Rows with control tokens of the model in their texts, which are encoded as plain text."""
    without_reasoning: int = 0
    """Rows with reasoning that the chat template leaves out, as of answers before the last."""

    def add(self, row: TokenRow) -> None:
        """Count a row."""
        self.rows += 1
        self.with_control_tokens += row.has_control_tokens
        self.without_reasoning += row.lacks_reasoning
        if row.cut_tokens:
            self.truncated += 1
            self.cut_tokens += row.cut_tokens
        if row.problem:
            self.dropped[row.problem] += 1
            first = self.first_dropped.setdefault(row.problem, [])
            if len(first) < _EXAMPLES:
                first.append(row.number + 1)

    def rows_of(self, reason: str) -> str:
        """The first rows that are unusable for this reason, as text."""
        return ", ".join(self.places.get(reason, ()))

    @staticmethod
    def of(kept: Mapping[str, Any]) -> Census:
        """A census from its fields as parsed from JSON."""
        return Census(**{**kept, "dropped": Counter(kept["dropped"])})


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenRow:
    """A conversation as tokens, or the reason why it is none for training."""

    number: int
    """Place of the row among those that were given, from 0."""
    problem: str = ""
    """Why the row is unusable; empty: it is usable."""
    text: str = ""
    """The conversation as the chat template renders it; empty where the template refuses it."""
    spans: Sequence[Span] = ()
    """Spans of `text` that are learned, each with its end-of-turn token."""
    tokens: int = 0
    """Tokens of the whole text; those beyond max_length are cut."""
    ids: npt.NDArray[np.int32] = field(default_factory=lambda: _NO_IDS)
    """The tokens up to max_length."""
    labelled: npt.NDArray[np.bool_] = field(default_factory=lambda: _NO_LABELS)
    """Which of `ids` are learned."""
    has_control_tokens: bool = False
    """Whether its texts have control tokens of the model, which are encoded as plain text."""
    lacks_reasoning: bool = False
    """Whether the chat template leaves out reasoning of an answer."""

    @property
    def cut_tokens(self) -> int:
        """Tokens beyond max_length."""
        return self.tokens - len(self.ids)

    @property
    def learned_tokens(self) -> int:
        """Tokens of `ids` that are learned."""
        return int(np.count_nonzero(self.labelled))


def tokenise(
    batches: Iterable[Sequence[Conversation]],
    template: ChatTemplate,
    tokenizer: Any,
    max_length: int,
) -> Iterator[TokenRow]:
    """Yield each row of batches of conversations, in order, also the unusable ones.

    Memory is that of two batches, of some hundred rows each for the best speed.
    """
    # A tokenizer may be configured to truncate or pad; here max_length and the packs do this.
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    number = itertools.count()
    control = ControlTokens(tokenizer)
    rendered = ([_render(row, template, control) for row in batch] for batch in batches)
    for rows, encodings in _encode_ahead(tokenizer.backend_tokenizer, control, rendered):
        encoded = iter(encodings)
        for row in rows:
            if isinstance(row, str):
                yield TokenRow(number=next(number), problem=row)
            else:
                yield _label_row(
                    next(number), row, next(encoded), template.stop_token_ids, max_length
                )


def first_answer(labelled: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """Start and end of a row's first answer, which are those of its first run of labels.

    What stands before is its prompt; later questions are not part of that.
    """
    start = int(np.argmax(labelled))
    others = np.flatnonzero(~labelled[start:])
    return start, start + int(others[0]) if len(others) else len(labelled)


def conversations_of(path: Path) -> Iterator[list[Conversation]]:
    """Yield the conversations of one of the dataset step's parquet files, in batches.

    Raises PermanentError if it is missing or another file.
    """
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(_BATCH_ROWS, columns=SCHEMA.names):
                yield read_batch(batch)
    except FileNotFoundError as error:
        raise PermanentError(f"{path} is missing; the dataset step writes it") from error
    except (pyarrow.ArrowInvalid, KeyError) as error:
        raise PermanentError(f"{path} is not the dataset step's file: {error}") from error


def read_rows(
    path: Path, template: ChatTemplate, tokenizer: Any, max_length: int
) -> tuple[TokenRows, Census]:
    """Tokenize a parquet file of the dataset step. Raises PermanentError for another one."""
    census = Census()
    kept: list[tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]] = []
    for row in tokenise(conversations_of(path), template, tokenizer, max_length):
        census.add(row)
        if not row.problem:
            kept.append((row.ids, row.labelled))
    census.places = {
        reason: places_of(path, numbers) for reason, numbers in census.first_dropped.items()
    }
    log.event(
        _logger,
        "tokenised",
        file=path.name,
        rows=census.rows,
        used=len(kept),
        truncated=census.truncated,
        cut_tokens=census.cut_tokens,
        tokens=sum(len(ids) for ids, _ in kept),
    )
    if census.with_control_tokens:
        log.warn(
            _logger,
            "control-tokens-as-text",
            file=path.name,
            rows=census.with_control_tokens,
            effect="the model's control tokens in their texts are plain text",
        )
    if census.without_reasoning:
        log.warn(
            _logger,
            "reasoning-left-out",
            file=path.name,
            rows=census.without_reasoning,
            effect="the model's chat template renders the reasoning of the last answer alone, so "
            "that of others is neither read nor learned",
        )
    for reason, count in census.dropped.items():
        log.warn(
            _logger,
            "dropped",
            file=path.name,
            rows=count,
            reason=reason,
            first_rows=census.rows_of(reason),
        )
    return _flat(kept), census


def check_census(census: Census, max_truncated_share: float, max_rejected_share: float) -> None:
    """Raise PermanentError with the numbers if too many rows are truncated or unusable."""
    problems = []
    if census.truncated > max_truncated_share * census.rows:
        problems.append(
            f"{census.truncated} of {census.rows} rows are longer than max_length and lose "
            f"{census.cut_tokens} tokens, more than the share of {max_truncated_share:g} that "
            "max_truncated_share accepts; raise one of the two, or shorten the rows"
        )
    dropped = census.dropped.total()
    if dropped == census.rows:
        problems.append(f"no row is usable for training: {_reasons(census)}")
    elif dropped > max_rejected_share * census.rows:
        problems.append(
            f"{dropped} of {census.rows} rows are unusable for training, more than the share of "
            f"{max_rejected_share:g} that max_rejected_share accepts ({_reasons(census)})"
        )
    if problems:
        raise PermanentError("; ".join(problems))


def _reasons(census: Census) -> str:
    if not census.rows:
        return "the file is empty"
    return ", ".join(
        f"{count}: {reason} ({census.rows_of(reason)})" for reason, count in census.dropped.items()
    )


def _encode_ahead(
    tokenizer: Tokenizer, control: ControlTokens, batches: Iterable[list[_Row | str]]
) -> Iterator[tuple[list[_Row | str], list[Encoding | MarkedEncoding]]]:
    """Yield each batch with the encodings of its rendered rows, while a thread encodes the next."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        waiting: deque[tuple[list[_Row | str], Future[list[Encoding | MarkedEncoding]]]] = deque()
        for rows in batches:
            rendered = [row for row in rows if isinstance(row, _Row)]
            waiting.append((rows, thread.submit(_encode, tokenizer, control, rendered)))
            if len(waiting) > 1:
                earlier, made = waiting.popleft()
                yield earlier, made.result()
        for earlier, made in waiting:
            yield earlier, made.result()


def _encode(
    tokenizer: Tokenizer, control: ControlTokens, rows: Sequence[_Row]
) -> list[Encoding | MarkedEncoding]:
    texts = [row.rendered.text for row in rows if not row.is_marked]
    # Not transformers' __call__: it creates Python lists of all offsets, which doubles the time.
    plain = iter(tokenizer.encode_batch(texts, add_special_tokens=False))
    return [control.encode(row.rendered) if row.is_marked else next(plain) for row in rows]


def _label_row(
    number: int,
    row: _Row,
    encoding: Encoding | MarkedEncoding,
    stop_token_ids: Sequence[int],
    max_length: int,
) -> TokenRow:
    ids = encoding.ids
    labelled = _labels(_places(row.rendered, encoding), ids, stop_token_ids)
    problem = ""
    shown = without_marks(row.rendered) if row.is_marked else row.rendered
    if len(ids) <= max_length and not _learns_to_stop(ids, labelled, stop_token_ids):
        problem = NO_END_OF_TURN
    elif not labelled[:max_length].any():
        problem = NO_LABEL
    return TokenRow(
        number=number,
        problem=problem,
        text=shown.text,
        spans=shown.spans,
        tokens=len(ids),
        ids=np.asarray(ids[:max_length], dtype=np.int32),
        labelled=labelled[:max_length],
        has_control_tokens=row.is_marked,
        lacks_reasoning=row.lacks_reasoning,
    )


class _Row(NamedTuple):
    rendered: Rendered
    is_marked: bool
    """Whether control tokens in its texts are marked."""
    lacks_reasoning: bool
    """Whether reasoning of an answer is not in its text."""


def _render(row: Conversation, template: ChatTemplate, control: ControlTokens) -> _Row | str:
    """The row as text, or the reason why there is none."""
    try:
        template.check(row)
        has_control_tokens = control.are_in(row)
        row = control.mark(row) if has_control_tokens else row
        rendered = template.render(row.messages, row.tools)
        lacks_reasoning = template.leaves_out_reasoning(row, rendered.text)
        return _Row(_without_unlearned(rendered, row), has_control_tokens, lacks_reasoning)
    except TemplateMismatch as error:
        return str(error)


def _without_unlearned(rendered: Rendered, row: Conversation) -> Rendered:
    """The text without the spans of answers that are not learned. Raises TemplateMismatch."""
    answers = zip(row.messages, row.learned, strict=bool(row.learned))
    learned = [is_label for message, is_label in answers if message["role"] == "assistant"]
    if all(learned):
        return rendered
    if len(learned) != len(rendered.spans):
        raise TemplateMismatch(
            f"the chat template renders {len(learned)} answers as {len(rendered.spans)}, so the "
            "answers that are not learned cannot be located"
        )
    spans = [span for span, is_label in zip(rendered.spans, learned, strict=True) if is_label]
    return replace(rendered, spans=spans)


def _labels(
    places: Iterable[tuple[int, int, int]], ids: Sequence[int], stop_token_ids: Sequence[int]
) -> npt.NDArray[np.bool_]:
    """Label by position in the text, not by id: padding and end of turn may have the same id."""
    labelled = np.zeros(len(ids), dtype=np.bool_)
    for first, last, after in places:
        labelled[first:last] = True
        if last > first and ids[last - 1] in stop_token_ids:
            continue
        # The markers of some templates exclude the end-of-turn token, which must be a label.
        if after < len(ids) and ids[after] in stop_token_ids:
            labelled[after] = True
    labelled[:1] = False
    return labelled


def _places(row: Rendered, encoding: Encoding | MarkedEncoding) -> Iterator[tuple[int, int, int]]:
    """For each span its first token, the one after its last, and the next after its text."""
    if isinstance(encoding, MarkedEncoding):
        yield from ((first, last, last) for first, last in encoding.places)
        return
    for start, end in row.spans:
        first, after = (_first_from(place, encoding, len(row.text)) for place in (start, end))
        # A token that extends beyond the turn is not the assistant's.
        last = after
        while last > first and _characters(last - 1, encoding)[1] > end:
            last -= 1
        yield first, last, after


def _first_from(place: int, encoding: Encoding, length: int) -> int:
    """Index of the first token that starts at a character of the text or after it."""
    token = None
    while token is None:
        if place >= length:
            return len(encoding)
        token = encoding.char_to_token(place)
        # Characters that the tokenizer's normalizer removes are in no token.
        place += token is None
    while token < len(encoding) and _characters(token, encoding)[0] < place:
        token += 1
    return token


def _characters(token: int, encoding: Encoding) -> Span:
    span = encoding.token_to_chars(token)
    if span is None:
        raise IndexError(f"token {token} of {len(encoding)}")
    return span


def _learns_to_stop(
    ids: Sequence[int], labelled: npt.NDArray[np.bool_], stop_token_ids: Sequence[int]
) -> bool:
    last = np.flatnonzero(labelled)[-4:]
    return any(ids[index] in stop_token_ids for index in last)


def _flat(rows: Sequence[tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]]) -> TokenRows:
    lengths = [len(ids) for ids, _ in rows]
    return TokenRows(
        ids=np.concatenate([ids for ids, _ in rows], dtype=np.int32)
        if rows
        else np.zeros(0, dtype=np.int32),
        labelled=np.concatenate([labelled for _, labelled in rows])
        if rows
        else np.zeros(0, dtype=np.bool_),
        starts=np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]),
    )
