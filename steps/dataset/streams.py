"""Dataset files as byte streams, decompressed if necessary."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Literal

import pyarrow as pa

from argotune.steps.dataset.source import Expansion, FormatError

Compression = Literal["gzip", "zstd"]

_BUFFER_BYTES = 1 << 20


class ByteStream(io.RawIOBase):
    """A file's decompressed bytes; `position` counts the file's own, compressed bytes.

    Raises FormatError if the compressed data is damaged, truncated, or a decompression bomb.
    """

    def __init__(self, path: Path, compression: Compression | None) -> None:
        self._file = pa.OSFile(str(path))
        self._stream = pa.CompressedInputStream(self._file, compression) if compression else None
        self._expansion = Expansion(path.stat().st_size)

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: object, /) -> int:
        """Fill the buffer and return the number of bytes, 0 at the end."""
        view = memoryview(buffer)  # type: ignore[arg-type]
        try:
            data = (self._stream or self._file).read(len(view))
        except OSError as error:
            raise FormatError(f"the compressed data is damaged: {error}") from error
        view[: len(data)] = data
        self._expansion.add(len(data))
        return len(data)

    def position(self) -> int:
        """Bytes of the file read so far."""
        return int(self._file.tell())

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            self._file.close()
        super().close()


def buffered(stream: ByteStream) -> io.BufferedReader:
    """The stream with a buffer, for `readline` and small reads."""
    return io.BufferedReader(stream, _BUFFER_BYTES)
