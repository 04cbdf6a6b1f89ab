from __future__ import annotations

import numpy as np
import pytest

from argotune.steps.contracts.data_report import Finding, Place
from argotune.steps.contracts.steps_of_run import steps_of_run
from argotune.steps.dataset.findings import Findings, histogram
from argotune.steps.dataset.token_counts import Judged, TokenCounts
from tests.fakes.plans import small_plan
from tests.steps.dataset.conversation import conversations
from tests.steps.dataset.test_near_duplicates import TEXT, with_changed_words
from tests.steps.dataset.test_sensitive import VALUES

TRAINING = small_plan().training


def add(
    found: Findings,
    *texts: str,
    file: int = 0,
    first: int = 1,
    held_out: tuple[int, ...] = (),
    judged: Judged | None = None,
) -> None:
    """Add questions as rows of a file, numbered from `first`; those at `held_out` are held out."""
    sides = np.isin(np.arange(len(texts)), held_out)
    numbers = np.arange(first, first + len(texts))
    found.add(file, numbers, conversations(*texts), sides, judged)


def judged(*tokens: int, max_length: int = TRAINING.max_length) -> Judged:
    """What a tokenizer would make of rows with that many tokens, half of them learned."""
    lengths = np.array(tokens, dtype=np.int32)
    used = np.minimum(lengths, max_length).astype(np.int32)
    return Judged(
        reasons=np.zeros(len(tokens), dtype=np.uint8),
        details={},
        tokens=used,
        learned_tokens=used // 2,
        cut_tokens=lengths - used,
    )


def counts(one: Judged) -> TokenCounts:
    found = TokenCounts()
    found.add(one)
    return found


def test_near_duplicates_are_named_by_file_and_row() -> None:
    found = Findings()
    add(found, TEXT, "quite another question")
    add(found, with_changed_words(TEXT, 1), file=1, first=7, held_out=(0,))
    duplicates = found.duplicates()
    assert duplicates.compared_rows == 3
    for pairs in (duplicates.near, duplicates.on_both_sides):
        assert pairs.rows == 1
        assert pairs.first[0].place == Place(file=1, row=7)
        assert pairs.first[0].other == Place(file=0, row=1)
        assert 0.8 <= pairs.first[0].similarity < 1


def test_repeated_rows_are_counted_and_the_first_are_named() -> None:
    found = Findings()
    found.add_repeated(0, np.arange(5, 105))
    exact = found.duplicates().exact
    assert exact.rows == 100
    assert [place.row for place in exact.first] == list(range(5, 25))


def test_secrets_are_counted_by_kind_in_the_order_of_the_table() -> None:
    found = Findings()
    address = VALUES["e-mail addresses"]
    add(found, "nothing", VALUES["npm tokens"], f"{address} and {address}", first=10)
    add(found, address, file=1, first=3)
    assert found.sensitive() == [
        Finding(
            what="e-mail addresses",
            rows=2,
            values=3,
            first=[Place(file=0, row=12), Place(file=1, row=3)],
        ),
        Finding(what="npm tokens", rows=1, values=1, first=[Place(file=0, row=11)]),
    ]


def test_samples_are_the_first_rows_with_secrets_masked() -> None:
    found = Findings(samples=2)
    add(found, f"I am {VALUES['e-mail addresses']}", "two", held_out=(1,))
    add(found, "three")
    samples = found.samples()
    assert [(each.place.row, each.held_out, each.tokens) for each in samples] == [
        (1, False, None),
        (2, True, None),
    ]
    assert [(part.text, part.learned) for part in samples[0].parts] == [
        ("user: ", False),
        ("I am [e-mail addresses]", False),
        ("\n", False),
        ("assistant: ", False),
        ("yes", True),
        ("\n", False),
    ]


def test_tokens_are_those_that_tune_trains_on() -> None:
    longest = TRAINING.max_length + 30
    found = Findings()
    add(found, "one", "two", "three", judged=judged(100, 20, longest), held_out=(1,))
    train = counts(judged(100, longest))
    steps = steps_of_run(train.lengths.tolist(), TRAINING)
    tokens = found.tokens(train, counts(judged(20)), TRAINING.max_length, steps)
    assert tokens is not None
    assert tokens.steps is not None
    assert tokens.train == 100 + TRAINING.max_length
    assert tokens.learned == tokens.train // 2
    assert tokens.held_out == 20
    assert tokens.steps.run_tokens == round(tokens.train * steps.epochs)
    assert tokens.steps.warning == steps.warning() != ""
    assert (tokens.median, tokens.longest) == (100, longest)
    assert tokens.cut == Finding(
        what="longer than max_length", rows=1, values=30, first=[Place(file=0, row=3)]
    )
    assert sum(each.rows for each in tokens.lengths) == 3


def test_without_a_tokenizer_there_are_no_tokens() -> None:
    found = Findings()
    add(found, "one")
    assert found.tokens(None, None, TRAINING.max_length, None) is None


@pytest.mark.parametrize(
    ("lengths", "bins", "width"),
    [
        ([0], 1, 1),
        ([0, 19], 20, 1),
        ([0, 20], 11, 2),
        ([0, 99], 20, 5),
        ([0, 1_000_000], 11, 100_000),
        ([1_000_000], 1, 1),
        ([20, 21, 23], 4, 1),
        ([205, 305], 11, 10),
    ],
)
def test_histogram_has_at_most_twenty_round_bins(lengths: list[int], bins: int, width: int) -> None:
    found = histogram(np.array(lengths, dtype=np.int32))
    assert len(found) == bins
    assert {each.last - each.first + 1 for each in found} == {width}
    assert all(each.first % width == 0 for each in found)
    for bin_, length in ((found[0], min(lengths)), (found[-1], max(lengths))):
        assert bin_.first <= length <= bin_.last
        assert bin_.rows >= 1
    assert sum(each.rows for each in found) == len(lengths)
