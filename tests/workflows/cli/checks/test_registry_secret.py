from __future__ import annotations

import base64
import dataclasses
import json
from typing import Any

import pytest

from argotune.workflows.cli.checks import registry_secret
from argotune.workflows.cli.checks.subject import Needs
from argotune.workflows.workspace.manifests import INSTALLED_ANNOTATION
from argotune.workflows.workspace.model import SERVICE_TEMPLATE
from tests.workflows.cli.checks.cluster import SPACE, healthy, login, look, manifest, messages
from tests.workflows.installed import decide

TEMPLATE = f"/apis/argoproj.io/v1alpha1/namespaces/{SPACE}/workflowtemplates/finetune"
MINE = Needs(
    workspace="w",
    registries=("registry.example.com",),
    push_secret="mine",
    push_secret_is_named=True,
)


def found_with(text: bytes | None = None, needs: Needs = MINE, **changes: Any) -> list[str]:
    cluster = healthy()
    secret = login({"registry.example.com": "user:hunter2"}, "mine", **changes)
    if text is not None:
        secret["data"] = {".dockerconfigjson": base64.b64encode(text).decode()}
    cluster.put(secret)
    found = look(cluster, registry_secret.push_secret, needs=needs)
    assert "hunter2" not in str(found)
    return messages(found)


def test_a_login_for_the_output_image() -> None:
    assert found_with() == ["ok: secret mine has a login for registry.example.com"]


def test_every_login_is_looked_at_where_no_image_is_known() -> None:
    assert messages(look(healthy(), registry_secret.push_secret)) == [
        "ok: secret argotune-push has a login for registry.example.com"
    ]
    cluster = healthy()
    cluster.put(login({"a.example.com": "user:hunter2", "b.example.com": "user"}))
    assert messages(look(cluster, registry_secret.push_secret)) == [
        "problem: secret argotune-push, registry b.example.com: its 'auth' is not the base64 of "
        "USER:PASSWORD"
    ]
    cluster.put(login({}))
    assert messages(look(cluster, registry_secret.push_secret)) == [
        "problem: secret argotune-push has no login in it"
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"{hunter2", "is not JSON; it must be a Docker config.json"),
        (
            b'{"auths": {"other.example.com": {}}}',
            "has no login for registry registry.example.com; it has other.example.com",
        ),
        (
            json.dumps({"credHelpers": {"registry.example.com": "ecr-login"}}).encode(),
            "uses the program docker-credential-ecr-login for registry registry.example.com, "
            "which is not installed; put the login itself under auths",
        ),
    ],
)
def test_a_login_that_is_wrong(text: bytes, said: str) -> None:
    assert found_with(text) == [f"problem: secret mine {said}"]


def test_data_that_is_no_base64() -> None:
    assert found_with(data={".dockerconfigjson": "%"}) == [
        "problem: secret mine: its .dockerconfigjson is not base64"
    ]


def test_a_secret_of_another_type() -> None:
    assert found_with(type="Opaque") == [
        "problem: secret mine is of type Opaque, not kubernetes.io/dockerconfigjson"
    ]


@pytest.mark.parametrize(
    ("needs", "said", "registry"),
    [
        (
            MINE,
            "problem: secret mine is not in namespace team-a; push needs a login for "
            "registry.example.com",
            "registry.example.com",
        ),
        (
            Needs(push_secret="mine"),
            "warning: secret mine is not in namespace team-a; push needs a login",
            "REGISTRY",
        ),
    ],
)
def test_a_secret_that_is_not_there(needs: Needs, said: str, registry: str) -> None:
    (found,) = look(healthy(), registry_secret.push_secret, needs=needs)
    assert messages([found]) == [said]
    assert found.command == (
        f"kubectl -n team-a create secret docker-registry mine --docker-server={registry} "
        "--docker-username=USER --docker-password=PASSWORD"
    )


def test_an_output_that_needs_no_login() -> None:
    found = look(healthy(), registry_secret.push_secret, needs=Needs(workspace="w"))
    assert [item.level for item in found] == ["info"]


def test_adapters_of_a_service_need_a_login_for_each_registry() -> None:
    both = ("registry.example.com", "other.example.com")
    needs = dataclasses.replace(MINE, template=SERVICE_TEMPLATE, registries=both)
    (missing,) = messages(look(healthy(), registry_secret.push_secret, needs=needs))
    assert missing == (
        "problem: secret mine is not in namespace team-a; the adapters' pull needs a login for"
        " registry.example.com and other.example.com"
    )
    assert found_with(needs=needs) == [
        "problem: secret mine has no login for registry other.example.com; it has"
        " registry.example.com"
    ]
    base_alone = dataclasses.replace(needs, registries=())
    assert messages(look(healthy(), registry_secret.push_secret, needs=base_alone)) == [
        "info: the workspace's adapters are no registry's images, so no login is needed"
    ]


def test_the_login_of_the_step_images_is_a_secret_of_its_own() -> None:
    cluster = healthy()
    assert look(cluster, registry_secret.pull_secret) == []
    decide(cluster.objects[TEMPLATE], image_pull_secret="pull")
    (found,) = look(cluster, registry_secret.pull_secret)
    assert messages([found]) == [
        "problem: secret pull is not in namespace team-a; a node's pull of the step images needs a"
        " login for registry.test"
    ]
    assert found.command.startswith(
        "kubectl -n team-a create secret docker-registry pull --docker-server=registry.test "
    )
    cluster.put(login({"registry.example.com": "user:hunter2"}, "pull"))
    (said,) = messages(look(cluster, registry_secret.pull_secret))
    assert "has no login for registry registry.test" in said
    cluster.put(login({"registry.test": "user:hunter2"}, "pull"))
    assert messages(look(cluster, registry_secret.pull_secret)) == [
        "ok: secret pull has a login for registry.test"
    ]


def test_a_template_that_names_no_allowed_secrets_allows_those_of_argotune() -> None:
    cluster = healthy()
    annotations = cluster.objects[TEMPLATE]["metadata"]["annotations"]
    values = json.loads(annotations[INSTALLED_ANNOTATION])
    del values["allowed-secrets"]
    annotations[INSTALLED_ANNOTATION] = json.dumps(values)
    assert messages(look(cluster, registry_secret.allowed_secrets, needs=MINE)) == [
        "problem: secret mine is not among those that the installation allows: argotune-push,"
        " argotune-model-access, argotune-data, argotune-signing, argotune-notify,"
        " argotune-api-keys"
    ]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (None, "problem: secret hub for the weights is not in namespace team-a"),
        ({"TOKEN": "eA=="}, "problem: secret hub for the weights has no key HF_TOKEN"),
        ({"HF_TOKEN": "eA=="}, "ok: secret hub has the key HF_TOKEN"),
    ],
)
def test_the_secret_of_gated_weights(data: dict[str, str] | None, said: str) -> None:
    cluster = healthy()
    if data is not None:
        cluster.put({**manifest("v1", "Secret", "hub", namespace=SPACE), "data": data})
    found = look(cluster, registry_secret.model_secret, needs=Needs(model_secret="hub"))
    assert messages(found) == [said]


def test_no_secret_for_weights_that_are_free() -> None:
    assert look(healthy(), registry_secret.model_secret) == []
