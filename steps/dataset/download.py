"""Download dataset files: resumable, verified and atomic."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx

from argotune.steps.common import log
from argotune.steps.common.errors import PermanentError, TransientError
from argotune.steps.common.exhausted import MORE_ROOM
from argotune.steps.common.fs import free_bytes_of
from argotune.steps.common.urls import redact
from argotune.steps.dataset import answers
from argotune.steps.dataset.answers import TryAgain
from argotune.steps.dataset.target import DatasetFile, Received, Target, identity

MAX_REDIRECTS = 5
MIN_BYTES_PER_SECOND = 1024
"""A server that sends less than this during a whole timeout counts as stalled."""
_CHUNK_BYTES = 1 << 20
_MOST_ANSWER_BYTES = 16 << 20

T = TypeVar("T")
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A short answer of a server."""

    body: bytes
    next_address: str | None
    """URL of the following page of a list, by the header Link."""


class Downloader:
    """Downloads files one after the other with a client whose transport checks the addresses."""

    def __init__(
        self,
        client: httpx.Client,
        *,
        attempts: int,
        max_bytes: int,
        stall_seconds: float = 60.0,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        free_bytes: Callable[[Path], int] = free_bytes_of,
    ) -> None:
        self._client = client
        self._attempts = attempts
        self._max_bytes = max_bytes
        self._stall_seconds = stall_seconds
        self._sleep = sleep
        self._clock = clock
        self._free_bytes = free_bytes

    def fetch_all(
        self,
        targets: Sequence[Target],
        directory: Path,
        *,
        on_progress: Callable[[int, int], None],
        tuning_bytes: int = 0,
    ) -> list[DatasetFile]:
        """Download every file into the directory, except files that are already complete there.

        The sizes of all files are requested before the first download, so that a wrong last URL
        or a full disk fails at once. `on_progress` gets the bytes done and the total bytes;
        `tuning_bytes` must stay free for what later steps write.
        """
        directory.mkdir(parents=True, exist_ok=True)
        sizes = [self._size(target) for target in targets]
        self._check_space(targets, sizes, directory, tuning_bytes)
        total = sum(size or 0 for size in sizes)
        files: list[DatasetFile] = []
        for target in targets:
            done = sum(file.size for file in files)
            files.append(self.fetch(target, _offset_progress(on_progress, done, total)))
            on_progress(done + files[-1].size, total)
        return files

    def get(self, url: str, address: str, headers: Mapping[str, str]) -> Answer:
        """Ask for a short text at an address; `url` is for messages."""

        def ask() -> Answer:
            with self._answer(address, dict(headers), url) as response:
                answers.check_status(response, url)
                body = b""
                for chunk in response.iter_raw():
                    body += chunk
                    if len(body) > _MOST_ANSWER_BYTES:
                        raise PermanentError(f"{redact(url)}: the server's answer is too long")
                following = response.links.get("next", {}).get("url")
                return Answer(body=body, next_address=following)

        return self._persist(url, ask)

    def keep_trying(self, url: str, attempt: Callable[[], T]) -> T:
        """Do what raises TryAgain while the cause may pass; `url` is for messages."""
        return self._persist(url, attempt)

    def fetch(self, target: Target, on_bytes: Callable[[int], None]) -> DatasetFile:
        """Download one file, resuming an earlier attempt; `on_bytes` gets the bytes so far."""
        if target.is_local:
            return target.local_file()
        finished = target.finished()
        if finished is not None:
            log.event(_logger, "download-skipped", url=finished.url, bytes=finished.size)
            return finished
        receive = self._receive if target.stored is None else self._receive_stored
        file = target.finish(
            self._persist(target.url, lambda: receive(target, on_bytes), lambda: target.part_size)
        )
        log.event(_logger, "downloaded", url=file.url, bytes=file.size, sha256=file.sha256)
        return file

    def _size(self, target: Target) -> int | None:
        """Size in bytes of the file at a URL; None if the server does not send it."""
        if target.is_local:
            return target.local_size
        finished = target.finished()
        if finished is not None:
            return finished.size
        if target.stored is not None:
            self._check_limit(target.stored.size, target.url)
            target.adopt_kept(target.stored.version, target.stored.size)
            return target.stored.size
        return self._persist(target.url, lambda: self._ask_size(target))

    def identify(self, target: Target) -> str | None:
        """What `Target.identity` would be if the file were fetched now; None if nothing tells."""
        if target.content is not None or target.is_local or target.stored is not None:
            return target.identity()

        def identity_of(response: httpx.Response) -> str | None:
            is_weak = answers.has_weak_etag(response)
            validator = None if is_weak else answers.validator(response)
            return identity(validator, answers.total_size(response))

        return self._persist(target.url, lambda: self._ask(target, identity_of))

    def _ask_size(self, target: Target) -> int | None:
        def size_of(response: httpx.Response) -> int | None:
            size = answers.total_size(response)
            self._check_limit(size, target.url)
            target.adopt_kept(answers.validator(response), size)
            return size

        return self._ask(target, size_of)

    def _ask(self, target: Target, read: Callable[[httpx.Response], T]) -> T:
        """Read the headers of the file's first byte, or of the file where no part is given."""
        # Not HEAD: a signed URL is signed for GET only.
        headers = {**target.headers, "Range": "bytes=0-0"}
        with self._answer(target.address, headers, target.url) as response:
            # An empty file has no byte 0.
            is_empty = answers.is_whole(response, 0)
            if is_empty or not answers.refuses_range(response):
                if not is_empty:
                    answers.check_status(response, target.url)
                return read(response)
        with self._answer(target.address, dict(target.headers), target.url) as response:
            answers.check_status(response, target.url)
            return read(response)

    def _check_space(
        self,
        targets: Sequence[Target],
        sizes: Sequence[int | None],
        directory: Path,
        tuning_bytes: int,
    ) -> None:
        """Raise PermanentError unless the disk has room for the downloads and all made of them.

        Dataset and tokens are each assumed to be as large as all downloads. What tuning writes
        counts too: there a full disk would show when a GPU is paid for.
        """
        need = tuning_bytes + 2 * sum(size or 0 for size in sizes)
        for target, size in zip(targets, sizes, strict=True):
            if not target.is_local and target.finished() is None:
                need += max(0, (size or 0) - target.part_size)
        free = self._free_bytes(directory)
        if need > free:
            raise PermanentError(
                f"{directory}: {_gb(need)} are needed for downloads, dataset, tokens and "
                f"checkpoints, {_gb(free)} are free; {MORE_ROOM}"
            )

    def _persist(
        self, url: str, attempt: Callable[[], T], received_bytes: Callable[[], int] = lambda: 0
    ) -> T:
        """Retry until success, a permanent error, or the limit of attempts without progress."""
        failures, furthest = 0, received_bytes()
        while True:
            try:
                return attempt()
            except (
                TryAgain,
                httpx.TimeoutException,
                httpx.NetworkError,
                httpx.RemoteProtocolError,
            ) as error:
                failure = error
            answers.refuse_bad_certificate(failure, url)
            received = received_bytes()
            failures = 1 if received > furthest else failures + 1
            furthest = max(furthest, received)
            if failures >= self._attempts:
                raise TransientError(
                    f"{redact(url)}: {answers.reason(failure)}; "
                    f"{failures} attempts without progress; {received} bytes are kept"
                ) from failure
            self._pause(url, failure, failures, received)

    def _pause(self, url: str, failure: Exception, failures: int, received: int) -> None:
        seconds = answers.pause_seconds(failure, failures)
        log.warn(
            _logger,
            "download-interrupted",
            url=redact(url),
            reason=answers.reason(failure),
            bytes=received,
            retry_in_seconds=seconds,
        )
        self._sleep(seconds)

    def _receive(self, target: Target, on_bytes: Callable[[int], None]) -> Received:
        """Send one request, which resumes the partial file if the server still has its version."""
        offset, version = target.resume_point()
        headers = {"Range": f"bytes={offset}-", "If-Range": version} if version else {}
        headers = {**target.headers, **headers}
        with self._answer(target.address, headers, target.url) as response:
            if version and answers.is_whole(response, offset):
                return self._write(target, (), offset, offset, on_bytes)
            if version and answers.starts_over(response, offset):
                target.discard_part()
                offset = 0
                if response.status_code != 200:
                    raise TryAgain("the file changed during the download", pause_seconds=0.0)
            answers.check_status(response, target.url)
            answers.refuse_encoding(response, target.url)
            size = answers.total_size(response)
            self._check_limit(size, target.url)
            target.remember_version(answers.validator(response))
            body = self._body(response) if offset != size else ()
            return self._write(target, body, offset, size, on_bytes)

    def _receive_stored(self, target: Target, on_bytes: Callable[[int], None]) -> Received:
        """Read a file of an object store, from where an earlier attempt at its version ended."""
        stored = target.stored
        assert stored is not None
        offset, version = target.resume_point()
        if version != stored.version or offset > stored.size:
            target.discard_part()
            offset = 0
        target.remember_version(stored.version)
        return self._write(target, stored.chunks(offset), offset, stored.size, on_bytes)

    def _write(
        self,
        target: Target,
        body: Iterable[bytes],
        offset: int,
        size: int | None,
        on_bytes: Callable[[int], None],
    ) -> Received:
        digest = hashlib.sha256()
        with (
            _disk_full_as_error(target.path.parent, size),
            target.part.open("ab" if offset else "wb") as file,
        ):
            for chunk in _chunks_of(target.part, offset):
                digest.update(chunk)
            for chunk in body:
                file.write(chunk)
                digest.update(chunk)
                offset += len(chunk)
                self._check_limit(offset, target.url)
                on_bytes(offset)
        if size is not None and offset != size:
            raise TryAgain(f"the server closed the connection after {offset} of {size} bytes")
        return Received(size=offset, sha256=digest.hexdigest())

    def _body(self, response: httpx.Response) -> Iterator[bytes]:
        """Yield the body's chunks; raises TryAgain if they arrive too slowly."""
        start, received = self._clock(), 0
        for chunk in response.iter_raw():
            yield chunk
            received += len(chunk)
            elapsed = self._clock() - start
            if elapsed < self._stall_seconds:
                continue
            if received < MIN_BYTES_PER_SECOND * elapsed:
                raise TryAgain(f"received only {received} bytes in {elapsed:.0f} seconds")
            start, received = self._clock(), 0

    @contextlib.contextmanager
    def _answer(self, address: str, headers: dict[str, str], url: str) -> Iterator[httpx.Response]:
        """Stream the response after all redirects, each of which the transport checks.

        A redirect to another host gets no login. `url` is for messages.
        """
        # Unencoded bytes: lengths, ranges and checksums refer to these.
        headers = {"Accept-Encoding": "identity"} | headers
        request = self._client.build_request("GET", address, headers=headers)
        for _ in range(MAX_REDIRECTS + 1):
            with contextlib.closing(self._client.send(request, stream=True)) as response:
                if response.next_request is None:
                    yield response
                    return
                answers.refuse_downgrade(request, response.next_request, url)
                request = response.next_request
        raise PermanentError(f"{redact(url)}: more than {MAX_REDIRECTS} redirects, maybe a loop")

    def _check_limit(self, size: int | None, url: str) -> None:
        if size is not None and size > self._max_bytes:
            raise PermanentError(
                f"{redact(url)}: larger than the limit of {_gb(self._max_bytes)}; "
                "raise --max-download-gib to allow it"
            )


def _offset_progress(
    on_progress: Callable[[int, int], None], done: int, total: int
) -> Callable[[int], None]:
    return lambda size: on_progress(done + size, total)


def _chunks_of(path: Path, size: int) -> Iterator[bytes]:
    """The first `size` bytes of a file."""
    if not size:
        return
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


@contextlib.contextmanager
def _disk_full_as_error(directory: Path, size: int | None) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        need = "" if size is None else f"; the file has {_gb(size)}"
        raise PermanentError(
            f"{directory}: no space left on the volume{need}; {MORE_ROOM}"
        ) from error


def _gb(size: int) -> str:
    return f"{size / 1e9:.3g} GB"
