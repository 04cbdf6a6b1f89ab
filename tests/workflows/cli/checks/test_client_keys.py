from __future__ import annotations

from argotune.workflows.cli.checks.client_keys import client_keys
from argotune.workflows.cli.checks.subject import Needs
from tests.workflows.cli.checks.cluster import SPACE, healthy, look, messages
from tests.workflows.cli.checks.test_signing import put

KEY = b"sk-anna-0123456789"


def found(files: dict[str, bytes] | None, name: str = "clients") -> list[str]:
    cluster = healthy() if files is None else put(healthy(), "clients", **files)
    needs = Needs(workspace="w", arguments={"api-keys-secret": name})
    return messages(look(cluster, client_keys, needs=needs))


def test_nothing_is_said_of_a_service_that_everybody_may_ask() -> None:
    assert found(None, name="") == []


def test_the_clients_are_named_and_their_keys_are_not() -> None:
    assert found({"keys": b"anna: " + KEY}) == ["ok: secret clients has keys for anna"]


def test_keys_that_deploy_would_miss_are_a_problem_before_the_gpu_is_paid_for() -> None:
    missing = (
        f"problem: secret clients with the key keys is not in namespace {SPACE}, and the service"
        " is to answer only clients with a key of it"
    )
    assert found(None) == [missing]
    assert found({"anna": KEY}) == [missing]


def test_a_slip_in_the_keys_is_said_without_them() -> None:
    assert found({"keys": KEY}) == [
        "problem: secret clients: entry 1 has no name of letters, digits, '.', '_' and '-' before"
        " a ':'"
    ]
