from __future__ import annotations

from argotune.steps.nodes.resources import Resources
from argotune.workflows.cli.checks import workspace
from argotune.workflows.cli.checks.subject import Needs
from argotune.workflows.workspace.planned import load_service
from tests.workflows.cli.checks.cluster import REGISTRY, SPACE, healthy, look
from tests.workflows.installed import decide
from tests.workflows.workspace.helpers import SERVICE
from tests.workflows.workspace.test_inference import adapter, service

TEMPLATE = f"/apis/argoproj.io/v1alpha1/namespaces/{SPACE}/workflowtemplates/finetune"


def test_weights_that_no_hub_has_are_told_of() -> None:
    needs = Needs(workspace="w", arguments={"preset": "tiny"}, models_claim="weights")
    found = look(healthy(), workspace.file, needs=needs)[-1]
    assert (found.level, found.message) == (
        "info",
        "preset tiny is on no hub: its weights must be in claim weights, which cannot be seen from"
        " here",
    )
    submit = f"argo submit -n {SPACE} --watch workflows/demo/tiny-weights.yaml"
    assert found.command == f"{submit} -p images-registry={REGISTRY}"


def test_the_command_that_makes_them_names_a_tag_of_the_installers_own() -> None:
    cluster = healthy()
    decide(cluster.objects[TEMPLATE], images_tag="mine")
    found = look(cluster, workspace.file, needs=Needs(arguments={"preset": "tiny"}, workspace="w"))
    assert found[-1].command.endswith(f" -p images-registry={REGISTRY} -p images-tag=mine")


def test_without_an_installation_it_names_a_place_for_the_registry() -> None:
    cluster = healthy()
    del cluster.objects[TEMPLATE]
    found = look(cluster, workspace.file, needs=Needs(arguments={"preset": "tiny"}, workspace="w"))
    assert found[-1].command.endswith(" -p images-registry=REGISTRY")


def test_a_service_without_training_needs_its_node_and_the_registries_of_its_adapters() -> None:
    sources = [
        adapter(imagePullSecrets=["pull"]),
        adapter("mail", image="other.example.com/mail:v1"),
        adapter("more", image="other.example.com/more:v1"),
    ]
    changes = {
        "inference/adapters": sources,
        "metadata/annotations": {"argotune.dev/provider": "karpenter"},
    }
    planned = load_service([("one.yaml", service(changes))], overrides={})
    needs = workspace.needs_of(planned, None)
    assert (needs.template, needs.is_service, needs.makes_node) == ("serve", True, True)
    assert needs.images == ("plan", "model", "provision", "deploy", "release", "vllm")
    assert needs.registries == ("registry.example.com", "other.example.com")
    assert (needs.push_secret, needs.push_secret_is_named) == ("pull", True)
    node = needs.node
    assert (node.gpus, node.labels, node.capacity_types) == (1, {"apps": "assistant"}, ("regular",))
    assert node.instance_types[0] == "Standard_NC24ads_A100_v4"
    assert node.resources == Resources.of({"cpu": "500m", "memory": "8Gi"})
    assert node.gpu_memory_gb == planned.plan.memory.total_gb
    base_alone = load_service([("one.yaml", SERVICE)], overrides={})
    assert workspace.needs_of(base_alone, None).registries == ()
