"""Detect a file's format from its content; its name is used only in error messages.

parquet, arrow (IPC file and stream), jsonl, json (an array of objects, {"data": [...]}, or objects
one after the other) and csv, each also as gzip or zstd.
"""

from __future__ import annotations

import codecs
import io
import json
import tarfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import Literal

import pyarrow as pa

from argotune.steps.common.errors import PermanentError
from argotune.steps.common.fs import replacing
from argotune.steps.dataset.arrow_source import ArrowFileSource, ArrowStreamSource
from argotune.steps.dataset.chat_exports import text_problem
from argotune.steps.dataset.parquet_source import ParquetSource
from argotune.steps.dataset.source import (
    MAX_ROW_BYTES,
    NOT_UTF_8,
    Batch,
    Column,
    FormatError,
    Source,
)
from argotune.steps.dataset.streams import ByteStream, Compression, buffered
from argotune.steps.dataset.target import DatasetFile
from argotune.steps.dataset.text_source import (
    TextSource,
    csv_rows,
    json_object_rows,
    json_rows,
    jsonl_rows,
)

Format = Literal[
    "parquet", "arrow", "arrow-stream", "jsonl", "json", "json-objects", "csv", "empty"
]

_HEAD_BYTES = 1 << 16
_LFS_POINTER = b"version https://git-lfs"
_NEXT_LINES = 3
"""Lines after a first one that is not JSON that decide whether the file is jsonl."""
_COMPRESSIONS: Mapping[bytes, Compression] = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_BINARY_FORMATS: Mapping[bytes, Format] = {
    b"PAR1": "parquet",
    b"ARROW1": "arrow",
    b"\xff\xff\xff\xff": "arrow-stream",
}
_FOREIGN: Mapping[bytes, str] = {
    b"PK\x03\x04": "a zip archive, as Excel's files are too",
    b"PK\x05\x06": "an empty zip archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x80": "a Python pickle",
    b"\xff\xfe\x00\x00": "UTF-32 text",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
    b"PARE": "encrypted parquet",
    b"ORC": "ORC",
    b"Obj\x01": "Avro",
    b"\x04\x22\x4d\x18": "lz4",
    b"SQLite format 3": "an SQLite database",
    b"\x89HDF": "HDF5",
    b"\x93NUMPY": "a NumPy array",
    b"\xd0\xcf\x11\xe0": "an Excel file of before 2007",
    b"%PDF": "a PDF",
}
_ACCEPTED = "parquet, arrow, jsonl, json and csv, also as gzip or zstd, are accepted"
_NOT_CSV = {
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".jsonl": "JSON",
    ".ndjson": "JSON",
    ".json": "JSON",
}


class OpenFile:
    """A dataset file with its detected format; errors of its reader name the file."""

    def __init__(self, file: DatasetFile, scratch_dir: Path) -> None:
        self.file = file
        with FileErrors(file):
            compression = _compression(file.path)
            self.format: Format = _detect(file, compression)
            self._source = _open(file, self.format, compression, scratch_dir)

    def columns(self) -> Mapping[str, Column]:
        """The columns, in the file's order."""
        with FileErrors(self.file):
            return self._source.columns()

    def batches(self, names: Collection[str]) -> Iterator[Batch]:
        """Yield all rows in order, with these columns."""
        with FileErrors(self.file):
            yield from self._source.batches(names)

    def position(self) -> int:
        """Approximate number of the file's bytes read so far."""
        return min(self._source.position(), self.file.size)


class FileErrors:
    """Context manager that converts errors of readers into a PermanentError with the file's URL."""

    def __init__(self, file: DatasetFile) -> None:
        self._file = file

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        # pyarrow also raises OSError for bad content, then without an errno.
        bad_content = isinstance(error, OSError) and error.errno is None
        # And KeyError or IndexError for a schema that does not fit.
        known = FormatError | pa.ArrowException | KeyError | IndexError
        if bad_content or isinstance(error, known):
            first_line = str(error).split("\n", 1)[0][:300]
            raise PermanentError(f"{self._file.url}: {first_line}") from error


def _detect(file: DatasetFile, compression: Compression | None) -> Format:
    with ByteStream(file.path, compression) as stream, buffered(stream) as reader:
        head = reader.read(_HEAD_BYTES)
    if not head:
        # One of several files may have no rows, whatever their format.
        return "empty"
    for magic, binary in _BINARY_FORMATS.items():
        if head.startswith(magic):
            return binary
    for magic, name in _FOREIGN.items():
        # A csv header may begin with the letters of a magic number.
        if head.startswith(magic) and (b"\x00" in head or not magic.isalnum()):
            advice = NOT_UTF_8 if name.startswith("UTF-") else _ACCEPTED
            raise FormatError(f"it is {name}; {advice}")
    if _is_tar(head):
        raise FormatError(f"it is a tar archive, as WebDataset's are; unpack it: {_ACCEPTED}")
    text = head.removeprefix(codecs.BOM_UTF8).lstrip()
    if text.startswith(b"<"):
        raise FormatError(
            "it is a web page or an XML error message, not data; "
            "open the URL in a browser to read it"
        )
    if text.startswith(_LFS_POINTER):
        raise FormatError(
            "it is a Git LFS pointer and not the file that it points to; take the file's own URL, "
            "on the Hub with /resolve/ instead of /raw/, or run git lfs pull before the upload"
        )
    if _is_utf16(text):
        raise FormatError(f"it is UTF-16 text; {NOT_UTF_8}")
    if not text or b"\x00" in text:
        raise FormatError(f"its content has no known format; {_ACCEPTED}")
    if text.startswith(b"["):
        return "json"
    if text.startswith(b"{") and b"\r" in text and b"\n" not in text:
        # Lines that end as on a Mac of the last century.
        return "json-objects"
    if text.startswith(b"{"):
        return _format_of_objects(file.path, compression, text)
    if problem := text_problem(text):
        raise FormatError(problem)
    _check_csv_name(file.name)
    return "csv"


def _is_tar(head: bytes) -> bool:
    """Whether the first block is a tar header, whose checksum says so in all versions of tar."""
    try:
        tarfile.TarInfo.frombuf(head[: tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def _is_utf16(text: bytes) -> bool:
    """Whether it is mostly ASCII characters of two bytes each, one of which is 0."""
    zeros = sorted(text[start::2].count(0) for start in (0, 1))
    return zeros[1] > 0.8 * (len(text) // 2) > 0 and zeros[0] < 0.1 * zeros[1]


def _format_of_objects(path: Path, compression: Compression | None, head: bytes) -> Format:
    """Tell apart jsonl, objects on several lines, and one document with the list `data`."""
    with ByteStream(path, compression) as stream, buffered(stream) as reader:
        first, *following = islice(_lines(reader), 1 + _NEXT_LINES)
    value = _parsed(first)
    if value is None:
        if _is_broken_row(first) or (following and all(map(_parsed, following))):
            return "jsonl"
        rest = _after_first_object(head)
        if rest is None:
            return "jsonl" if _has_row_after_broken_one([first, *following]) else "json"
        return "json-objects" if rest.startswith("{") else "json"
    rows = value.get("data") if isinstance(value, dict) else None
    has_rows = isinstance(rows, list) and bool(rows) and isinstance(rows[0], dict)
    return "json" if has_rows else "jsonl"


def _lines(reader: io.BufferedReader) -> Iterator[bytes]:
    """The lines that are not blank."""
    while line := reader.readline(MAX_ROW_BYTES):
        if not line.isspace():
            yield line


def _parsed(line: bytes) -> object:
    """The JSON value of a line, None if it has none."""
    try:
        return json.loads(line.removeprefix(codecs.BOM_UTF8))
    except (ValueError, RecursionError):
        return None


def _is_broken_row(line: bytes) -> bool:
    """Whether a line that is not JSON is a damaged row rather than the start of a document."""
    return len(line.strip()) > 1 and line.rstrip().endswith(b"}")


def _after_first_object(head: bytes) -> str | None:
    """What follows the first object in the beginning of a file; None where that is no JSON."""
    text = head.decode(errors="replace")
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return None
    return text[end:].lstrip()


def _has_row_after_broken_one(lines: Sequence[bytes]) -> bool:
    """Whether a line is an object by itself where a document would need a comma before it."""
    return any(
        isinstance(_parsed(line), dict)
        and _parsed(before) is None
        and before.lstrip().startswith(b"{")
        and not before.rstrip().endswith((b"[", b":"))
        for before, line in pairwise(lines)
    )


def _check_csv_name(name: str) -> None:
    path = Path(name.lower())
    suffix = Path(path.stem).suffix if path.suffix in (".gz", ".zst", ".zstd") else path.suffix
    if suffix in _NOT_CSV:
        raise FormatError(f"it is named {name} but its content is not {_NOT_CSV[suffix]}")


def _compression(path: Path) -> Compression | None:
    with path.open("rb") as file:
        head = file.read(4)
    return next((name for magic, name in _COMPRESSIONS.items() if head.startswith(magic)), None)


def _open(
    file: DatasetFile, file_format: Format, compression: Compression | None, scratch_dir: Path
) -> Source:
    match file_format:
        case "parquet":
            return ParquetSource(_unpack(file, compression, scratch_dir))
        case "arrow":
            return ArrowFileSource(_unpack(file, compression, scratch_dir))
        case "arrow-stream":
            return ArrowStreamSource(_unpack(file, compression, scratch_dir))
        case "jsonl":
            return TextSource(file.path, compression, jsonl_rows)
        case "json":
            return TextSource(file.path, compression, json_rows)
        case "json-objects":
            return TextSource(file.path, compression, json_object_rows)
        case "empty":
            return TextSource(file.path, compression, lambda _: iter(()))
        case "csv":
            return TextSource(file.path, compression, csv_rows)


def _unpack(file: DatasetFile, compression: Compression | None, scratch_dir: Path) -> Path:
    """The file itself or a decompressed copy, because these formats need random access."""
    if compression is None:
        return file.path
    path = scratch_dir / f"{file.sha256[:24]}.unpacked"
    if path.exists():
        return path
    with (
        ByteStream(file.path, compression) as stream,
        replacing(path) as temporary,
        temporary.open("wb") as target,
    ):
        while chunk := stream.read(1 << 20):
            target.write(chunk)
    return path
