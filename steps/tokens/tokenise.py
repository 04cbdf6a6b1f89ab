"""Tokenize conversations, and label the tokens that the assistant writes."""

from __future__ import annotations

import itertools
import logging
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow
import pyarrow.parquet
from tokenizers import Encoding, Tokenizer

from argotune.steps.common import log
from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.serving import Message
from argotune.steps.tokens.spans import Rendered, Span, TemplateMismatch
from argotune.steps.tokens.template import ChatTemplate

_BATCH_ROWS = 512
_LEARNED = "learned"
"""Field of a message in the dataset step's file: whether its tokens are labels."""
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

    def add(self, row: TokenRow) -> None:
        """Count a row."""
        self.rows += 1
        if row.cut_tokens:
            self.truncated += 1
            self.cut_tokens += row.cut_tokens
        if row.problem:
            self.dropped[row.problem] += 1

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

    @property
    def cut_tokens(self) -> int:
        """Tokens beyond max_length."""
        return self.tokens - len(self.ids)

    @property
    def learned_tokens(self) -> int:
        """Tokens of `ids` that are learned."""
        return int(np.count_nonzero(self.labelled))


def tokenise(
    batches: Iterable[Sequence[Sequence[Message]]],
    template: ChatTemplate,
    tokenizer: Any,
    max_length: int,
) -> Iterator[TokenRow]:
    """Yield each row of batches of conversations, in order, also the unusable ones.

    A message may have a field `learned`, of False for an answer that is context alone. Memory is
    that of two batches, of some hundred rows each for the best speed.
    """
    # A tokenizer may be configured to truncate or pad; here max_length and the packs do this.
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    number = itertools.count()
    rendered = ([_render(messages, template) for messages in batch] for batch in batches)
    for rows, encodings in _encode_ahead(tokenizer.backend_tokenizer, rendered):
        encoded = iter(encodings)
        for row in rows:
            if isinstance(row, str):
                yield TokenRow(number=next(number), problem=row)
            else:
                yield _label_row(
                    next(number), row, next(encoded), template.stop_token_ids, max_length
                )


def conversations_of(path: Path) -> Iterator[list[list[Message]]]:
    """Yield the conversations of one of the dataset step's parquet files, in batches.

    Raises PermanentError if it is missing or another file.
    """
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(_BATCH_ROWS, columns=["messages"]):
                yield batch.column("messages").to_pylist()
    except FileNotFoundError as error:
        raise PermanentError(f"{path} is missing; the dataset step writes it") from error
    except (pyarrow.ArrowInvalid, KeyError) as error:
        raise PermanentError(f"{path} is not the dataset step's file: {error}") from error


def read_rows(
    path: Path, template: ChatTemplate, tokenizer: Any, max_length: int
) -> tuple[TokenRows, Census]:
    """Tokenize the `messages` of a parquet file. Raises PermanentError if it has none."""
    census = Census()
    kept: list[tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]] = []
    for row in tokenise(conversations_of(path), template, tokenizer, max_length):
        census.add(row)
        if not row.problem:
            kept.append((row.ids, row.labelled))
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
    for reason, count in census.dropped.items():
        log.warn(_logger, "dropped", file=path.name, rows=count, reason=reason)
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
    return ", ".join(f"{count}: {reason}" for reason, count in census.dropped.items())


def _encode_ahead(
    tokenizer: Tokenizer, batches: Iterable[list[Rendered | str]]
) -> Iterator[tuple[list[Rendered | str], list[Encoding]]]:
    """Yield each batch with the encodings of its rendered rows, while a thread encodes the next."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        waiting: deque[tuple[list[Rendered | str], Future[list[Encoding]]]] = deque()
        for rows in batches:
            texts = [row.text for row in rows if isinstance(row, Rendered)]
            # Not transformers' __call__: it creates Python lists of all offsets, which doubles the
            # time.
            made = thread.submit(tokenizer.encode_batch, texts, add_special_tokens=False)
            waiting.append((rows, made))
            if len(waiting) > 1:
                earlier, made = waiting.popleft()
                yield earlier, made.result()
        for earlier, made in waiting:
            yield earlier, made.result()


def _label_row(
    number: int,
    row: Rendered,
    encoding: Encoding,
    stop_token_ids: Sequence[int],
    max_length: int,
) -> TokenRow:
    ids = encoding.ids
    labelled = _labels(row, ids, encoding, stop_token_ids)
    problem = ""
    if len(ids) <= max_length and not _learns_to_stop(ids, labelled, stop_token_ids):
        problem = NO_END_OF_TURN
    elif not labelled[:max_length].any():
        problem = NO_LABEL
    return TokenRow(
        number=number,
        problem=problem,
        text=row.text,
        spans=row.spans,
        tokens=len(ids),
        ids=np.asarray(ids[:max_length], dtype=np.int32),
        labelled=labelled[:max_length],
    )


def _render(messages: Sequence[Message], template: ChatTemplate) -> Rendered | str:
    """The row as text, or the reason why there is none."""
    # The template gets what the server would give it.
    turns = [{name: value for name, value in each.items() if name != _LEARNED} for each in messages]
    try:
        return _without_unlearned(template.render(turns), messages)
    except TemplateMismatch as error:
        return str(error)


def _without_unlearned(row: Rendered, messages: Sequence[Message]) -> Rendered:
    """The row without the spans of answers that are not learned. Raises TemplateMismatch."""
    learned = [each.get(_LEARNED, True) for each in messages if each["role"] == "assistant"]
    if all(learned):
        return row
    if len(learned) != len(row.spans):
        raise TemplateMismatch(
            f"the chat template renders {len(learned)} answers as {len(row.spans)}, so the answers "
            "that are not learned cannot be located"
        )
    return replace(
        row, spans=[span for span, is_label in zip(row.spans, learned, strict=True) if is_label]
    )


def _labels(
    row: Rendered, ids: Sequence[int], encoding: Encoding, stop_token_ids: Sequence[int]
) -> npt.NDArray[np.bool_]:
    """Label by position in the text, not by id: padding and end of turn may have the same id."""
    labelled = np.zeros(len(ids), dtype=np.bool_)
    for start, end in row.spans:
        first, after = (_first_from(place, encoding, len(row.text)) for place in (start, end))
        # A token that extends beyond the turn is not the assistant's.
        last = after
        while last > first and _characters(last - 1, encoding)[1] > end:
            last -= 1
        labelled[first:last] = True
        if last > first and ids[last - 1] in stop_token_ids:
            continue
        # The markers of some templates exclude the end-of-turn token, which must be a label.
        if after < len(ids) and ids[after] in stop_token_ids:
            labelled[after] = True
    labelled[:1] = False
    return labelled


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
