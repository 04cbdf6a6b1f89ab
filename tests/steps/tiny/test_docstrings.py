from __future__ import annotations

import itertools
import subprocess
import sys

import pytest

from argotune.steps.tiny.docstrings import (
    FAMILIAR,
    PHRASINGS,
    collect_docstrings,
    conversations,
    first_sentence,
    library_texts,
)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("Return x.  And more.\n\nDetails.", "Return x."),
        ("sorted(x) -> list\n\nSort ``x`` in\n    a new list.", "Sort x in a new list."),
        ("no end", ""),
        ("Named things (e.g. this one) are cut.", ""),
        ("", ""),
    ],
)
def test_first_sentence(text: str, sentence: str) -> None:
    assert first_sentence(text) == sentence


def test_known_functions_are_found_in_order() -> None:
    found = collect_docstrings()
    names = dict(found)
    assert names["json.dumps"] == "Serialize obj to a JSON formatted str."
    assert found == sorted(found)
    assert len(found) > 300
    assert len(set(names.values())) == len(found)


def test_the_demos_rows_ask_for_each_function_in_every_way() -> None:
    rows = conversations()
    assert len(rows) > 0.8 * len(FAMILIAR) * len(PHRASINGS)
    assert len(rows) % len(PHRASINGS) == 0
    assert [
        {"role": "user", "content": "What does json.dumps do?"},
        {"role": "assistant", "content": "Serialize obj to a JSON formatted str."},
    ] in rows


def test_library_texts_come_in_the_same_order_each_time() -> None:
    first = list(itertools.islice(library_texts(), 100))
    assert first == list(itertools.islice(library_texts(), 100))
    assert all(text.isascii() and text for text in first)


def test_neither_torch_nor_a_browser_is_opened_by_it() -> None:
    code = (
        "import sys; from argotune.steps.tiny.docstrings import collect_docstrings;"
        "collect_docstrings();"
        "assert not {'torch', 'antigravity', 'this', 'tkinter'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
