"""Rows of jsonl, json and csv files, one at a time."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec
import numpy as np

from argotune.steps.dataset.chat_exports import chat_problem
from argotune.steps.dataset.json_keys import first_repeated, repeated_key
from argotune.steps.dataset.source import (
    BATCH_BYTES,
    BATCH_ROWS,
    MAX_ROW_BYTES,
    NOT_UTF_8,
    Batch,
    Column,
    FormatError,
)
from argotune.steps.dataset.streams import ByteStream, Compression, buffered

_SAMPLE_ROWS = 200
"""Rows that are looked at to find the columns."""
_MOST_COLUMNS = 1000
"""Names that are remembered of them; a row may have a million."""
_CHUNK_BYTES = 1 << 20
_SPACE = re.compile(r"[ \t\n\r]*")
_LINE_DECODER = msgspec.json.Decoder()
_MOST_HEADER_CHARACTERS = 1 << 16
_SEPARATORS = ",;\t|"
_NAN = ("nan", "NaN")
_TRUNCATED = "truncated"
"""Word of msgspec's error for a text that ends too early."""


class Row(NamedTuple):
    """One row of a text format."""

    number: int
    value: dict[str, object] | None
    """None when it is no row, such as a line that is not a JSON object."""
    size: int
    """About its bytes."""
    too_long: bool = False
    problem: str = ""
    """Why it is none."""


Reader = Callable[[BinaryIO], Iterator[Row]]


class TextSource:
    """A file of a text format, read as a stream."""

    def __init__(self, path: Path, compression: Compression | None, reader: Reader) -> None:
        self._path = path
        self._compression = compression
        self._reader = reader
        self._stream: ByteStream | None = None
        self._columns: dict[str, Column] = {}
        self._unsettled: set[str] = set()
        """Columns with nothing but nulls so far."""

    def columns(self) -> Mapping[str, Column]:
        """The names in the rows that were read, at first in the first rows, in their order."""
        if not self._columns:
            for row in islice(self._rows(), _SAMPLE_ROWS):
                self._note_columns(row)
        return dict(self._columns)

    def _note_columns(self, row: Row) -> None:
        if row.value is None:
            return
        if not row.value.keys() <= self._columns.keys():
            new = [name for name in row.value if name not in self._columns]
            for name in new[: max(0, _MOST_COLUMNS - len(self._columns))]:
                self._set_column(name, row.value[name])
        for name in self._unsettled & row.value.keys():
            self._set_column(name, row.value[name])

    def _set_column(self, name: str, value: object) -> None:
        self._columns[name] = _column(value)
        if value is None:
            self._unsettled.add(name)
        else:
            self._unsettled.discard(name)

    def batches(self, names: Collection[str]) -> Iterator[Batch]:
        """All rows in order, with these columns."""
        rows: list[Row] = []
        size = 0
        for row in self._rows():
            self._note_columns(row)
            rows.append(row)
            size += row.size
            if size >= BATCH_BYTES or len(rows) >= BATCH_ROWS:
                yield _batch(rows, names)
                rows, size = [], 0
        if rows:
            yield _batch(rows, names)

    def position(self) -> int:
        """Bytes of the file that were read."""
        return self._stream.position() if self._stream else 0

    def _rows(self) -> Iterator[Row]:
        with ByteStream(self._path, self._compression) as stream, buffered(stream) as file:
            self._stream = stream
            yield from self._reader(file)
            self._stream = None


def jsonl_rows(file: BinaryIO) -> Iterator[Row]:
    """One JSON object a line; empty lines are left out."""
    number = 0
    while line := file.readline(MAX_ROW_BYTES + 1):
        number += 1
        if len(line) > MAX_ROW_BYTES:
            _skip_line(file, line)
            yield Row(number, None, 0, too_long=True)
            continue
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        if not line.isspace():
            yield _json_row(number, line)


def _skip_line(file: BinaryIO, line: bytes) -> None:
    """Read to the end of a line that begins so."""
    while line and not line.endswith(b"\n"):
        line = file.readline(_CHUNK_BYTES)


def _json_row(number: int, line: bytes) -> Row:
    """One line as a row. Raises FormatError for the beginning of a row, where the file ends."""
    try:
        value = _LINE_DECODER.decode(line)
    except RecursionError:
        return Row(number, None, len(line), problem="it is nested too deeply")
    except UnicodeDecodeError:
        return Row(number, None, len(line), problem=f"it is not UTF-8 text; {NOT_UTF_8}")
    except msgspec.DecodeError as error:
        value = _with_nan(line)
        if value is None and _TRUNCATED in str(error) and not line.endswith(b"\n"):
            raise FormatError(
                f"it ends within line {number}: the file is truncated; upload it again"
            ) from error
        if value is None:
            return Row(number, None, len(line), problem=f"it is not JSON: {error}")
    return _row_of(number, value, len(line), repeated_key(line, value))


def _with_nan(line: bytes) -> dict[str, object] | None:
    """The object of a line with NaN, which Python writes for a missing number; None for others."""
    if b"NaN" not in line:
        return None
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def json_rows(file: BinaryIO) -> Iterator[Row]:
    """The objects of one JSON array, or of the array under "data" in one JSON object."""
    cursor = _Cursor(file)
    if cursor.peek() == "{":
        _enter_data(cursor)
    cursor.expect("[")
    number = 0
    closing = cursor.accept("]")
    while not closing:
        number += 1
        before = cursor.consumed
        value = cursor.value(f"row {number}")
        yield _row_of(number, value, cursor.consumed - before, cursor.repeated_key)
        closing = cursor.accept("]")
        if not closing:
            cursor.expect(",")


def _row_of(number: int, value: object, size: int, repeated: str | None) -> Row:
    """A JSON value as a row; `repeated` is a key that one of its objects has twice."""
    if not isinstance(value, dict):
        return Row(number, None, size, problem="it is JSON, but not an object")
    if repeated is not None:
        return Row(number, None, size, problem=f"it has the key {repeated!r} twice")
    return Row(number, value, size)


def json_object_rows(file: BinaryIO) -> Iterator[Row]:
    """JSON objects one after the other, each on any number of lines."""
    cursor = _Cursor(file)
    number = 0
    while cursor.peek():
        number += 1
        before = cursor.consumed
        value = cursor.value(f"row {number}")
        yield _row_of(number, value, cursor.consumed - before, cursor.repeated_key)


def _enter_data(cursor: _Cursor) -> None:
    """Go to the value of the key "data"."""
    cursor.expect("{")
    keys = list[str]()
    while cursor.peek() == '"':
        key = cursor.value("a key")
        keys.append(str(key))
        if problem := chat_problem(keys):
            raise FormatError(problem)
        cursor.expect(":")
        if key == "data" and cursor.peek() == "[":
            return
        cursor.value(f"the value of {str(key)[:40]!r}")
        if not cursor.accept(","):
            break
    raise FormatError('it is one JSON object without a list "data" of rows')


def csv_rows(file: BinaryIO) -> Iterator[Row]:
    """Rows below a header line; rows with another number of fields are malformed."""
    csv.field_size_limit(MAX_ROW_BYTES)
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    lines = _CsvLines(text)
    try:
        reader = csv.reader(lines, strict=True, delimiter=_separator(lines.first_line()))
        # Blanks around a name are not meant: people put them there to align a table.
        header = [name.strip() for name in next(reader, [])]
        lines.end_row()
        _check_header(header)
        number = 0
        for fields in reader:
            lines.end_row()
            if not fields:
                continue
            number += 1
            yield _csv_row(number, header, fields)
    except csv.Error as error:
        raise FormatError(f"near line {lines.number}: {error}") from error
    except UnicodeDecodeError as error:
        raise FormatError(f"near line {lines.number + 1}: not UTF-8 text; {NOT_UTF_8}") from error
    finally:
        text.detach()


def _csv_row(number: int, header: list[str], fields: list[str]) -> Row:
    size = sum(map(len, fields))
    if len(fields) != len(header):
        problem = f"it has {len(fields)} fields, and the header {len(header)}"
        return Row(number, None, size, problem=problem)
    # Programs write a missing number so.
    values = [None if field in _NAN else field for field in fields]
    return Row(number, dict(zip(header, values, strict=True)), size)


def _separator(header: str) -> str:
    """The separator that divides the header into the most names, a comma if none does better."""
    begin = [header[:_MOST_HEADER_CHARACTERS]]
    fields = {each: len(next(csv.reader(begin, delimiter=each))) for each in _SEPARATORS}
    return max(_SEPARATORS, key=lambda each: fields[each])


class _CsvLines:
    """The lines of a text, of which a row may have several; a row's length is limited."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text
        self._row = 0
        self._waiting: str | None = None
        self.number = 0
        """Lines that were read."""

    def first_line(self) -> str:
        """The first line, which is also the first one of the iteration."""
        self._waiting = self._read()
        return self._waiting

    def end_row(self) -> None:
        """The next line begins a row."""
        self._row = 0

    def __iter__(self) -> _CsvLines:
        return self

    def __next__(self) -> str:
        line = self._read() if self._waiting is None else self._waiting
        self._waiting = None
        self._row += len(line)
        if self._row > MAX_ROW_BYTES:
            raise csv.Error(f"a row is longer than {MAX_ROW_BYTES >> 20} MiB")
        if not line:
            raise StopIteration
        return line

    def _read(self) -> str:
        line = self._text.readline(MAX_ROW_BYTES + 1 - self._row)
        self.number += 1
        return line


def _check_header(header: list[str]) -> None:
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise FormatError(f"the header names a column twice: {', '.join(twice)}")


class _Cursor:
    """Reads JSON values one after the other from a stream of any length.

    ijson reads 1.0 to 2.5 times as fast, but ends the whole file at NaN, at integers of 64 bits
    without a sign and at what follows the array, names no row, and keeps the path of every open
    list: a file of 40 kB that nests lists takes it 1 GB.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self._text = ""
        self._at = 0
        self._dropped = 0
        self._decoder = json.JSONDecoder(object_pairs_hook=self._object)
        self.repeated_key: str | None = None
        """A key that an object of the last value has twice."""

    @property
    def consumed(self) -> int:
        """Characters behind the cursor."""
        return self._dropped + self._at

    def peek(self) -> str:
        """The next character that is not white space; empty at the end."""
        while True:
            match = _SPACE.match(self._text, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def accept(self, character: str) -> bool:
        """Step over the character if it comes next."""
        found = self.peek() == character
        self._at += found
        return found

    def expect(self, character: str) -> None:
        """Step over the character. Raises FormatError when another one comes next."""
        if self.accept(character):
            return
        if not self.peek():
            raise FormatError(f"it ends where {character!r} should come: the file is truncated")
        raise FormatError(f"{character!r} should stand at character {self.consumed}")

    def value(self, what: str) -> object:
        """The next JSON value. Raises FormatError when there is none."""
        self.peek()
        while True:
            self.repeated_key = None
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except RecursionError as error:
                raise FormatError(f"{what} is nested too deeply") from error
            except json.JSONDecodeError as error:
                if self._more():
                    continue
                raise FormatError(
                    f"{what} is not JSON ({error.msg}), or the file is truncated"
                ) from error
            except ValueError as error:
                # Of int(), which refuses thousands of digits.
                raise FormatError(f"{what} has a number that cannot be read: {error}") from error
            # At the end of the text a number may go on in the next chunk.
            if end < len(self._text) or not self._more():
                self._at = end
                return value

    def _object(self, pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) < len(pairs):
            self.repeated_key = first_repeated(pairs)
        return found

    def _more(self) -> bool:
        if len(self._text) - self._at > MAX_ROW_BYTES:
            raise FormatError(
                f"the value at character {self.consumed} is not JSON, or longer than "
                f"{MAX_ROW_BYTES >> 20} MiB"
            )
        chunk = self._file.read(_CHUNK_BYTES)
        try:
            text = self._decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            raise FormatError(
                f"not UTF-8 text near character {self.consumed}; {NOT_UTF_8}"
            ) from error
        self._dropped += self._at
        self._text = self._text[self._at :] + text
        self._at = 0
        return bool(chunk)


def _column(value: object) -> Column:
    if isinstance(value, list):
        is_messages = not value or isinstance(value[0], dict)
        return Column(kind="messages" if is_messages else "list", type="list")
    if value is None:
        return Column(kind="text", type="null")
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return Column(kind="text", type="text" if isinstance(value, str) else "number")
    return Column(kind="other", type="object" if isinstance(value, dict) else "boolean")


def _batch(rows: list[Row], names: Collection[str]) -> Batch:
    values = [row.value or {} for row in rows]
    return Batch(
        numbers=np.array([row.number for row in rows], dtype=np.int64),
        columns={name: [value.get(name) for value in values] for name in names},
        malformed=np.array([row.value is None for row in rows], dtype=np.bool_),
        too_long=np.array([row.too_long for row in rows], dtype=np.bool_),
        problem=next((row.problem for row in rows if row.problem), ""),
    )
