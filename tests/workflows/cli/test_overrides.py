"""The flags in place of a Workspace's fields: what is said of a setting that is none."""

from __future__ import annotations

import pytest

from argotune.steps.settings.run_settings import annotation_settings
from argotune.workflows.cli.errors import InputError
from argotune.workflows.cli.overrides import OVERRIDES, read_overrides, read_settings
from argotune.workflows.workspace.fields import FLAGS, flag_of


@pytest.mark.parametrize(
    ("pair", "advice"),
    [
        ("argotune.dev/question=x", "accepted are names without argotune.dev/: question"),
        ("argotune.dev/tune-memroy=1Gi", "accepted are names without argotune.dev/: tune-memory"),
        ("tune-memroy=1Gi", "did you mean tune-memory?"),
    ],
)
def test_an_unknown_setting_is_told_with_the_one_that_is_meant(pair: str, advice: str) -> None:
    with pytest.raises(InputError) as refused:
        read_settings([pair], annotation_settings())
    name = pair.partition("=")[0]
    assert refused.value.problems == [f"--set {pair!r}: no setting {name}; {advice}"]


def test_a_setting_is_no_way_around_a_flag() -> None:
    with pytest.raises(InputError, match="--set 'preset=phi-4': no setting preset; "):
        read_overrides({}, ["preset=phi-4"])


def test_an_error_names_a_setting_as_it_was_given() -> None:
    # No command has a flag for the login; all the values of --url are one setting.
    assert {*FLAGS} - {"push-secret"} == {name.replace("url", "urls") for name in OVERRIDES}
    assert [flag_of(name) for name in ("preset", "tune-cpu")] == ["--preset", "--set tune-cpu"]
