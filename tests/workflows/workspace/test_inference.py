"""Workspaces with inference: what is taken of them, and every way in which they can be wrong."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from argotune.presets.loader import model_presets
from argotune.steps.contracts.service_plan import AskedAdapter, read_adapters
from argotune.steps.settings.step_params import SERVICE_STEPS, settings_problems
from argotune.workflows.workspace.fields import WorkspaceError
from argotune.workflows.workspace.model import Workspace
from argotune.workflows.workspace.planned import load_service
from argotune.workflows.workspace.read import is_about_inference, read_service
from argotune.workflows.workspace.workflow import referring_workflow, to_parameters
from tests.workflows.workspace.helpers import BASE_DIR, SERVICE, WORKSPACE, changed, problems_of

CONFIG_MAP = """\
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: limits
data:
  inference_config.yaml: |
    max_probe_steps: 6
    vllm:
      max-model-len: 8192
      tool-call-parser: phi4_mini_json
      swap-space: 4
"""


def adapter(name: str = "docs", **source: Any) -> dict[str, Any]:
    return {"source": {"name": name, "image": "registry.example.com/team/docs:v3", **source}}


def service(changes: dict[str, Any], *more: str) -> str:
    return "".join([changed(changes, base=SERVICE), *more])


def read(text: str, **options: Any) -> Workspace:
    return read_service([("one.yaml", text)], base_dir=BASE_DIR, **options)


def refused(text: str, **options: Any) -> list[str]:
    with pytest.raises(WorkspaceError) as caught:
        read(text, **options)
    return caught.value.problems


def test_a_service_is_read_whole() -> None:
    sources = [
        {**adapter(imagePullSecrets=["pull"]), "strength": "0.5"},
        adapter("mail", image=f"registry.example.com/mail@sha256:{64 * 'a'}"),
    ]
    here = {"argotune.dev/provider": "existing"}
    workspace = read(service({"inference/adapters": sources, "metadata/annotations": here}))
    assert (workspace.name, workspace.preset) == ("assistant", "phi-4")
    assert workspace.is_service
    assert workspace.adapters == (
        AskedAdapter(name="docs", image="registry.example.com/team/docs:v3", strength=0.5),
        AskedAdapter(name="mail", image=f"registry.example.com/mail@sha256:{64 * 'a'}"),
    )
    assert workspace.push_secret == "pull"
    assert (workspace.warnings, workspace.problems_before_submit) == ((), ())
    arguments = to_parameters(workspace)
    assert tuple(read_adapters(arguments["adapters"])) == workspace.adapters
    assert arguments["push-secret"] == "pull"
    assert "urls" not in arguments


@pytest.mark.parametrize("version", ["v1alpha1", "v1beta1"])
@pytest.mark.parametrize("preset", [preset.name for preset in model_presets()])
def test_each_preset_is_planned_and_rendered_as_the_file_is(preset: str, version: str) -> None:
    text = service({"apiVersion": f"kaito.sh/{version}", "inference/preset/name": preset})
    planned = load_service([("one.yaml", text)], overrides={})
    assert planned.plan.model.preset == preset
    assert planned.plan.answers is not None
    assert planned.plan.answers >= 1
    assert planned.plan.memory.total_gb < 80 * 1.0737
    _, workflow = referring_workflow(planned.workspace, allow_loopback=False)
    assert workflow["spec"]["workflowTemplateRef"] == {"name": "serve"}
    arguments = workflow["spec"]["arguments"]["parameters"]
    assert {"name": "preset", "value": preset} in arguments
    problems = settings_problems(
        {each["name"]: each["value"] for each in arguments}, None, SERVICE_STEPS
    )
    assert list(problems) == []


def test_placeholders_are_planned_and_told() -> None:
    text = service(
        {
            "resource/instanceType": "<your-vm-sku>",
            "resource/preferredNodes": ["<your-node>"],
            "inference/adapters": [adapter(image="MY_REGISTRY.azurecr.io/MY_ADAPTER:0.0.1")],
        }
    )
    planned = load_service([("one.yaml", text)], overrides={})
    assert planned.workspace.instance_type is None
    assert planned.plan.adapters == []
    image, sku = planned.workspace.problems_before_submit
    assert sku.startswith("resource.instanceType: '<your-vm-sku>'; accepted is a SKU")
    assert image.startswith("inference.adapters[0].source.image: 'MY_REGISTRY.azurecr.io/")
    with pytest.raises(WorkspaceError, match="your-vm-sku"):
        load_service([("one.yaml", text)], overrides={}, must_be_final=True)


def test_of_the_inference_config_the_length_counts_and_the_rest_is_warned_about() -> None:
    text = service({"inference/config": "limits"}, CONFIG_MAP)
    planned = load_service([("one.yaml", text)], overrides={})
    assert planned.plan.max_length == 8192
    told = [warning.partition(": has no effect")[0] for warning in planned.plan.warnings]
    assert told == [
        "inference_config.yaml: max_probe_steps",
        "inference_config.yaml: vllm.tool-call-parser",
        "inference_config.yaml: vllm.swap-space",
    ]


def test_an_adapter_may_be_on_a_claim() -> None:
    source = {"volumeSource": {"persistentVolumeClaim": {"claimName": "mine"}}, "image": None}
    workspace = read(service({"inference/adapters": [adapter(**source)]}))
    assert workspace.data_claim == "mine"
    assert workspace.adapters == (AskedAdapter(name="docs"),)


def test_a_directory_begins_where_the_command_runs() -> None:
    sources = [adapter(image="oci:dist/docs:v1")]
    workspace = read(service({"inference/adapters": sources}), on_this_machine=True)
    assert workspace.adapters is not None
    assert workspace.adapters[0].image == f"oci:{BASE_DIR}/dist/docs:v1"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"inference/template": {"spec": {}}}, "inference.template: a pod of one's own is not"),
        ({"inference/preset": None}, "inference.preset.name: missing; accepted is one of"),
        ({"inference/adapters": {}}, "inference.adapters: {}; accepted is a list of adapters"),
        ({"inference/adapters": ["a"]}, "inference.adapters[0]: 'a'; accepted is a mapping"),
        (
            {"inference/adapters": [{**adapter(), "weight": 1}]},
            "inference.adapters[0].weight: unknown field; known are source, strength",
        ),
        (
            {"inference/adapters": [{**adapter(), "strength": "1.5"}]},
            "inference.adapters[0].strength: '1.5'; accepted is a number from 0 to 1, in quotes",
        ),
        (
            {"inference/adapters": [{**adapter(), "strength": "nan"}]},
            "inference.adapters[0].strength: 'nan'; accepted is a number from 0 to 1, in quotes",
        ),
        (
            {"inference/adapters": [adapter("Docs")]},
            "inference.adapters[0].source.name: 'Docs'; accepted are lower-case letters",
        ),
        (
            {"inference/adapters": [adapter(urls=["https://example.com/a"])]},
            "inference.adapters[0].source: urls and image; accepted is one of image and",
        ),
        (
            {"inference/adapters": [adapter(image=None, volumeSource={"hostPath": {}})]},
            "inference.adapters[0].source.volumeSource.hostPath: it is a directory of whatever",
        ),
        (
            {
                "inference/adapters": [
                    adapter(imagePullSecrets=["a"]),
                    adapter("mail", imagePullSecrets=["b"]),
                ]
            },
            "inference.adapters: imagePullSecrets: a, b; accepted is one Secret",
        ),
        (
            {"metadata/annotations": {"argotune.dev/max-cost-usd": "5"}},
            "metadata.annotations.argotune.dev/max-cost-usd: the node of a service lives as long",
        ),
        (
            {"metadata/annotations": {"argotune.dev/capacity-types": "spot,regular"}},
            "metadata.annotations.argotune.dev/capacity-types: nothing replaces a spot machine",
        ),
        (
            {"metadata/annotations": {"argotune.dev/service-gpus": "2"}},
            "metadata.annotations.argotune.dev/service-gpus: '2'; accepted are 0 and 1",
        ),
        ({"resource/partition": {"mode": "mig"}}, "resource.partition: a part of a GPU is not"),
        ({"resource/count": 2}, "resource.count: 2; accepted is 1, one node"),
    ],
)
def test_what_is_wrong_is_told_by_its_place(changes: dict[str, Any], problem: str) -> None:
    found = refused(service(changes))
    assert len(found) == 1
    assert found[0].startswith(problem)


def test_all_problems_of_file_and_plan_are_told_at_once() -> None:
    sources = [{**adapter(), "strength": 2}, adapter("docs"), adapter("docs")]
    text = service({"inference/adapters": sources, "resource/count": 3})
    with pytest.raises(WorkspaceError) as caught:
        load_service([("one.yaml", text)], overrides={"method": "lora"})
    assert [problem.partition(":")[0] for problem in caught.value.problems] == [
        "--method",
        "inference.adapters[0].strength",
        "resource.count",
        "adapters",
    ]


def test_settings_of_training_and_annotations_of_kaito_are_warned_about() -> None:
    annotations = {"argotune.dev/gate": "off", "kaito.sh/performance-mode": "throughput"}
    workspace = read(service({"metadata/annotations": annotations}))
    assert workspace.options == {}
    assert [warning.partition(":")[0] for warning in workspace.warnings] == [
        "metadata.annotations.argotune.dev/gate",
        "metadata.annotations.kaito.sh/performance-mode",
        "resource.instanceType",
    ]


def test_a_machine_on_which_it_does_not_fit_is_refused_with_one_on_which_it_does() -> None:
    text = service({"resource/instanceType": "g5.4xlarge"})
    with pytest.raises(WorkspaceError) as caught:
        load_service([("one.yaml", text)], overrides={})
    (problem,) = caught.value.problems
    assert "35.3 GB of one GPU, but A10G has 24.2 GB" in problem
    assert "g6e.xlarge" in problem
    assert "service-load-in-4bit true" in problem
    planned = load_service([("one.yaml", text)], overrides={}, substitute=True)
    assert planned.plan.hardware.instance_type == "g6e.xlarge"


def test_commands_about_training_say_which_take_it() -> None:
    assert is_about_inference([("one.yaml", SERVICE)])
    assert not is_about_inference([("one.yaml", WORKSPACE)])
    assert problems_of(SERVICE) == [
        "inference: this Workspace serves a model without training, and this command is about"
        " training; `argotune doctor`, `plan`, `render`, `submit` and `run` take it"
    ]


def test_both_purposes_in_one_file_are_refused() -> None:
    both = changed({"inference": yaml.safe_load(SERVICE)["inference"]})
    assert problems_of(both) == ["inference: accepted is one of tuning and inference, not both"]
