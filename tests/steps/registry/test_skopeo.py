from __future__ import annotations

from pathlib import Path

import pytest

from argotune.steps.common.errors import PermanentError, StepError, TransientError
from argotune.steps.registry.oci import parse_image
from argotune.steps.registry.skopeo import Registry, error_of

IMAGE = parse_image("acr.io/team/timeout-denied:1")
REGISTRY = Registry(auth_file=Path("/auth/config.json"), secret="acr-push")


def error(message: str) -> StepError:
    stderr = f'time="2026-01-01T00:00:00Z" level=fatal msg="{message}"\n'
    return error_of(stderr, IMAGE, REGISTRY)


@pytest.mark.parametrize(
    "message",
    [
        "writing manifest: received unexpected HTTP status: 503 Service Unavailable",
        "uploading manifest 1 to acr.io/team/timeout-denied: StatusCode: 429, ",
        "can't talk to a V1 container registry",
        "toomanyrequests: You have reached your pull rate limit",
        r"Patch \"https://acr.io/v2/upload/1?_state=geheim\": EOF",
        r"Get \"https://acr.io/v2/\": dial tcp 10.0.0.1:443: connect: connection refused",
        r"Get \"https://acr.io/v2/\": dial tcp 10.0.0.1:443: i/o timeout",
        "read tcp 10.0.0.2:1->10.0.0.1:443: read: connection reset by peer",
        "readfrom tcp 10.0.0.2:1->10.0.0.1:443: write tcp: use of closed network connection",
        r"Get \"https://acr.io/v2/\": net/http: TLS handshake timeout",
        "dial tcp: lookup acr.io on 10.0.0.10:53: server misbehaving",
    ],
)
def test_failures_that_may_pass_are_transient(message: str) -> None:
    found = error(message)
    assert isinstance(found, TransientError)
    assert "geheim" not in str(found)


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (
            "checking whether a blob exists: unauthorized: authentication required",
            "registry acr.io refused acr.io/team/timeout-denied: checking whether a blob exists: "
            "unauthorized: authentication required; the login came from secret acr-push "
            "(/auth/config.json)",
        ),
        (
            "denied: requested access to the resource is denied",
            "registry acr.io refused acr.io/team/timeout-denied: denied: requested access to the "
            "resource is denied; the login came from secret acr-push (/auth/config.json)",
        ),
        (
            "pinging container registry acr.io: dial tcp: lookup acr.io: no such host",
            "registry acr.io: no such host; is the name right?",
        ),
        (
            "http: server gave HTTP response to HTTPS client",
            "registry acr.io uses plain HTTP; HTTPS is required",
        ),
        (
            r"Get \"http://127.0.0.1:15000/t\": dial tcp 127.0.0.1:15000: "
            "connect: permission denied",
            "registry acr.io leads to 127.0.0.1:15000, which is this pod itself",
        ),
        (
            "x509: certificate signed by unknown authority",
            "registry acr.io: x509: certificate signed by unknown authority; put the server's "
            "certificate authority into ConfigMap argotune-ca, key ca.crt (--ca-file)",
        ),
        (
            "writing manifest to acr.io/team/timeout-denied: manifest invalid",
            "acr.io/team/timeout-denied:1: writing manifest to acr.io/team/timeout-denied: "
            "manifest invalid",
        ),
    ],
)
def test_failures_that_stay_say_what_to_change(message: str, said: str) -> None:
    found = error(message)
    assert isinstance(found, PermanentError)
    assert str(found) == said


def test_an_error_without_text_is_still_an_error() -> None:
    found = error_of("", IMAGE, REGISTRY)
    assert str(found) == "acr.io/team/timeout-denied:1: skopeo failed without a message"
