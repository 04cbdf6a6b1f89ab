"""A login to AWS for the identity of the pod's service account.

AWS's server of tokens (STS) gives it for the account's token, as the cluster's webhook set both up:
https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html
AWS's library in pyarrow would ask too, but past the checked addresses; and where it is refused, it
asks for the data without a login and says nothing of the refusal.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from argotune.steps.common.errors import ParamsError, PermanentError
from argotune.steps.common.printable import printable
from argotune.steps.dataset.answers import TryAgain

TOKEN_FILE = "AWS_WEB_IDENTITY_TOKEN_FILE"
_ROLE, _SESSION = "AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME"
_MOST_ANSWER_BYTES = 1 << 16
_MOST_REASON_CHARACTERS = 300


def web_identity_login(
    environment: Mapping[str, str], region: str, client: httpx.Client
) -> tuple[dict[str, Any], float]:
    """Options of pyarrow's S3FileSystem, and until when they hold, seconds since the epoch.

    Raises ParamsError, PermanentError, or TryAgain where the server cannot be reached now.
    """
    role, file = environment.get(_ROLE), Path(environment[TOKEN_FILE])
    if not role:
        raise ParamsError(f"{TOKEN_FILE} is set, but {_ROLE} is not: name the role in it")
    try:
        token = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise PermanentError(f"{TOKEN_FILE}: {file} cannot be read: {error}") from error
    url = _server(environment, region)
    form = {
        "Action": "AssumeRoleWithWebIdentity",
        "Version": "2011-06-15",
        "RoleArn": role,
        "RoleSessionName": environment.get(_SESSION) or "argotune-dataset",
        "WebIdentityToken": token,
    }
    status, text = _post(client, url, form)
    if status != httpx.codes.OK:
        raise _refusal(status, text, role, urlsplit(url).netloc)
    try:
        return _credentials(text)
    except ValueError as error:
        raise PermanentError(f"{url}: this is no answer of AWS's STS: {error}") from error


def _server(environment: Mapping[str, str], region: str) -> str:
    # AWS's variable is for all of its services; MinIO has its STS at the same address, too.
    if endpoint := environment.get("AWS_ENDPOINT_URL"):
        return endpoint
    suffix = ".cn" if region.startswith("cn-") else ""
    return f"https://sts.{region}.amazonaws.com{suffix}/"


def _post(client: httpx.Client, url: str, form: Mapping[str, str]) -> tuple[int, str]:
    body = b""
    try:
        with client.stream("POST", url, data=form, follow_redirects=False) as answer:
            for chunk in answer.iter_bytes():
                body += chunk
                if len(body) > _MOST_ANSWER_BYTES:
                    raise PermanentError(f"{url}: this is no answer of AWS's STS: it is too long")
            return answer.status_code, body.decode(errors="replace")
    except httpx.TransportError as error:
        raise TryAgain(f"{url}: {type(error).__name__}: {error}") from error


def _refusal(status: int, text: str, role: str, host: str) -> Exception:
    found = (_element(text, "Code"), _element(text, "Message"))
    reason = printable(": ".join(filter(None, found)))[:_MOST_REASON_CHARACTERS]
    problem = (
        f"{host} gives no login for role {role}: HTTP status {status}, {reason or 'no reason'}"
    )
    if status >= httpx.codes.INTERNAL_SERVER_ERROR or status == httpx.codes.TOO_MANY_REQUESTS:
        return TryAgain(problem)
    return PermanentError(
        f"{problem}; the role must exist, and its trust policy must name the service account"
    )


def _credentials(text: str) -> tuple[dict[str, Any], float]:
    names = {
        "access_key": "AccessKeyId",
        "secret_key": "SecretAccessKey",
        "session_token": "SessionToken",
    }
    options = {option: _element(text, name) for option, name in names.items()}
    missing = [names[option] for option, value in options.items() if not value]
    if missing:
        raise ValueError(f"it has no {', '.join(missing)}")
    return options, datetime.fromisoformat(_element(text, "Expiration")).timestamp()


def _element(text: str, name: str) -> str:
    """The text of the first XML element of this name, or nothing.

    Not by a parser, because who submits a run may name the server: none of these values has
    anything that XML would escape but for a reason's.
    """
    found = re.search(rf"<{name}>([^<]*)</{name}>", text)
    return found[1].strip() if found else ""
