"""The client of a Hugging Face Hub, or of the mirror in HF_ENDPOINT.

The library reads HF_ENDPOINT and HF_TOKEN itself.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import re
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx2
from huggingface_hub import HfApi, ModelInfo, constants, hf_hub_download, set_client_factory
from huggingface_hub.errors import (
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils._http import hf_request_event_hook

from argotune.steps.common import certificates
from argotune.steps.common.errors import PermanentError, StepError, TransientError

_LOGGERS_OF_URLS = ("huggingface_hub.file_download", "huggingface_hub.utils._http")
_DISTRUST_ADVICE = f"{certificates.ADVICE}, and on your own machine name its file in SSL_CERT_FILE"
_QUERY = re.compile(r"(https?://[^\s?'\"]+)\?[^\s'\"]+")


def _without_queries(record: logging.LogRecord) -> bool:
    """Log filter that removes queries, because the library logs signed URLs when it retries."""
    record.msg, record.args = _QUERY.sub(r"\1", record.getMessage()), ()
    return True


class _NoBar:
    """tqdm's interface without a bar."""

    def __init__(self, *_: object, **__: object) -> None: ...
    def update(self, *_: object) -> None: ...
    def set_description(self, *_: object, **__: object) -> None: ...
    def close(self) -> None: ...
    def __enter__(self) -> _NoBar:
        return self

    def __exit__(self, *_: object) -> None: ...


def _trusting_client(context: ssl.SSLContext) -> httpx2.Client:
    """The library's own client, with another context."""
    return httpx2.Client(
        verify=context,
        event_hooks={"request": [hf_request_event_hook]},
        follow_redirects=True,
        timeout=None,
    )


class HubClient:
    """A Hub, by default that of HF_ENDPOINT."""

    def __init__(
        self, *, timeout_seconds: float, endpoint: str | None = None, ca_file: Path | None = None
    ) -> None:
        """`ca_file` is a private authority to trust beside the public ones, for the whole process.

        Raises PermanentError if it is not a certificate.
        """
        self.timeout_seconds = timeout_seconds
        self.endpoint = endpoint or constants.ENDPOINT
        self._api = HfApi(endpoint=self.endpoint)
        # The library has no argument for the read timeout of a download, only this variable.
        constants.HF_HUB_DOWNLOAD_TIMEOUT = max(1, round(timeout_seconds))
        # Xet has its own errors and cache directory, and mirrors do not support it; plain HTTPS
        # resumes, and is fast enough compared with the minutes until a GPU node is ready.
        constants.HF_HUB_DISABLE_XET = True
        for name in _LOGGERS_OF_URLS:
            logging.getLogger(name).addFilter(_without_queries)
        if certificates.file_or_none(ca_file) is not None:
            context = certificates.trust(httpx2.create_ssl_context(), ca_file)
            set_client_factory(functools.partial(_trusting_client, context))

    def info(self, repository: str, revision: str | None) -> ModelInfo:
        """What the Hub says of a model: commit, files with their sizes, license, gate.

        `revision` is a commit, tag or branch; None is the branch main. Raises PermanentError for
        what the user must change, else TransientError.
        """
        with self.errors(repository, revision):
            return self._api.model_info(
                repository,
                revision=revision,
                files_metadata=True,
                timeout=self.timeout_seconds,
            )

    def read(self, repository: str, commit: str, name: str) -> bytes:
        """The content of a small file. Raises PermanentError and TransientError as `info`."""
        with tempfile.TemporaryDirectory() as directory, self.errors(repository, commit):
            path = hf_hub_download(
                repository,
                name,
                revision=commit,
                local_dir=directory,
                endpoint=self.endpoint,
                etag_timeout=self.timeout_seconds,
                tqdm_class=_NoBar,
            )
            return Path(path).read_bytes()

    @contextlib.contextmanager
    def errors(self, repository: str, revision: str | None) -> Iterator[None]:
        """Convert the library's errors into errors of steps, with advice for the user."""
        try:
            yield
        except LocalEntryNotFoundError as error:
            # The connection error is the cause.
            raise self._error(repository, revision, error.__cause__ or error) from error
        except (
            HfHubHTTPError,
            httpx2.TransportError,
            OfflineModeIsEnabled,
            HFValidationError,
        ) as error:
            raise self._error(repository, revision, error) from error
        except OSError as error:
            if error.errno is not None:
                raise
            # A file with another length than announced.
            raise TransientError(f"{repository}: {error}") from error

    def _error(self, repository: str, revision: str | None, error: BaseException) -> StepError:
        where = f"{self.endpoint}/{repository}"
        if isinstance(error, GatedRepoError):
            return PermanentError(
                f"{where} is gated: accept its license on that page, and set HF_TOKEN to a token "
                "of the same account"
            )
        if isinstance(error, RevisionNotFoundError):
            return PermanentError(f"{where} has no revision {revision or 'main'}")
        if isinstance(error, RepositoryNotFoundError):
            return PermanentError(
                f"{where} does not exist, or is private and HF_TOKEN has no access to it"
            )
        if isinstance(error, OfflineModeIsEnabled):
            return PermanentError(f"{where}: HF_HUB_OFFLINE is set; unset it to download")
        if isinstance(error, HFValidationError):
            return PermanentError(f"{repository}: no name of the Hub: {error}")
        if isinstance(error, HfHubHTTPError):
            return _status_error(where, error.response.status_code)
        if isinstance(error, FileMetadataError):
            return PermanentError(f"{self.endpoint} is not a Hub: {error}")
        if (distrust := certificates.reason_of_distrust(error)) is not None:
            return PermanentError(
                f"{where}: the certificate is not trusted ({distrust}); {_DISTRUST_ADVICE}"
            )
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
