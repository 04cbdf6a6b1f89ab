"""One message to a webhook whose URL is a secret: no part of it but the host is ever said."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from argotune.steps.common.addresses import Resolve, resolve
from argotune.steps.common.clock import Clock
from argotune.steps.common.errors import StepError
from argotune.steps.common.urls import redact
from argotune.steps.contracts.webhook import NO_URL
from argotune.steps.web.guard import GuardedTransport, UrlPolicy, host_of, port_of, tls_context

_PAUSE_SECONDS = 2.0


class NotSent(Exception):
    """The message did not arrive; the text says why, without the URL."""


@dataclass(frozen=True, kw_only=True)
class Webhook:
    """A webhook, and how often and how long it is tried."""

    url: str
    policy: UrlPolicy
    ca_file: Path | None
    timeout_seconds: float
    attempts: int
    clock: Clock
    resolve: Resolve = resolve

    @property
    def host(self) -> str:
        """Host of the URL; raises NotSent for what is none."""
        try:
            parsed = httpx.URL(self.url)
        except httpx.InvalidURL:
            parsed = httpx.URL("")
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise NotSent(f"the Secret's url {NO_URL}")
        return host_of(parsed)

    def send(self, message: Mapping[str, Any], content_type: str) -> None:
        """Post the message, and again where that may help. Raises NotSent."""
        host, body = self.host, json.dumps(message).encode()
        try:
            transport = GuardedTransport(
                self._policy(), resolve=self.resolve, tls=tls_context(self.ca_file)
            )
        except StepError as error:
            raise NotSent(str(error)) from error
        headers = {"Content-Type": content_type}
        with httpx.Client(transport=transport, timeout=self.timeout_seconds) as client:
            for attempt in range(1, self.attempts + 1):
                reason, may_pass = self._post(client, body, headers)
                if not reason:
                    return
                if not may_pass or attempt == self.attempts:
                    raise NotSent(f"{host}: {reason}")
                self.clock.sleep(_PAUSE_SECONDS * attempt)

    def _policy(self) -> UrlPolicy:
        """Permit a connection without TLS to hosts that the installation allows, to no other."""
        url = httpx.URL(self.url)
        is_inside = self.policy.trusts(host_of(url), port_of(url))
        return replace(self.policy, allow_http=is_inside or self.policy.allow_loopback)

    def _post(
        self, client: httpx.Client, body: bytes, headers: Mapping[str, str]
    ) -> tuple[str, bool]:
        """Return why it did not arrive, empty if it did, and whether another try may help."""
        try:
            # Its status is enough: a body may be of any length, or not what its headers say.
            with client.stream("POST", self.url, content=body, headers=dict(headers)) as answer:
                status = answer.status_code
        except StepError as error:
            # The address is refused; the path of the URL is secret.
            return str(error).removeprefix(f"{redact(str(httpx.URL(self.url)))}: "), False
        except httpx.RequestError as error:
            return type(error).__name__, True
        if httpx.codes.is_success(status):
            return "", False
        return f"it answers {status}", status == 429 or httpx.codes.is_server_error(status)
