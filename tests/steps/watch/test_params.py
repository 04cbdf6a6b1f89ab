from __future__ import annotations

import dataclasses

import pytest

from argotune.presets.loader import machines
from argotune.steps.common.errors import ParamsError
from argotune.steps.common.fields import parse_fields
from argotune.steps.provision.params import Params as ProvisionParams
from argotune.steps.watch.params import Params

A100 = "Standard_NC24ads_A100_v4"


def test_the_request_is_provisions_for_a_node_that_the_waiting_pod_finds() -> None:
    flags = {
        "run": "uid",
        "workflow": "tune-x7k2p",
        "namespace": "team",
        "gpus": "2",
        "instance-type": A100,
        "capacity-types": '["spot", "regular"]',
    }
    own = {"node-selector": '{"argotune.dev/node": "gpu1f3a"}'}
    asked = parse_fields(ProvisionParams, flags).request(machines([A100]))
    found = parse_fields(Params, flags | own).request(machines([A100]))
    assert found == dataclasses.replace(asked, node="gpu1f3a")


def test_every_problem_is_said_at_once() -> None:
    with pytest.raises(ParamsError) as caught:
        Params(run="", gpus=1, node_selector="{}", look_seconds=0.0, grace_seconds=-1.0)
    assert caught.value.problems == [
        "--run: empty; give the run's UID",
        "--workflow, --namespace: empty; give those of the run's Workflow",
        "--look-seconds: 0.0 is not above 0",
        "--grace-seconds: -1.0 is not above 0",
        '--node-selector: \'{}\' is not a JSON object of labels, {"a": "b"}',
    ]


@pytest.mark.parametrize("selector", ["", "[]", "[1]", "a=b"])
def test_what_is_no_object_of_labels_is_refused(selector: str) -> None:
    with pytest.raises(ParamsError, match=r"^--node-selector: "):
        Params(run="uid", workflow="w", namespace="n", gpus=1, node_selector=selector)
