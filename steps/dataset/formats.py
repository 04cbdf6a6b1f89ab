"""Detect a file's format from its content; its name is used only in error messages.

parquet, arrow (IPC file and stream), jsonl, json (an array of objects, or {"data": [...]}) and
csv, each also as gzip or zstd.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Literal

import pyarrow as pa

from argotune.steps.common.errors import PermanentError
from argotune.steps.common.fs import replacing
from argotune.steps.dataset.arrow_source import ArrowFileSource, ArrowStreamSource
from argotune.steps.dataset.parquet_source import ParquetSource
from argotune.steps.dataset.source import MAX_ROW_BYTES, Batch, Column, FormatError, Source
from argotune.steps.dataset.streams import ByteStream, Compression, buffered
from argotune.steps.dataset.target import DatasetFile
from argotune.steps.dataset.text_source import TextSource, csv_rows, json_rows, jsonl_rows

Format = Literal["parquet", "arrow", "arrow-stream", "jsonl", "json", "csv"]

_HEAD_BYTES = 1 << 16
_COMPRESSIONS: Mapping[bytes, Compression] = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_BINARY_FORMATS: Mapping[bytes, Format] = {
    b"PAR1": "parquet",
    b"ARROW1": "arrow",
    b"\xff\xff\xff\xff": "arrow-stream",
}
_FOREIGN: Mapping[bytes, str] = {
    b"PK\x03\x04": "a zip archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x80": "a Python pickle",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
    b"PARE": "encrypted parquet",
    b"ustar": "a tar archive",
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
        with _FileErrors(file):
            compression = _compression(file.path)
            self.format: Format = _detect(file, compression)
            self._source = _open(file, self.format, compression, scratch_dir)

    def columns(self) -> Mapping[str, Column]:
        """The columns, in the file's order."""
        with _FileErrors(self.file):
            return self._source.columns()

    def batches(self, names: Collection[str]) -> Iterator[Batch]:
        """Yield all rows in order, with these columns."""
        with _FileErrors(self.file):
            yield from self._source.batches(names)

    def position(self) -> int:
        """Approximate number of the file's bytes read so far."""
        return min(self._source.position(), self.file.size)


class _FileErrors:
    """Context manager that converts errors of readers into a PermanentError with the file's URL."""

    def __init__(self, file: DatasetFile) -> None:
        self._file = file

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        # pyarrow also raises OSError for bad content, then without an errno.
        bad_content = isinstance(error, OSError) and error.errno is None
        if bad_content or isinstance(error, FormatError | pa.ArrowException):
            first_line = str(error).split("\n", 1)[0][:300]
            raise PermanentError(f"{self._file.url}: {first_line}") from error


def _detect(file: DatasetFile, compression: Compression | None) -> Format:
    with ByteStream(file.path, compression) as stream, buffered(stream) as reader:
        head = reader.read(_HEAD_BYTES)
    if not head:
        raise FormatError("the file is empty")
    for magic, binary in _BINARY_FORMATS.items():
        if head.startswith(magic):
            return binary
    for magic, name in _FOREIGN.items():
        if head.startswith(magic):
            raise FormatError(f"it is {name}; {_ACCEPTED}")
    text = head.removeprefix(codecs.BOM_UTF8).lstrip()
    if text.startswith(b"<"):
        raise FormatError(
            "it is a web page or an XML error message, not data; "
            "open the URL in a browser to read it"
        )
    if not text or b"\x00" in text:
        raise FormatError(f"its content has no known format; {_ACCEPTED}")
    if text.startswith(b"["):
        return "json"
    if text.startswith(b"{"):
        return _json_or_jsonl(file.path, compression)
    _check_csv_name(file.name)
    return "csv"


def _json_or_jsonl(path: Path, compression: Compression | None) -> Format:
    """Detect jsonl if the first line is a complete object without a list of rows, else json."""
    with ByteStream(path, compression) as stream, buffered(stream) as reader:
        line = reader.readline(MAX_ROW_BYTES)
        while line.isspace():
            line = reader.readline(MAX_ROW_BYTES)
    try:
        value = json.loads(line.removeprefix(codecs.BOM_UTF8))
    except (ValueError, RecursionError):
        return "jsonl" if _is_broken_row(line) else "json"
    rows = value.get("data") if isinstance(value, dict) else None
    has_rows = isinstance(rows, list) and bool(rows) and isinstance(rows[0], dict)
    return "json" if has_rows else "jsonl"


def _is_broken_row(line: bytes) -> bool:
    """Whether a line that is not JSON is a damaged row rather than the start of a document."""
    return len(line.strip()) > 1 and line.rstrip().endswith(b"}")


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
            return ParquetSource(_unpacked(file, compression, scratch_dir))
        case "arrow":
            return ArrowFileSource(_unpacked(file, compression, scratch_dir))
        case "arrow-stream":
            return ArrowStreamSource(_unpacked(file, compression, scratch_dir))
        case "jsonl":
            return TextSource(file.path, compression, jsonl_rows)
        case "json":
            return TextSource(file.path, compression, json_rows)
        case "csv":
            return TextSource(file.path, compression, csv_rows)


def _unpacked(file: DatasetFile, compression: Compression | None, scratch_dir: Path) -> Path:
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
