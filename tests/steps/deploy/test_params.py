from __future__ import annotations

import pytest

from steps.common.errors import ParamsError
from steps.common.fields import parse_fields
from steps.deploy.params import Params

GOOD = {
    "name": "phi-tuned",
    "reference": "acr.io/team/phi@sha256:" + "a" * 64,
    "plan-file": "/volume/plan.yaml",
    "model-dir": "microsoft--Phi-3/abc",
    "cache-dir": "/models",
    "dataset-digest": "sha256:" + "d" * 64,
    "image": "acr.io/argotune-serve:1",
    "model-cache-claim": "models",
}


def problems(**changes: str) -> list[str]:
    with pytest.raises(ParamsError) as caught:
        parse_fields(Params, GOOD | {name.replace("_", "-"): v for name, v in changes.items()})
    return caught.value.problems


def test_good_parameters_are_accepted() -> None:
    params = parse_fields(Params, GOOD | {"node-selector": '{"gpu": "a100"}'})
    assert params.node_labels() == {"gpu": "a100"}
    assert params.adapter_digest() == "sha256:" + "a" * 64


def test_every_problem_is_said_at_once() -> None:
    assert problems(
        name="Phi_1",
        reference="acr.io/team/phi:1",
        model_dir="../etc",
        image="",
        model_cache_claim="",
        gpus="-1",
        memory_gib="0",
        node_selector='["a"]',
        timeout_seconds="0",
    ) == [
        "--name: 'Phi_1' is not a service's name: up to 63 lower-case letters, digits and '-', "
        "with a letter first and no '-' last",
        "--reference: 'acr.io/team/phi:1' has no digest; give NAME@sha256:HEX",
        "--model-dir: '../etc' is not a directory below the cache",
        "--image: missing; --target kubernetes needs it",
        "--model-cache-claim: missing; --target kubernetes needs it",
        "--gpus: -1 is less than 0",
        "--memory-gib: 0.0 is not above 0",
        "--node-selector: '[\"a\"]' is not a JSON object of texts",
        "--timeout-seconds: 0.0 is not above 0",
    ]


def test_a_process_needs_a_directory_for_its_record() -> None:
    assert problems(target="process") == [
        "--services-dir: missing; --target process needs it",
    ]


@pytest.mark.parametrize("name", ["1phi", "-phi", "phi-", "p" * 64, ""])
def test_names_that_no_service_can_have_are_refused(name: str) -> None:
    assert len(problems(name=name)) == 1
