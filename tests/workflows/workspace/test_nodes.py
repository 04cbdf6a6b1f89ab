"""The node that is made for a run, as the annotations ask for it."""

from __future__ import annotations

import pytest

from argotune.workflows.workspace.workflow import to_parameters
from tests.workflows.workspace.helpers import changed, problems_of, read

A100 = "Standard_NC24ads_A100_v4"
CLUSTER = (
    "/subscriptions/26fe00f8-9173-4872-9134-bb1d2e00343a/resourceGroups/team/providers/"
    "Microsoft.ContainerService/managedClusters/prod"
)
HERE = "metadata.annotations.argotune.dev/"


def asking(annotations: dict[str, str], instance_type: str | None = A100) -> str:
    return changed(
        {
            "metadata/annotations": {f"argotune.dev/{k}": v for k, v in annotations.items()},
            "resource/instanceType": instance_type,
        }
    )


@pytest.mark.parametrize("provider", ["aks", "karpenter"])
def test_a_node_that_is_made_needs_its_sku(provider: str) -> None:
    (problem,) = problems_of(asking({"provider": provider}, instance_type=None))
    assert problem.startswith("resource.instanceType: empty; ")


def test_a_node_pool_says_the_machine_itself() -> None:
    annotations = {"provider": "karpenter", "karpenter-mode": "nodepool"}
    assert read(asking(annotations, instance_type=None)).instance_type is None


def test_what_no_provider_can_do_is_told_at_once_in_the_words_of_the_file() -> None:
    annotations = {
        "provider": "karpenter",
        "karpenter-node-class": "KaitoNodeClass/default",
        "spot-max-price-usd-per-hour": "1.5",
        "capacity-types": "spot,regular",
        "zones": "1",
    }
    assert problems_of(asking(annotations)) == [
        f"{HERE}spot-max-price-usd-per-hour: 1.5; Karpenter has no such limit, leave it out",
        f"{HERE}capacity-types: spot with KaitoNodeClass default, which makes regular nodes only",
        f"{HERE}zones: 1 with KaitoNodeClass default, which does not choose zones",
    ]


@pytest.mark.parametrize("provider", ["aks", "karpenter"])
def test_what_the_installation_may_say_need_not_be_in_the_file(provider: str) -> None:
    workspace = read(asking({"provider": provider, "service-gpus": "0"}))
    assert workspace.warnings == ()
    assert not {"aks-cluster-id", "karpenter-node-class"} & to_parameters(workspace).keys()


def test_that_no_other_sku_shall_be_tried_is_not_the_same_as_saying_nothing() -> None:
    none = read(asking({"provider": "aks", "alternative-instance-types": "none"}))
    assert to_parameters(none)["alternative-instance-types"] == "[]"
    nothing = read(asking({"provider": "aks"}))
    assert "alternative-instance-types" not in to_parameters(nothing)


def test_the_wishes_become_arguments() -> None:
    annotations = {
        "provider": "aks",
        "alternative-instance-types": "Standard_NC48ads_A100_v4, Standard_NV36ads_A10_v5",
        "zones": "1,2",
        "capacity-types": "spot,regular",
        "spot-max-price-usd-per-hour": "1.5",
        "node-lifetime-seconds": "86400",
        "keep-node-seconds": "3600",
        "aks-cluster-id": CLUSTER,
        "service-label-selector": "pool=serving",
    }
    found = to_parameters(read(asking(annotations)))
    expected = {
        "provider": "aks",
        "instance-type": A100,
        "alternative-instance-types": '["Standard_NC48ads_A100_v4", "Standard_NV36ads_A10_v5"]',
        "zones": '["1", "2"]',
        "capacity-types": '["spot", "regular"]',
        "spot-max-price-usd-per-hour": "1.5",
        "node-lifetime-seconds": "86400",
        "keep-node-seconds": "3600",
        "aks-cluster-id": CLUSTER,
        "service-label-selector": "pool=serving",
    }
    assert expected.items() <= found.items()


@pytest.mark.parametrize(
    ("annotations", "who"),
    [
        ({}, "provider existing"),
        ({"provider": "local"}, "provider local"),
        (
            {"provider": "karpenter", "karpenter-mode": "nodepool"},
            "provider karpenter in mode nodepool",
        ),
    ],
)
@pytest.mark.parametrize("setting", ["keep-node-seconds", "max-cost-usd"])
def test_only_a_node_of_the_runs_own_can_be_kept_or_has_a_cost(
    annotations: dict[str, str], who: str, setting: str
) -> None:
    assert problems_of(asking({**annotations, setting: "3600"})) == [
        f"{HERE}{setting}: 3600 with {who}, which makes no node of the run's own; leave it out"
    ]


def test_a_node_is_kept_in_the_first_half_of_its_lifetime_only() -> None:
    annotations = {"provider": "aks", "keep-node-seconds": "43201"}
    assert problems_of(asking({**annotations, "node-lifetime-seconds": "86400"})) == [
        f"{HERE}keep-node-seconds: 43201 is more than half of the node's lifetime of 86400 s, the "
        "half in which it is handed on"
    ]
    assert read(asking(annotations)).options["keep-node-seconds"] == "43201"


def test_a_service_on_a_gpu_has_to_find_another_node() -> None:
    (warning,) = read(asking({"provider": "aks"})).warnings
    assert warning.startswith(
        f"{HERE}service-gpus: the node of provider aks is deleted when the run "
    )


@pytest.mark.parametrize("provider", ["aks", "karpenter"])
def test_an_approval_takes_the_node_from_a_service_on_a_gpu(provider: str) -> None:
    asked = {"provider": provider, "approval": "required"}
    assert problems_of(asking(asked)) == [
        f"{HERE}approval: 'required' with provider {provider}, whose node is given back before the"
        " run waits, so that the service would have no GPU; give service-gpus 0, which serves on"
        " CPUs, or by service-label-selector the labels of another GPU node"
    ]
    read(asking({**asked, "service-gpus": "0"}))
    read(asking({**asked, "service-label-selector": "pool=serving"}))
    read(asking({**asked, "provider": "existing"}))


def test_spot_needs_no_warning_for_a_node_that_is_taken_away_is_replaced() -> None:
    asked = {"provider": "aks", "capacity-types": "spot", "service-gpus": "0"}
    assert read(asking(asked)).warnings == ()


@pytest.mark.parametrize(
    ("annotations", "names", "provider"),
    [
        ({"zones": "1"}, ["zones"], "existing"),
        (
            {"provider": "aks", "karpenter-mode": "nodepool", "service-label-selector": "a=b"},
            ["karpenter-mode"],
            "aks",
        ),
        (
            {"provider": "local", "aks-os-sku": "Ubuntu", "capacity-types": "spot"},
            ["capacity-types", "aks-os-sku"],
            "local",
        ),
    ],
)
def test_wishes_for_another_provider_are_warned_of(
    annotations: dict[str, str], names: list[str], provider: str
) -> None:
    found = [text for text in read(asking(annotations)).warnings if "no effect" in text]
    assert found == [f"{HERE}{name}: has no effect with provider {provider}" for name in names]
