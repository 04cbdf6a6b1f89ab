"""What was found in the data, as the terminal says it."""

from __future__ import annotations

import msgspec

from argotune.workflows.cli.show.data import count_rows
from tests.steps.dataset.test_page import REPORT


def test_near_duplicates_among_some_of_the_rows_are_said_to_be_that() -> None:
    some = msgspec.structs.replace(REPORT.duplicates, compared_rows=10)
    rows = {row.name: row for row in count_rows(msgspec.structs.replace(REPORT, duplicates=some))}
    assert rows["duplicates"].note == "near ones among the first 10 of 1,000 rows are looked for"
    assert "duplicates" not in {row.name for row in count_rows(REPORT)}
