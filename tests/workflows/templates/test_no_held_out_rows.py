"""Runs without a held-out row, from the plan to the end: nothing is measured, and no step stops the
run after the training was paid for.

The templates are the rendered ones on the engine. The steps are the real ones in this process, but
for model, which would refuse a random model for its size, and the server of deploy.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from argotune.presets.loader import model_preset
from argotune.steps.common.fields import fields_of, parse_fields
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.model_cache import cache_path
from argotune.steps.deploy import params as deploy_params
from argotune.steps.deploy.version import record_version
from argotune.steps.model import params as model_params
from argotune.steps.nodes.providers import load_provider
from argotune.workflows.engine.model import JsonObject
from argotune.workflows.engine.record import RECORD
from argotune.workflows.engine.run import Options, run
from argotune.workflows.workspace import manifests
from tests.fakes.pods import StepsOfThisProcess
from tests.steps.tune.models import save_model

NOT_MEASURED = "not measured"
_CLAIM = "argotune-models"
_SHAPE = (
    "num_hidden_layers",
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "num_key_value_heads",
    "vocab_size",
    "max_position_embeddings",
)
"""What the plan step compares with the preset."""
_CONFIG = """
training_config:
  DatasetConfig: {{train_test_split: {split}}}
  TrainingArguments: {{max_steps: 1}}
"""


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Machine:
    """This machine, with rows in a file and a random model in its cache."""

    def __init__(self, directory: Path, rows: int) -> None:
        self._directory = directory
        preset = model_preset("tiny")
        models_dir = directory / "claims" / _CLAIM
        self._model_dir = cache_path(models_dir, preset.repository, preset.revision)
        save_model(self._model_dir, **{name: getattr(preset.architecture, name) for name in _SHAPE})
        self._model = str(self._model_dir.relative_to(models_dir))
        texts = [{"prompt": f"What is {n}?", "completion": f"It is {n + n}."} for n in range(rows)]
        self._rows = directory / "rows.jsonl"
        self._rows.write_text("".join(f"{json.dumps(row)}\n" for row in texts))
        names = ("plan", "dataset", "provision", "tune", "evaluate", "push", "reject", "release")
        self.pods = StepsOfThisProcess(
            {
                **{name: lambda flags, name=name: self._call(name, flags) for name in names},
                "model": self._bring_model,
                "deploy": lambda flags: self._call("deploy", flags, target=_serve),
            }
        )

    def tune(self, split: float, **settings: str) -> JsonObject:
        """The Workflow of a run, at its end."""
        given = {
            "name": "mine",
            "preset": "tiny",
            "method": "lora",
            "urls": json.dumps([self._rows.as_uri()]),
            "output-image": f"oci:{self._directory / 'dist'}",
            "config": _CONFIG.format(split=split),
            "allow-cpu": "true",
            **settings,
        }
        parameters = [{"name": name, "value": text} for name, text in given.items()]
        workflow = {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Workflow",
            "metadata": {"name": "mine-1"},
            "spec": {
                "workflowTemplateRef": {"name": "finetune"},
                "arguments": {"parameters": parameters},
            },
        }
        options = Options(
            run_dir=self._directory / "run",
            claims_dir=self._directory / "claims",
            working_dir=self._directory,
            new_pod=self.pods,
        )
        return run([workflow, manifests.template({"allow-files": "true"})], options)

    def _call(self, name: str, flags: Mapping[str, str], **clients: Any) -> Any:
        kind = importlib.import_module(f"argotune.steps.{name}.params").Params
        given = {**flags, "run-record": str(self._directory / "run" / RECORD)}
        known = {item.kebab for item in fields_of(kind)}
        params = parse_fields(kind, {key: text for key, text in given.items() if key in known})
        if name in ("provision", "release"):
            clients = {"provider": load_provider("local", params)}
        work = importlib.import_module(f"argotune.steps.{name}.run").run
        return work(params, progress=Progress(), **clients)

    def _bring_model(self, flags: Mapping[str, str]) -> model_params.Result:
        return model_params.Result(
            model_dir=self._model, size_gb=0.0, cached=True, origin=f"cache at {40 * '0'}"
        )


def _serve(params: deploy_params.Params, model: str, progress: Progress) -> deploy_params.Result:
    tagged = record_version(params)
    return deploy_params.Result(
        endpoint="http://127.0.0.1:1", answer="It is 4.", version=tagged.version
    )


def outputs_of(workflow: JsonObject) -> dict[str, str]:
    """Of a run that has succeeded."""
    status = workflow["status"]
    messages = [node.get("message") for node in status["nodes"].values()]
    assert status["phase"] == "Succeeded", messages
    (root,) = (node for node in status["nodes"].values() if node["name"] == "mine-1")
    return {item["name"]: item["value"] for item in root["outputs"]["parameters"]}


@pytest.mark.parametrize(("rows", "split"), [(1, 0.9), (8, 1)])
def test_a_run_without_held_out_rows_ends_in_service(
    tmp_path: Path, rows: int, split: float
) -> None:
    machine = Machine(tmp_path, rows)
    workflow = machine.tune(split)
    outputs = outputs_of(workflow)
    assert machine.pods.ran[-5:] == ["tune", "evaluate", "push", "deploy", "release"]
    assert (outputs["base-loss"], outputs["tuned-loss"]) == (NOT_MEASURED, NOT_MEASURED)
    assert (outputs["version"], outputs["answer"]) == ("v1", "It is 4.")


def test_a_run_that_would_reject_such_an_adapter_does_so_in_the_end(tmp_path: Path) -> None:
    machine = Machine(tmp_path, 1)
    workflow = machine.tune(1, **{"without-held-out-rows": "reject"})
    assert "no row was held out" in outputs_of(workflow)["reason"]
    assert "deploy" not in machine.pods.ran
