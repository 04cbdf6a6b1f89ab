"""Which addresses the registries of a run may have."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Sequence
from pathlib import Path

import pytest

from argotune.steps.common.errors import PermanentError, StepError, TransientError
from argotune.steps.registry.oci import parse_image
from argotune.steps.registry.policy import RegistryPolicy, host_and_port, policy_of
from argotune.steps.registry.skopeo import Registry, pull

API_SERVER = "10.96.0.1"
PUBLIC = "8.8.8.8"
POD = {"KUBERNETES_SERVICE_HOST": API_SERVER}
NEVER = "a link-local or metadata address, which is never allowed"
THIS_MACHINE = "an address of this machine, where no registry of others is"
PRIVATE = ["10.0.0.5", "192.168.1.2", "fd00::5", "100.64.0.1", "::ffff:10.0.0.5"]


def problem_of(address: str, *allowed: str, environment: dict[str, str] = POD) -> str | None:
    """Why registry.test is refused with this address beside a public one; None if it is not."""
    policy = dataclasses.replace(
        policy_of(allowed, environment), resolve=lambda host, port: [PUBLIC, address]
    )
    try:
        policy.addresses("registry.test", 443)
    except PermanentError as error:
        return str(error)
    return None


@pytest.mark.parametrize("allowed", [(), ("registry.test",)])
@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("169.254.169.254", NEVER),
        ("fe80::1%eth0", NEVER),
        ("168.63.129.16", NEVER),
        ("::ffff:169.254.169.254", NEVER),
        ("64:ff9b::a9fe:a9fe", NEVER),
        ("2002:a9fe:a9fe::1", NEVER),
        ("127.0.0.2", THIS_MACHINE),
        ("::1", THIS_MACHINE),
        ("::ffff:127.0.0.1", THIS_MACHINE),
        (API_SERVER, "the address of the cluster's API server, which is no registry"),
    ],
)
def test_an_address_that_no_registry_has_is_refused(
    address: str, reason: str, allowed: tuple[str, ...]
) -> None:
    assert reason in str(problem_of(address, *allowed))


@pytest.mark.parametrize("address", PRIVATE)
def test_a_registry_inside_the_network_is_one_that_the_installation_allows(address: str) -> None:
    assert problem_of(address) == (
        f"registry registry.test:443: {address} is inside a private network; `argotune install "
        "--allow-host registry.test:443` permits it to all runs of the namespace"
    )
    assert problem_of(address, "registry.test:5000") is not None
    assert problem_of(address, "Registry.test") is None
    assert problem_of(address, "registry.test:443") is None


@pytest.mark.parametrize("address", PRIVATE)
def test_the_network_of_a_persons_own_machine_is_that_persons(address: str) -> None:
    assert problem_of(address, environment={}) is None


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

    with pytest.raises(kind, match=text):
        RegistryPolicy(api_server=API_SERVER, resolve=resolve).check(parse_image("r.test/a"))


def test_an_image_is_checked_by_the_server_that_is_connected_to() -> None:
    assert host_and_port("docker.io") == ("registry-1.docker.io", 443)
    assert host_and_port("Registry.test:5000") == ("registry.test", 5000)
    assert host_and_port("[fd00::5]:5000") == ("fd00::5", 5000)


def test_a_registry_at_the_pods_own_address_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = parse_image("localhost:5000/a:1")
    policy_of((), {}).check(image)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", API_SERVER)
    with pytest.raises(PermanentError, match="registry localhost:5000 is this pod itself"):
        pull(image, tmp_path / "layout", "t", Registry())
