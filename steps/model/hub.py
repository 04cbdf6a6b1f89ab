"""Model source hub: the Hugging Face Hub, or the mirror in HF_ENDPOINT.

The library reads HF_ENDPOINT and HF_TOKEN itself. Files that an earlier attempt completed are
kept; within one attempt, a lost connection is resumed.
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
from argotune.steps.contracts.model_source import is_model_file
from argotune.steps.contracts.training_plan import Model
from argotune.steps.model.files import check_space, model_files

_LOGGERS_OF_URLS = ("huggingface_hub.file_download", "huggingface_hub.utils._http")
_QUERY = re.compile(r"(https?://[^\s?'\"]+)\?[^\s'\"]+")

_logger = logging.getLogger(__name__)


def _without_queries(record: logging.LogRecord) -> bool:
    """Log filter that removes queries, because the library logs signed URLs when it retries."""
    record.msg, record.args = _QUERY.sub(r"\1", record.getMessage()), ()
    return True


class Hub:
    """A Hub, by default that of HF_ENDPOINT."""

    def __init__(self, *, timeout_seconds: float, endpoint: str | None = None) -> None:
        self._timeout_seconds = timeout_seconds
        self._endpoint = endpoint or constants.ENDPOINT
        self._api = HfApi(endpoint=self._endpoint)
        # The library has no argument for the read timeout of a download, only this variable.
        constants.HF_HUB_DOWNLOAD_TIMEOUT = max(1, round(timeout_seconds))
        # Xet has its own errors and cache directory, and mirrors do not support it; plain HTTPS
        # resumes, and is fast enough compared with the minutes until a GPU node is ready.
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
        wanted: Callable[[str], bool] = is_model_file,
    ) -> dict[str, str]:
        """Download the model's files; returns the SHA-256 sums that the Hub has, by file name.

        It must be a whole model, of which only the files with wanted names are downloaded. Raises
        PermanentError for what the user must change, else TransientError.
        """
        with self._errors(model):
            info = self._api.model_info(
                model.repository,
                revision=model.revision,
                files_metadata=True,
                timeout=self._timeout_seconds,
            )
        files = {file.rfilename: file for file in info.siblings or []}
        where = f"{self._endpoint}/{model.repository}"
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
        """Convert the library's errors into errors of steps, with advice for the user."""
        try:
            yield
        except LocalEntryNotFoundError as error:
            # The connection error is the cause.
            raise self._error(model, error.__cause__ or error) from error
        except (HfHubHTTPError, httpx2.TransportError, OfflineModeIsEnabled) as error:
            raise self._error(model, error) from error
        except OSError as error:
            if error.errno is not None:
                raise
            # A file with another length than announced.
            raise TransientError(f"{model.repository}: {error}") from error

    def _error(self, model: Model, error: BaseException) -> StepError:
        where = f"{self._endpoint}/{model.repository}"
        if isinstance(error, GatedRepoError):
            return PermanentError(
                f"{where} is gated: accept its license on that page, and set HF_TOKEN to a token "
                "of the same account"
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
            return PermanentError(f"{self._endpoint} is not a Hub: {error}")
        reason = f"{type(error).__name__} {error}".strip()
        return TransientError(f"{where} cannot be reached: {reason}")


def _status_error(where: str, status: int) -> StepError:
    if status in (401, 403):
        return PermanentError(
            f"{where}: the Hub answered {status}; check that HF_TOKEN is valid and has access"
        )
    if status in (408, 429) or status >= 500:
        return TransientError(f"{where}: the Hub answered {status}")
    return PermanentError(f"{where}: the Hub answered {status}")


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
