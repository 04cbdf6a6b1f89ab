"""The cheap look of a scheduled run: nothing is downloaded unless the content has to decide."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from argotune.steps.common.progress import Progress
from argotune.steps.contracts.history import Deployed, digest_of_plan, record_deployed
from argotune.steps.contracts.training_plan import write_plan
from argotune.steps.dataset.answers import validator
from argotune.steps.dataset.download import Downloader
from argotune.steps.dataset.params import Params, Result
from argotune.steps.dataset.run import new_downloader, run
from tests.fakes.http import FileServer
from tests.fakes.plans import small_plan

OLD, OLDER = "Mon, 06 Jan 2025 10:00:00 GMT", "Mon, 06 Jan 2025 09:59:59 GMT"


def rows(count: int, answer: str = "Yes.") -> bytes:
    texts = [json.dumps({"prompt": f"Question {n}?", "completion": answer}) for n in range(count)]
    return "\n".join(texts).encode()


def patient(params: Params, client: httpx.Client) -> Downloader:
    return new_downloader(params, client, sleep=lambda seconds: None)


class Nights:
    """Scheduled runs of a workspace, each on a volume of its own; the first one deploys."""

    def __init__(self, directory: Path, server: FileServer) -> None:
        self._directory = directory
        self._server = server
        self._runs = 0
        self._history = directory / "history/name.json"
        self.plan = small_plan()

    def run(self, *urls: str, validation: tuple[str, ...] = ()) -> Result:
        self._runs += 1
        write_plan(self._directory / "plan.yaml", self.plan)
        self._server.requests.clear()
        params = Params(
            urls=urls,
            validation_urls=validation,
            plan_file=self._directory / "plan.yaml",
            work_dir=self._directory / f"run{self._runs}",
            allow_loopback=True,
            history_file=self._history,
            only_if_changed=True,
            timeout_seconds=5.0,
            attempts=2,
        )
        return run(params, progress=Progress(), downloader=patient)

    def deployed(self, *urls: str, **settings: Any) -> Result:
        result = self.run(*urls, **settings)
        deployed = Deployed(
            dataset_digest=result.digest,
            plan_digest=digest_of_plan(self._directory / "plan.yaml"),
            reference="image",
        )
        record_deployed(self._history, deployed)
        return result

    @property
    def downloads(self) -> list[str]:
        """Paths of the requests for more than a file's first byte."""
        return [
            seen.path for seen in self._server.requests if seen.headers.get("Range") != "bytes=0-0"
        ]


@pytest.fixture
def nights(tmp_path: Path, server: FileServer) -> Nights:
    return Nights(tmp_path, server)


def test_unchanged_sources_are_not_downloaded(nights: Nights, server: FileServer) -> None:
    urls = [server.add("/a", rows(30)), server.add("/b", rows(5, "No."))]
    validation = (server.add("/v", b'{"prompt": "Why?", "completion": "So."}'),)
    first = nights.deployed(*urls, validation=validation)
    again = nights.run(*urls, validation=validation)
    assert first.changed
    assert not again.changed
    assert nights.downloads == []
    assert server.paths() == ["/a", "/b", "/v"]
    # All that the step says without a download is what it said with one.
    told = {**vars(again), "changed": True}
    assert told == vars(first)


def test_edited_row_is_a_change_whatever_the_length(nights: Nights, server: FileServer) -> None:
    url = server.add("/a", rows(30))
    nights.deployed(url)
    server.add("/a", rows(30).replace(b"Yes", b"Nay", 1))
    assert nights.run(url).changed


def test_renamed_file_with_the_same_rows_is_none(nights: Nights, server: FileServer) -> None:
    nights.deployed(server.add("/a", rows(30)))
    renamed = server.add("/b", rows(30))
    assert not nights.run(renamed).changed
    assert nights.downloads == ["/b"], "the content decided"
    nights.run(renamed)
    assert nights.downloads == [], "and is known from then on"


@pytest.mark.parametrize(
    ("etag", "headers"),
    [
        (None, {}),
        ('W/"1"', {}),
        ('W/"1"', {"Last-Modified": OLD}),
        (None, {"Last-Modified": "Fri, 01 Jan 2100 10:00:00 GMT"}),
        (None, {"Last-Modified": "yesterday"}),
    ],
    ids=["none", "weak", "weak with a time", "of the future", "no time"],
)
def test_what_the_server_does_not_tell_for_sure_the_content_decides(
    nights: Nights, server: FileServer, etag: str | None, headers: dict[str, str]
) -> None:
    url = server.add("/a", rows(30), etag=etag, headers=headers)
    nights.deployed(url)
    assert not nights.run(url).changed
    assert nights.downloads == ["/a"]
    server.add("/a", rows(30).replace(b"Yes", b"Nay", 1), etag=etag, headers=headers)
    assert nights.run(url).changed


@pytest.mark.parametrize(
    ("answered", "is_sure"),
    [
        ("Mon, 06 Jan 2025 10:00:59 GMT", False),
        ("Mon, 06 Jan 2025 10:01:00 GMT", True),
        ("", False),
    ],
)
def test_a_time_counts_once_it_is_a_minute_old(answered: str, is_sure: bool) -> None:
    """Within the second that it names the file may change again."""
    response = httpx.Response(200, headers={"Last-Modified": OLD, "Date": answered})
    assert validator(response) == (OLD if is_sure else None)


def test_time_and_length_tell_where_there_is_no_tag(nights: Nights, server: FileServer) -> None:
    def serve(count: int, changed: str) -> str:
        return server.add("/a", rows(count), etag=None, headers={"Last-Modified": changed})

    url = serve(30, OLD)
    nights.deployed(url)
    assert not nights.run(url).changed
    assert nights.downloads == []
    assert nights.run(serve(31, OLD)).changed, "another length"
    serve(30, OLDER)
    assert not nights.run(url).changed
    assert nights.downloads == ["/a"], "another time"


def test_a_tag_means_nothing_for_another_url(nights: Nights, server: FileServer) -> None:
    nights.deployed(server.add("/a", rows(30), etag='"1"'))
    other = server.add("/b", rows(30).replace(b"Yes", b"Nay", 1), etag='"1"')
    assert nights.run(other).changed


def test_sum_in_the_url_is_enough(nights: Nights, server: FileServer) -> None:
    content = rows(30)
    url = f"{server.add('/a', content)}#sha256={hashlib.sha256(content).hexdigest()}"
    nights.deployed(url)
    assert not nights.run(url).changed
    assert server.requests == []


def test_other_settings_need_the_rows(nights: Nights, server: FileServer) -> None:
    url = server.add("/a", rows(30))
    nights.deployed(url)
    training = msgspec.structs.replace(nights.plan.training, epochs=9.0)
    nights.plan = msgspec.structs.replace(nights.plan, training=training)
    assert nights.run(url).changed
    assert nights.downloads == ["/a"]


def test_data_that_were_never_deployed_are_tuned_on(nights: Nights, server: FileServer) -> None:
    url = server.add("/a", rows(30))
    nights.run(url)
    assert nights.run(url).changed
    assert nights.downloads == ["/a"]


def test_local_file_is_read_and_its_time_not_believed(nights: Nights, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(rows(30))
    status = path.stat()
    assert nights.deployed(path.as_uri()).changed
    assert not nights.run(path.as_uri()).changed
    path.write_bytes(rows(30).replace(b"Yes", b"Nay", 1))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert nights.run(path.as_uri()).changed
