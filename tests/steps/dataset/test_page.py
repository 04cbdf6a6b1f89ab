from __future__ import annotations

import re
from html.parser import HTMLParser

import msgspec

from argotune.steps.contracts.data_report import (
    Bin,
    DataReport,
    Duplicates,
    Finding,
    Pair,
    Pairs,
    Part,
    Place,
    Sample,
    Steps,
    Tokens,
)
from argotune.steps.dataset.page import data_html

PLACE, OTHER = Place(file=0, row=7), Place(file=1, row=3)
REPORT = DataReport(
    name="shop",
    model="tiny",
    files=["https://example.com/a.jsonl", "https://example.com/b.jsonl"],
    rows=1100,
    train_rows=950,
    held_out_rows=50,
    refused=[Finding(what="empty", rows=2, first=[PLACE, OTHER])],
    unused_columns=["id"],
    duplicates=Duplicates(
        exact=Finding(what="repeat an earlier row", rows=98, first=[OTHER]),
        near=Pairs(rows=1, first=[Pair(place=OTHER, other=PLACE, similarity=0.9)]),
        on_both_sides=Pairs(rows=0, first=[]),
        compared_rows=1000,
    ),
    sensitive=[Finding(what="e-mail addresses", rows=1, values=4, first=[PLACE])],
    tokens=Tokens(
        train=200_000,
        learned=120_000,
        held_out=9_000,
        steps=Steps(
            total=75,
            per_epoch=25,
            tokens_per_step=8_000,
            run_tokens=600_000,
            warning="the run has only 75 optimizer steps",
        ),
        max_length=512,
        cut=Finding(what="longer than max_length", rows=3, values=90, first=[PLACE]),
        lengths=[Bin(first=0, last=499, rows=900), Bin(first=500, last=999, rows=100)],
        median=190,
        longest=600,
    ),
    samples=[
        Sample(
            place=PLACE,
            held_out=False,
            tokens=12,
            parts=[
                Part(text="<|user|>\n<script>alert(1)</script>", learned=False),
                Part(text="Hello & <b>bye</b>", learned=True),
            ],
        )
    ],
)


class Page(HTMLParser):
    """The tags, and the text of each cell, item and mark."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.marked: list[str] = []
        self._is_marked = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._is_marked = tag == "mark"

    def handle_endtag(self, tag: str) -> None:
        self._is_marked = False

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append(data.strip())
        if self._is_marked:
            self.marked.append(data)


def test_page_has_every_number_and_the_rows() -> None:
    texts = Page(data_html(REPORT)).texts
    for expected in (
        *("shop: data", "1,100", "950", "50", "98", "200,000", "120,000", "600,000", "75"),
        *("0-499", "500-999", "900", "100"),
        *("empty", "a.jsonl:7, b.jsonl:3", "b.jsonl:3 ~ a.jsonl:7", "e-mail addresses", "4", "id"),
    ):
        assert expected in texts, expected
    assert "the run has only 75 optimizer steps." in texts
    assert any("max_length, 512 tokens, cuts 90 tokens of 3 longer rows: " in t for t in texts)


def test_a_number_is_not_broken_by_a_long_text_beside_it() -> None:
    many = Finding(what="wrong order", rows=1127, first=[PLACE])
    page = data_html(msgspec.structs.replace(REPORT, refused=[many]))
    assert '<td class="number">1,127</td>' in page
    assert '<td class="text">wrong order</td>' in page
    assert re.search(r"\.number \{ white-space: nowrap \}", page)


def test_what_is_learned_is_marked_and_text_of_rows_is_no_markup() -> None:
    page = Page(data_html(REPORT))
    assert "script" not in page.tags
    assert "b" not in page.tags
    assert "Hello & <b>bye</b>" in page.marked
    assert any("<script>alert(1)</script>" in text for text in page.texts)


def test_page_needs_no_network_and_is_readable_in_the_dark() -> None:
    page = data_html(REPORT)
    assert "default-src 'none'" in page
    assert not re.search(r'(src|href)="', page)
    assert "prefers-color-scheme: dark" in page


def test_page_of_a_step_without_a_tokenizer_has_no_tokens() -> None:
    texts = Page(data_html(msgspec.structs.replace(REPORT, tokens=None))).texts
    assert "950" in texts
    assert not [text for text in texts if "Median" in text or "tokens an epoch" in text]


def test_near_duplicates_among_some_of_the_rows_are_said_to_be_that() -> None:
    some = msgspec.structs.replace(REPORT.duplicates, compared_rows=10)
    page = data_html(msgspec.structs.replace(REPORT, duplicates=some))
    assert "near ones among the first 10 of 1,000 rows" in page
    assert "near ones among" not in data_html(REPORT)


def test_summary_says_what_to_look_at_in_one_line() -> None:
    assert REPORT.summary() == ("near duplicates: 1, rows cut: 3, rows with e-mail addresses: 1")
