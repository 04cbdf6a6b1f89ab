"""What `evaluate` hands to a scorer and takes back: two files of JSON lines on the run's volume.

The scorer is a program that argotune does not know, in an image that the installation allows. It
gets their paths in the environment variables ROWS_FILE and SCORES_FILE. The first it can only read,
so the rows are still evaluate's own when the scores come back; the second it writes anew. Each
check has two files of its own, in a directory with its title.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from argotune.steps.common.errors import PermanentError
from argotune.steps.common.fs import atomic_write
from argotune.steps.common.printable import printable

_DIR = "scoring"
"""Below the run's volume."""
ROWS_NAME, SCORES_NAME = "rows.jsonl", "scores.jsonl"
ROWS_VARIABLE, SCORES_VARIABLE = "ROWS_FILE", "SCORES_FILE"
Model = Literal["base", "live", "new"]
_MOST_BYTES_OF_A_ROW = 4096
_MOST_NAMED = 5


class Row(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A held-out row with the answers to its prompt."""

    id: str
    messages: list[dict[str, Any]]
    """The turns of the prompt, in OpenAI's form."""
    reference: str
    """The row's own answer."""
    answers: dict[Model, str]
    """Of `new`, and of `base` and `live` where the check compares with them."""


class Scored(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the scorer says of a row."""

    id: str
    score: float
    """Of the new adapter's answer; higher is better."""
    base_score: float | None = None
    """Of the base model's answer, where the row has it."""
    live_score: float | None = None
    """Of the answer of the adapter in service, likewise."""
    note: str = ""
    """Why, for people."""

    def of(self, model: Model) -> float | None:
        """The score of this model's answer."""
        return {"new": self.score, "base": self.base_score, "live": self.live_score}[model]


def rows_dir(check: str) -> Path:
    """The directory of a check's rows on the run's volume, which its scorer's pod mounts."""
    return Path(_DIR, check, "rows")


def scores_dir(check: str) -> Path:
    """The directory of its scores, a mount of its own."""
    return Path(_DIR, check, "scores")


def write_rows(work_dir: Path, check: str, rows: Sequence[Row]) -> None:
    """Write the rows of a check, and remove scores of an earlier try."""
    (work_dir / scores_dir(check)).mkdir(parents=True, exist_ok=True)
    (work_dir / scores_dir(check) / SCORES_NAME).unlink(missing_ok=True)
    lines = (msgspec.json.encode(row) + b"\n" for row in rows)
    atomic_write(work_dir / rows_dir(check) / ROWS_NAME, b"".join(lines))


def read_rows(work_dir: Path, check: str) -> list[Row]:
    """Read the rows of a check. Raises PermanentError where they are missing or others."""
    path = work_dir / rows_dir(check) / ROWS_NAME
    try:
        return [msgspec.json.decode(line, type=Row) for line in path.read_bytes().splitlines()]
    except (OSError, msgspec.DecodeError) as error:
        raise PermanentError(f"{path}: not the rows of an evaluation: {error}") from error


def read_scores(work_dir: Path, check: str, rows: Sequence[Row], *, who: str) -> list[Scored]:
    """Read the scores of a check's rows, in their order.

    Raises PermanentError, which names the scorer by `who`, for a file that is missing, too long or
    something else, and with the lines and rows for what is wrong in it.
    """
    path = work_dir / scores_dir(check) / SCORES_NAME
    lines = _read(path, _MOST_BYTES_OF_A_ROW * (len(rows) + 1), who).splitlines()
    known = {row.id: row for row in rows}
    found: dict[str, Scored] = {}
    problems: list[str] = []
    for number, line in enumerate(lines, start=1):
        try:
            scored = msgspec.json.decode(line, type=Scored)
        except msgspec.DecodeError as error:
            problems.append(f"line {number}: {printable(str(error))}")
            continue
        if problem := _problem_of(scored, known, found):
            problems.append(f"line {number}: {problem}")
        found[scored.id] = scored
    missing = [row.id for row in rows if row.id not in found]
    if missing and not problems:
        problems = [f"no line for the ids {_some(missing)}"]
    if problems:
        raise PermanentError(
            f"{who} wrote {SCORES_NAME} with problems: {_some(problems, '; ')}; "
            "wanted is one JSON object a line, for each id of the rows once"
        )
    return [found[row.id] for row in rows]


def _problem_of(
    scored: Scored, known: Mapping[str, Row], found: Mapping[str, Scored]
) -> str | None:
    name = printable(scored.id[:60])
    if scored.id not in known:
        return f"id {name!r} is none of the rows'"
    if scored.id in found:
        return f"id {name!r} is there twice"
    for model in known[scored.id].answers:
        field = "score" if model == "new" else f"{model}_score"
        score = scored.of(model)
        if score is None:
            return f"id {name!r} has no {field}, and the row has that answer"
        if not math.isfinite(score):
            return f"id {name!r}: {field} is no finite number"
    return None


def _read(path: Path, most_bytes: int, who: str) -> bytes:
    """The file's content; a link that the program left there is not followed."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise PermanentError(
            f"{who} ended without the file of {SCORES_VARIABLE}: {error.strerror}"
        ) from error
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise PermanentError(f"{who} wrote something that is no file to {SCORES_VARIABLE}")
    with os.fdopen(file, "rb") as opened:
        content = opened.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise PermanentError(
            f"{who} wrote more than {_MOST_BYTES_OF_A_ROW} bytes a row to {SCORES_VARIABLE}; "
            "shorten the notes"
        )
    return content


def _some(texts: Sequence[str], separator: str = ", ") -> str:
    named = separator.join(texts[:_MOST_NAMED])
    more = len(texts) - _MOST_NAMED
    return f"{named}{separator}and {more} more" if more > 0 else named
