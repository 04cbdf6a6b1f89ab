"""Where skopeo is let to, with skopeo itself and a registry on a socket."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from argotune.steps.common.errors import PermanentError, StepError, TransientError
from argotune.steps.registry.guard import Guard, guarded, refuse_this_machine
from argotune.steps.registry.oci import parse_image
from argotune.steps.registry.skopeo import Registry, pull
from tests.fakes import registry as fake
from tests.fakes.tls import self_signed, server_context

API_SERVER = "10.96.0.1"
POD = {"PATH": "/usr/bin:/bin", "KUBERNETES_SERVICE_HOST": API_SERVER, "https_proxy": "http://x"}
PUBLIC = "203.0.113.7"


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


def inspect(guard: Guard) -> str:
    """What skopeo says of an image of registry.test."""
    done = subprocess.run(
        ["skopeo", "inspect", "--tls-verify=false", "--no-creds", "docker://registry.test/a:1"],
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

    with guarded(POD, resolve=resolve, connect=reaching(server)) as guard:
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
    with guarded(
        POD, resolve=lambda host, port: [names.get(host, host)], connect=reaching(server)
    ) as guard:
        inspect(guard)
    assert isinstance(guard.failure, PermanentError)
    assert reason in str(guard.failure)


def failure_of(address: str) -> StepError | None:
    """Why a name with this address is not connected to; None if it would be."""

    def connect(target: tuple[str, int], timeout: float) -> socket.socket:
        raise ConnectionRefusedError(111, "Connection refused")

    with guarded(POD, resolve=lambda host, port: [PUBLIC, address], connect=connect) as guard:
        try:
            guard.connect("registry.test", 443)
        except TransientError:
            return None
        except StepError as error:
            return error
    raise AssertionError("connected")


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("169.254.169.254", "a link-local or metadata address, which is never allowed"),
        ("fe80::1%eth0", "a link-local or metadata address, which is never allowed"),
        ("168.63.129.16", "a link-local or metadata address, which is never allowed"),
        ("::ffff:169.254.169.254", "a link-local or metadata address, which is never allowed"),
        ("64:ff9b::a9fe:a9fe", "a link-local or metadata address, which is never allowed"),
        ("2002:a9fe:a9fe::1", "a link-local or metadata address, which is never allowed"),
        ("127.0.0.2", "an address of this machine, where no registry of others is"),
        ("::1", "an address of this machine, where no registry of others is"),
        ("::ffff:127.0.0.1", "an address of this machine, where no registry of others is"),
        (API_SERVER, "the address of the cluster's API server, which is no registry"),
    ],
)
def test_an_address_that_no_registry_has_is_refused(address: str, reason: str) -> None:
    assert reason in str(failure_of(address))


@pytest.mark.parametrize("address", [PUBLIC, "10.0.0.5", "192.168.1.2", "fd00::5", "100.64.0.1"])
def test_a_registry_may_be_inside_the_network(address: str) -> None:
    assert failure_of(address) is None


@pytest.mark.parametrize(
    ("number", "kind", "text"),
    [
        (socket.EAI_NONAME, PermanentError, "registry r.test: no such host; is the name right?"),
        (socket.EAI_AGAIN, TransientError, "the name server did not answer for r.test"),
    ],
)
def test_a_name_without_an_address_is_named(number: int, kind: type[StepError], text: str) -> None:
    def resolve(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(number, "no")

    with guarded(POD, resolve=resolve) as guard, pytest.raises(kind, match=text):
        guard.connect("r.test", 443)


def test_other_processes_of_the_machine_cannot_use_it() -> None:
    with guarded(POD) as guard, socket.create_connection(guard.server_address) as client:
        client.sendall(b"CONNECT registry.test:443 HTTP/1.1\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 403 ")
    assert guard.failure is None


def test_skopeo_gets_no_other_proxy() -> None:
    with guarded(POD) as guard:
        proxies = {name for name in guard.environment if "proxy" in name.lower()}
    assert proxies == {"HTTP_PROXY", "HTTPS_PROXY"}


def test_a_registry_at_the_pods_own_address_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_this_machine("localhost:5000", {})
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", API_SERVER)
    with pytest.raises(PermanentError, match="registry localhost:5000 is this pod itself"):
        pull(parse_image("localhost:5000/a:1"), tmp_path / "layout", "t", Registry())
