"""Weights from the Hugging Face Hub, or from the mirror that HF_ENDPOINT names.

The library reads HF_ENDPOINT and HF_TOKEN itself. Files that an earlier try finished are kept;
within one run, a connection that breaks is resumed.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import HfApi, constants, hf_hub_download
from huggingface_hub.errors import (
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from argotune.steps.common import log
from argotune.steps.common.errors import PermanentError, StepError, TransientError
from argotune.steps.contracts.training_plan import Model
from argotune.steps.model.files import model_files

_LOGGERS_OF_URLS = ("huggingface_hub.file_download", "huggingface_hub.utils._http")
_QUERY = re.compile(r"(https?://[^\s?'\"]+)\?[^\s'\"]+")

_logger = logging.getLogger(__name__)


def _without_queries(record: logging.LogRecord) -> bool:
    """The library logs the URLs that it tries again, and those are signed."""
    record.msg, record.args = _QUERY.sub(r"\1", record.getMessage()), ()
    return True


class Hub:
    """A Hub, by default the one that the environment names."""

    def __init__(self, *, timeout_seconds: float, endpoint: str | None = None) -> None:
        self._timeout_seconds = timeout_seconds
        self._endpoint = endpoint or constants.ENDPOINT
        self._api = HfApi(endpoint=self._endpoint)
        # The library has no argument for the silence of a download, only this.
        constants.HF_HUB_DOWNLOAD_TIMEOUT = max(1, round(timeout_seconds))
        # Xet brings errors and a cache directory of its own, and mirrors do not have it; plain
        # HTTPS resumes, and is fast enough beside the minutes that a GPU node takes.
        constants.HF_HUB_DISABLE_XET = True
        for name in _LOGGERS_OF_URLS:
            logging.getLogger(name).addFilter(_without_queries)

    def fetch(
        self,
        model: Model,
        directory: Path,
        *,
        free_bytes: Callable[[Path], int],
        on_progress: Callable[[int, int], None],
    ) -> dict[str, str]:
        """Download the model's files; returns the SHA-256 of those for which the Hub has one."""
        with self._errors(model):
            info = self._api.model_info(
                model.repository,
                revision=model.revision,
                files_metadata=True,
                timeout=self._timeout_seconds,
            )
        files = {file.rfilename: file for file in info.siblings or []}
        names = model_files(files, f"{self._endpoint}/{model.repository}")
        sizes = {name: int(files[name].size or 0) for name in names}
        _check_space(directory, sizes, free_bytes)
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
            with self._errors(model):
                hf_hub_download(
                    model.repository,
                    name,
                    revision=info.sha,
                    local_dir=directory,
                    endpoint=self._endpoint,
                    etag_timeout=self._timeout_seconds,
                    tqdm_class=_bar(on_progress, done, sum(sizes.values())),
                )
            done += sizes[name]
            on_progress(done, sum(sizes.values()))
        large = ((name, files[name].lfs) for name in names)
        return {name: lfs.sha256 for name, lfs in large if lfs is not None}

    @contextlib.contextmanager
    def _errors(self, model: Model) -> Iterator[None]:
        """The library's errors as ours, with what the user can do about them."""
        try:
            yield
        except LocalEntryNotFoundError as error:
            # What it could not reach is the cause.
            raise self._error(model, error.__cause__ or error) from error
        except (HfHubHTTPError, httpx2.TransportError, OfflineModeIsEnabled) as error:
            raise self._error(model, error) from error
        except OSError as error:
            if error.errno is not None:
                raise
            # A file that came with another length than announced.
            raise TransientError(f"{model.repository}: {error}") from error

    def _error(self, model: Model, error: BaseException) -> StepError:
        where = f"{self._endpoint}/{model.repository}"
        if isinstance(error, GatedRepoError):
            return PermanentError(
                f"{where} is gated: accept its licence on that page, and give a token of the "
                "same account in HF_TOKEN"
            )
        if isinstance(error, RevisionNotFoundError):
            return PermanentError(f"{where} has no revision {model.revision}")
        if isinstance(error, RepositoryNotFoundError):
            return PermanentError(
                f"{where} does not exist, or is private and HF_TOKEN has no access to it"
            )
        if isinstance(error, OfflineModeIsEnabled):
            return PermanentError(f"{where}: HF_HUB_OFFLINE is set; unset it to download")
        if isinstance(error, HfHubHTTPError):
            return _status_error(where, error.response.status_code)
        if isinstance(error, FileMetadataError):
            return PermanentError(f"{self._endpoint} is no Hub: {error}")
        reason = f"{type(error).__name__} {error}".strip()
        return TransientError(f"{where} cannot be reached: {reason}")


def _status_error(where: str, status: int) -> StepError:
    if status in (401, 403):
        return PermanentError(
            f"{where}: the Hub answered {status}; check that HF_TOKEN is valid and may read it"
        )
    if status in (408, 429) or status >= 500:
        return TransientError(f"{where}: the Hub answered {status}")
    return PermanentError(f"{where}: the Hub answered {status}")


def _check_space(directory: Path, sizes: dict[str, int], free_bytes: Callable[[Path], int]) -> None:
    need = sum(size for name, size in sizes.items() if not (directory / name).exists())
    free = free_bytes(directory)
    if need > free:
        raise PermanentError(
            f"{directory.parent}: the model needs {need / 1e9:.1f} GB more, {free / 1e9:.1f} GB "
            "are free; request a larger volume for the model cache"
        )


def _bar(on_progress: Callable[[int, int], None], before: int, total: int) -> Any:
    """The library reports bytes to a class with tqdm's interface."""

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
