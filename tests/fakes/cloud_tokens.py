"""The servers that give a cloud's token for that of a Kubernetes service account, on loopback.

Azure's authority: https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
Google's STS: https://docs.cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token
AWS's is moto's.
"""

from __future__ import annotations

import json
import secrets
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ClassVar
from urllib.parse import parse_qsl

from tests.fakes.listening import KeepAlive, listening

AZURE_HOST, GOOGLE_HOST = "login.microsoftonline.com", "sts.googleapis.com"
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"


@dataclass
class FakeTokens:
    """Both servers under one port, for tests to set up and to look at."""

    port: int = 0
    trusted: set[str] = field(default_factory=set)
    """Tokens of service accounts."""
    asked: list[Mapping[str, str]] = field(default_factory=list)
    """The forms that came."""
    azure: set[str] = field(default_factory=set)
    google: set[str] = field(default_factory=set)
    """The tokens that were given: those of a storage that is to take them."""


class _Handler(KeepAlive):
    server_state: ClassVar[FakeTokens]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        form = dict(parse_qsl(body))
        self.server_state.asked.append({"path": self.path, **form})
        if self.headers["Host"].partition(":")[0] == AZURE_HOST:
            self._azure(form)
        else:
            self._google(form)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _azure(self, form: Mapping[str, str]) -> None:
        proven = (
            form.get("grant_type") == "client_credentials"
            and form.get("client_assertion_type") == _ASSERTION
            and form.get("scope") == "https://storage.azure.com/.default"
            and form.get("client_assertion") in self.server_state.trusted
        )
        if not proven:
            # What Entra says where no federated credential names the account.
            reason = "AADSTS70021: No matching federated identity record found"
            self._json(401, {"error": "invalid_client", "error_description": reason})
            return
        self._json(200, self._given(self.server_state.azure))

    def _google(self, form: Mapping[str, str]) -> None:
        proven = (
            form.get("grant_type") == _EXCHANGE
            and form.get("subject_token") in self.server_state.trusted
        )
        if not proven:
            self._json(400, {"error": "invalid_grant", "error_description": "unknown token"})
            return
        kind = "urn:ietf:params:oauth:token-type:access_token"
        self._json(200, {**self._given(self.server_state.google), "issued_token_type": kind})

    def _given(self, tokens: set[str]) -> dict[str, object]:
        token = secrets.token_hex(16)
        tokens.add(token)
        return {"token_type": "Bearer", "expires_in": 3600, "access_token": token}

    def _json(self, status: int, answer: Mapping[str, object]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def fake_tokens(tls: ssl.SSLContext) -> Iterator[FakeTokens]:
    """Serve both; their certificate is that of the two hosts."""
    state = FakeTokens()
    with listening(_Handler, tls=tls, server_state=state) as state.port:
        yield state
