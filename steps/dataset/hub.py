"""Data sets of the Hugging Face Hub: which files a URL means, each at one commit.

huggingface_hub looks names up itself and connects to what it finds. Two requests of the Hub's
public API through the client that checks addresses are all that is needed of it, and files come
like those of every other server: resumed, and by the commit that was listed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from argotune.steps.common.errors import PermanentError
from argotune.steps.dataset.download import Downloader
from argotune.steps.dataset.selection import fixed_directory, is_pattern, select

ENDPOINT = "https://huggingface.co"
_URL = re.compile(r"hf://datasets/(?P<name>[^/]+/[^/@]+)(?:@(?P<revision>[^/]+))?/(?P<path>.+)")
_MOST_PAGES = 100  # of 1,000 files each


@dataclass(frozen=True, kw_only=True)
class HubFile:
    """A file of a data set."""

    url: str
    """hf://datasets/OWNER/NAME@COMMIT/FILE."""
    address: str
    """https URL of its content."""
    sha256: str | None
    """Of a large file; the Hub has another sum of small ones."""


@dataclass(frozen=True, kw_only=True)
class Hub:
    """The Hub, or a mirror of it."""

    downloader: Downloader
    endpoint: str = ENDPOINT
    token: str | None = None

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers of requests to the endpoint; a redirect to another host gets no login."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def files(self, url: str) -> list[HubFile]:
        """The files that an hf URL without fragment means.

        Raises PermanentError for what the user must change, TransientError for a Hub in trouble.
        """
        match = _URL.fullmatch(url)
        if match is None:
            raise PermanentError(f"{url}: not a URL of a data set")
        name, path = match["name"], unquote(match["path"]).rstrip("/")
        revision = unquote(match["revision"] or "main")
        told = self._get(url, f"{self._api(name)}/revision/{quote(revision, safe='')}")
        commit = str(told.get("sha", "")) if isinstance(told, dict) else ""
        if not re.fullmatch(r"[0-9a-f]{40}", commit):
            raise PermanentError(f"{url}: {self.endpoint} does not answer as the Hub does")
        listed = self._listed(url, f"{self._api(name)}/tree/{commit}", path)
        return [
            HubFile(
                url=f"hf://datasets/{name}@{commit}/{quote(file)}",
                address=f"{self.endpoint}/datasets/{name}/resolve/{commit}/{quote(file)}",
                sha256=listed[file],
            )
            for file in select(listed, path, url)
        ]

    def _listed(self, url: str, tree: str, path: str) -> dict[str, str | None]:
        """Files that the path may mean: name -> SHA-256, if the Hub has it."""
        around = fixed_directory(path)
        entries = list(self._entries(url, tree, around, recursive=is_pattern(path)))
        if any(entry.get("type") == "directory" and entry.get("path") == path for entry in entries):
            entries = list(self._entries(url, tree, path, recursive=True))
        return {
            str(entry.get("path")): (entry.get("lfs") or {}).get("oid")
            for entry in entries
            if entry.get("type") == "file"
        }

    def _entries(
        self, url: str, tree: str, directory: str, *, recursive: bool
    ) -> Iterator[Mapping[str, Any]]:
        address = "/".join(filter(None, (tree, quote(directory))))
        address = f"{address}?recursive={str(recursive).lower()}"
        for _ in range(_MOST_PAGES):
            answer = self.downloader.get(url, address, self.headers)
            page = _json(answer.body, url)
            if not isinstance(page, list):
                raise PermanentError(f"{url}: {self.endpoint} does not answer as the Hub does")
            yield from (entry for entry in page if isinstance(entry, dict))
            if answer.next_address is None:
                return
            address = self._of_endpoint(url, answer.next_address)
        raise PermanentError(f"{url}: over {_MOST_PAGES * 1000} files; name a directory with fewer")

    def _of_endpoint(self, url: str, address: str) -> str:
        """The address of the next page, which gets the token too. Raises PermanentError."""
        if urlsplit(address)[:2] != urlsplit(self.endpoint)[:2]:
            raise PermanentError(f"{url}: {self.endpoint} lists its files on another server")
        return address

    def _get(self, url: str, address: str) -> Any:
        return _json(self.downloader.get(url, address, self.headers).body, url)

    def _api(self, name: str) -> str:
        return f"{self.endpoint}/api/datasets/{name}"


def _json(body: bytes, url: str) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise PermanentError(f"{url}: the answer of the Hub is not JSON") from error
