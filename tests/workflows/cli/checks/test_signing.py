from __future__ import annotations

import base64

import pytest

from argotune.steps.provenance.keys import line_of
from argotune.workflows.cli.checks.signing import signing_secret
from argotune.workflows.cli.checks.subject import Needs
from tests.fakes.api_server import ApiServer
from tests.fakes.signing import KeyPair, cosign_key, new_keys
from tests.workflows.cli.checks.cluster import SPACE, healthy, look, manifest, messages
from tests.workflows.installed import decide

KEYS, OTHER = new_keys(), new_keys()
TEMPLATE = f"/apis/argoproj.io/v1alpha1/namespaces/{SPACE}/workflowtemplates/finetune"


def requiring(keys: KeyPair) -> ApiServer:
    """A cluster that deploys only what this key signed."""
    cluster = healthy()
    settings = {"require-signature": "true", "verification-key": line_of(keys.public_pem)}
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
