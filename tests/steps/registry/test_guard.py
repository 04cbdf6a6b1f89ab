"""Where skopeo is let to, with skopeo itself and a registry on a socket."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from argotune.steps.common.errors import PermanentError
from argotune.steps.registry.confine import confined, is_supported
from argotune.steps.registry.guard import Guard, guarded
from argotune.steps.registry.policy import RegistryPolicy
from tests.fakes import registry as fake
from tests.fakes.tls import self_signed, server_context

API_SERVER = "10.96.0.1"
POD = {"PATH": "/usr/bin:/bin", "https_proxy": "http://x"}
PUBLIC = "8.8.8.8"
POLICY = RegistryPolicy(api_server=API_SERVER, resolve=lambda host, port: [PUBLIC])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[fake.Registry]:
    """A registry that has the name registry.test."""
    certificate = self_signed(tmp_path, ["registry.test", "127.0.0.1"])
    with fake.serving(login=True, tls=server_context(*certificate)) as registry:
        yield registry


def reaching(server: fake.Registry) -> Callable[[tuple[str, int], float], socket.socket]:
    """Connects to the fake, whatever public address is asked for."""
    port = int(server.host.rpartition(":")[2])
    return lambda address, timeout: socket.create_connection(("127.0.0.1", port), timeout)


def inspect(guard: Guard, run: Callable[[Sequence[str]], Sequence[str]] = list) -> str:
    """What skopeo says of an image of registry.test; `run` is the way in which it is run."""
    command = ["skopeo", "inspect", "--tls-verify=false", "--no-creds"]
    done = subprocess.run(
        run([*command, "docker://registry.test/a:1"]),
        env=guard.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stderr


def test_skopeo_reaches_a_registry_by_the_address_that_was_checked(server: fake.Registry) -> None:
    asked: list[tuple[str, int]] = []

    def resolve(host: str, port: int) -> Sequence[str]:
        asked.append((host, port))
        return [PUBLIC]

    policy = replace(POLICY, resolve=resolve)
    with guarded(policy, POD, connect=reaching(server)) as guard:
        assert "unauthorized" in inspect(guard)
    assert server.count("GET", "^/v2/")
    assert set(asked) == {("registry.test", 443)}
    assert guard.failure is None


@pytest.mark.parametrize(
    ("realm", "reason"),
    [
        ("https://tokens.test/t", "tokens.test:443: 169.254.169.254 is a link-local or metadata"),
        ("https://169.254.169.254/t", "169.254.169.254 is a link-local or metadata address"),
        ("http://10.0.0.5/t?scope=x", "a server without TLS (GET http://10.0.0.5/t), which is"),
    ],
)
def test_the_server_of_tokens_that_a_registry_names_is_checked_too(
    server: fake.Registry, realm: str, reason: str
) -> None:
    server.challenge = f'Bearer realm="{realm}",service="fake"'
    names = {"registry.test": PUBLIC, "tokens.test": "169.254.169.254"}
    policy = replace(POLICY, resolve=lambda host, port: [names.get(host, host)])
    with guarded(policy, POD, connect=reaching(server)) as guard:
        inspect(guard)
    assert isinstance(guard.failure, PermanentError)
    assert reason in str(guard.failure)


@pytest.mark.skipif(
    not is_supported(), reason="Linux gives up ports since 6.7, where Landlock is on"
)
def test_a_registry_leads_to_nothing_on_the_pods_own_addresses(server: fake.Registry) -> None:
    with fake.serving() as sidecar, guarded(POLICY, POD, connect=reaching(server)) as guard:
        server.challenge = f'Bearer realm="http://{sidecar.host}/t",service="fake"'
        inspect(guard)
        assert sidecar.requests, "Go asks its own machine without the proxy"
        sidecar.requests.clear()
        said = inspect(guard, lambda command: confined(guard.server_address[1], command))
    assert sidecar.requests == []
    assert f"dial tcp {sidecar.host}: connect: permission denied" in said


def test_other_processes_of_the_machine_cannot_use_it() -> None:
    with (
        guarded(POLICY, POD) as guard,
        socket.create_connection(("127.0.0.1", guard.server_address[1])) as client,
    ):
        client.sendall(b"CONNECT registry.test:443 HTTP/1.1\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 403 ")
    assert guard.failure is None


def test_skopeo_gets_no_other_proxy() -> None:
    with guarded(POLICY, POD) as guard:
        proxies = {name for name in guard.environment if "proxy" in name.lower()}
    assert proxies == {"HTTP_PROXY", "HTTPS_PROXY"}
