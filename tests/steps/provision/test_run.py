from __future__ import annotations

import json

import pytest

from steps.common.errors import ParamsError
from steps.common.fields import parse_fields
from steps.common.nodes.provider import Node, NodeRequest
from steps.common.progress import Progress
from steps.provision.params import Params, Result
from steps.provision.run import run


class Provider:
    """Notes what it is asked for."""

    def __init__(self) -> None:
        self.requests: list[NodeRequest] = []

    def provision(self, request: NodeRequest, progress: Progress) -> Node:
        self.requests.append(request)
        return Node(name="n", accelerator="1 x A10", selector={"b": "2", "a": "1"})

    def release(self, run: str) -> str:
        return "nothing"


def test_the_provider_gets_what_the_run_needs() -> None:
    provider = Provider()
    flags = {
        "run": "uid",
        "gpus": "2",
        "gpu-memory-gb": "20.5",
        "instance-type": "Standard_NV36ads_A10_v5",
        "label-selector": "app=tuning, zone=1",
        "timeout-seconds": "60",
    }
    result = run(parse_fields(Params, flags), progress=Progress(), provider=provider)
    assert provider.requests == [
        NodeRequest(
            run="uid",
            gpus=2,
            gpu_memory_gb=20.5,
            instance_type="Standard_NV36ads_A10_v5",
            labels={"app": "tuning", "zone": "1"},
            timeout_seconds=60.0,
        )
    ]
    assert result == Result(node="n", accelerator="1 x A10", node_selector='{"a": "1", "b": "2"}')


def test_this_machine_does_for_a_run_without_gpus() -> None:
    params = Params(provider="local", run="uid", gpus=0)
    result = run(params, progress=Progress())
    assert result.node
    assert json.loads(result.node_selector) == {}


def test_every_problem_is_said_at_once() -> None:
    flags = {
        "run": "",
        "gpus": "-1",
        "gpu-memory-gb": "nan",
        "label-selector": "app",
        "timeout-seconds": "0",
    }
    with pytest.raises(ParamsError) as caught:
        parse_fields(Params, flags)
    assert caught.value.problems == [
        "--run: empty; give the run's UID",
        "--gpus: -1 is less than 0",
        "--gpu-memory-gb: nan is less than 0",
        "--timeout-seconds: 0.0 is not above 0",
        "--label-selector: 'app' is not KEY=VALUE",
    ]


@pytest.mark.parametrize("selector", ["app", "app=", "=x", "app!=x", "app==x", "a=b=c"])
def test_selectors_other_than_equality_are_refused(selector: str) -> None:
    with pytest.raises(ParamsError) as caught:
        Params(run="uid", gpus=1, label_selector=selector)
    assert str(caught.value) == f"--label-selector: {selector!r} is not KEY=VALUE"
