"""What a late step would refuse is refused when the file is read."""

from __future__ import annotations

import pytest

from argotune.steps.settings.step_params import settings_problems
from argotune.workflows.workspace.workflow import to_parameters
from tests.workflows.workspace.helpers import changed, problems_of, read

HERE = "metadata.annotations.argotune.dev/"


def test_the_defaults_of_the_template_pass_every_step() -> None:
    assert list(settings_problems(to_parameters(read(changed({}))))) == []


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ("service-memory", "500m"),
        ("service-label-selector", "pool"),
        ("service-gpus", "-1"),
        ("output-image", "UPPER/case:1"),
        ("only-if-changed", "maybe"),
        ("node-lifetime-seconds", "0"),
    ],
)
def test_a_steps_own_check_is_asked(setting: str, text: str) -> None:
    given = {**to_parameters(read(changed({}))), setting: text}
    (problem,) = settings_problems(given)
    assert problem.setting == setting
    assert problem.text


def test_the_place_in_the_file_is_named_once() -> None:
    annotations = {
        "argotune.dev/service-memory": "500m",
        "argotune.dev/keep-node-seconds": "3600",
    }
    assert problems_of(changed({"metadata/annotations": annotations})) == [
        f"{HERE}service-memory: '500m'; accepted is a quantity such as 16Gi",
        f"{HERE}keep-node-seconds: 3600 with provider existing, which makes no node of the run's "
        "own; leave it out",
    ]
