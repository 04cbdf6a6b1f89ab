from __future__ import annotations

import base64
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from argotune.steps.common.errors import TransientError
from argotune.steps.contracts.in_service import InService
from argotune.steps.provenance.evidence import Evidence, gather
from argotune.steps.provenance.keys import line_of, name_of, read_public_key
from argotune.steps.registry.skopeo import Registry
from argotune.workflows.cli.checks.signing import live_signatures, signing_secret
from argotune.workflows.cli.checks.subject import Needs
from tests.fakes.api_server import ApiServer
from tests.fakes.signing import KeyPair, cosign_key, new_keys
from tests.steps.provenance.pushed import Pushed, pushed
from tests.workflows.cli.checks.cluster import SPACE, healthy, look, manifest, messages
from tests.workflows.installed import decide

KEYS, OTHER = new_keys(), new_keys()
DIGEST = f"sha256:{64 * 'd'}"
TEMPLATE = f"/apis/argoproj.io/v1alpha1/namespaces/{SPACE}/workflowtemplates/finetune"


def name(keys: KeyPair) -> str:
    return name_of(read_public_key(keys.public_pem))


def requiring(*keys: KeyPair) -> ApiServer:
    """A cluster that deploys only what one of these keys signed."""
    cluster = healthy()
    lines = ",".join(line_of(each.public_pem) for each in keys)
    settings = {"require-signature": "true", "verification-key": lines}
    decide(cluster.objects[TEMPLATE], **settings)
    return cluster


def put(cluster: ApiServer, name: str = "argotune-signing", **files: bytes) -> ApiServer:
    secret = manifest("v1", "Secret", name, namespace=SPACE)
    secret["data"] = {
        key.replace("_", "."): base64.b64encode(text).decode() for key, text in files.items()
    }
    cluster.put(secret)
    return cluster


def found(cluster: ApiServer, **needs: str) -> list[str]:
    wanted = Needs(workspace="w", arguments={key.replace("_", "-"): v for key, v in needs.items()})
    return messages(look(cluster, signing_secret, needs=wanted))


def test_nothing_is_said_where_no_signature_is_required() -> None:
    assert found(healthy()) == []


def test_the_key_that_signs_is_the_one_that_verifies() -> None:
    encrypted = cosign_key(KEYS, b"word")
    cluster = put(requiring(KEYS), cosign_key=encrypted, cosign_password=b"word")
    assert found(cluster) == [
        "ok: secret argotune-signing signs with the key that the installation verifies by"
    ]


def test_a_secret_that_is_not_there_is_a_problem_before_the_gpu_is_paid_for() -> None:
    cluster = put(requiring(KEYS), cosign_key=KEYS.private_pem)
    (said,) = found(cluster, signing_secret="mine")
    assert said == (
        f"problem: secret mine is not in namespace {SPACE}, and the installation deploys only"
        " signed adapters"
    )


def test_a_secret_that_the_workspace_names_has_to_be_there() -> None:
    assert found(healthy(), signing_secret="mine") == [
        f"problem: secret mine is not in namespace {SPACE}, and the workspace is to be signed with"
        " it"
    ]
    cluster = put(healthy(), "mine", cosign_key=KEYS.private_pem)
    (said,) = found(cluster, signing_secret="mine")
    assert said.startswith("ok: secret mine signs with key sha256:")


def test_while_keys_are_rotated_either_one_may_sign() -> None:
    cluster = put(requiring(OTHER, KEYS), cosign_key=KEYS.private_pem)
    assert found(cluster) == [
        f"ok: secret argotune-signing signs with key {name(KEYS)}, one of those that the"
        " installation verifies by"
    ]


def serving_adapter(cluster: ApiServer) -> ApiServer:
    known = InService(adapter=f"registry.example.com/phi@{DIGEST}", version="v3")
    service = manifest("apps/v1", "Deployment", "phi", namespace=SPACE)
    service["metadata"]["annotations"] = known.annotations()
    cluster.put(service)
    cluster.put(manifest("apps/v1", "Deployment", "other", namespace=SPACE))
    return cluster


def live(cluster: ApiServer, adapter: Pushed) -> list[str]:
    """What the check finds of it, with the layout in place of the registry."""

    def gather_layout(reference: object, registry: object, scratch: Path, **how: Any) -> Evidence:
        assert str(reference) == f"registry.example.com/phi@{DIGEST}"
        return gather(adapter.reference, Registry(), scratch, **how)

    return messages(look(cluster, partial(live_signatures, gather=gather_layout)))


def test_it_is_said_which_key_signed_what_is_in_service(tmp_path: Path) -> None:
    adapter = pushed(tmp_path, OTHER)
    assert live(serving_adapter(healthy()), adapter) == []
    assert live(serving_adapter(requiring(KEYS, OTHER)), adapter) == [
        f"ok: service phi: v3 is signed with key {name(OTHER)}"
    ]
    (said,) = live(serving_adapter(requiring(KEYS)), adapter)
    assert said.startswith("warning: service phi: v3 is signed with no key of the installation (")
    assert "another key signed it, or it was changed since" in said


def test_a_registry_that_is_not_reached_leaves_open_who_signed() -> None:
    def unreachable(*asked: object, **how: object) -> Evidence:
        raise TransientError("registry.example.com does not answer")

    cluster = serving_adapter(requiring(KEYS))
    assert messages(look(cluster, partial(live_signatures, gather=unreachable))) == [
        "unknown: service phi: v3: who signed it is not seen from here: registry.example.com does"
        " not answer"
    ]


def test_another_key_is_a_problem() -> None:
    (said,) = found(put(requiring(KEYS), cosign_key=OTHER.private_pem))
    assert said.startswith("problem: secret argotune-signing signs with key sha256:")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "problem: secret argotune-signing has nothing and no key cosign.key, the private"),
        ({"cosign_key": b"x"}, "problem: secret argotune-signing, key cosign.key: "),
    ],
)
def test_a_key_that_cannot_be_read_is_a_problem(files: dict[str, bytes], said: str) -> None:
    (message,) = found(put(requiring(KEYS), **files))
    assert message.startswith(said)
