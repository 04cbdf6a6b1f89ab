"""Model source hub: the Hugging Face Hub, or the mirror in HF_ENDPOINT.

Files that an earlier attempt completed are kept; within one attempt, a lost connection is resumed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download

from argotune.steps.common import log
from argotune.steps.contracts.model_source import is_model_file
from argotune.steps.contracts.training_plan import Model
from argotune.steps.hub.client import HubClient
from argotune.steps.model.files import check_space, model_files

_logger = logging.getLogger(__name__)


class Hub:
    """A Hub, by default that of HF_ENDPOINT."""

    def __init__(
        self, *, timeout_seconds: float, endpoint: str | None = None, ca_file: Path | None = None
    ) -> None:
        self._client = HubClient(
            timeout_seconds=timeout_seconds, endpoint=endpoint, ca_file=ca_file
        )

    def fetch(
        self,
        model: Model,
        directory: Path,
        *,
        free_bytes: Callable[[Path], int],
        on_progress: Callable[[int, int], None],
        wanted: Callable[[str], bool] = is_model_file,
    ) -> dict[str, str]:
        """Download the model's files; returns the SHA-256 sums that the Hub has, by file name.

        It must be a whole model, of which only the files with wanted names are downloaded. Raises
        PermanentError for what the user must change, else TransientError.
        """
        info = self._client.info(model.repository, model.revision)
        files = {file.rfilename: file for file in info.siblings or []}
        where = f"{self._client.endpoint}/{model.repository}"
        names = [name for name in model_files(files, where) if wanted(name)]
        sizes = {name: int(files[name].size or 0) for name in names}
        check_space(directory, sizes, free_bytes)
        log.event(
            _logger,
            "download",
            repository=model.repository,
            commit=info.sha,
            files=len(names),
            bytes=sum(sizes.values()),
        )
        done = 0
        for name in names:
            with self._client.errors(model.repository, model.revision):
                hf_hub_download(
                    model.repository,
                    name,
                    revision=info.sha,
                    local_dir=directory,
                    endpoint=self._client.endpoint,
                    etag_timeout=self._client.timeout_seconds,
                    tqdm_class=_bar(on_progress, done, sum(sizes.values())),
                )
            done += sizes[name]
            on_progress(done, sum(sizes.values()))
        large = ((name, files[name].lfs) for name in names)
        return {name: lfs.sha256 for name, lfs in large if lfs is not None}


def _bar(on_progress: Callable[[int, int], None], before: int, total: int) -> Any:
    """A class with tqdm's interface, to which the library reports bytes."""

    class Bar:
        def __init__(self, *, initial: int = 0, **_: object) -> None:
            self._done = initial

        def update(self, count: float | None = 1) -> None:
            self._done += int(count or 0)
            on_progress(before + self._done, total)

        def set_description(self, *_: object, **__: object) -> None: ...
        def close(self) -> None: ...
        def __enter__(self) -> Bar:
            return self

        def __exit__(self, *_: object) -> None: ...

    return Bar
