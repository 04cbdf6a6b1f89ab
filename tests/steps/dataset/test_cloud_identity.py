"""The rows are read with the identity of the pod's service account, without any key."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import boto3
import httpx
import pytest
from moto.server import ThreadedMotoServer

from argotune.steps.common.errors import ParamsError, PermanentError
from argotune.steps.dataset.answers import TryAgain
from argotune.steps.dataset.aws_identity import web_identity_login
from argotune.steps.dataset.stores import Stores
from argotune.steps.web.guard import CheckedAddresses, UrlPolicy
from tests.fakes.listening import KeepAlive, listening
from tests.steps.dataset.every_source import NAMES, A, Clouds, clouds, make, new_params
from tests.steps.dataset.test_run import NewParams

__all__ = ["clouds", "new_params"]

_READ = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": ["s3:GetObject", "s3:List*"], "Resource": "*"}],
}
_ROLE, _STRANGER = (f"arn:aws:iam::123456789012:role/{name}" for name in ("reader", "stranger"))
_TENANT, _CLIENT = "11111111-2222-3333-4444-555555555555", "66666666-2222-3333-4444-555555555555"


@pytest.fixture
def token(tmp_path: Path) -> Path:
    """The projected token of the service account."""
    path = tmp_path / "token"
    path.write_text("header.claims.signature")
    return path


@dataclass(frozen=True)
class Aws:
    """moto's S3 and STS with a role that may read, and one that may not."""

    endpoint: str

    @contextmanager
    def enforcing(self) -> Iterator[None]:
        """Refuse what no policy allows, but for the first request, which is that for the login:
        moto wants one for it already, which AWS does not."""
        self._ask("reset-auth", "1")
        yield
        self._ask("reset-auth", "inf")

    def forget(self) -> None:
        """Whatever other tests did."""
        self._ask("reset", "")

    def environment(self, token: Path, role: str = _ROLE) -> dict[str, str]:
        """What the webhook of EKS sets, and where S3 and STS are."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": "us-east-1",
            "AWS_ROLE_ARN": role,
            "AWS_WEB_IDENTITY_TOKEN_FILE": str(token),
        }

    def _ask(self, action: str, content: str) -> None:
        httpx.post(f"{self.endpoint}/moto-api/{action}", content=content).raise_for_status()


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    fake = Aws(f"http://{host}:{port}")
    fake.forget()
    session = boto3.Session("key", "secret", region_name="us-east-1")
    s3, iam = (session.client(name, endpoint_url=fake.endpoint) for name in ("s3", "iam"))
    s3.create_bucket(Bucket="rows")
    for name, body in NAMES.items():
        s3.put_object(Bucket="rows", Key=f"data/{name}", Body=body)
    for role in (_ROLE, _STRANGER):
        iam.create_role(RoleName=role.rpartition("/")[2], AssumeRolePolicyDocument="{}")
    iam.put_role_policy(RoleName="reader", PolicyName="read", PolicyDocument=json.dumps(_READ))
    yield fake
    server.stop()


def test_aws_gives_a_login_for_the_accounts_token(
    new_params: NewParams, aws: Aws, token: Path
) -> None:
    with aws.enforcing():
        assert make(new_params("s3://rows/data/"), **aws.environment(token)).rows == 1000
    params = new_params("s3://rows/data/", work="stranger")
    with aws.enforcing(), pytest.raises(PermanentError, match="access is refused: "):
        make(params, **aws.environment(token, _STRANGER))


def test_a_login_of_aws_is_made_anew_before_it_ends(aws: Aws, token: Path) -> None:
    asked: list[str] = []
    now = [time.time()]
    addresses = CheckedAddresses(policy=UrlPolicy(allow_loopback=True))
    client = httpx.Client(
        trust_env=False, event_hooks={"request": [lambda request: asked.append(request.method)]}
    )
    with (
        client,
        Stores(
            addresses, aws.environment(token), client=client, secret="data", clock=lambda: now[0]
        ) as stores,
    ):
        (stored,) = stores.files("s3://rows/data/a.parquet")
        assert asked == ["POST"]
        now[0] += 3600
        assert b"".join(stored.chunks(0)) == A
    assert len(asked) > 1


class _Refusing(KeepAlive):
    """AWS's STS that gives no login."""

    status: ClassVar[int]
    body: ClassVar[bytes]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


# https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html
_DENIED = (
    b'<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>'
    b"<Code>AccessDenied</Code><Message>Not authorized to perform sts:AssumeRoleWithWebIdentity"
    b"</Message></Error><RequestId>1</RequestId></ErrorResponse>"
)


@pytest.mark.parametrize(
    ("status", "body", "error", "reason"),
    [
        (
            403,
            _DENIED,
            PermanentError,
            f"gives no login for role {_ROLE}: HTTP status 403, AccessDenied: Not authorized to "
            "perform sts:AssumeRoleWithWebIdentity; the role must exist, and its trust policy must "
            "name the service account",
        ),
        (503, b"", TryAgain, "HTTP status 503, no reason"),
        (200, b"<html>", PermanentError, "no answer of AWS's STS: it has no AccessKeyId, Secret"),
        (200, b"x" * 70_000, PermanentError, "no answer of AWS's STS: it is too long"),
    ],
)
def test_a_login_that_aws_does_not_give_is_told_with_the_reason(
    token: Path, status: int, body: bytes, error: type[Exception], reason: str
) -> None:
    with (
        listening(_Refusing, status=status, body=body) as port,
        httpx.Client(trust_env=False) as client,
    ):
        environment = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ROLE_ARN": _ROLE,
            "AWS_WEB_IDENTITY_TOKEN_FILE": str(token),
        }
        with pytest.raises(error, match=re.escape(reason)):
            web_identity_login(environment, "us-east-1", client)


@pytest.mark.parametrize(
    ("changes", "error", "reason"),
    [
        ({"AWS_ROLE_ARN": ""}, ParamsError, "but AWS_ROLE_ARN is not: name the role in it"),
        ({"AWS_WEB_IDENTITY_TOKEN_FILE": "/none"}, PermanentError, "/none cannot be read: "),
    ],
)
def test_an_identity_that_is_set_up_in_part_is_named(
    new_params: NewParams,
    token: Path,
    changes: dict[str, str],
    error: type[Exception],
    reason: str,
) -> None:
    environment = {"AWS_ROLE_ARN": _ROLE, "AWS_WEB_IDENTITY_TOKEN_FILE": str(token)}
    with pytest.raises(error, match=re.escape(reason)):
        make(new_params("s3://rows/data/"), **{"AWS_REGION": "us-east-1"} | environment | changes)


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("eu-west-1", "sts.eu-west-1.amazonaws.com"),
        ("cn-north-1", "sts.cn-north-1.amazonaws.com.cn"),
    ],
)
def test_awss_server_of_tokens_has_a_checked_address(token: Path, region: str, host: str) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise PermanentError(f"asked {request.method} {request.url}")

    environment = {"AWS_ROLE_ARN": _ROLE, "AWS_WEB_IDENTITY_TOKEN_FILE": str(token)}
    with (
        httpx.Client(transport=httpx.MockTransport(answer)) as client,
        pytest.raises(PermanentError, match=re.escape(f"asked POST https://{host}/")),
    ):
        web_identity_login(environment, region, client)


@pytest.mark.parametrize("is_trusted", [True, False])
def test_azure_gives_a_login_for_the_accounts_token(
    new_params: NewParams,
    clouds: Clouds,
    token: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_trusted: bool,
) -> None:
    # What the webhook of AKS sets; Azure's library reads the process' own variables.
    monkeypatch.setenv("AZURE_CLIENT_ID", _CLIENT)
    monkeypatch.setenv("AZURE_TENANT_ID", _TENANT)
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(token))
    monkeypatch.setenv("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.com/")
    if is_trusted:
        clouds.tokens.trusted.add(token.read_text())
    url, _ = clouds.source("abfss")
    params = new_params(f"{url}/data/", ca_file=clouds.certificate)
    if is_trusted:
        assert make(params, clouds.stores, **os.environ).rows == 1000
    else:
        with pytest.raises(PermanentError, match=r"refused: .*Failed to get token"):
            make(params, clouds.stores, **os.environ)
    asked = clouds.tokens.asked[0]
    assert (asked["path"], asked["client_id"]) == (f"/{_TENANT}/oauth2/v2.0/token", _CLIENT)


@pytest.mark.parametrize("is_trusted", [True, False])
def test_google_gives_a_login_for_a_token_that_a_key_file_names(
    new_params: NewParams, clouds: Clouds, token: Path, is_trusted: bool
) -> None:
    if is_trusted:
        clouds.tokens.trusted.add(token.read_text())
    provider = "projects/1/locations/global/workloadIdentityPools/pool/providers/cluster"
    federation = {
        "type": "external_account",
        "audience": f"//iam.googleapis.com/{provider}",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": "https://sts.googleapis.com/v1/token",
        "credential_source": {"file": str(token)},
    }
    environment = {"GOOGLE_APPLICATION_CREDENTIALS_JSON": json.dumps(federation)}
    url, _ = clouds.source("gs")
    params = new_params(f"{url}/data/", ca_file=clouds.certificate)
    if is_trusted:
        assert make(params, clouds.stores, **environment).rows == 1000
    else:
        reason = 'no OAuth2 access token: {"error": "invalid_grant", '
        with pytest.raises(PermanentError, match=re.escape(reason)):
            make(params, clouds.stores, **environment)
    assert clouds.tokens.asked[0]["audience"] == f"//iam.googleapis.com/{provider}"
