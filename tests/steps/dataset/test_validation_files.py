"""Validation files: their rows are held out, all of them, and the others are trained on."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest

from argotune.steps.common.errors import ParamsError, PermanentError
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.data_report import parse_report
from argotune.steps.contracts.training_plan import write_plan
from argotune.steps.dataset.params import Params, Result
from argotune.steps.dataset.run import run
from argotune.workflows.cli.show.data import count_rows
from tests.fakes.plans import small_plan


def row(question: str, answer: str = "Yes.") -> dict[str, str]:
    return {"prompt": question, "completion": answer}


TRAIN = [row(f"Question {n}?") for n in range(20)]
HELD_OUT = [row(f"Held out {n}?") for n in range(5)]


class Files:
    """Files of this machine, and the step's run on them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._works = 0

    def write(self, name: str, rows: list[dict[str, str]]) -> str:
        path = self.directory / name
        path.write_text("\n".join(map(json.dumps, rows)))
        return path.as_uri()

    def make(self, urls: list[str], validation_urls: list[str], **settings: Any) -> Result:
        self._works += 1
        self.work = self.directory / f"work{self._works}"
        plan = small_plan()
        # As plan does with validation files; the share of earlier plans has no effect either.
        data = msgspec.structs.replace(plan.data, has_validation_files=True)
        write_plan(self.directory / "plan.yaml", msgspec.structs.replace(plan, data=data))
        params = Params(
            urls=tuple(urls),
            validation_urls=tuple(validation_urls),
            plan_file=self.directory / "plan.yaml",
            work_dir=self.work,
            allow_files=True,
            **settings,
        )
        return run(params, progress=Progress())

    def questions(self, side: str) -> list[str]:
        table = pq.read_table(self.work / f"dataset/{side}.parquet").to_pylist()
        return [each["messages"][0]["content"] for each in table]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_all_their_rows_and_no_others_are_held_out(files: Files) -> None:
    result = files.make([files.write("t", TRAIN)], [files.write("v", HELD_OUT)])
    assert (result.train_rows, result.validation_rows, result.removed_rows) == (20, 5, 0)
    assert files.questions("train") == [each["prompt"] for each in TRAIN]
    assert files.questions("validation") == [each["prompt"] for each in HELD_OUT]


def test_rows_that_ask_the_same_are_not_trained_on(
    files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    """The same row, another answer to its question, and another spelling of it."""
    asked = [HELD_OUT[0], row("Held out 1?", "No."), row("HELD OUT 2")]
    train = files.write("t.jsonl", [*TRAIN, *asked])
    with caplog.at_level(logging.WARNING):
        result = files.make([train], [files.write("v.jsonl", HELD_OUT)])
    assert (result.train_rows, result.validation_rows, result.removed_rows) == (20, 5, 3)
    assert result.summary == (
        "28 rows: 20 to train, 5 held out, 0 duplicates, 3 asked in validation, 0 refused"
    )
    assert "asked-in-validation rows=3" in caplog.text
    report = parse_report((files.work / "dataset/data.json").read_bytes())
    assert report.places_text(report.duplicates.asked) == "t.jsonl:21, t.jsonl:22, t.jsonl:23"
    assert "ask what a validation file asks" in (files.work / "dataset/data.html").read_text()
    (told,) = (each for each in count_rows(report) if each.name == "held out")
    assert told.value == "v.jsonl"


def test_record_says_which_files_are_held_out(files: Files) -> None:
    files.make([files.write("t", TRAIN)], [files.write("v", HELD_OUT)])
    record = json.loads((files.work / "dataset/dataset.json").read_text())
    assert [(each["url"][-1], each["is_held_out"]) for each in record["files"]] == [
        ("v", True),
        ("t", False),
    ]


def test_one_edited_row_of_them_is_another_dataset(files: Files) -> None:
    train = files.write("t", TRAIN)
    first = files.make([train], [files.write("v", HELD_OUT)])
    again = files.make([train], [files.write("renamed", HELD_OUT)])
    edited = files.make([train], [files.write("v", [*HELD_OUT[:4], row("Held out 4?", "No.")])])
    assert first.digest == again.digest != edited.digest


def test_a_file_on_both_sides_leaves_nothing_to_train_on(files: Files) -> None:
    url = files.write("t", TRAIN)
    with pytest.raises(PermanentError) as caught:
        files.make([url], [url])
    assert str(caught.value) == (
        "no row is left to train on: 20 ask what the validation files ask; give training files"
        " with other questions"
    )


def test_a_validation_file_without_a_usable_row_is_refused(files: Files) -> None:
    empty = files.write("v", [row("Question?", " ")])
    with pytest.raises(
        PermanentError, match=r"no row of the validation files is usable: file:.*/v"
    ):
        files.make([files.write("t", 2 * TRAIN)], [empty])


def test_wrong_url_of_one_is_refused_by_its_flag(files: Files) -> None:
    url = files.write("t", TRAIN)
    with pytest.raises(ParamsError, match=r"^--validation-urls\[1\]: http://10.0.0.1/a"):
        files.make([url], [url, "http://10.0.0.1/a"])


def test_tokens_come_from_their_own_file_of_the_secret(files: Files, tmp_path: Path) -> None:
    secret = tmp_path / "validation-urls.json"
    secret.write_text('["https://example.com/other?sig=hunter2"]')
    with pytest.raises(ParamsError) as caught:
        files.make(
            [files.write("t", TRAIN)],
            ["https://example.com/v"],
            validation_urls_file=secret,
        )
    assert "--validation-urls-file" in str(caught.value)
    assert "hunter2" not in str(caught.value)
