"""What a plan for this machine warns of."""

from __future__ import annotations

import pytest
import yaml

from argotune.workflows.workspace.fields import WorkspaceError
from argotune.workflows.workspace.planned import load
from tests.workflows.workspace.helpers import changed

HERE = "metadata.annotations.argotune.dev/"


@pytest.mark.parametrize(("target", "warned"), [({}, 1), ({"deploy-to": "kubernetes"}, 0)])
def test_settings_of_a_clusters_service_are_warned_of_here(
    target: dict[str, str], warned: int
) -> None:
    given = {"service-host": "phi.example.com", "service-replicas": "2", "question": "Who?"}
    annotations = {f"argotune.dev/{name}": text for name, text in (given | target).items()}
    preset = {"tuning/preset/name": "tiny"}
    texts = [("one.yaml", changed({"metadata/annotations": annotations, **preset}))]
    planned = load(texts, overrides={}, allow_loopback=True, on_this_machine=True)
    found = [text for text in planned.workspace.warnings if "service of this machine" in text]
    said = f"{HERE}service-replicas, {HERE}service-host: no effect on a service of this machine"
    assert found == [said] * warned


def test_settings_of_a_service_are_warned_of_where_there_is_none() -> None:
    given = {"service-gpus": "0", "question": "Who?", "deploy-to": "none"}
    annotations = {f"argotune.dev/{name}": text for name, text in given.items()}
    texts = [("one.yaml", changed({"metadata/annotations": annotations}))]
    for on_this_machine in (False, True):
        planned = load(texts, overrides={}, allow_loopback=True, on_this_machine=on_this_machine)
        assert planned.workspace.warnings[-1] == (
            f"{HERE}service-gpus, {HERE}question: no effect, because deploy-to is none"
        )


def test_settings_of_a_service_are_warned_of_where_another_one_takes_the_adapter() -> None:
    given = {"service-gpus": "0", "question": "Who?", "serve-with": "phi"}
    annotations = {f"argotune.dev/{name}": text for name, text in given.items()}
    texts = [("one.yaml", changed({"metadata/annotations": annotations}))]
    for on_this_machine in (False, True):
        planned = load(texts, overrides={}, allow_loopback=True, on_this_machine=on_this_machine)
        assert planned.workspace.warnings[-1] == (
            f"{HERE}service-gpus: no effect, because phi serves the adapter"
        )


def test_a_service_of_this_machine_may_have_a_port() -> None:
    annotations = {"argotune.dev/service-port": "5005"}
    given = {"metadata/annotations": annotations, "tuning/preset/name": "tiny"}
    planned = load(
        [("one.yaml", changed(given))], overrides={}, allow_loopback=True, on_this_machine=True
    )
    assert planned.workspace.options["service-port"] == "5005"


def test_an_engine_that_cannot_serve_the_adapter_is_refused_when_the_file_is_read() -> None:
    config = {"training_config": {"LoraConfig": {"use_dora": True}}}
    given = {"metadata/annotations": {"argotune.dev/engine": "vllm"}, "tuning/config": "training"}
    config_map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "training"},
        "data": {"training_config.yaml": yaml.safe_dump(config)},
    }
    text = f"{changed(given)}\n---\n{yaml.safe_dump(config_map)}"
    with pytest.raises(WorkspaceError) as caught:
        load([("one.yaml", text)], overrides={}, allow_loopback=True)
    assert str(caught.value) == (
        f"{HERE}engine: 'vllm', but the adapter is a DoRA adapter, which vLLM does not serve; take "
        "transformers, or auto"
    )
