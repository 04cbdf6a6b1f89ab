"""What a scorer writes, which is a program that argotune does not know."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.scoring import (
    SCORES_NAME,
    Row,
    read_rows,
    read_scores,
    scores_dir,
    write_rows,
)

CHECK = "polite"
ROWS = [
    Row(
        id=str(place),
        messages=[{"role": "user", "content": "Q"}],
        reference="R",
        answers={"new": "A", "base": "B"},
    )
    for place in range(2)
]


def scores(work_dir: Path, *lines: Any) -> list[float]:
    write_rows(work_dir, CHECK, ROWS)
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    (work_dir / scores_dir(CHECK) / SCORES_NAME).write_text("".join(f"{text}\n" for text in texts))
    found = read_scores(work_dir, CHECK, read_rows(work_dir, CHECK), who="scorer tone")
    return [each.score for each in found]


def line(name: str, score: Any = 0.5, **more: Any) -> dict[str, Any]:
    return {"id": name, "score": score, "base_score": 1, **more}


def test_scores_come_back_in_the_order_of_the_rows(tmp_path: Path) -> None:
    assert scores(tmp_path, line("1", 3), line("0", -2.5, note="rude")) == [-2.5, 3]


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ([line("0")], "problems: no line for the ids 1;"),
        ([line("0"), line("1"), line("2")], "problems: line 3: id '2' is none of the rows';"),
        ([line("0"), line("0")], "problems: line 2: id '0' is there twice;"),
        (
            [{"id": "0", "score": 1}, line("1")],
            "line 1: id '0' has no base_score, and the row has that answer",
        ),
        ([line("0", "good"), line("1")], "line 1: Expected `float`, got `str` - at `$.score`"),
        ([line("0", verdict=1), line("1")], "line 1: Object contains unknown field `verdict`"),
        (
            ["0,0.5", line("1")],
            "line 1: Expected `object`, got `int`; wanted is one JSON object a line",
        ),
        ([line("0"), line("1", note="x" * 20_000)], "more than 4096 bytes a row"),
    ],
)
def test_what_is_wrong_is_named_by_line_and_row(
    tmp_path: Path, lines: list[Any], problem: str
) -> None:
    with pytest.raises(PermanentError) as caught:
        scores(tmp_path, *lines)
    assert str(caught.value).startswith("scorer tone wrote ")
    assert problem in str(caught.value)


def test_missing_file_is_said(tmp_path: Path) -> None:
    write_rows(tmp_path, CHECK, ROWS)
    with pytest.raises(PermanentError, match="scorer tone ended without the file of SCORES_FILE"):
        read_scores(tmp_path, CHECK, ROWS, who="scorer tone")


@pytest.mark.parametrize("kind", ["link", "pipe", "directory"])
def test_what_is_no_file_is_not_read(tmp_path: Path, kind: str) -> None:
    write_rows(tmp_path, CHECK, ROWS)
    secret, path = tmp_path / "secret", tmp_path / scores_dir(CHECK) / SCORES_NAME
    secret.write_text(json.dumps(line("0")))
    match kind:
        case "link":
            path.symlink_to(secret)
        case "pipe":
            os.mkfifo(path)
        case _:
            path.mkdir()
    with pytest.raises(
        PermanentError, match=r"scorer tone (ended|wrote something that is no file)"
    ):
        read_scores(tmp_path, CHECK, ROWS, who="scorer tone")


def test_new_rows_take_the_scores_of_earlier_ones_away(tmp_path: Path) -> None:
    scores(tmp_path, line("0"), line("1"))
    write_rows(tmp_path, CHECK, ROWS)
    assert not (tmp_path / scores_dir(CHECK) / SCORES_NAME).exists()
