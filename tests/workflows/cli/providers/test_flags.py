from __future__ import annotations

from argotune.workflows.cli.providers.flags import ALL_RUNS, install_flags


def test_flags_of_no_provider_have_a_panel_of_their_own() -> None:
    others = {flag.name for flag in install_flags() if flag.panel == ALL_RUNS}
    assert {"limits", "image-pull-secret", "keep-report", "model-cache-claim"} <= others
    assert not {"aks-cluster-id", "karpenter-node-class", "azure-client-id"} & others
