"""From the URLs of a run to its files: what each URL means at its source now."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from argotune.steps.common.errors import PermanentError
from argotune.steps.common.urls import STORE_SCHEMES
from argotune.steps.dataset.data_image import files_of_image
from argotune.steps.dataset.download import Downloader
from argotune.steps.dataset.hub import ENDPOINT, Hub
from argotune.steps.dataset.local_files import LocalFile, local_files
from argotune.steps.dataset.params import Params
from argotune.steps.dataset.stores import Stores
from argotune.steps.dataset.target import Target
from argotune.steps.registry.layers import resolve_image
from argotune.steps.registry.oci import parse_image
from argotune.steps.registry.skopeo import Registry

T = TypeVar("T")


class Locator:
    """Finds the files of URLs, each by the way of its scheme."""

    def __init__(
        self,
        params: Params,
        directory: Path,
        *,
        downloader: Downloader,
        stores: Stores,
        environment: Mapping[str, str],
    ) -> None:
        self._params = params
        self._directory = directory
        self._downloader = downloader
        self._stores = stores
        self._hub = Hub(
            downloader=downloader,
            endpoint=(environment.get("HF_ENDPOINT") or ENDPOINT).rstrip("/"),
            token=environment.get("HF_TOKEN"),
        )
        self._registry = Registry(
            auth_file=params.auth_file,
            secret=params.data_secret,
            ca_file=params.ca_file,
            allowed_hosts=params.allowed_registries,
        )

    def identities(self, urls: Sequence[str]) -> list[list[str]] | None:
        """What identifies the files that each URL has now, without fetching any.

        None where one of them may have changed without a sign. Raises as `targets` does.
        """
        every = _images_first(urls, self._identities)
        known = [[text for text in each if text is not None] for each in every]
        return known if known == every else None

    def _identities(self, url: str, index: int) -> list[str | None]:
        if url.startswith("oci:"):
            reference = parse_image(url.removeprefix("oci://"))
            return [resolve_image(reference, self._registry, name=url).digest]
        return [self._downloader.identify(target) for target in self._targets(url, index)]

    def targets(self, urls: Sequence[str]) -> list[list[Target]]:
        """The files of each URL; one that two URLs name is there twice.

        Raises ParamsError, PermanentError or TransientError.
        """
        return _images_first(urls, self._targets)

    def _targets(self, url: str, index: int) -> list[Target]:
        address, _, fragment = url.partition("#")
        targets = list(self._of_scheme(address, index))
        if not fragment:
            return targets
        if len(targets) > 1:
            raise PermanentError(
                f"{address}: #sha256= is the sum of one file, and the URL means {len(targets)}"
            )
        checksum = fragment.removeprefix("sha256=").lower()
        return [replace(target, expected_sha256=checksum) for target in targets]

    def _of_scheme(self, url: str, index: int) -> Iterator[Target]:
        scheme = urlsplit(url).scheme
        if scheme == "hf":
            for file in self._hub.files(url):
                yield Target.of(
                    file.url,
                    index,
                    self._directory,
                    address=file.address,
                    headers=self._hub.headers,
                    sha256=file.sha256,
                )
        elif scheme in STORE_SCHEMES:
            for stored in self._downloader.keep_trying(url, lambda: self._stores.files(url)):
                yield Target.of(stored.url, index, self._directory, stored=stored)
        elif (files := self._local_files(url, scheme)) is not None:
            for local in files:
                yield Target.of(local.url, index, self._directory, local=local.path)
        else:
            yield Target.of(url, index, self._directory)

    def _local_files(self, url: str, scheme: str) -> list[LocalFile] | None:
        if scheme == "oci":
            return files_of_image(
                url,
                self._directory,
                registry=self._registry,
                max_bytes=int(self._params.max_download_gib * 2**30),
            )
        return local_files(url, self._params.volume_dir)


def _images_first(urls: Sequence[str], find: Callable[[str, int], T]) -> list[T]:
    """What is found of each URL and its index, in the order of the URLs.

    Images are asked for before a store sets a proxy that skopeo would take.
    """
    order = sorted(range(len(urls)), key=lambda index: not urls[index].startswith("oci:"))
    found = {index: find(urls[index], index) for index in order}
    return [found[index] for index in range(len(urls))]
