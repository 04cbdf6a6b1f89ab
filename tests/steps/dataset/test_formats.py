from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from argotune.steps.common.errors import PermanentError
from argotune.steps.dataset import arrow_source, formats, parquet_source, source, text_source
from argotune.steps.dataset.decoded_size import value_sizes
from argotune.steps.dataset.formats import OpenFile
from argotune.steps.dataset.source import BATCH_BYTES, BATCH_ROWS
from argotune.steps.dataset.target import DatasetFile

ROWS: list[dict[str, Any]] = [
    {"prompt": f"question {number} ä", "completion": f'answer "{number}", \n😀'}
    for number in range(30)
]
URL = "https://data.example/file"


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., OpenFile]:
    def make(content: bytes, name: str = "file") -> OpenFile:
        path = tmp_path / "downloaded"
        path.write_bytes(content)
        file = DatasetFile(url=URL, name=name, path=path, size=len(content), sha256="0" * 64)
        return OpenFile(file, tmp_path / "scratch")

    return make


def parquet(rows: Sequence[dict[str, Any]] = ROWS, **options: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows)), buffer, **options)
    return buffer.getvalue()


def arrow_file(rows: Sequence[dict[str, Any]] = ROWS) -> bytes:
    buffer, table = io.BytesIO(), pa.Table.from_pylist(list(rows))
    with pa.ipc.new_file(buffer, table.schema) as writer:
        writer.write_table(table, max_chunksize=7)
    return buffer.getvalue()


def arrow_stream(rows: Sequence[dict[str, Any]] = ROWS) -> bytes:
    buffer, table = io.BytesIO(), pa.Table.from_pylist(list(rows))
    with pa.ipc.new_stream(buffer, table.schema) as writer:
        writer.write_table(table, max_chunksize=7)
    return buffer.getvalue()


def jsonl(rows: Sequence[object] = ROWS) -> bytes:
    return "\n".join(json.dumps(row) for row in rows).encode()


def json_array(rows: Sequence[object] = ROWS) -> bytes:
    return json.dumps(rows, indent=2, ensure_ascii=False).encode()


def json_data(rows: Sequence[object] = ROWS) -> bytes:
    return json.dumps({"version": "1", "info": {"a": [1, {"b": 2}]}, "data": rows}).encode()


def csv(rows: Sequence[dict[str, Any]] = ROWS) -> bytes:
    def quoted(text: str) -> str:
        return '"' + text.replace('"', '""') + '"'

    lines = [",".join(rows[0]), *(",".join(map(quoted, row.values())) for row in rows)]
    return "\r\n".join(lines).encode()


FORMATS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "parquet": ("parquet", parquet),
    "arrow": ("arrow", arrow_file),
    "arrow-stream": ("arrow-stream", arrow_stream),
    "jsonl": ("jsonl", jsonl),
    "json": ("json", json_array),
    "json-data": ("json", json_data),
    "csv": ("csv", csv),
}


def zstd(content: bytes) -> bytes:
    return bytes(pa.compress(content, "zstd", asbytes=True))


def rows_of(file: OpenFile, *names: str) -> list[dict[str, Any]]:
    rows = []
    for batch in file.batches(names or ("prompt", "completion")):
        columns = {
            name: values.to_pylist() if isinstance(values, pa.Array) else list(values)
            for name, values in batch.columns.items()
        }
        assert not batch.malformed.any()
        rows += [
            dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
        ]
    return rows


def numbers_of(file: OpenFile, name: str) -> list[tuple[int, bool]]:
    return [
        (number, bad)
        for batch in file.batches([name])
        for number, bad in zip(batch.numbers.tolist(), batch.malformed.tolist(), strict=True)
    ]


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstd], ids=["plain", "gzip", "zstd"])
@pytest.mark.parametrize("case", FORMATS)
def test_every_format_gives_the_same_rows(
    opened: Callable[..., OpenFile], case: str, pack: Callable[[bytes], bytes]
) -> None:
    name, make = FORMATS[case]
    file = opened(pack(make()))
    assert file.format == name
    assert list(file.columns()) == ["prompt", "completion"]
    assert {column.kind for column in file.columns().values()} == {"text"}
    assert rows_of(file) == ROWS
    assert 0 <= file.position() <= file.file.size


@pytest.mark.parametrize("case", FORMATS)
def test_rows_are_numbered_from_one(opened: Callable[..., OpenFile], case: str) -> None:
    file = opened(FORMATS[case][1]())
    assert numbers_of(file, "prompt") == [(number, False) for number in range(1, 31)]


@pytest.mark.parametrize("case", FORMATS)
def test_name_does_not_decide(opened: Callable[..., OpenFile], case: str) -> None:
    """Kaito takes a file for JSON when its name has the letters somewhere."""
    name, make = FORMATS[case]
    assert opened(make(), "my-json.parquet.d" if case == "csv" else "a.csv").format == name


SUFFIXES = ("", ".parquet", ".jsonl", ".csv", ".arrow", ".json.gz")
LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"


def tar(content: bytes, kind: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=kind) as archive:
        info = tarfile.TarInfo("rows.jsonl")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def parquet_of_one_name() -> bytes:
    buffer = io.BytesIO()
    columns = [pa.array(["x"]), pa.array(["y"])]
    pq.write_table(pa.Table.from_arrays(columns, names=["a", "a"]), buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        *(
            (pack(tar(b"a", kind)), name, "it is a tar archive, as WebDataset's are; unpack it: ")
            for kind in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
            # Without the time, which would give the test another name in each process.
            for pack, name in ((bytes, "a.bin"), (partial(gzip.compress, mtime=0), "a.tar.gz"))
        ),
        *((LFS_POINTER, f"a{suffix}", "it is a Git LFS pointer") for suffix in SUFFIXES),
        (b'{"a": 1}\n{"a": "cut', "a.jsonl", "it ends within line 2: the file is truncated"),
        (
            b"\n <!DOCTYPE html><html><body>Sign in</body></html>",
            "a.parquet",
            "it is a web page or an XML error message, not data; open the URL in a browser to "
            "read it",
        ),
        (
            b'<?xml version="1.0"?><Error><Code>AuthenticationFailed</Code></Error>',
            "a.jsonl",
            "it is a web page or an XML error message, not data; open the URL in a browser to "
            "read it",
        ),
        (
            b"PK\x03\x04" + bytes(30),
            "a.zip",
            "it is a zip archive, as Excel's files are too; parquet, arrow, jsonl, json and csv, "
            "also as gzip or zstd, are accepted",
        ),
        (b"PK\x05\x06" + bytes(18), "a.zip", "it is an empty zip archive; "),
        (b"ORC\x00" + bytes(9), "a.orc", "it is ORC; "),
        (b"%PDF-1.7\n", "a.txt", "it is a PDF; "),
        (
            b"\x80\x04\x95" + bytes(30),
            "a.pkl",
            "it is a Python pickle; parquet, arrow, jsonl, json and csv, also as gzip or zstd, "
            "are accepted",
        ),
        (
            "prompt,completion".encode("utf-16"),
            "a.csv",
            "it is UTF-16 text; convert it to UTF-8, for example with iconv -f LATIN1 -t UTF-8",
        ),
        ("prompt,completion".encode("utf-16-le"), "a.csv", "it is UTF-16 text; convert it"),
        ('{"prompt": "a"}'.encode("utf-16-be"), "a.jsonl", "it is UTF-16 text; convert it"),
        ('{"prompt": "a"}'.encode("utf-32"), "a.jsonl", "it is UTF-32 text; convert it"),
        (
            b"abc\x00def",
            "a.bin",
            "its content has no known format; parquet, arrow, jsonl, json and csv, also as gzip "
            "or zstd, are accepted",
        ),
        (b"Not Found", "a.jsonl.gz", "it is named a.jsonl.gz but its content is not JSON"),
        (b"Not Found", "a.parquet", "it is named a.parquet but its content is not parquet"),
        (b'[{"prompt": "a"}', "a.json", "it ends where ',' should come: the file is truncated"),
        (b'[{"prompt": "a', "a.json", "row 1 is not JSON (Unterminated string starting at)"),
        (b'{"version": 1,\n "rows": []}', "a.json", 'it is one JSON object without a list "data"'),
        (b"a,b,a\n1,2,3\n", "a.csv", "the header names a column twice: a"),
        (b'a,b\n"1"x,2\n', "a.csv", "near line 2: "),
        (b"a,b\n\xff,2\n", "a.csv", "near line 1: not UTF-8 text; convert it to UTF-8, "),
        (b'[{"prompt": "a"} {"prompt": "b"}]', "a.json", "',' should stand at character 17"),
        (b'[{"prompt": "\xff"}]', "a.json", "not UTF-8 text near character 0; convert it to"),
    ],
)
def test_what_is_no_dataset_is_said(
    opened: Callable[..., OpenFile], content: bytes, name: str, message: str
) -> None:
    with pytest.raises(PermanentError) as caught:
        numbers_of(opened(content, name), "a")
    assert str(caught.value).startswith(f"{URL}: {message}")


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_csv_may_have_other_separators(opened: Callable[..., OpenFile], separator: str) -> None:
    file = opened(f'"prompt"{separator}completion\na, b{separator}"c{separator}\nd"\n'.encode())
    assert rows_of(file) == [{"prompt": "a, b", "completion": f"c{separator}\nd"}]


def test_other_separators_in_values_are_text(opened: Callable[..., OpenFile]) -> None:
    file = opened(b"prompt,completion\na;b;c,d|e|f\n")
    assert rows_of(file) == [{"prompt": "a;b;c", "completion": "d|e|f"}]


@pytest.mark.parametrize("make", [jsonl, csv])
def test_lines_may_end_with_a_carriage_return(
    opened: Callable[..., OpenFile], make: Callable[..., bytes]
) -> None:
    rows = [{"prompt": f"q{n}", "completion": "a"} for n in range(3)]
    content = make(rows).replace(b"\r\n", b"\n").replace(b"\n", b"\r")
    assert rows_of(opened(content)) == rows


def test_a_header_with_the_letters_of_a_magic_number_is_csv(
    opened: Callable[..., OpenFile],
) -> None:
    assert list(opened(b"PARENT,ORC\n1,2\n").columns()) == ["PARENT", "ORC"]


@pytest.mark.parametrize(
    "content",
    [
        b"prompt,completion\na,nan\nb,NaN\n",
        b'{"prompt": "a", "completion": NaN}\n{"prompt": "b", "completion": NaN}\n',
    ],
    ids=["csv", "jsonl"],
)
def test_a_missing_number_is_no_text_in_any_format(
    opened: Callable[..., OpenFile], content: bytes
) -> None:
    for batch in opened(content).batches(["prompt", "completion"]):
        assert batch.columns["prompt"] == ["a", "b"]
        assert all(value is None or value != value for value in batch.columns["completion"])


@pytest.mark.parametrize("nested", [False, True])
def test_texts_that_are_not_utf_8_are_an_error_of_the_file(
    opened: Callable[..., OpenFile], nested: bool
) -> None:
    """parquet's reader takes them as they are."""
    raw = pa.array([b"ok", b"\xff"])
    texts = pa.Array.from_buffers(pa.string(), 2, raw.buffers())
    column = pa.StructArray.from_arrays([texts], names=["content"]) if nested else texts
    buffer = io.BytesIO()
    pq.write_table(pa.table({"a": column}), buffer)
    with pytest.raises(PermanentError, match="Invalid UTF8 sequence at string index 1"):
        list(opened(buffer.getvalue()).batches(["a"]))


@pytest.mark.parametrize(("make", "name"), [(parquet, "parquet"), (arrow_file, "arrow")])
def test_truncated_file_is_recognised(
    opened: Callable[..., OpenFile], make: Callable[[], bytes], name: str
) -> None:
    content = make()[:-100]
    with pytest.raises(PermanentError) as caught:
        opened(content)
    assert str(caught.value) == (
        f"{URL}: it begins as {name} but is truncated after {len(content)} bytes; upload the file "
        "again"
    )


@pytest.mark.parametrize("case", ["arrow-stream", "json", "json-data"])
def test_truncated_stream_is_an_error(opened: Callable[..., OpenFile], case: str) -> None:
    content = FORMATS[case][1]()
    with pytest.raises(PermanentError):
        rows_of(opened(content[: len(content) * 2 // 3]))


@pytest.mark.parametrize("pack", [gzip.compress, zstd], ids=["gzip", "zstd"])
@pytest.mark.parametrize("make", [jsonl, parquet])
def test_truncated_compression_is_an_error(
    opened: Callable[..., OpenFile], make: Callable[[], bytes], pack: Callable[[bytes], bytes]
) -> None:
    with pytest.raises(PermanentError, match="the compressed data is damaged"):
        rows_of(opened(pack(make())[:-9]))


def test_bomb_is_refused(opened: Callable[..., OpenFile], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "_RATIO_COUNTS_FROM_BYTES", 1 << 20)
    with pytest.raises(PermanentError, match="it decompresses to more than 300 times its size"):
        numbers_of(opened(gzip.compress(b"a,b\n" + b"1,2\n" * 300_000)), "a")


def test_damaged_parquet_page_is_an_error(opened: Callable[..., OpenFile]) -> None:
    rows = [{"prompt": os.urandom(50_000).hex()}]
    content = bytearray(parquet(rows, write_page_checksum=True))
    content[1000] ^= 1
    with pytest.raises(PermanentError, match=f"^{URL}: "):
        rows_of(opened(bytes(content)), "prompt")


def test_lines_that_are_no_rows_are_marked_with_their_line_number(
    opened: Callable[..., OpenFile],
) -> None:
    lines = [b'{"a": 1}', b"", b"{broken}", b"[1]", b'{"a": "\xff"}', b'{"a": 2}']
    assert numbers_of(opened(b"\n".join(lines)), "a") == [
        (1, False),
        (3, True),
        (4, True),
        (5, True),
        (6, False),
    ]


@pytest.mark.parametrize("end", [b"", b",", b', "b": "x'])
def test_a_file_whose_first_lines_are_broken_is_still_lines(
    opened: Callable[..., OpenFile], end: bytes
) -> None:
    lines = [b'{"a": 1' + end, b'{"a": 2' + end, b'{"a": 3}']
    assert numbers_of(opened(b"\n".join(lines)), "a") == [(1, True), (2, True), (3, False)]


@pytest.mark.parametrize("between", [b",\n", b"\n,"])
def test_a_document_with_a_row_on_each_line_is_not_taken_for_lines(
    opened: Callable[..., OpenFile], between: bytes
) -> None:
    for first in (b'{"data": [\n{"a": 1}', b'{"data":\n[\n{"a": 1}'):
        document = first + between + b'{"a": 2}' + between + b'{"a": 3}\n]}'
        assert numbers_of(opened(document), "a") == [(1, False), (2, False), (3, False)]


def test_elements_that_are_no_rows_are_marked(opened: Callable[..., OpenFile]) -> None:
    assert numbers_of(opened(b'[{"a": 1}, 12, "x", {"a": 2}]'), "a") == [
        (1, False),
        (2, True),
        (3, True),
        (4, False),
    ]


def test_csv_rows_with_another_number_of_fields_are_marked(
    opened: Callable[..., OpenFile],
) -> None:
    assert numbers_of(opened(b"a,b\n1,2\n1\n\n1,2,3\n4,5\n"), "a") == [
        (1, False),
        (2, True),
        (3, True),
        (4, False),
    ]


def test_byte_order_marks_are_left_out(opened: Callable[..., OpenFile]) -> None:
    for content in (csv(), jsonl(), json_array()):
        assert rows_of(opened(b"\xef\xbb\xbf" + content)) == ROWS


def test_one_line_may_be_a_row_or_a_document(opened: Callable[..., OpenFile]) -> None:
    assert opened(b'{"data": [{"a": 1}]}').format == "json"
    assert opened(b'{"data": ["a", "b"], "prompt": "x"}').format == "jsonl"
    assert opened(b'\n{"a": 1}\n').format == "jsonl"
    assert opened(b'{"a": 1,}\n{"a": 1}').format == "jsonl"
    assert opened(b'{"a": "cut\n{"a": 1}\n{"a": 2}').format == "jsonl"
    assert opened(b'{"data": [\n{"a": 1}\n]}').format == "json"
    assert opened(b'{\n "a": 1\n}\n{\n "a": 2\n}').format == "json-objects"
    assert opened(b"").format == "empty"


def test_objects_on_several_lines_are_rows(opened: Callable[..., OpenFile]) -> None:
    assert numbers_of(opened(b'{\n "a": 1\n}\n{\n "a": 2\n}\n'), "a") == [
        (1, False),
        (2, False),
    ]


def test_two_columns_of_one_name_are_named(opened: Callable[..., OpenFile]) -> None:
    with pytest.raises(PermanentError, match="the schema names a column twice: a"):
        opened(parquet_of_one_name()).columns()
    with pytest.raises(PermanentError, match="exists 2 times in schema"):
        list(opened(parquet_of_one_name()).batches(["a"]))


def test_blanks_around_names_of_columns_are_left_out(opened: Callable[..., OpenFile]) -> None:
    assert list(opened(b"prompt , completion\nx,y\n", "a.csv").columns()) == [
        "prompt",
        "completion",
    ]


def test_columns_of_all_rows_are_known_when_these_are_read(opened: Callable[..., OpenFile]) -> None:
    file = opened(jsonl([{"a": 1}] * 300 + [{"a": 1, "late": "x"}]))
    assert list(file.columns()) == ["a"]
    assert sum(len(batch.numbers) for batch in file.batches(["a"])) == 301
    assert list(file.columns()) == ["a", "late"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"{'a': 1}", "it is not JSON: "),
        (b'{"a": nan}', "it is not JSON: "),
        (b'{"a": "\xe9t\xe9"}', "it is not UTF-8 text; convert it to UTF-8, for example with "),
        (b"[1]", "it is JSON, but not an object"),
    ],
)
def test_why_a_line_is_no_row_is_said(
    opened: Callable[..., OpenFile], content: bytes, problem: str
) -> None:
    (batch,) = opened(b'{"a": 1}\n' + content + b"\n").batches(["a"])
    assert batch.malformed.tolist() == [False, True]
    assert batch.problem.startswith(problem)


def test_columns_of_later_rows_are_found_too(opened: Callable[..., OpenFile]) -> None:
    rows: list[object] = [{"a": None}, 7, {"a": ["x"], "b": 1}, {"c": {"d": 1}, "e": True}]
    columns = opened(jsonl(rows)).columns()
    assert {name: (column.kind, column.type) for name, column in columns.items()} == {
        "a": ("list", "list"),
        "b": ("text", "number"),
        "c": ("other", "object"),
        "e": ("other", "boolean"),
    }


def test_json_rows_are_found_across_reads(
    opened: Callable[..., OpenFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the text is cut between two reads, in a number, an escape or a character."""
    content = json.dumps([{"a": 123456.75, "b": 'x"\\ä😀'}] * 3, ensure_ascii=False).encode()
    for size in range(1, 40):
        monkeypatch.setattr(text_source, "_CHUNK_BYTES", size)
        assert rows_of(opened(content), "a", "b") == [{"a": 123456.75, "b": 'x"\\ä😀'}] * 3


def test_row_without_end_does_not_fill_the_memory(
    opened: Callable[..., OpenFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_source, "MAX_ROW_BYTES", 1 << 20)
    monkeypatch.setattr(formats, "MAX_ROW_BYTES", 1 << 20)
    long = b"x" * (3 << 20)
    lines = opened(b'{"a": 1}\n{"a": "' + long + b'"}\n{"a": 2}')
    (batch,) = lines.batches(["a"])
    assert batch.numbers.tolist() == [1, 2, 3]
    assert batch.too_long.tolist() == [False, True, False]
    assert batch.columns["a"] == [1, None, 2]
    with pytest.raises(PermanentError, match="near line 524289: a row is longer than 1 MiB"):
        numbers_of(opened(b'a,b\n"' + b"x\n" * (1 << 20)), "a")
    with pytest.raises(PermanentError, match="near line 1: a row is longer than 1 MiB"):
        opened(b"," * (3 << 20)).columns()
    with pytest.raises(PermanentError, match="is not JSON, or longer than 1 MiB"):
        numbers_of(opened(b'[{"a": "' + long + b'"}]'), "a")


def test_a_number_of_thousands_of_digits_is_named(opened: Callable[..., OpenFile]) -> None:
    with pytest.raises(PermanentError, match="row 1 has a number that cannot be read: Exceeds"):
        numbers_of(opened(b'[{"a": ' + b"9" * 5000 + b"}]"), "a")


def chat(content: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": content}]


REPEATED = {
    "flat": [{"prompt": "x" * 100_000}, *[{"prompt": "short"}] * 9] * 300,
    "nested": [{"prompt": chat("x" * 100_000)}, *[{"prompt": chat("short")}] * 9] * 300,
    "one row": [{"prompt": chat("x" * 100_000) * 30}, *[{"prompt": chat("short")}] * 99],
    "after empty rows": [*[{"prompt": []}] * 9000, *[{"prompt": chat("x" * 100_000)}] * 300],
}


@pytest.mark.parametrize("write", [parquet, arrow_file], ids=["parquet", "arrow"])
@pytest.mark.parametrize("case", REPEATED)
def test_a_long_value_that_many_rows_repeat_is_not_written_out_for_all_of_them(
    opened: Callable[..., OpenFile],
    monkeypatch: pytest.MonkeyPatch,
    write: Callable[..., bytes],
    case: str,
) -> None:
    monkeypatch.setattr(parquet_source, "_MOST_PLAIN_BYTES", 1 << 20)
    monkeypatch.setattr(parquet_source, "_MOST_SKEWED_BYTES", 1 << 20)
    rows = REPEATED[case]
    table = pa.Table.from_pylist(rows)
    if write is arrow_file:
        table = table.set_column(0, "prompt", _encoded(table["prompt"].combine_chunks()))
    content = write_table(table, parquet=write is parquet)
    assert len(content) < 1 << 20
    before, largest, count = pa.total_allocated_bytes(), 0, 0
    for batch in opened(content).batches(["prompt"]):
        assert int(value_sizes(batch.columns["prompt"]).sum()) <= max(BATCH_BYTES, 3_100_000)
        largest = max(largest, pa.total_allocated_bytes() - before)
        count += len(batch.numbers)
    assert count == len(rows)
    assert largest < 4 << 20


def _encoded(column: pa.Array) -> pa.Array:
    """The column with its texts as a dictionary."""
    if pa.types.is_string(column.type):
        return column.dictionary_encode()
    fields = column.values.flatten()
    encoded = [field.dictionary_encode() for field in fields]
    struct = pa.StructArray.from_arrays(encoded, names=["role", "content"])
    return pa.ListArray.from_arrays(column.offsets, struct)


def write_table(table: pa.Table, *, parquet: bool) -> bytes:
    buffer = io.BytesIO()
    if parquet:
        # Without the Arrow schema, as other writers do.
        pq.write_table(table, buffer, store_schema=False)
        return buffer.getvalue()
    with pa.ipc.new_file(buffer, table.schema) as writer:
        writer.write_table(table)
    return buffer.getvalue()


@pytest.mark.parametrize("parquet", [True, False], ids=["parquet", "arrow"])
def test_a_row_that_is_too_long_is_rejected_alone(
    opened: Callable[..., OpenFile], monkeypatch: pytest.MonkeyPatch, parquet: bool
) -> None:
    monkeypatch.setattr(arrow_source, "MAX_ROW_BYTES", 5000)
    monkeypatch.setattr(arrow_source, "BATCH_BYTES", 5000)
    table = pa.table({"prompt": ["a", "x" * 6000, "b"]})
    batches = list(opened(write_table(table, parquet=parquet)).batches(["prompt"]))
    assert [batch.too_long.tolist() for batch in batches] == [[False], [True], [False]]
    assert [batch.columns["prompt"].to_pylist() for batch in batches] == [["a"], [None], ["b"]]
    assert [batch.numbers.tolist() for batch in batches] == [[1], [2], [3]]


def test_rows_without_bytes_have_an_end(
    opened: Callable[..., OpenFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "_RATIO_COUNTS_FROM_BYTES", 1 << 20)
    nothing = write_table(pa.table({"prompt": pa.nulls(1_000_000, pa.string())}), parquet=True)
    assert len(nothing) < 2000
    with pytest.raises(PermanentError, match="it decompresses to more than 300 times its size"):
        numbers_of(opened(nothing), "prompt")


def test_offsets_that_lead_out_of_an_arrow_file_are_refused(
    opened: Callable[..., OpenFile],
) -> None:
    good = write_table(pa.table({"prompt": ["a", "longer text"]}), parquet=False)
    content = good.replace(*(np.array([0, 1, end], np.int32).tobytes() for end in (12, 1 << 30)))
    assert content != good
    with pytest.raises(PermanentError, match="offset"):
        numbers_of(opened(content), "prompt")


def test_large_row_groups_are_read_in_small_batches(opened: Callable[..., OpenFile]) -> None:
    rows = [{"prompt": os.urandom(2000).hex()} for _ in range(5000)]
    file = opened(parquet(rows, row_group_size=5000, use_dictionary=False))
    sizes = [len(batch.numbers) for batch in file.batches(["prompt"])]
    assert sum(sizes) == 5000
    assert max(sizes) <= 1100


def test_one_large_record_batch_is_read_in_small_batches(opened: Callable[..., OpenFile]) -> None:
    table = pa.table({"prompt": ["x" * 2000] * 20_000})
    buffer = io.BytesIO()
    with pa.ipc.new_file(buffer, table.schema) as writer:
        writer.write_table(table)
    sizes = [len(batch.numbers) for batch in opened(buffer.getvalue()).batches(["prompt"])]
    assert sum(sizes) == 20_000
    assert max(sizes) < BATCH_ROWS


_GOOD = b'{"prompt": "a", "completion": "b"}'
_TWICE = b'{"prompt": "a", "completion": "b", "prompt": "c"}'
_LINES = b"\n".join([_GOOD, _TWICE, _GOOD])
_LIST = b"[" + b", ".join([_GOOD, _TWICE, _GOOD]) + b"]"


@pytest.mark.parametrize(
    "content",
    [
        _LINES,
        _LIST,
        b'{"data": ' + _LIST + b"}",
        _LINES.replace(b": ", b":\n"),
        _LINES.replace(b": ", b" : "),
        _LINES.replace(b'"c"', b"NaN"),
    ],
    ids=["jsonl", "json", "json-data", "json-objects", "spaces", "nan"],
)
def test_a_row_with_a_key_twice_is_refused_by_the_keys_name(
    opened: Callable[..., OpenFile], content: bytes
) -> None:
    """Readers of JSON keep the last value, so that a prompt would be lost without a word."""
    (batch,) = opened(content).batches(["prompt"])
    assert batch.malformed.tolist() == [False, True, False]
    assert batch.problem == "it has the key 'prompt' twice"


@pytest.mark.parametrize(
    "text",
    [
        r'{"prompt": "say \"x\": {\"x\": 1}", "completion": "b"}',
        r'{"prompt": "a", "completion": {"prompt": 1}}',
        r'{"a\\": 1, "b" : [{"a": 1}, {"a": 2}]}',
    ],
)
def test_the_same_word_in_a_text_or_another_object_is_no_key_twice(
    opened: Callable[..., OpenFile], text: str
) -> None:
    for content in (text, f"[{text}]"):
        (batch,) = opened(content.encode()).batches(["prompt"])
        assert batch.malformed.tolist() == [False]
