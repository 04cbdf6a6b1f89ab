"""Classify HTTP responses and failures of downloads: success, retry or error."""

from __future__ import annotations

import email.utils
import json
import re
import time

import httpx

from argotune.steps.common import certificates
from argotune.steps.common.errors import PermanentError, TransientError
from argotune.steps.common.printable import printable
from argotune.steps.common.urls import redact
from argotune.steps.web.guard import ForbiddenAddress

MAX_RETRY_AFTER_SECONDS = 300.0
"""For a longer Retry-After the step fails and Argo retries it, which occupies no pod meanwhile."""
MAX_PAUSE_SECONDS = 60.0
_RETRIED_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504, 522})
_RANGE_REFUSALS = frozenset({400, 403, 405, 416, 501})
"""Statuses of servers that do not let a part of a file be read; the whole file may be public."""
_READ_ENCODINGS = ("", "identity", "gzip", "x-gzip", "zstd")
"""Encodings whose bytes are recognised as a compressed file."""
_SETTLED_SECONDS = 60
_MOST_REASON_CHARACTERS = 300
_MOST_BODY_BYTES = 1 << 14
_REASON_KEYS = ("error", "message", "detail", "error_description")
_XML_MESSAGE = re.compile(rb"<Message>([^<]*)</Message>")


class TryAgain(Exception):
    """The attempt failed with a transient error."""

    def __init__(self, reason: str, *, pause_seconds: float | None = None) -> None:
        self.pause_seconds = pause_seconds
        super().__init__(reason)


def check_status(response: httpx.Response, url: str) -> None:
    """Accept 200 and 206. Raises TryAgain, TransientError or PermanentError for other statuses."""
    status = response.status_code
    if status in (200, 206):
        return
    text = f"the server answered {status} {response.reason_phrase}".rstrip()
    own_reason = printable(_own_reason(response))
    if own_reason:
        text = f"{text} ({own_reason[:_MOST_REASON_CHARACTERS]})"
    if status not in _RETRIED_STATUSES:
        raise PermanentError(f"{redact(url)}: {text}; {_advice(status, url)}")
    pause = retry_after_seconds(response)
    if pause is not None and pause > MAX_RETRY_AFTER_SECONDS:
        raise TransientError(f"{redact(url)}: {text} with Retry-After {pause:.0f} s")
    raise TryAgain(text, pause_seconds=pause)


def _own_reason(response: httpx.Response) -> str:
    """What the server says about its refusal; empty if it says nothing that can be read.

    The Hub says so in a header, other services in a JSON body, S3 and Azure Storage in an XML one.
    """
    header: str = response.headers.get("X-Error-Message", "")
    kind = response.headers.get("Content-Type", "")
    if header or not ("json" in kind or "xml" in kind):
        return header
    body = _first_bytes(response)
    if "xml" in kind:
        found = _XML_MESSAGE.search(body)
        return found[1].decode(errors="replace").strip() if found else ""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    return _message_of(value)


def _message_of(value: object) -> str:
    """The text of a JSON error: {"error": "..."}, {"error": {"message": "..."}} and the like."""
    if not isinstance(value, dict):
        return value if isinstance(value, str) else ""
    inner = next((value[name] for name in _REASON_KEYS if value.get(name)), None)
    return _message_of(inner)


def _first_bytes(response: httpx.Response) -> bytes:
    body = b""
    try:
        for chunk in response.iter_bytes(_MOST_BODY_BYTES):
            body += chunk
            if len(body) >= _MOST_BODY_BYTES:
                break
    except httpx.HTTPError:
        # The status alone says that it is refused.
        return b""
    return body


def refuses_range(response: httpx.Response) -> bool:
    """Whether the status may mean that only the request for a part of the file is refused."""
    return response.status_code in _RANGE_REFUSALS


def refuse_encoding(response: httpx.Response, url: str) -> None:
    """Raise PermanentError for a transfer encoding that was not asked for and is not read."""
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in _READ_ENCODINGS:
        raise PermanentError(
            f"{redact(url)}: the server sends it with Content-Encoding {printable(encoding)}, "
            "although identity was asked for; have it send the file as it is, or as gzip or zstd"
        )


def retry_after_seconds(response: httpx.Response) -> float | None:
    """Seconds until the time of Retry-After (a number or a date); None without the header."""
    value = response.headers.get("Retry-After", "")
    if value.isdecimal():
        return float(value)
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, moment.timestamp() - time.time())


def total_size(response: httpx.Response) -> int | None:
    """Size of the whole file in bytes; None if the server does not send it."""
    if response.status_code in (206, 416):
        size = response.headers.get("Content-Range", "").rpartition("/")[2]
    else:
        size = response.headers.get("Content-Length", "")
    return int(size) if size.isdecimal() else None


def starts_over(response: httpx.Response, offset: int) -> bool:
    """Whether the body is not the rest after `offset`, so that the download starts over."""
    if response.status_code == 206:
        return not response.headers.get("Content-Range", "").startswith(f"bytes {offset}-")
    return response.status_code in (200, 416)


def is_whole(response: httpx.Response, offset: int) -> bool:
    """Whether the response is a 416 for a file of exactly `offset` bytes."""
    return response.status_code == 416 and total_size(response) == offset


def validator(response: httpx.Response) -> str | None:
    """A value for If-Range: a strong ETag, else a Last-Modified that is strong, else None."""
    etag: str = response.headers.get("ETag", "")
    # A weak ETag (W/"...") does not guarantee the same bytes.
    if etag.startswith('"'):
        return etag
    return response.headers.get("Last-Modified") if _is_settled(response) else None


def has_weak_etag(response: httpx.Response) -> bool:
    """Whether the server itself says that the same tag may stand for other bytes."""
    etag: str = response.headers.get("ETag", "")
    return etag.startswith("W/")


def _is_settled(response: httpx.Response) -> bool:
    """Whether Last-Modified is a minute older than the answer (RFC 9110, section 8.8.2.2).

    It counts in seconds, so a younger file may have changed again within the same one.
    """
    try:
        changed, answered = (
            email.utils.parsedate_to_datetime(response.headers.get(name, ""))
            for name in ("Last-Modified", "Date")
        )
        seconds: float = (answered - changed).total_seconds()
    except (TypeError, ValueError):
        # No date, or one without a zone beside one with it.
        return False
    return seconds >= _SETTLED_SECONDS


def refuse_downgrade(request: httpx.Request, following: httpx.Request, url: str) -> None:
    """Raise PermanentError for a redirect from https to http."""
    if request.url.scheme == "https" and following.url.scheme != "https":
        raise ForbiddenAddress(
            f"{redact(url)}: redirected from https to {redact(str(following.url))}; "
            "use the final URL if you trust it"
        )


def refuse_bad_certificate(failure: BaseException, url: str) -> None:
    """Raise PermanentError if the failure is a certificate error, which a retry would repeat."""
    reason = certificates.reason_of_distrust(failure)
    if reason is not None:
        raise PermanentError(
            f"{redact(url)}: the certificate is not trusted ({reason}); {certificates.ADVICE}"
        ) from failure


def reason(failure: Exception) -> str:
    """A message for a failed attempt."""
    if isinstance(failure, httpx.TimeoutException):
        return "the server sent no data until the timeout"
    return str(failure) or type(failure).__name__


def pause_seconds(failure: Exception, failures: int) -> float:
    """Seconds to wait after this many consecutive failures: Retry-After, else 1, 2, 4, ..."""
    if isinstance(failure, TryAgain) and failure.pause_seconds is not None:
        return failure.pause_seconds
    return min(float(2 ** (failures - 1)), MAX_PAUSE_SECONDS)


def _advice(status: int, url: str) -> str:
    if status in (401, 403) and url.startswith("hf://"):
        # The Hub also says 401 of what is not there.
        return (
            "check owner and name; a private or restricted data set takes the acceptance of its"
            " terms on its page, and HF_TOKEN in the Secret of argotune.dev/data-secret"
        )
    if status in (401, 403):
        return "check that the signature in the URL is still valid, or that the file is public"
    if status in (404, 410):
        return "check the path"
    return "open the URL with curl -v to see why"
