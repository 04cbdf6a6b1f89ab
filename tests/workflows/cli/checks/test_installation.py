from __future__ import annotations

from importlib.metadata import version

import pytest

from argotune.workflows.cli.checks import installation
from argotune.workflows.cli.installation.objects import objects
from argotune.workflows.cli.installation.settings import Settings
from argotune.workflows.workspace.manifests import INSTALLED_ANNOTATION
from tests.fakes.api_server import ApiServer, Object
from tests.workflows.cli.checks.cluster import SPACE, expected, healthy, look, messages
from tests.workflows.installed import decide

TEMPLATE = f"/apis/argoproj.io/v1alpha1/namespaces/{SPACE}/workflowtemplates/finetune"
SECRET = f"/api/v1/namespaces/{SPACE}/secrets/argotune-step.service-account-token"


def objects_without(*ends: str) -> ApiServer:
    cluster = healthy()
    for end in ends:
        (path,) = [path for path in cluster.objects if path.endswith(end)]
        del cluster.objects[path]
    return cluster


def test_a_whole_installation() -> None:
    cluster = healthy()
    assert messages(look(cluster, installation.template)) == [
        f"ok: WorkflowTemplate finetune of argotune {version('argotune')} is there"
    ]
    (objects,) = look(cluster, installation.objects)
    assert objects.level == "ok"
    (tokens,) = look(cluster, installation.tokens)
    assert tokens.message == "the 5 secrets with the accounts' tokens are filled"


def test_every_kind_that_install_makes_is_looked_for() -> None:
    cluster = healthy()
    for check in (installation.template, installation.objects, installation.tokens):
        look(cluster, check)
    names = {item["metadata"]["name"] for item in expected()} - {"argotune-models"}
    asked = {request.rpartition("/")[2] for request in cluster.requests}
    assert names
    assert names <= asked


def test_no_installation() -> None:
    cluster = objects_without("/workflowtemplates/finetune")
    (found,) = look(cluster, installation.template)
    assert (found.level, found.message, found.command) == (
        "problem",
        "WorkflowTemplate finetune is not in namespace team-a",
        "argotune install -n team-a --images-registry REGISTRY",
    )


def test_an_installation_of_another_version() -> None:
    cluster = healthy()
    labels = cluster.objects[TEMPLATE]["metadata"]["labels"]
    ours = version("argotune")
    for theirs, shown in (("0.0.9", "0.0.9"), (None, "without a version")):
        labels["app.kubernetes.io/version"] = theirs
        assert messages(look(cluster, installation.template)) == [
            f"warning: WorkflowTemplate finetune is of argotune {shown}, this command of {ours}"
        ]


def test_templates_of_the_same_version_with_another_content() -> None:
    cluster = healthy()
    template = cluster.objects[TEMPLATE]
    template["spec"]["templates"][0]["container"]["args"][0] = "--other"
    template["spec"]["onExit"] = "mine"
    (found,) = look(cluster, installation.template)
    step = template["spec"]["templates"][0]["name"]
    assert (found.level, found.message, found.command) == (
        "warning",
        "the installed templates are not those of this command, though of its version: finetune"
        f" spec.onExit, finetune spec.templates[{step}].container.args[0]",
        "argotune install -n team-a",
    )


def test_templates_with_the_installers_settings_are_as_they_should_be() -> None:
    cluster = healthy()
    settings = Settings(
        images_registry="registry.example.org/ours",
        images_tag="7",
        images_digests={"plan": f"sha256:{64 * 'a'}", "serve": f"sha256:{64 * 'b'}"},
        volume_size="7Gi",
        storage_class="fast",
        allowed_secrets=("mine",),
        run_settings={"karpenter-node-class": "AKSNodeClass/gpu", "image-pull-secret": "pull"},
    )
    for item in objects(settings, SPACE):
        cluster.put(item)
    assert messages(look(cluster, installation.template)) == [
        f"ok: WorkflowTemplate finetune of argotune {version('argotune')} is there"
    ]


def test_images_of_the_placeholder() -> None:
    cluster = healthy()
    decide(cluster.objects[TEMPLATE], images_registry="registry.example.com/argotune")
    assert messages(look(cluster, installation.template)) == [
        "problem: the template takes its images from registry.example.com/argotune, which is no "
        "registry"
    ]


def test_settings_that_somebody_edited() -> None:
    cluster = healthy()
    cluster.objects[TEMPLATE]["metadata"]["annotations"][INSTALLED_ANNOTATION] = "{"
    (found,) = look(cluster, installation.template)
    assert found.level == "problem"
    assert found.message.endswith("'{' is not the JSON that `argotune install` writes there")
    assert found.advice.startswith("remove it by `kubectl annotate workflowtemplate finetune")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"suspend": True}, "CronWorkflow gc is suspended"),
        (None, "CronWorkflow gc is not installed"),
    ],
)
def test_nodes_that_no_schedule_looks_for(change: Object | None, reason: str) -> None:
    cluster = healthy()
    decide(cluster.objects[TEMPLATE], karpenter_node_class="AKSNodeClass/gpu")
    (path,) = [path for path in cluster.objects if path.endswith("/cronworkflows/gc")]
    if change is None:
        del cluster.objects[path]
    else:
        cluster.objects[path]["spec"] |= change
    (found,) = look(cluster, installation.collection)
    assert (found.level, found.message, found.command) == (
        "problem",
        "a node of provider karpenter whose run is deleted or terminated stays, and costs money: "
        + reason,
        "argotune install -n team-a --karpenter-node-class ...",
    )


def test_nodes_that_a_schedule_looks_for() -> None:
    cluster = healthy()
    assert look(cluster, installation.collection) == []
    decide(cluster.objects[TEMPLATE], karpenter_node_class="AKSNodeClass/gpu")
    (path,) = [path for path in cluster.objects if path.endswith("/cronworkflows/gc")]
    cluster.objects[path]["spec"]["suspend"] = False
    assert messages(look(cluster, installation.collection)) == [
        "ok: CronWorkflow gc looks for nodes of provider karpenter"
    ]


def test_objects_that_are_missing() -> None:
    cluster = objects_without("/serviceaccounts/argotune-deploy", "/networkpolicies/argotune-runs")
    assert messages(look(cluster, installation.objects))[0] == (
        "problem: missing of what `argotune install` makes: ServiceAccount argotune-deploy, "
        "NetworkPolicy argotune-runs"
    )


def test_objects_that_may_not_be_seen() -> None:
    cluster = healthy()
    cluster.forbidden = {"get clusterroles", "get roles"}
    unseen, seen = look(cluster, installation.objects)
    assert unseen.level == "unknown"
    assert unseen.message.endswith(
        "cannot be seen: it takes the right to get clusterroles in the whole cluster and get roles "
        "in namespace team-a"
    )
    assert seen.level == "ok"


def test_tokens_that_are_missing_or_empty() -> None:
    cluster = objects_without("/argotune-deploy.service-account-token")
    del cluster.objects[SECRET]["data"]
    missing, empty = look(cluster, installation.tokens)
    assert missing.message == (
        "missing of the secrets with the accounts' tokens: argotune-deploy.service-account-token"
    )
    assert empty.message == (
        "argotune-step.service-account-token: no token in it; a run's steps cannot report their "
        "results"
    )
    assert empty.command == (
        "kubectl -n team-a delete secret argotune-step.service-account-token; "
        "argotune install -n team-a"
    )
