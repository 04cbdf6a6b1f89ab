from __future__ import annotations

from argotune.workflows.cli.checks import workspace
from argotune.workflows.cli.checks.subject import Needs
from tests.workflows.cli.checks.cluster import healthy, look


def test_weights_that_no_hub_has_are_told_of() -> None:
    needs = Needs(workspace="w", arguments={"preset": "tiny"}, models_claim="weights")
    found = look(healthy(), workspace.file, needs=needs)[-1]
    assert (found.level, found.message) == (
        "info",
        "preset tiny is on no hub: its weights must be in claim weights, which cannot be seen from"
        " here",
    )
