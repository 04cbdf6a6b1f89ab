"""From a workspace to the arguments of the template."""

from __future__ import annotations

import subprocess
import sys

from argotune.workflows.workspace.manifests import install_defaults, read_rendered
from argotune.workflows.workspace.workflow import to_parameters
from tests.workflows.workspace.helpers import CONFIG_MAP, QUICK_START, WORKSPACE, changed, read


def test_arguments_of_a_workspace() -> None:
    text = changed(
        {
            "tuning/config": "my-config",
            "resource/labelSelector/matchLabels": {"app": "x", "pool": "gpu"},
            "tuning/input/urls": ["https://example.com/ä.jsonl", "https://example.com/b.jsonl"],
            "metadata/annotations": {"argotune.dev/question": "Why?", "argotune.dev/tune-cpu": "4"},
        }
    )
    assert to_parameters(read(text, CONFIG_MAP)) == {
        "name": "my-model",
        "preset": "phi-4",
        "method": "lora",
        "urls": '["https://example.com/ä.jsonl", "https://example.com/b.jsonl"]',
        "output-image": "registry.example.com/my-model:1",
        "config": "training_config:\n  LoraConfig:\n    r: 8\n",
        "instance-type": "Standard_NC24ads_A100_v4",
        "label-selector": "app=x,pool=gpu",
        "model-source": "",
        "allow-loopback": "false",
        "allow-files": "false",
        "push-secret": "my-secret",
        "question": "Why?",
        "tune-cpu": "4",
    }


def test_loopback_is_said_to_the_dataset_step_too() -> None:
    assert to_parameters(read(WORKSPACE), allow_loopback=True)["allow-loopback"] == "true"


def test_arguments_are_parameters_of_the_rendered_template() -> None:
    parameters = read_rendered("finetune")[0]["spec"]["arguments"]["parameters"]
    enums = {each["name"]: each.get("enum") for each in parameters}
    everything = {
        f"argotune.dev/{name}": text
        for name, text in {
            "provider": "existing",
            "deploy-to": "none",
            "question": "Why?",
            "model-source": "hub",
            "model-cache-claim": "models",
            "tune-cpu": "4",
            "tune-memory": "64Gi",
            "service-gpus": "0",
            "service-memory": "8Gi",
            "adapter-from": "cache",
        }.items()
    }
    text = changed(
        {
            "metadata/annotations": everything,
            "tuning/preset/presetOptions/modelAccessSecret": "token",
        }
    )
    arguments = to_parameters(read(text))
    assert len(arguments) == 22
    assert arguments.keys() - enums.keys() - install_defaults().keys() == set()
    assert [
        name for name, value in arguments.items() if enums.get(name) and value not in enums[name]
    ] == []


def test_quick_start_is_translated_as_it_stands() -> None:
    arguments = to_parameters(read(QUICK_START))
    assert arguments["preset"] == "phi-3-mini-128k-instruct"
    assert arguments["instance-type"] == "Standard_NC6s_v3"
    assert arguments["output-image"] == "ACR_REPO_HERE.azurecr.io/IMAGE_NAME_HERE:0.0.1"


def test_reading_a_workspace_loads_nothing_heavy() -> None:
    code = (
        "import sys, argotune.workflows.workspace.read, argotune.workflows.workspace.workflow;"
        "print([name for name in ('hera', 'pydantic', 'httpx', 'kubernetes', 'torch', 'pyarrow')"
        " if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "[]\n"
