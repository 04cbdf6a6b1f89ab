"""Output in encodings that lack characters of it."""

from __future__ import annotations

import io
import json
import sys
from contextlib import redirect_stdout

import pytest

from argotune.workflows.cli.console import console
from argotune.workflows.cli.show.rows import step_rows, utc_now
from argotune.workflows.cli.show.view import steps_table
from argotune.workflows.cli.streams import write_any_character
from tests.workflows.cli.status import node, workflow_of


def stdout_in(encoding: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)


def written(stream: io.TextIOWrapper) -> str:
    assert isinstance(stream.buffer, io.BytesIO)
    return stream.buffer.getvalue().decode(stream.encoding)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_what_the_encoding_lacks_is_a_code_that_json_reads(encoding: str) -> None:
    with redirect_stdout(stdout_in(encoding)) as stream:
        write_any_character()
        print(json.dumps("é ✔ 😀", ensure_ascii=False))
    assert json.loads(written(stream)) == "é ✔ 😀"


@pytest.mark.parametrize(("encoding", "mark"), [("ascii", "+"), ("latin-1", "+"), ("utf-8", "✔")])
def test_a_table_has_signs_that_the_encoding_has(encoding: str, mark: str) -> None:
    workflow = workflow_of(node("tune", "Succeeded", message="é ✔ 😀"))
    with redirect_stdout(stdout_in(encoding)) as stream:
        write_any_character()
        console().print(steps_table(step_rows(workflow, utc_now())))
    assert written(stream).startswith(f"{mark}  tune")


def test_a_caller_that_takes_the_output_elsewhere_is_left_alone() -> None:
    with redirect_stdout(io.StringIO()):
        write_any_character()
        assert sys.stdout.errors is None
