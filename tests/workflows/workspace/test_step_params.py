"""What a late step would refuse is refused when the file is read."""

from __future__ import annotations

import pytest

from argotune.workflows.workspace.step_params import step_problems
from argotune.workflows.workspace.workflow import to_parameters
from tests.workflows.workspace.helpers import changed, problems_of, read

HERE = "metadata.annotations.argotune.dev/"


def test_the_defaults_of_the_template_pass_every_step() -> None:
    assert list(step_problems(to_parameters(read(changed({}))))) == []


@pytest.mark.parametrize(
    ("arguments", "step", "setting"),
    [
        ({"service-memory": "500m"}, "deploy", "service-memory"),
        ({"service-label-selector": "pool"}, "deploy", "service-label-selector"),
        ({"service-gpus": "-1"}, "deploy", "service-gpus"),
        ({"output-image": "UPPER/case:1"}, "push", "output-image"),
        ({"only-if-changed": "maybe"}, "dataset", "only-if-changed"),
        ({"node-lifetime-seconds": "0"}, "provision", "node-lifetime-seconds"),
    ],
)
def test_a_steps_own_check_is_asked(arguments: dict[str, str], step: str, setting: str) -> None:
    given = {**to_parameters(read(changed({}))), **arguments}
    found = list(step_problems(given))
    assert (step, setting) in {(problem.step, problem.setting) for problem in found}
    assert all(problem.text for problem in found)


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
