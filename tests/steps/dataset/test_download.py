from __future__ import annotations

import errno
import hashlib
import logging
import threading
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import httpx
import pytest

from argotune.steps.common.errors import PermanentError, TransientError
from argotune.steps.common.exhausted import MORE_ROOM
from argotune.steps.dataset.download import Downloader
from argotune.steps.dataset.local_files import files_of_machine
from argotune.steps.dataset.target import DatasetFile, Target
from argotune.steps.web.guard import ForbiddenAddress, GuardedTransport, UrlPolicy
from tests.fakes.http import FileServer, Serve, Status

BODY = b"".join(hashlib.sha256(str(number).encode()).digest() for number in range(10_000))


class Pauses(list[float]):
    """Stands in for time.sleep."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


@pytest.fixture
def new_downloader(pauses: Pauses) -> Iterator[Callable[..., Downloader]]:
    transport = GuardedTransport(UrlPolicy(allow_loopback=True))
    with httpx.Client(transport=transport, trust_env=False, timeout=5.0) as client:

        def make(**settings: Any) -> Downloader:
            defaults: dict[str, Any] = {"attempts": 3, "max_bytes": 1 << 30, "sleep": pauses}
            return Downloader(client, **(defaults | settings))

        yield make


@pytest.fixture
def downloader(new_downloader: Callable[..., Downloader]) -> Downloader:
    return new_downloader()


def targets(urls: list[str], directory: Path) -> list[Target]:
    return [Target.of(url, index, directory) for index, url in enumerate(urls)]


def fetch(downloader: Downloader, url: str, directory: Path) -> DatasetFile:
    return downloader.fetch(Target.of(url, 0, directory), lambda size: None)


def ranges(server: FileServer) -> list[str | None]:
    return [seen.headers.get("Range") for seen in server.requests]


def test_file_arrives_whole_with_its_hash(
    server: FileServer, downloader: Downloader, tmp_path: Path
) -> None:
    url = server.add("/data/train.parquet?sig=SECRET", BODY)
    file = fetch(downloader, url, tmp_path)
    assert file.path.read_bytes() == BODY
    assert file.name == "train.parquet"
    assert file.size == len(BODY)
    assert file.sha256 == hashlib.sha256(BODY).hexdigest()
    assert "SECRET" not in "".join(path.read_text("latin-1") for path in tmp_path.glob("*.json"))
    assert not list(tmp_path.glob("*.part*"))


def test_second_run_asks_nobody(server: FileServer, downloader: Downloader, tmp_path: Path) -> None:
    url = server.add("/a", BODY)
    first = fetch(downloader, url, tmp_path)
    assert fetch(downloader, url, tmp_path) == first
    assert len(server.requests) == 1


def keep(directory: Path) -> None:
    """Leave the downloads as `argotune data` leaves them for a run."""
    for record in directory.glob("*.json"):
        record.rename(record.with_suffix(".kept.json"))


def test_kept_file_of_the_servers_version_is_not_downloaded_again(
    server: FileServer, downloader: Downloader, tmp_path: Path
) -> None:
    url = server.add("/a", BODY)
    first = downloader.fetch_all(
        targets([url], tmp_path), tmp_path, on_progress=lambda done, total: None
    )
    keep(tmp_path)
    server.requests.clear()
    assert (
        downloader.fetch_all(
            targets([url], tmp_path), tmp_path, on_progress=lambda done, total: None
        )
        == first
    )
    assert ranges(server) == ["bytes=0-0"]


@pytest.mark.parametrize("etag", ['"another"', None])
def test_kept_file_of_another_or_an_unknown_version_is_downloaded_anew(
    server: FileServer, downloader: Downloader, tmp_path: Path, etag: str | None
) -> None:
    url = server.add("/a", BODY, etag='"one"' if etag else None)
    downloader.fetch_all(targets([url], tmp_path), tmp_path, on_progress=lambda done, total: None)
    keep(tmp_path)
    server.add("/a", BODY[::-1], etag=etag)
    [file] = downloader.fetch_all(
        targets([url], tmp_path), tmp_path, on_progress=lambda done, total: None
    )
    assert file.path.read_bytes() == BODY[::-1]


def test_cut_connection_is_resumed_where_it_broke(
    server: FileServer, downloader: Downloader, pauses: Pauses, tmp_path: Path
) -> None:
    url = server.add("/a", BODY, Serve(cut_after=100_000), Serve(cut_after=50_000))
    assert fetch(downloader, url, tmp_path).path.read_bytes() == BODY
    assert ranges(server) == [None, "bytes=100000-", "bytes=150000-"]
    assert {seen.headers.get("If-Range") for seen in server.requests[1:]} == {
        f'"{hashlib.sha256(BODY).hexdigest()[:16]}"'
    }
    assert pauses == [1.0, 1.0]


def test_tries_count_only_while_nothing_new_comes(
    server: FileServer, downloader: Downloader, tmp_path: Path
) -> None:
    url = server.add("/a", BODY, *[Serve(cut_after=30_000)] * 8)
    assert fetch(downloader, url, tmp_path).path.read_bytes() == BODY


def test_part_of_an_earlier_process_is_resumed(
    server: FileServer, new_downloader: Callable[..., Downloader], tmp_path: Path
) -> None:
    url = server.add("/a", BODY, Serve(cut_after=100_000))
    with pytest.raises(TransientError):
        fetch(new_downloader(attempts=1), url, tmp_path)
    assert fetch(new_downloader(), url, tmp_path).path.read_bytes() == BODY
    assert ranges(server) == [None, "bytes=100000-"]


def test_part_that_was_whole_already_only_gets_its_name(
    server: FileServer, downloader: Downloader, tmp_path: Path
) -> None:
    url = server.add("/a", BODY)
    target = Target.of(url, 0, tmp_path)
    target.part.write_bytes(BODY)
    target.remember_version(f'"{hashlib.sha256(BODY).hexdigest()[:16]}"')
    assert fetch(downloader, url, tmp_path).sha256 == hashlib.sha256(BODY).hexdigest()
    assert ranges(server) == [f"bytes={len(BODY)}-"]


def test_changed_file_starts_over(
    server: FileServer, new_downloader: Callable[..., Downloader], tmp_path: Path
) -> None:
    url = server.add("/a", BODY, Serve(cut_after=100_000))
    with pytest.raises(TransientError):
        fetch(new_downloader(attempts=1), url, tmp_path)
    server.add("/a", BODY[::-1])
    assert fetch(new_downloader(), url, tmp_path).path.read_bytes() == BODY[::-1]


def test_whole_answer_to_a_range_starts_over(
    server: FileServer, downloader: Downloader, tmp_path: Path
) -> None:
    url = server.add("/a", BODY, Serve(cut_after=100_000), Serve(ignore_range=True))
    assert fetch(downloader, url, tmp_path).path.read_bytes() == BODY


def test_wrong_part_starts_over(server: FileServer, downloader: Downloader, tmp_path: Path) -> None:
    url = server.add("/a", BODY, Serve(cut_after=100_000), Serve(wrong_range=True))
    assert fetch(downloader, url, tmp_path).path.read_bytes() == BODY
    assert ranges(server) == [None, "bytes=100000-", None]


def test_without_an_etag_the_date_of_change_guards_the_resume(
    server: FileServer, downloader: Downloader, tmp_path: Path
) -> None:
    date = formatdate(0, usegmt=True)
    url = server.add(
        "/a", BODY, Serve(cut_after=100_000), etag=None, headers={"Last-Modified": date}
    )
    assert fetch(downloader, url, tmp_path).path.read_bytes() == BODY
    assert server.requests[1].headers["If-Range"] == date


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_a_strong_version_it_starts_over(
    server: FileServer, downloader: Downloader, tmp_path: Path, etag: str | None
) -> None:
    url = server.add("/a", BODY, Serve(cut_after=100_000), etag=etag)
    assert fetch(downloader, url, tmp_path).path.read_bytes() == BODY
    assert ranges(server) == [None, None]


def test_server_errors_are_waited_out_with_growing_pauses(
    server: FileServer, new_downloader: Callable[..., Downloader], pauses: Pauses, tmp_path: Path
) -> None:
    statuses = [500, 502, 503, 504, 429, 408, 503, 503]
    url = server.add("/a", BODY, *[Status(code=code) for code in statuses])
    assert fetch(new_downloader(attempts=9), url, tmp_path).path.read_bytes() == BODY
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]


def test_server_error_does_not_forget_the_part(
    server: FileServer, downloader: Downloader, tmp_path: Path
) -> None:
    url = server.add("/a", BODY, Serve(cut_after=100_000), Status(code=503))
    assert fetch(downloader, url, tmp_path).path.read_bytes() == BODY
    assert ranges(server) == [None, "bytes=100000-", "bytes=100000-"]


def test_retry_after_is_followed(
    server: FileServer, downloader: Downloader, pauses: Pauses, tmp_path: Path
) -> None:
    past = formatdate(0, usegmt=True)
    url = server.add(
        "/a",
        BODY,
        Status(code=429, headers={"Retry-After": "7"}),
        Status(code=503, headers={"Retry-After": past}),
    )
    fetch(downloader, url, tmp_path)
    assert pauses == [7.0, 0.0]


def test_long_retry_after_is_left_to_the_next_run(
    server: FileServer, downloader: Downloader, tmp_path: Path
) -> None:
    url = server.add("/a", BODY, Status(code=429, headers={"Retry-After": "3600"}))
    with pytest.raises(TransientError) as caught:
        fetch(downloader, url, tmp_path)
    assert str(caught.value) == (
        f"{url}: the server answered 429 Too Many Requests with Retry-After 3600 s"
    )


def test_server_that_stays_broken_is_transient(
    server: FileServer, downloader: Downloader, tmp_path: Path
) -> None:
    url = server.add("/a?sig=SECRET", BODY, *[Status(code=503)] * 3)
    with pytest.raises(TransientError) as caught:
        fetch(downloader, url, tmp_path)
    assert str(caught.value) == (
        f"{server.url('/a')}: the server answered 503 Service Unavailable; 3 attempts without "
        "progress; 0 bytes are kept"
    )


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (
            403,
            "403 Forbidden; check that the signature in the URL is still valid, or that the file "
            "is public",
        ),
        (404, "404 Not Found; check the path"),
        (400, "400 Bad Request; open the URL with curl -v to see why"),
    ],
)
def test_refusal_is_permanent_and_not_tried_again(
    server: FileServer, downloader: Downloader, tmp_path: Path, code: int, text: str
) -> None:
    url = server.add("/a?sig=SECRET", BODY, Status(code=code))
    with pytest.raises(PermanentError) as caught:
        fetch(downloader, url, tmp_path)
    assert str(caught.value) == f"{server.url('/a')}: the server answered {text}"
    assert len(server.requests) == 1


@pytest.mark.parametrize("code", [400, 403, 405, 416, 501])
def test_a_server_that_refuses_a_part_is_asked_for_the_whole_file(
    server: FileServer, downloader: Downloader, tmp_path: Path, code: int
) -> None:
    url = server.add("/a", BODY, Status(code=code))
    (file,) = downloader.fetch_all(
        targets([url], tmp_path), tmp_path, on_progress=lambda done, total: None
    )
    assert file.path.read_bytes() == BODY
    assert ranges(server) == ["bytes=0-0", None, None]


def test_a_servers_own_reason_is_said(
    server: FileServer, downloader: Downloader, tmp_path: Path
) -> None:
    refusal = Status(code=401, headers={"X-Error-Message": "Access to x/y is \x9brestricted."})
    with pytest.raises(PermanentError, match=r"401 Unauthorized \(Access to x/y is .*restricted"):
        fetch(downloader, server.add("/a", BODY, refusal), tmp_path)


@pytest.mark.parametrize(
    ("kind", "body", "said"),
    [
        ("application/json", b'{"error": "Invalid username or password."}', "Invalid username"),
        ("application/json", b'{"error": {"code": 7, "message": "Quota exceeded"}}', "Quota"),
        ("application/problem+json; charset=utf-8", b'{"detail": "No such key"}', "No such key"),
        ("application/xml", b"<Error><Message>Signature expired</Message></Error>", "Signature"),
    ],
)
def test_a_servers_reason_in_the_body_is_said(
    server: FileServer, downloader: Downloader, tmp_path: Path, kind: str, body: bytes, said: str
) -> None:
    refusal = Status(code=401, headers={"Content-Type": kind}, body=body)
    with pytest.raises(PermanentError, match=rf"401 Unauthorized \({said}"):
        fetch(downloader, server.add("/a", BODY, refusal), tmp_path)


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'{"error": 5}', b'{"error": ' * 2000])
def test_a_body_without_a_reason_adds_none(
    server: FileServer, downloader: Downloader, tmp_path: Path, body: bytes
) -> None:
    refusal = Status(code=401, headers={"Content-Type": "application/json"}, body=body)
    with pytest.raises(PermanentError, match="401 Unauthorized; check that the signature"):
        fetch(downloader, server.add("/a", BODY, refusal), tmp_path)


def test_an_encoding_that_was_not_asked_for_is_named(
    server: FileServer, downloader: Downloader, tmp_path: Path
) -> None:
    url = server.add("/a", BODY, headers={"Content-Encoding": "br"})
    with pytest.raises(PermanentError, match="sends it with Content-Encoding br"):
        fetch(downloader, url, tmp_path)


def test_content_length_that_is_too_large_is_never_believed(
    server: FileServer, downloader: Downloader, tmp_path: Path
) -> None:
    lie = Serve(say_length=len(BODY) + 10, ignore_range=True)
    url = server.add("/a", BODY, *[lie] * 3)
    with pytest.raises(TransientError):
        fetch(downloader, url, tmp_path)
    assert not Target.of(url, 0, tmp_path).path.exists()


def test_server_that_says_there_is_no_more_corrects_its_wrong_length(
    server: FileServer, downloader: Downloader, tmp_path: Path
) -> None:
    url = server.add("/a", BODY, Serve(say_length=len(BODY) + 10))
    assert fetch(downloader, url, tmp_path).path.read_bytes() == BODY
    assert ranges(server) == [None, f"bytes={len(BODY)}-"]


def test_silent_server_counts_as_a_failed_try(
    server: FileServer, pauses: Pauses, tmp_path: Path
) -> None:
    never = threading.Event()
    url = server.add("/a", BODY, Serve(hold=never))
    transport = GuardedTransport(UrlPolicy(allow_loopback=True))
    with httpx.Client(transport=transport, timeout=httpx.Timeout(5.0, read=0.1)) as client:
        downloader = Downloader(client, attempts=1, max_bytes=1 << 30, sleep=pauses)
        with pytest.raises(TransientError, match="the server sent no data until the timeout"):
            fetch(downloader, url, tmp_path)
    never.set()


def test_slow_drip_counts_as_a_failed_try(
    server: FileServer, new_downloader: Callable[..., Downloader], tmp_path: Path
) -> None:
    seconds = iter(range(0, 10**9, 1000))
    slow = new_downloader(attempts=1, clock=lambda: float(next(seconds)), stall_seconds=60.0)
    url = server.add("/a", BODY, Serve(chunk=1000))
    with pytest.raises(TransientError, match=r"received only \d+ bytes in 1000 seconds"):
        fetch(slow, url, tmp_path)


def test_checksum_of_the_url_is_checked(
    server: FileServer, downloader: Downloader, tmp_path: Path
) -> None:
    url, right = server.add("/a", BODY), hashlib.sha256(BODY).hexdigest()
    assert fetch(downloader, f"{url}#sha256={right.upper()}", tmp_path).sha256 == right
    with pytest.raises(PermanentError) as caught:
        fetch(downloader, f"{url}#sha256={'0' * 64}", tmp_path)
    assert str(caught.value) == (
        f"{url}: its SHA-256 is {right}, expected is {'0' * 64}; the file or the #sha256= of the "
        "URL is wrong"
    )
    assert not list(tmp_path.glob("*.part"))


def test_file_above_the_limit_is_refused_before_its_body(
    server: FileServer, new_downloader: Callable[..., Downloader], tmp_path: Path
) -> None:
    url = server.add("/a", BODY)
    with pytest.raises(PermanentError, match=r"larger than the limit of 0\.0001 GB"):
        fetch(new_downloader(max_bytes=100_000), url, tmp_path)


def test_body_above_the_limit_is_cut_off_when_no_length_was_said(
    server: FileServer, new_downloader: Callable[..., Downloader], tmp_path: Path
) -> None:
    url = server.add("/a", BODY, Serve(no_length=True))
    with pytest.raises(PermanentError, match="larger than the limit"):
        fetch(new_downloader(max_bytes=100_000), url, tmp_path)


def test_redirects_are_followed_but_not_for_ever(
    server: FileServer, downloader: Downloader, tmp_path: Path
) -> None:
    server.add("/real", BODY)
    url = server.add("/a", b"", Status(code=302, headers={"Location": "/real"}))
    assert fetch(downloader, url, tmp_path).path.read_bytes() == BODY
    loop = server.add("/loop", b"", *[Status(code=302, headers={"Location": "/loop"})] * 9)
    with pytest.raises(PermanentError, match="more than 5 redirects, maybe a loop"):
        fetch(downloader, loop, tmp_path)
    assert server.paths().count("/loop") == 6


def test_redirect_to_an_internal_address_is_refused(
    server: FileServer, downloader: Downloader, tmp_path: Path
) -> None:
    away = Status(code=302, headers={"Location": "http://169.254.169.254/metadata"})
    url = server.add("/a", b"", away)
    with pytest.raises(ForbiddenAddress, match=r"^http://169\.254\.169\.254/metadata: "):
        fetch(downloader, url, tmp_path)


def test_full_disk_is_found_before_the_first_byte(
    server: FileServer, new_downloader: Callable[..., Downloader], tmp_path: Path
) -> None:
    urls = [server.add("/a", BODY), server.add("/b", BODY)]
    full = new_downloader(free_bytes=lambda path: 1_000_000)
    with pytest.raises(PermanentError) as caught:
        full.fetch_all(
            targets(urls, tmp_path),
            tmp_path,
            on_progress=lambda done, total: None,
            tuning_bytes=2_000_000,
        )
    assert str(caught.value) == (
        f"{tmp_path}: 0.00392 GB are needed for downloads, dataset, tokens and checkpoints,"
        f" 0.001 GB are free; {MORE_ROOM}"
    )
    assert ranges(server) == ["bytes=0-0", "bytes=0-0"]


def test_disk_that_fills_up_meanwhile_is_named(
    server: FileServer, downloader: Downloader, tmp_path: Path
) -> None:
    def fill_up(size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    url = server.add("/a", BODY)
    with pytest.raises(PermanentError) as caught:
        downloader.fetch(Target.of(url, 0, tmp_path), fill_up)
    assert str(caught.value) == (
        f"{tmp_path}: no space left on the volume; the file has 0.00032 GB; {MORE_ROOM}"
    )


def test_wrong_last_url_shows_before_the_first_download(
    server: FileServer, downloader: Downloader, tmp_path: Path
) -> None:
    urls = [server.add("/a", BODY), server.url("/missing")]
    with pytest.raises(PermanentError, match="404 Not Found"):
        downloader.fetch_all(
            targets(urls, tmp_path), tmp_path, on_progress=lambda done, total: None
        )
    assert ranges(server) == ["bytes=0-0", "bytes=0-0"]


def test_progress_counts_the_bytes_of_all_files(
    server: FileServer, downloader: Downloader, tmp_path: Path
) -> None:
    urls = [server.add("/a", BODY, Serve(), Serve(cut_after=100_000)), server.add("/b", BODY[:77])]
    seen: list[tuple[int, int]] = []
    files = downloader.fetch_all(
        targets(urls, tmp_path), tmp_path, on_progress=lambda *bytes_: seen.append(bytes_)
    )
    assert [file.size for file in files] == [len(BODY), 77]
    assert seen == sorted(seen)
    assert seen[-1] == (len(BODY) + 77, len(BODY) + 77)


def test_same_url_twice_is_two_files(
    server: FileServer, downloader: Downloader, tmp_path: Path
) -> None:
    url = server.add("/a", BODY)
    files = downloader.fetch_all(
        targets([url, url], tmp_path), tmp_path, on_progress=lambda done, total: None
    )
    assert files[0].path != files[1].path


def test_other_query_is_another_file(
    server: FileServer, downloader: Downloader, tmp_path: Path
) -> None:
    fetch(downloader, server.add("/a?version=1", BODY), tmp_path)
    assert fetch(downloader, server.add("/a?version=2", b"new"), tmp_path).size == 3


def test_empty_file_is_fetched(server: FileServer, downloader: Downloader, tmp_path: Path) -> None:
    files = downloader.fetch_all(
        targets([server.add("/a", b"")], tmp_path), tmp_path, on_progress=lambda done, total: None
    )
    assert files[0].size == 0


def test_local_file_is_used_in_place(downloader: Downloader, tmp_path: Path) -> None:
    path = tmp_path / "with space.jsonl"
    path.write_bytes(BODY)
    files = downloader.fetch_all(
        [Target.of(path.as_uri(), 0, tmp_path, local=path)],
        tmp_path / "downloads",
        on_progress=lambda done, total: None,
    )
    assert files[0].path == path
    assert files[0].name == "with space.jsonl"
    assert files[0].sha256 == hashlib.sha256(BODY).hexdigest()


def test_missing_local_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PermanentError) as caught:
        files_of_machine(f"{tmp_path.as_uri()}/absent")
    assert str(caught.value) == f"{tmp_path.as_uri()}/absent: no such file or directory"


def test_interruption_is_logged_without_the_query(
    server: FileServer, downloader: Downloader, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = server.add("/a?sig=SECRET", BODY, Serve(cut_after=1000))
    with caplog.at_level(logging.INFO, logger="argotune"):
        fetch(downloader, url, tmp_path)
    assert "download-interrupted" in caplog.text
    assert "SECRET" not in caplog.text
