"""The node that is made for a run, as the annotations ask for it."""

from __future__ import annotations

from typing import Any

import pytest

from argotune.steps.common.errors import ParamsError
from argotune.steps.plan.planning import make_plan
from argotune.workflows.workspace.nodes import ClusterDefaults, FindClusterDefaults
from argotune.workflows.workspace.read import plan_params
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


def of_cluster(**values: Any) -> FindClusterDefaults:
    return lambda namespace, instance_type: ClusterDefaults(**values)


def test_a_file_with_a_machine_and_no_provider_has_the_one_of_the_installation() -> None:
    workspace = read(asking({}), find_defaults=of_cluster(providers=("karpenter",)))
    assert to_parameters(workspace)["provider"] == "karpenter"
    assert workspace.warnings[0] == (
        f"resource.instanceType: {A100}: provider karpenter, for which the installation is set up,"
        " makes the node; argotune.dev/provider: existing takes one that is there"
    )


@pytest.mark.parametrize(
    ("found", "makers"),
    [({}, "aks or karpenter"), ({"providers": ("aks", "karpenter")}, "aks or karpenter")],
)
def test_without_one_the_node_has_to_be_there_and_that_is_said(
    found: dict[str, Any], makers: str
) -> None:
    workspace = read(asking({}), find_defaults=of_cluster(**found))
    assert "provider" not in workspace.options
    assert workspace.warnings == (
        f"resource.instanceType: {A100}: no provider is named, so a node of this type must be in "
        f"the cluster; argotune.dev/provider: {makers} has one made for the run",
    )
    assert workspace.warnings == read(asking({})).warnings


@pytest.mark.parametrize("provider", ["existing", "aks"])
def test_a_provider_that_the_file_names_is_kept(provider: str) -> None:
    find = of_cluster(providers=("karpenter",))
    workspace = read(asking({"provider": provider, "service-gpus": "0"}), find_defaults=find)
    assert workspace.options["provider"] == provider
    assert workspace.warnings == ()


def test_the_clusters_nodes_tell_the_cloud_where_the_file_does_not() -> None:
    find = of_cluster(cloud="aws")
    named = asking({}, instance_type="g5.4xlarge")
    assert read(named, find_defaults=find).options["cloud"] == "aws"
    own = asking({"cloud": "gcp"}, instance_type="g2-standard-8")
    assert read(own, find_defaults=find).options["cloud"] == "gcp"
    made = asking({"provider": "aks", "service-gpus": "0"})
    assert "cloud" not in read(made, find_defaults=find).options


def test_alternatives_of_another_cloud_are_refused() -> None:
    annotations = {"provider": "karpenter", "alternative-instance-types": "g6.4xlarge,p5.4xlarge"}
    assert problems_of(asking(annotations)) == [
        f"{HERE}alternative-instance-types: g6.4xlarge is a machine of aws, and {A100} of azure; "
        "accepted are machines of one cloud"
    ]


@pytest.mark.parametrize(
    ("annotations", "machine", "problem"),
    [
        (
            {"provider": "karpenter", "karpenter-node-class": "AKSNodeClass/gpu"},
            "g5.4xlarge",
            "instance-type: g5.4xlarge is a machine of aws; the run is in azure, as setting cloud, "
            "node class, nodes or instance type say",
        ),
        (
            {"provider": "existing", "cloud": "gcp"},
            A100,
            f"instance-type: {A100} is a machine of azure; the run is in gcp, as setting cloud,"
            " node class, nodes or instance type say",
        ),
    ],
)
def test_a_machine_of_another_cloud_is_refused(
    annotations: dict[str, str], machine: str, problem: str
) -> None:
    with pytest.raises(ParamsError) as caught:
        make_plan(plan_params(read(asking(annotations, instance_type=machine))))
    assert caught.value.problems == [problem]


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
