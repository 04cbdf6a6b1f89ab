"""The plan step of an evaluation as a whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from argotune.presets.schema import ModelPreset
from argotune.steps.common.errors import ParamsError, PermanentError
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.model_cache import Origin, cache_path, mark_complete
from argotune.steps.contracts.side_by_side import read_models
from argotune.steps.contracts.training_plan import TrainingPlan, read_plan
from argotune.steps.plan.base_model.own import dump_preset
from argotune.steps.plan.side_by_side.params import Params, Result
from argotune.steps.plan.side_by_side.run import run
from argotune.steps.registry.policy import RegistryPolicy
from tests.fakes.adapter import safetensors
from tests.steps.model.conftest import model_files
from tests.steps.plan.helpers import config
from tests.steps.plan.side_by_side.adapters import TINY, put_adapter

POD = RegistryPolicy(api_server="10.0.0.1", resolve=lambda host, port: ["10.1.2.3"])


def params(tmp_path: Path, *models: str, preset: ModelPreset = TINY, **changes: Any) -> Params:
    """Parameters where the weights of the preset are in the cache, which are tiny's."""
    directory = cache_path(tmp_path / "cache", preset.repository, preset.revision)
    if not directory.exists():
        directory.mkdir(parents=True)
        for name, content in model_files().items():
            (directory / name).write_bytes(content)
        mark_complete(directory, Origin(source="made", version=preset.revision))
    work_dir = tmp_path / "work"
    places = {
        "plan_file": work_dir / "plan.yaml",
        "work_dir": work_dir,
        "tokenizer_dir": work_dir / "tokenizer",
        "cache_dir": tmp_path / "cache",
    }
    return Params(**{"models": models, "name": "evaluation", **places, **changes})


def planned(wanted: Params) -> tuple[Result, TrainingPlan]:
    result = run(wanted, progress=Progress())
    return result, read_plan(wanted.plan_file)


def problems_of(wanted: Params, policy: RegistryPolicy | None = None) -> list[str]:
    with pytest.raises(ParamsError) as caught:
        run(wanted, progress=Progress(), policy=policy)
    return caught.value.problems


@pytest.mark.parametrize("is_installed", [True, False])
def test_a_preset_of_ones_own_is_a_base_model_and_that_of_its_adapters(
    tmp_path: Path, is_installed: bool
) -> None:
    mine = msgspec.structs.replace(TINY, name="mine", repository="acme/mine")
    text = dump_preset(mine)
    if is_installed:
        (tmp_path / "mine.yaml").write_text(text)
    image = put_adapter(tmp_path, "v1", repository=mine.repository, source="made")
    source = {"presets_dir": tmp_path} if is_installed else {"own_preset": text}
    wanted = params(tmp_path, "mine", image, preset=mine, **source)
    result, plan = planned(wanted)
    assert result.models[0] == "mine"
    assert (plan.model.preset, plan.model.repository) == ("mine", "acme/mine")
    assert [each.image == "" for each in read_models(wanted.work_dir)] == [True, False]


def test_a_text_that_is_no_preset_is_refused(tmp_path: Path) -> None:
    [problem] = problems_of(params(tmp_path, "mine", own_preset="{}"))
    assert problem.startswith("own-preset: not a preset as JSON: ")


def test_later_steps_get_models_plan_and_tokenizer(tmp_path: Path) -> None:
    image = put_adapter(tmp_path, "v1")
    wanted = params(tmp_path, f"mine={image}")
    result, plan = planned(wanted)
    base, adapter = read_models(wanted.work_dir)
    assert result.models == ("tiny", f"mine={adapter.image}")
    assert (base.name, adapter.name) == ("tiny", "mine")
    assert (plan.model.preset, plan.method) == ("tiny", "qlora")
    assert (wanted.tokenizer_dir / "tokenizer.json").is_file()


def test_the_base_is_loaded_as_the_adapters_were_tuned_on_it(tmp_path: Path) -> None:
    _, plan = planned(params(tmp_path, put_adapter(tmp_path, "v1", quantization="fp4")))
    assert plan.quantization is not None
    assert plan.quantization.quant_type == "fp4"
    _, plan = planned(params(tmp_path, put_adapter(tmp_path, "v2", quantization=None)))
    assert plan.quantization is None


@pytest.mark.parametrize(
    "held_out", ["DatasetConfig: {train_test_split: 1}", "Argotune: {validation_share: 0.5}"]
)
def test_all_rows_are_measured_on_whatever_a_training_holds_out(
    tmp_path: Path, held_out: str
) -> None:
    _, plan = planned(params(tmp_path, "tiny", config=config(held_out)))
    assert plan.data.validation_share == 0


def test_checks_and_columns_of_the_config_are_in_the_plan(tmp_path: Path) -> None:
    text = config(
        "DatasetConfig: {context_column: q, response_column: a}\n"
        "Argotune: {checks: [{kind: exact_match}], check_rows: 7}"
    )
    _, plan = planned(params(tmp_path, "tiny", config=text))
    assert plan.data.context_column == "q"
    assert [check.kind for check in plan.evaluation.checks] == ["exact_match"]
    assert plan.evaluation.check_rows == 7


def test_the_memory_of_all_adapters_is_planned(tmp_path: Path) -> None:
    weights = safetensors(shape=[150_000_000])
    images = [put_adapter(tmp_path, tag, weights=weights) for tag in ("v1", "v2")]
    [problem] = problems_of(
        params(tmp_path, *images, config=config("Argotune: {gpu_memory_gib: 2}"))
    )
    assert "beside 1.2 GB of adapters needs" in problem
    assert "fewer models in one evaluation" in problem
    planned(params(tmp_path, images[0], config=config("Argotune: {gpu_memory_gib: 2}")))


def test_an_adapter_that_is_damaged_is_named(tmp_path: Path) -> None:
    image = put_adapter(tmp_path, "v1", weights=b"damaged")
    with pytest.raises(PermanentError, match=r"models: mine: oci:.*its header does not fit"):
        run(params(tmp_path, f"mine={image}"), progress=Progress())


def test_tasks_of_a_harness_are_measured_in_a_run_alone(tmp_path: Path) -> None:
    text = config("Argotune: {checks: [{kind: lm_eval, tasks: [hellaswag], min: 0.5}]}")
    assert problems_of(params(tmp_path, "tiny", config=text)) == [
        "training_config.Argotune.checks[0].kind: 'lm_eval' is measured in a run alone; remove the"
        " check here"
    ]


def test_what_is_wrong_with_the_config_is_said(tmp_path: Path) -> None:
    [problem] = problems_of(params(tmp_path, "tiny", config="training_config: [1]"))
    assert "training_config: [1] is not a mapping" in problem
    [problem] = problems_of(params(tmp_path, "tiny", config=config("Argotune: {chekcs: []}")))
    assert "chekcs" in problem


def test_everything_that_can_be_known_is_refused_before_anything_is_fetched(
    tmp_path: Path,
) -> None:
    settings = {
        "name": "evaluation",
        "urls": '["ftp://a.example/x"]',
        "tune-memory": "lots",
        "max-cost-usd": "-1",
    }
    wanted = params(
        tmp_path, "nothing", f"oci:{tmp_path}", settings=json.dumps(settings), installed="{}"
    )
    found = problems_of(wanted, POD)
    assert [each.partition(":")[0] for each in found] == [
        "models",
        "tune-memory",
        "max-cost-usd",
        "urls",
    ]
    assert not wanted.work_dir.exists()


def test_hosts_inside_the_network_are_refused_with_the_rest(tmp_path: Path) -> None:
    settings = {"name": "evaluation", "urls": '["https://10.0.0.7/x"]', "tune-memory": "lots"}
    wanted = params(
        tmp_path, "tiny", settings=json.dumps(settings), installed='{"allowed-hosts": "[]"}'
    )
    found = problems_of(wanted)
    assert [each.partition(":")[0] for each in found] == ["tune-memory", "urls"]
    assert "10.0.0.7" in found[1]


def test_a_pod_reads_no_directory_and_no_registry_that_is_not_allowed(tmp_path: Path) -> None:
    [problem] = problems_of(params(tmp_path, f"mine=oci:{tmp_path}:v1"), POD)
    assert problem == (
        f"models: mine: oci:{tmp_path}:v1 is a directory, and a pod has only its own; name an image"
        " of a registry"
    )
    with pytest.raises(PermanentError, match=r"10\.1\.2\.3 is inside a private network"):
        run(params(tmp_path, "registry.local/x:1"), progress=Progress(), policy=POD)
