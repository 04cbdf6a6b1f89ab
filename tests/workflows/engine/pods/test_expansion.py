"""The cases of Kubernetes' own tests of this, and what they leave open."""

import pytest

from argotune.workflows.engine.pods.expansion import expand

VARIABLES = {"A": "a", "EMPTY": "", "REF": "$(A)", "with.dot-1": "d"}


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("$(A)", "a"),
        ("--x=$(A)-$(A)", "--x=a-a"),
        ("$(with.dot-1)", "d"),
        ("x$(EMPTY)y", "xy"),
        ("$(REF)", "$(A)"),
        ("$(UNKNOWN)", "$(UNKNOWN)"),
        ("$$", "$"),
        ("$$(A)_$(A)", "$(A)_a"),
        ("$$$$$$(A)", "$$$(A)"),
        ("$$$$$$$(A)", "$$$a"),
        ("$(a$$b)", "$(a$$b)"),
        ("$(A$(A))", "$(A$(A))"),
        ("$()", "$()"),
        ("$(A", "$(A"),
        ("$($($$(--", "$($($(--"),
        ("\\$(A)", "\\a"),
        ("$A ${A} $? a$", "$A ${A} $? a$"),
        ("$(A\n)", "$(A\n)"),
        ("", ""),
    ],
)
def test_text_is_expanded_as_kubernetes_does(text: str, expanded: str) -> None:
    assert expand(text, VARIABLES) == expanded


@pytest.mark.parametrize("text", ["$(A)", "$$", "$", "$é", "$(A$$", "a$(A)b$$(A)$"])
def test_every_text_stays_as_it_is_when_its_dollars_are_doubled(text: str) -> None:
    assert expand(text.replace("$", "$$"), VARIABLES) == text
