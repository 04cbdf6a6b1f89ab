"""Dataset files as streams of bytes, decompressed where needed."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Literal

import pyarrow as pa

from argotune.steps.dataset.source import FormatError

Compression = Literal["gzip", "zstd"]

_BUFFER_BYTES = 1 << 20
_MAX_RATIO = 300
_RATIO_COUNTS_FROM_BYTES = 1 << 30
"""Small files may compress as they like; 300 times of more than this is made to fill disks."""


class ByteStream(io.RawIOBase):
    """A file's bytes in order; `position` counts those of the file, not the decompressed ones.

    Raises FormatError for compressed data that is damaged, cut off, or a bomb.
    """

    def __init__(self, path: Path, compression: Compression | None) -> None:
        self._file = pa.OSFile(str(path))
        self._stream = pa.CompressedInputStream(self._file, compression) if compression else None
        self._size = path.stat().st_size
        self._read = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: object, /) -> int:
        """Fill the buffer; 0 at the end."""
        view = memoryview(buffer)  # type: ignore[arg-type]
        try:
            data = (self._stream or self._file).read(len(view))
        except OSError as error:
            raise FormatError(f"the compressed data is damaged: {error}") from error
        view[: len(data)] = data
        self._read += len(data)
        if self._read > max(_RATIO_COUNTS_FROM_BYTES, _MAX_RATIO * self._size):
            raise FormatError(f"it unpacks to more than {_MAX_RATIO} times its size")
        return len(data)

    def position(self) -> int:
        """Bytes of the file that were read."""
        return int(self._file.tell())

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            self._file.close()
        super().close()


def buffered(stream: ByteStream) -> io.BufferedReader:
    """The stream with `readline` and cheap small reads."""
    return io.BufferedReader(stream, _BUFFER_BYTES)
