"""Judges a server's answer: go on, try again, or give up, and what to say about it."""

from __future__ import annotations

import email.utils
import ssl
import time

import httpx

from argotune.steps.common import certificates
from argotune.steps.common.errors import PermanentError, TransientError
from argotune.steps.common.urls import redact
from argotune.steps.dataset.guard import ForbiddenAddress

MAX_RETRY_AFTER_SECONDS = 300.0
"""A server that asks for more is left to Argo's retry, which does not hold a pod meanwhile."""
MAX_PAUSE_SECONDS = 60.0
_RETRIED_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504, 522})


class TryAgain(Exception):
    """This try failed in a way that may pass."""

    def __init__(self, reason: str, *, pause_seconds: float | None = None) -> None:
        self.pause_seconds = pause_seconds
        super().__init__(reason)


def check_status(response: httpx.Response, url: str) -> None:
    """Accept 200 and 206. Raises TryAgain, TransientError or PermanentError for the others."""
    status = response.status_code
    if status in (200, 206):
        return
    text = f"the server answered {status} {response.reason_phrase}".rstrip()
    if status not in _RETRIED_STATUSES:
        raise PermanentError(f"{redact(url)}: {text}; {_advice(status)}")
    pause = retry_after_seconds(response)
    if pause is not None and pause > MAX_RETRY_AFTER_SECONDS:
        raise TransientError(f"{redact(url)}: {text} and asks to come back in {pause:.0f} s")
    raise TryAgain(text, pause_seconds=pause)


def retry_after_seconds(response: httpx.Response) -> float | None:
    """Retry-After, in seconds or as a date; None without one."""
    value = response.headers.get("Retry-After", "")
    if value.isdecimal():
        return float(value)
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, moment.timestamp() - time.time())


def total_size(response: httpx.Response) -> int | None:
    """Bytes of the whole file; None when the server does not say."""
    if response.status_code in (206, 416):
        size = response.headers.get("Content-Range", "").rpartition("/")[2]
    else:
        size = response.headers.get("Content-Length", "")
    return int(size) if size.isdecimal() else None


def starts_over(response: httpx.Response, offset: int) -> bool:
    """Whether the answer says that the part is of no use: it is not the rest after `offset`."""
    if response.status_code == 206:
        return not response.headers.get("Content-Range", "").startswith(f"bytes {offset}-")
    return response.status_code in (200, 416)


def is_whole(response: httpx.Response, offset: int) -> bool:
    """Whether a 416 says that there is nothing after what the part has."""
    return response.status_code == 416 and total_size(response) == offset


def validator(response: httpx.Response) -> str | None:
    """What If-Range may name: a strong ETag, else the date of the last change."""
    etag: str = response.headers.get("ETag", "")
    # A weak ETag (W/"...") does not promise the same bytes.
    return etag if etag.startswith('"') else response.headers.get("Last-Modified")


def refuse_downgrade(request: httpx.Request, following: httpx.Request, url: str) -> None:
    """A redirect must not leave https."""
    if request.url.scheme == "https" and following.url.scheme != "https":
        raise ForbiddenAddress(
            f"{redact(url)}: redirected from https to {redact(str(following.url))}; "
            "use the final URL if you trust it"
        )


def refuse_bad_certificate(failure: BaseException, url: str) -> None:
    """A wrong certificate will not be right on the next try."""
    cause: BaseException | None = failure
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise PermanentError(
                f"{redact(url)}: the certificate is not trusted ({cause.verify_message}); "
                f"{certificates.ADVICE}"
            ) from failure
        cause = cause.__cause__ or cause.__context__


def reason(failure: Exception) -> str:
    """A failed try in words."""
    if isinstance(failure, httpx.TimeoutException):
        return "the server stayed silent for too long"
    return str(failure) or type(failure).__name__


def pause_seconds(failure: Exception, failures: int) -> float:
    """How long to wait after so many failures in a row: what the server said, else 1, 2, 4..."""
    if isinstance(failure, TryAgain) and failure.pause_seconds is not None:
        return failure.pause_seconds
    return min(float(2 ** (failures - 1)), MAX_PAUSE_SECONDS)


def _advice(status: int) -> str:
    if status in (401, 403):
        return "is the signature in the URL still valid, and may everybody read the file?"
    if status in (404, 410):
        return "check the path"
    return "open the URL with curl -v to see why"
