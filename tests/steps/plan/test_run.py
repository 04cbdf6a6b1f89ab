"""The plan step as a whole."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from argotune.presets.loader import PRESETS_DIR, model_preset, model_presets
from argotune.steps.common.errors import ParamsError, PermanentError, StepError
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.model_cache import damage
from argotune.steps.contracts.training_plan import parse_plan, read_plan
from argotune.steps.model.params import Params as ModelParams
from argotune.steps.model.run import bring_model
from argotune.steps.plan.base_model.own import dump_preset
from argotune.steps.plan.params import Params
from argotune.steps.plan.planning import make_plan
from argotune.steps.plan.run import run
from argotune.steps.registry.policy import RegistryPolicy
from tests.fakes.hub import COMMIT, fake_hub
from tests.fakes.hub_models import LLAMA_PARAMETERS, add_model
from tests.steps.model.conftest import model_files
from tests.steps.plan.helpers import config, params


def problems_of(wanted: Params) -> list[str]:
    with pytest.raises(ParamsError) as caught:
        make_plan(wanted)
    return caught.value.problems


@pytest.mark.parametrize("preset", [preset.name for preset in model_presets()])
@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_every_preset_can_be_planned_on_a_large_card(preset: str, method: str) -> None:
    plan = make_plan(params(preset=preset, method=method, instance_type="Standard_NC24ads_A100_v4"))
    assert (plan.quantization is None) == (method == "lora")
    assert plan.memory.total_gb < 80
    assert plan.lora.target_modules


@pytest.mark.parametrize(
    "preset", [preset.name for preset in model_presets() if "32b" not in preset.name]
)
def test_every_preset_but_the_largest_tunes_on_24_gib(preset: str) -> None:
    plan = make_plan(params(preset=preset, instance_type="g5.4xlarge"))
    assert plan.training.max_length == model_preset(preset).defaults.max_length
    assert plan.hardware.gpus == 1


def test_plan_of_this_machine_has_no_gpu_and_no_warning() -> None:
    plan = make_plan(params())
    assert plan.hardware.gpus == 0
    assert plan.hardware.instance_type is None
    assert plan.model.source == "cache"
    assert plan.warnings == []


def test_the_claim_for_the_adapter_is_tried_before_anything_costs(tmp_path: Path) -> None:
    run(params(output_claim="adapters", output_dir=tmp_path), progress=Progress())
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(PermanentError, match=r"output-claim: adapters: .* nothing can be written"):
        run(params(output_claim="adapters", output_dir=Path("/proc")), progress=Progress())


def test_a_run_that_names_a_model_of_the_hub_alone_has_its_commit_in_the_plan(
    tmp_path: Path,
) -> None:
    plan_file = tmp_path / "plan.yaml"
    with fake_hub() as hub:
        add_model(hub, "acme/own", gated="auto")
        wanted = params(preset="acme/own", plan_file=plan_file)
        result = run(wanted, progress=Progress(), hub_endpoint=hub.endpoint)
        assert result.model == f"acme/own@{COMMIT}"
        plan = read_plan(plan_file)
        assert (plan.model.preset, plan.model.family, plan.model.gated) == (
            "acme/own",
            "llama",
            True,
        )
        assert (plan.model.parameters, plan.model.shape["num_hidden_layers"]) == (
            LLAMA_PARAMETERS,
            2,
        )
        with pytest.raises(ParamsError) as caught:
            run(
                params(preset="falcon", settings='{"service-memory": "500m"}'),
                progress=Progress(),
                hub_endpoint=hub.endpoint,
            )
    places = [each.partition(":")[0] for each in caught.value.problems]
    assert places[:2] == ["preset", "service-memory"]


def test_a_preset_of_the_installation_is_a_file_of_its_name(tmp_path: Path) -> None:
    text = (PRESETS_DIR / "models" / "tiny.yaml").read_text().replace("name: tiny", "name: mine")
    (tmp_path / "mine.yaml").write_text(text)
    result = run(params(preset="mine", presets_dir=tmp_path), progress=Progress())
    assert result.model == make_plan(params()).model.title


def test_a_preset_that_is_not_the_one_that_is_named_is_refused() -> None:
    own = dump_preset(msgspec.structs.replace(model_preset("tiny"), name="mine"))
    assert make_plan(params(preset="mine", own_preset=own)).model.preset == "mine"
    assert problems_of(params(preset="phi-4", own_preset=own)) == [
        "preset: 'phi-4', but own-preset is mine; leave own-preset out where preset is another"
        " model"
    ]


def test_alias_is_resolved_to_the_presets_name() -> None:
    plan = make_plan(params(preset="Mistral-7B-v0.3", instance_type="Standard_NC24ads_A100_v4"))
    assert plan.model.preset == "mistral-7b"
    assert plan.warnings == [
        "mistral-7b is a base model without a chat template, so the preset's is used"
    ]


def test_named_gpu_of_an_existing_node_is_planned_for() -> None:
    own = config("Argotune: {gpus: 2, gpu_memory_gib: 24, gpu_model: RTX 4090}")
    plan = make_plan(params(preset="phi-4", config=own))
    assert plan.hardware.gpus == 2
    assert plan.hardware.gpu_model == "RTX 4090"
    assert plan.hardware.gpu_memory_gib == 24
    assert plan.training.accumulation_steps % 2 == 0
    assert plan.warnings == []


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        (
            "",
            "max_length 4096 uses LongRoPE's short factors, so the service accepts at most 4096 "
            "tokens of prompt and answer; with a max_length above 4096 it accepts 131072",
        ),
        (
            "Argotune: {max_length: 4097}",
            "max_length 4097 is above 4096, so training and serving use LongRoPE's long factors "
            "for rows of any length",
        ),
    ],
)
def test_choice_of_longrope_factors_is_said(text: str, warning: str) -> None:
    wanted = params(
        preset="phi-3.5-mini-instruct",
        config=config(text),
        instance_type="Standard_NC24ads_A100_v4",
    )
    assert make_plan(wanted).warnings == [warning]


def test_run_without_held_out_rows_never_stops_early_and_says_so() -> None:
    wanted = params(
        preset="phi-4",
        config=config("DatasetConfig: {train_test_split: 1}"),
        instance_type="Standard_NC24ads_A100_v4",
    )
    plan = make_plan(wanted)
    assert plan.data.validation_share == 0
    assert plan.training.early_stopping_patience is None
    assert plan.warnings == [
        "no rows are held out, so the run has no validation loss and no early stopping; set "
        "training_config.Argotune.validation_share: 0.05 instead of train_test_split: 1"
    ]


def test_large_model_without_a_gpu_is_warned_about() -> None:
    assert make_plan(params(preset="phi-4")).warnings == [
        "no GPU was found or named, so the plan is for a CPU, which takes days for this model; "
        "set an instance type, or the GPU's memory in training_config.Argotune.gpu_memory_gib"
    ]


def test_memory_in_the_last_tenth_of_the_card_is_warned_about() -> None:
    own = config("Argotune: {gpu_memory_gib: 15.2}")
    plan = make_plan(params(preset="phi-4", config=own))
    assert plan.training.micro_batch_tokens == 4096
    assert plan.warnings == [
        "the run needs an estimated 14.8 GB of the 15.3 GB that the GPU has, and the estimate has "
        "an error of 10 %; use a smaller max_length to be safe"
    ]


def test_disk_grows_with_the_weights() -> None:
    sizes = {
        preset: make_plan(
            params(preset=preset, instance_type="Standard_NC24ads_A100_v4")
        ).hardware.disk_gib
        for preset in ("tiny", "phi-4", "qwen2.5-coder-32b-instruct")
    }
    assert sizes == {"tiny": 128, "phi-4": 128, "qwen2.5-coder-32b-instruct": 160}


QUICK_START = params(
    name="workspace-tuning-phi-3",
    preset="phi-3-mini-128k-instruct",
    instance_type="Standard_NC6s_v3",
)


ON_A_CLUSTER = params(preset="phi-4", provider="existing")


def test_node_of_a_cluster_is_taken_to_have_the_smallest_gpu_that_fits() -> None:
    plan = make_plan(ON_A_CLUSTER)
    hardware = plan.hardware
    assert (hardware.instance_type, hardware.gpus, hardware.gpu_memory_gib) == (None, 1, 24)
    assert plan.memory.total_gb <= 24
    assert plan.warnings == [
        "the config names no GPU, so the plan is for one with 24 GiB, as in "
        "g2-standard-4; set training_config.Argotune.gpu_memory_gib to the memory of the "
        "node's GPU, and gpus to their number (0: tune on its CPU)"
    ]


@pytest.mark.parametrize(
    "wanted",
    [
        params(preset="phi-4", provider="local"),
        params(preset="phi-4", provider="existing", config=config("Argotune: {gpus: 0}")),
        params(preset="tiny", provider="existing"),
    ],
)
def test_cpu_is_planned_for_where_it_is_meant_or_enough(wanted: Params) -> None:
    assert make_plan(wanted).hardware.gpus == 0


def test_no_gpus_with_memory_are_refused() -> None:
    own = config("Argotune: {gpus: 0, gpu_memory_gib: 24}")
    assert problems_of(params(config=own)) == [
        "training_config.Argotune.gpus and training_config.Argotune.gpu_memory_gib: 0 GPUs have no "
        "memory and no model; keep one"
    ]


def test_retired_sku_is_refused_with_the_nearest_that_fits() -> None:
    assert problems_of(QUICK_START) == [
        "instance-type: Standard_NC6s_v3 cannot be used: retired by the cloud on 2025-09-30; the "
        "nearest that fits is Standard_NC24ads_A100_v4 (A100 80GB, 80 GiB, 3.673 USD/h in eastus)"
    ]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (
            "Standard_NC4as_T4_v3",
            "T4 has no bfloat16, and float16 overflows: a fifth of such runs of 7B models ended "
            "in NaN (QLoRA paper's code)",
        ),
        (
            "Standard_ND40rs_v2",
            "V100 32GB has no bfloat16, and float16 overflows: a fifth of such runs of 7B models "
            "ended in NaN (QLoRA paper's code)",
        ),
        (
            "Standard_NV72ads_A10_v5",
            "NVIDIA driver 570.237, 580 or later needed (CUDA 13), and azure has no newer one for "
            "it",
        ),
        (
            "Standard_NG32ads_V620_v1",
            "its GPU is an AMD Radeon PRO V620, but the images and bitsandbytes need CUDA",
        ),
    ],
)
@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_card_that_cannot_tune_is_refused(name: str, reason: str, method: str) -> None:
    assert problems_of(params(instance_type=name, method=method)) == [
        f"instance-type: {name} cannot be used: {reason}; the nearest that fits is "
        "Standard_NC24ads_A100_v4 (A100 80GB, 80 GiB, 3.673 USD/h in eastus)"
    ]


def test_what_does_not_fit_is_refused_with_the_numbers_and_the_ways_that_would() -> None:
    wanted = params(preset="phi-4", method="lora", instance_type="g5.4xlarge")
    assert problems_of(wanted) == [
        "instance-type: g5.4xlarge: phi-4 with lora and 4096 tokens per pass needs 36.1 GB per "
        "GPU, but A10G has 24.2 GB; possible changes: instance type g6e.xlarge (L40S, 48 GiB, "
        "1.861 USD/h in us-east-1), which has 48.3 GB; method qlora instead of lora (14.8 GB)"
    ]


def test_shorter_rows_are_proposed_where_they_would_fit() -> None:
    wanted = params(
        preset="mistral-7b-instruct",
        method="lora",
        config=config("Argotune: {max_length: 16384}"),
        instance_type="g5.4xlarge",
    )
    assert problems_of(wanted) == [
        "instance-type: g5.4xlarge: mistral-7b-instruct with lora and 16384 tokens per pass needs "
        "25.2 GB per GPU, but A10G has 24.2 GB; possible changes: max_length 14080 instead of "
        "16384 (24.0 GB); instance type g6e.xlarge (L40S, 48 GiB, 1.861 USD/h in us-east-1), which "
        "has 48.3 GB; method qlora instead of lora (14.3 GB)"
    ]


def test_step_that_is_too_small_for_the_gpus_is_said() -> None:
    wanted = params(
        preset="phi-4",
        instance_type="Standard_ND96amsr_A100_v4",
        config=config("Argotune: {tokens_per_step: 4096}"),
    )
    assert make_plan(wanted).warnings == [
        "an optimizer step has 32768 tokens, not 4096, because each of the 8 GPUs processes 4096; "
        "use a machine with fewer GPUs for smaller steps"
    ]
    one = config("Argotune: {tokens_per_step: 4096, processes: 1}")
    plan = make_plan(replace(wanted, config=one))
    assert (plan.training.accumulation_steps, plan.warnings) == (1, [])


def test_gpus_of_one_machine_that_would_hold_the_model_together_are_proposed() -> None:
    wanted = params(
        preset="qwen2.5-coder-32b-instruct",
        instance_type="g2-standard-24",
        config=config("Argotune: {max_length: 2048}"),
    )
    (problem,) = problems_of(wanted)
    assert problem.endswith(
        "instance type a2-highgpu-1g (A100 40GB, 40 GiB, 3.6734 USD/h in us-central1), which has "
        "40.3 GB; TrainingArguments.fsdp full_shard over its 2 GPUs (17.4 GB of each)"
    )
    text = "{TrainingArguments: {fsdp: full_shard}, Argotune: {max_length: 2048}}"
    plan = make_plan(replace(wanted, config=config(text)))
    assert plan.execution.shard
    assert plan.memory.weights_gb < 12


def test_the_plan_says_whether_4_bit_weights_are_kept() -> None:
    kept = config("Argotune: {cache_quantized: true}")
    plans = [make_plan(params(config=text)) for text in (kept, "")]
    assert [plan.execution.cache_quantized for plan in plans] == [True, False]


def test_existing_gpu_that_is_too_small_is_refused_by_its_own_name() -> None:
    own = config("Argotune: {gpu_memory_gib: 8}")
    found = problems_of(params(preset="phi-4", config=own))
    assert found[0].startswith(
        "the GPU of training_config.Argotune.gpu_memory_gib: phi-4 with qlora and 4096 tokens per "
        "pass needs 14.8 GB per GPU, but it has 8.1 GB; possible changes: instance type "
    )


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (
            {"name": "My_Model"},
            "name: 'My_Model'; accepted are at most 63 lower-case letters, digits and '-', a "
            "letter first and no '-' last",
        ),
        ({"name": "a" * 64}, f"name: '{'a' * 64}'; accepted are at most 63 lower-case letters, "),
        ({"preset": "phi4"}, "preset: 'phi4' is not a model preset; did you mean phi-4? known "),
        (
            {"instance_type": "Standard_NC24ads_A100_v5"},
            "instance-type: 'Standard_NC24ads_A100_v5' is not a GPU SKU; did you mean "
            "Standard_NC24ads_A100_v4? known are ",
        ),
        (
            {"model_source": "s3://bucket"},
            "model-source: 's3://bucket'; accepted are hub, cache, oci:IMAGE and dir:DIRECTORY",
        ),
        (
            {"model_source": "oci:"},
            "model-source: 'oci:'; accepted are hub, cache, oci:IMAGE and dir:DIRECTORY",
        ),
        (
            {"model_source": "hub"},
            "model-source: 'hub'; tiny is not on the hub; make it with `argotune tiny`",
        ),
        (
            {"config": config("Argotune: {gpus: 1}")},
            "training_config.Argotune.gpus: needs gpu_memory_gib beside it, to plan for",
        ),
        (
            {
                "config": config("Argotune: {gpu_memory_gib: 24}"),
                "instance_type": "Standard_NC24ads_A100_v4",
            },
            "training_config.Argotune.gpu_memory_gib: already set by instance type "
            "Standard_NC24ads_A100_v4; remove one of them",
        ),
    ],
)
def test_wrong_parameter_is_refused(values: dict[str, str], problem: str) -> None:
    found = problems_of(params(**values))
    assert len(found) == 1
    assert found[0].startswith(problem)


def test_every_problem_comes_in_one_answer() -> None:
    found = problems_of(
        params(
            name="-",
            config=config("LoraConfig: {r: 0, target_modules: [c_attn]}"),
            instance_type="Standard_NC6s_v3",
            model_source="ftp",
        )
    )
    assert [problem.partition(":")[0] for problem in found] == [
        "name",
        "model-source",
        "training_config.LoraConfig.r",
        "training_config.LoraConfig.target_modules",
        "instance-type",
    ]


def test_run_writes_the_plan_that_later_steps_read(tmp_path: Path) -> None:
    plan_file = tmp_path / "plan.yaml"
    progress_file = tmp_path / "progress"
    wanted = params(preset="phi-4", instance_type="Standard_NC24ads_A100_v4", plan_file=plan_file)
    result = run(wanted, progress=Progress(progress_file))
    plan = read_plan(plan_file)
    assert parse_plan(result.plan) == plan
    assert result.model == f"microsoft/phi-4@{plan.model.revision}"
    assert (result.gpus, result.disk_gib) == (1, 128)
    assert result.memory_gb == plan.memory.total_gb
    assert result.warnings == "\n".join(plan.warnings)
    assert progress_file.read_text() == "1/1\n"


def test_equal_parameters_give_an_equal_plan(tmp_path: Path) -> None:
    first, second = (run(params(), progress=Progress()).plan for _ in range(2))
    assert first == second


def test_plan_command_exits_with_2_and_one_line_per_problem(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "argotune.steps.plan",
            "--name=demo",
            "--preset=nope",
            "--model-source=x",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert lines[0].startswith("error: preset: 'nope' is not a model preset; known are gemma-3-1b")
    assert "Traceback" not in done.stderr


def test_plan_needs_no_torch() -> None:
    code = (
        "import sys, argotune.steps.plan.run, argotune.workflows.cli.show.plan_rows;"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "False\n"


IN_A_POD = RegistryPolicy(
    api_server="10.96.0.1",
    allowed_hosts={"allowed.corp:5000"},
    resolve=lambda host, port: ["10.0.0.5"],
)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"output_image": "registry.corp/a:1"},
            "registry registry.corp:443: 10.0.0.5 is inside a private network; `argotune install "
            "--allow-host registry.corp:443` permits it to all runs of the namespace",
        ),
        (
            {"model_source": "oci:weights.corp:5000/phi"},
            "registry weights.corp:5000: 10.0.0.5 is inside a private network; `argotune install "
            "--allow-host weights.corp:5000` permits it to all runs of the namespace",
        ),
        ({"model_source": "oci:weights:!"}, "model-source: 'weights:!': '!' is not a tag; use"),
    ],
)
def test_registry_that_the_run_may_not_reach_is_refused_before_anything_costs_money(
    changes: dict[str, str], problem: str
) -> None:
    with pytest.raises(StepError, match=re.escape(problem)):
        run(params(**changes), progress=Progress(), policy=IN_A_POD)


@pytest.mark.parametrize(
    "changes",
    [
        {"output_image": "allowed.corp:5000/a:1", "model_source": "oci:/weights"},
        {"output_image": "oci:/images:1"},
    ],
)
def test_registry_that_the_installation_allows_and_layout_are_accepted(
    changes: dict[str, str],
) -> None:
    run(params(**changes), progress=Progress(), policy=IN_A_POD)


def test_a_judge_whose_name_is_private_is_refused_before_the_training() -> None:
    judge = {"kind": "judge", "url": "https://judge.corp/v1", "model": "m", "min": 0.5}
    checks = [{**judge, "prompt": "Score {answer}"}]
    wanted = params(config=config(f"Argotune: {{checks: {json.dumps(checks)}}}"))
    with pytest.raises(PermanentError) as caught:
        run(wanted, progress=Progress(), policy=IN_A_POD)
    assert str(caught.value) == (
        "judge judge.corp:443: 10.0.0.5 is inside a private network; `argotune install "
        "--allow-host judge.corp:443` permits it to all runs of the namespace"
    )
    allowed = json.dumps({"allowed-hosts": '["judge.corp"]'})
    settings = json.dumps(
        {"name": "demo", "urls": '["https://a.io/b"]', "output-image": "allowed.corp:5000/a:1"}
    )
    run(replace(wanted, installed=allowed, settings=settings), progress=Progress(), policy=IN_A_POD)


def test_keys_that_deploy_would_miss_are_refused_before_the_training(tmp_path: Path) -> None:
    settings = {
        "name": "demo",
        "urls": '["https://a.io/b"]',
        "output-image": "allowed.corp:5000/a:1",
        "api-keys-secret": "clients",
    }
    file = tmp_path / "keys"
    wanted = params(
        api_keys_file=file,
        settings=json.dumps(settings),
        installed=json.dumps({"deploy-to": "kubernetes"}),
    )
    with pytest.raises(PermanentError) as caught:
        run(wanted, progress=Progress(), policy=IN_A_POD)
    assert str(caught.value).startswith(
        "api-keys-secret: secret clients with the key 'keys' is not here; make it: kubectl create"
    )
    file.write_text("sk-anna-0123456789\n")
    with pytest.raises(PermanentError, match="entry 1 has no name"):
        run(wanted, progress=Progress(), policy=IN_A_POD)
    file.write_text("anna: sk-anna-0123456789\n")
    run(wanted, progress=Progress(), policy=IN_A_POD)
    # A service of this machine may have kept its keys from an earlier run.
    on_machine = json.dumps({"deploy-to": "process", "services-dir": "/services"})
    here = replace(wanted, api_keys_file=None, installed=on_machine)
    run(here, progress=Progress(), policy=IN_A_POD)


def test_the_models_tokenizer_is_brought_before_the_plan_is_written(tmp_path: Path) -> None:
    """The dataset step judges rows by it, and nothing is read for a model that cannot be had."""
    weights = tmp_path / "weights"
    wanted = params(
        model_source=f"dir:{weights}",
        plan_file=tmp_path / "plan.yaml",
        tokenizer_dir=tmp_path / "tokenizer",
        cache_dir=tmp_path / "cache",
    )
    with pytest.raises(PermanentError, match="no such directory"):
        run(wanted, progress=Progress())
    assert not (tmp_path / "plan.yaml").exists()
    weights.mkdir()
    for name, content in model_files().items():
        (weights / name).write_bytes(content)
    run(wanted, progress=Progress())
    assert (tmp_path / "plan.yaml").exists()
    assert not damage(tmp_path / "tokenizer")
    with pytest.raises(ParamsError, match="--tokenizer-dir: it needs --cache-dir"):
        replace(wanted, cache_dir=None)


def test_a_model_of_the_hub_is_brought_at_the_commit_that_was_planned(tmp_path: Path) -> None:
    wanted = params(
        preset="acme/own",
        plan_file=tmp_path / "plan.yaml",
        tokenizer_dir=tmp_path / "tokenizer",
        cache_dir=tmp_path / "cache",
    )
    first, second = "a" * 40, "b" * 40
    with fake_hub() as hub:
        add_model(hub, "acme/own")
        hub.repositories["acme/own"] |= {
            name: content
            for name, content in model_files().items()
            if name in ("model.safetensors", "tokenizer.json")
        }
        hub.commits["acme/own"] = [first]
        run(wanted, progress=Progress(), hub_endpoint=hub.endpoint)
        assert not damage(tmp_path / "tokenizer")
        hub.commits["acme/own"] = [first, second]
        of_model = ModelParams(plan_file=tmp_path / "plan.yaml", cache_dir=tmp_path / "cache")
        brought = bring_model(of_model, progress=Progress(), hub_endpoint=hub.endpoint)
    assert brought.model_dir == f"presets/acme--own/{first}"


def test_image_that_gives_no_tokenizer_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    image = f"registry.example.com/models/phi@sha256:{64 * 'a'}"
    wanted = params(
        model_source=f"oci:{image}", tokenizer_dir=tmp_path / "tokenizer", cache_dir=tmp_path
    )
    with caplog.at_level("WARNING", logger="argotune"):
        run(wanted, progress=Progress())
    assert f"oci:{image} is not in the model cache" in caplog.text
