from __future__ import annotations

import pytest

from argotune.steps.nodes.aks.cluster_id import ClusterId

SUBSCRIPTION = "26fe00f8-9173-4872-9134-bb1d2e00343a"
PROVIDER = "providers/Microsoft.ContainerService/managedClusters"


@pytest.mark.parametrize(
    "text",
    [
        f"/subscriptions/{SUBSCRIPTION}/resourceGroups/my.group_(1)/{PROVIDER}/prod-1",
        f"/subscriptions/{SUBSCRIPTION}/resourcegroups/my.group_(1)/{PROVIDER.lower()}/prod-1/",
    ],
)
def test_an_id_is_read_in_any_case_of_letters(text: str) -> None:
    assert ClusterId.parse(text) == ClusterId(
        subscription=SUBSCRIPTION, group="my.group_(1)", name="prod-1"
    )


@pytest.mark.parametrize(
    "text",
    [
        "prod",
        f"/subscriptions/mine/resourceGroups/g/{PROVIDER}/prod",
        f"/subscriptions/{SUBSCRIPTION}/resourceGroups/g/{PROVIDER}/prod/agentPools/gpu",
        f"/subscriptions/{SUBSCRIPTION}/resourceGroups/../{PROVIDER}/prod",
        f"/subscriptions/{SUBSCRIPTION}/resourceGroups/g/{PROVIDER}/-prod",
        f"/subscriptions/{SUBSCRIPTION}/resourceGroups/g?x=1/{PROVIDER}/prod",
    ],
)
def test_what_is_no_cluster_is_refused(text: str) -> None:
    with pytest.raises(
        ValueError, match="is not /subscriptions/ID/resourceGroups/GROUP/"
    ) as caught:
        ClusterId.parse(text)
    assert str(caught.value).startswith(repr(text))


def test_an_empty_id_says_where_to_find_it() -> None:
    with pytest.raises(ValueError, match=r"^empty; give what `az aks show --query id"):
        ClusterId.parse("")
