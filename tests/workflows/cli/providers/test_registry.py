"""The list of providers that the command line knows, beside the list of providers."""

from __future__ import annotations

import pytest

from argotune.steps.nodes.providers import PROVIDERS
from argotune.workflows.cli.providers.registry import CLUSTER_PROVIDERS, ENTRIES, load_commands


def test_every_provider_of_a_cluster_is_known() -> None:
    assert set(ENTRIES) == set(CLUSTER_PROVIDERS)
    assert "local" not in CLUSTER_PROVIDERS


@pytest.mark.parametrize("name", CLUSTER_PROVIDERS)
def test_nodes_that_are_made_can_be_collected(name: str) -> None:
    assert (load_commands(name).connect is not None) == PROVIDERS[name].makes_nodes
