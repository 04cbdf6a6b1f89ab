"""The whole step on a random model: what it learns, writes, and survives."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
import signal
from collections.abc import Callable
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

import msgspec
import pytest
import safetensors.torch
import torch

from argotune.steps.common.errors import Interrupted, PermanentError
from argotune.steps.common.fields import text_of
from argotune.steps.common.main import main
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.model_cache import MARKER, Origin, mark_complete
from argotune.steps.contracts.serving import read_contract
from argotune.steps.contracts.training_plan import TrainingPlan, Watch
from argotune.steps.tune.params import Params, Result
from argotune.steps.tune.run import run
from tests.steps.tune.float64 import TOLERANCE
from tests.steps.tune.models import (
    conversation,
    flags_of,
    params_for,
    read_records,
    tiny_plan,
    wait_for_checkpoint,
    write_dataset,
    write_rows,
)
from tests.steps.tune.traps.running import StopAt

ONE_EPOCH = tiny_plan(epochs=1.0)
LONG = {"epochs": 10.0, "save_steps": 2, "eval_steps": 25}
"""Many short steps: time to be stopped in."""


def tune(work_dir: Path, model_dir: Path, plan: TrainingPlan, **options: Any) -> Result:
    return run(params_for(work_dir, model_dir, plan, **options), progress=Progress())


def weights(work_dir: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(work_dir / "adapter" / "adapter_model.safetensors")


def steps_of(work_dir: Path) -> list[str]:
    return sorted(path.name for path in (work_dir / "checkpoints").glob("step-*"))


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory, model_dir: Path) -> tuple[Path, Result]:
    """A run of one epoch that has ended: its directory, of which tests take copies, and result."""
    work_dir = tmp_path_factory.mktemp("ended")
    write_dataset(work_dir)
    return work_dir, tune(work_dir, model_dir, ONE_EPOCH)


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_it_learns(tmp_path: Path, model_dir: Path, method: str) -> None:
    write_dataset(tmp_path)
    result = tune(tmp_path, model_dir, tiny_plan(method=method, epochs=8.0))
    assert result.base_loss > 5.0
    assert result.tuned_loss < 0.6 * result.base_loss
    assert result.train_loss < 0.6 * result.base_loss
    assert result.resumed_from_step == 0
    assert result.tokens_per_second > 0
    assert 0.05 < result.loading_memory_gb <= result.peak_memory_gb < 10
    assert result.kept_blocks == 2
    losses = [record["eval_loss"] for record in read_records(tmp_path) if "eval_loss" in record]
    assert losses[0] == result.base_loss
    assert losses[-1] == result.tuned_loss
    kept = json.loads((tmp_path / "report" / "result.json").read_text())
    assert kept["versions"]["torch"] == torch.__version__
    assert kept["machine"]["device"] == "cpu"
    assert kept["machine"]["threads"] == str(torch.get_num_threads())


def test_the_batch_fits_the_data_and_the_result_says_so(tmp_path: Path, model_dir: Path) -> None:
    """24 short rows, for which the plan's step is a hundred times too large."""
    for name in ("as planned", "fitted"):
        write_dataset(tmp_path / name)
    large = {"micro_batch_tokens": 1024, "accumulation_steps": 8, "epochs": 2.0}
    result = tune(tmp_path / "as planned", model_dir, tiny_plan(**large))
    assert result.steps == 2
    assert result.warning.startswith("the run has only 2 optimizer steps of ")
    fitted = tune(tmp_path / "fitted", model_dir, tiny_plan(min_steps=30, **large))
    assert 30 <= fitted.steps <= 48
    assert fitted.warning == ""
    assert fitted.tokens_per_step * fitted.steps == pytest.approx(
        result.tokens_per_step * result.steps, rel=0.01
    )
    assert fitted.tuned_loss < result.tuned_loss


@pytest.mark.usefixtures("in_float64")
def test_dora_noise_and_another_optimizer_resume_as_if_nothing_had_been(
    tmp_path: Path, model_dir: Path
) -> None:
    for name in ("straight", "cut"):
        write_dataset(tmp_path / name)
    plan = tiny_plan(
        epochs=1.0, optim="adafactor", scheduler="cosine_with_restarts", neftune_noise_alpha=5.0
    )
    plan = msgspec.structs.replace(plan, lora=msgspec.structs.replace(plan.lora, use_dora=True))
    straight = tune(tmp_path / "straight", model_dir, plan)
    with pytest.raises(Interrupted):
        run(params_for(tmp_path / "cut", model_dir, plan), progress=StopAt(3))
    resumed = tune(tmp_path / "cut", model_dir, plan)
    assert resumed.resumed_from_step == 3
    assert resumed.tuned_loss == straight.tuned_loss
    card = (tmp_path / "cut" / "adapter" / "README.md").read_text()
    assert "a DoRA adapter, which vLLM does not serve" in card
    assert "vllm serve" not in card


def test_progress_and_report_are_written(tmp_path: Path, model_dir: Path) -> None:
    write_dataset(tmp_path)
    progress = tmp_path / "progress"
    plan = tiny_plan(epochs=3.0)
    result = run(params_for(tmp_path, model_dir, plan), progress=Progress(progress))
    assert progress.read_text().splitlines()[-1] == "1/1"
    records = read_records(tmp_path)
    assert [r["step"] for r in records if "loss" in r] == list(range(1, result.steps + 1))
    assert len([r for r in records if "eval_loss" in r]) == 1 + 3
    assert (tmp_path / "report" / "loss.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("in_float64")
def test_checkpointed_activations_give_the_same_losses(tmp_path: Path, model_dir: Path) -> None:
    losses = []
    for checkpointing in (False, True):
        work_dir = tmp_path / str(checkpointing)
        write_dataset(work_dir)
        plan = tiny_plan(epochs=1.0, gradient_checkpointing=checkpointing)
        losses.append(tune(work_dir, model_dir, plan).tuned_loss)
    assert losses[0] == pytest.approx(losses[1], rel=TOLERANCE)


def planned_for_an_a10() -> TrainingPlan:
    plan = tiny_plan()
    hardware = msgspec.structs.replace(plan.hardware, gpus=1, gpu_model="A10", gpu_memory_gib=24.0)
    return msgspec.structs.replace(plan, hardware=hardware)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_gpu_that_torch_cannot_use_ends_the_step_before_it_reads_a_row(
    tmp_path: Path, model_dir: Path
) -> None:
    with pytest.raises(PermanentError, match="1 x A10 with 24 GiB planned, but torch can use no "):
        tune(tmp_path, model_dir, planned_for_an_a10())


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_the_cpu_tunes_a_plan_for_a_gpu_where_that_is_allowed(
    tmp_path: Path, model_dir: Path
) -> None:
    write_dataset(tmp_path)
    params = params_for(tmp_path, model_dir, planned_for_an_a10())
    result = run(dataclasses.replace(params, allow_cpu=True), progress=Progress())
    assert result.steps > 0


@pytest.mark.parametrize(
    ("where", "what"),
    [
        (
            "load_model",
            "the base model: CUDA out of memory. Tried to allocate 2.00 GiB; use method",
        ),
        ("held_out_loss", "evaluating the base model: CUDA out of memory. Tried to allocate 2.00"),
    ],
)
def test_a_gpu_without_memory_before_the_first_step_is_named(
    tmp_path: Path, model_dir: Path, where: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(f"argotune.steps.tune.run.{where}", fail)
    write_dataset(tmp_path)
    with pytest.raises(PermanentError) as caught:
        tune(tmp_path, model_dir, tiny_plan())
    assert str(caught.value).startswith(f"the GPU's memory is too small for {what}")


def test_a_second_run_returns_the_result_without_training(
    tmp_path: Path, model_dir: Path, ended: tuple[Path, Result]
) -> None:
    work_dir = shutil.copytree(ended[0], tmp_path / "work")
    before = (work_dir / "report" / "metrics.jsonl").read_bytes()
    marker = tmp_path / "no weights are needed" / MARKER
    marker.parent.mkdir()
    shutil.copyfile(model_dir / MARKER, marker)
    assert tune(work_dir, marker.parent, ONE_EPOCH) == ended[1]
    assert (work_dir / "report" / "metrics.jsonl").read_bytes() == before


def test_a_run_goes_on_with_no_other_base(
    tmp_path: Path, model_dir: Path, ended: tuple[Path, Result]
) -> None:
    """As where a directory of weights was written anew between two tries."""
    work_dir = shutil.copytree(ended[0], tmp_path / "work")
    other = shutil.copytree(model_dir, tmp_path / "other")
    (other / "generation_config.json").write_text('{"eos_token_id": 0, "top_k": 1}')
    mark_complete(other, Origin(source="dir:/other", version="sha256:aa"))
    with pytest.raises(PermanentError, match="base"):
        tune(work_dir, other, ONE_EPOCH)


def test_the_adapter_names_the_weights_that_were_there(tmp_path: Path, model_dir: Path) -> None:
    write_dataset(tmp_path)
    other = shutil.copytree(model_dir, tmp_path / "other")
    marker = mark_complete(other, Origin(source="dir:/mine", version=f"sha256:{64 * 'a'}"))
    tune(tmp_path, other, tiny_plan(epochs=1.0))
    base = read_contract(tmp_path / "adapter").base
    assert (base.repository, base.source, base.digest) == ("dir:/mine", "dir:/mine", marker.digest)
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("dir:/mine", None)
    for path in (tmp_path / "adapter").iterdir():
        assert b"acme/random" not in path.read_bytes(), path.name
    card = (tmp_path / "adapter" / "README.md").read_text()
    assert f"a phi3 model from `dir:/mine` (sha256:{64 * 'a'})" in card


def test_readme_and_report_say_what_the_adapter_was_tuned_on_and_how(
    tmp_path: Path, model_dir: Path
) -> None:
    write_dataset(tmp_path)
    given = dataclasses.replace(
        params_for(tmp_path, model_dir, tiny_plan(epochs=1.0)),
        dataset_summary="30 rows: 24 to train, 6 held out, 0 duplicates, 0 refused",
        run_name="demo-abcde",
        created="2026-01-31T12:00:00Z",
    )
    result = run(given, progress=Progress())
    card = (tmp_path / "adapter" / "README.md").read_text()
    page = (tmp_path / "report" / "report.html").read_text()
    for fact in (
        "demo-abcde, 2026-01-31T12:00:00Z",
        given.dataset_summary,
        "r 8, alpha 16, dropout 0",
        "0.01, linear, warm-up 0%",
    ):
        assert f" | {fact} |" in card
        assert f">{fact}<" in page
    assert f"| held-out loss of the adapter | {text_of(result.tuned_loss)} |" in card


def test_a_base_of_unknown_origin_is_refused(tmp_path: Path, model_dir: Path) -> None:
    write_dataset(tmp_path)
    other = shutil.copytree(model_dir, tmp_path / "other")
    mark_complete(other)
    with pytest.raises(PermanentError, match="does not say where the weights come from"):
        tune(tmp_path, other, tiny_plan())


def test_a_run_killed_after_its_last_checkpoint_only_exports(
    tmp_path: Path, model_dir: Path, ended: tuple[Path, Result]
) -> None:
    work_dir, first = shutil.copytree(ended[0], tmp_path / "work"), ended[1]
    (work_dir / "report" / "result.json").unlink()
    shutil.rmtree(work_dir / "adapter")
    before = (work_dir / "report" / "metrics.jsonl").read_bytes()
    again = tune(work_dir, model_dir, ONE_EPOCH)
    assert again.resumed_from_step == first.steps
    assert (again.tuned_loss, again.train_loss) == (first.tuned_loss, first.train_loss)
    assert (work_dir / "report" / "metrics.jsonl").read_bytes() == before
    torch.testing.assert_close(weights(work_dir), weights(ended[0]), rtol=0, atol=0)


def test_equal_runs_give_equal_bytes(
    tmp_path: Path, model_dir: Path, ended: tuple[Path, Result]
) -> None:
    write_dataset(tmp_path)
    tune(tmp_path, model_dir, ONE_EPOCH)
    names = sorted(path.name for path in (tmp_path / "adapter").iterdir())
    assert "adapter_config.json" in names
    for name in names:
        first, second = (work_dir / "adapter" / name for work_dir in (tmp_path, ended[0]))
        assert first.read_bytes() == second.read_bytes(), name


def test_the_last_two_checkpoints_are_kept(tmp_path: Path, model_dir: Path) -> None:
    write_dataset(tmp_path)
    result = tune(tmp_path, model_dir, tiny_plan(epochs=3.0, save_steps=2))
    assert len(steps_of(tmp_path)) == 2
    assert steps_of(tmp_path)[-1] == f"step-{result.steps:08}"


def test_a_retry_that_recomputes_more_goes_on_from_the_checkpoint(
    tmp_path: Path, model_dir: Path
) -> None:
    """As where the memory was too small, and the plan was made anew for less."""
    write_dataset(tmp_path)
    first = tune(tmp_path, model_dir, tiny_plan(save_steps=2))
    before, last = steps_of(tmp_path)
    shutil.rmtree(tmp_path / "checkpoints" / last)
    (tmp_path / "report" / "result.json").unlink()
    again = tune(tmp_path, model_dir, tiny_plan(save_steps=2, gradient_checkpointing=True))
    assert (first.kept_blocks, again.kept_blocks) == (2, 0)
    assert again.resumed_from_step == int(before[5:]) < first.steps
    assert again.tuned_loss == pytest.approx(first.tuned_loss, rel=1e-5)


def test_other_data_is_refused_by_name(
    tmp_path: Path, model_dir: Path, ended: tuple[Path, Result]
) -> None:
    work_dir = shutil.copytree(ended[0], tmp_path / "work")
    last = steps_of(work_dir)[-1]
    with pytest.raises(PermanentError) as caught:
        tune(work_dir, model_dir, ONE_EPOCH, digest="sha256:e")
    assert str(caught.value) == (
        f"{last} is of a run with other settings: dataset was sha256:d, is sha256:e; restore "
        f"these, or delete {work_dir / 'checkpoints'} to start over"
    )


def test_other_settings_are_refused_by_name(
    tmp_path: Path, model_dir: Path, ended: tuple[Path, Result]
) -> None:
    work_dir = shutil.copytree(ended[0], tmp_path / "work")
    with pytest.raises(PermanentError, match=r"training\.learning_rate was 0\.01, is 0\.02"):
        tune(work_dir, model_dir, tiny_plan(epochs=1.0, learning_rate=0.02))


def test_rows_that_changed_under_the_same_digest_are_noticed(
    tmp_path: Path, model_dir: Path, ended: tuple[Path, Result]
) -> None:
    work_dir = shutil.copytree(ended[0], tmp_path / "work")
    (work_dir / "report" / "result.json").unlink()
    write_dataset(work_dir, train=23)
    with pytest.raises(PermanentError, match=r"packs was sha256:\w+, is sha256:\w+"):
        tune(work_dir, model_dir, ONE_EPOCH)


def test_an_exploding_loss_ends_the_run_and_keeps_the_last_good_checkpoint(
    tmp_path: Path, model_dir: Path
) -> None:
    write_dataset(tmp_path)
    plan = tiny_plan(epochs=40.0, learning_rate=50.0, save_steps=1, max_grad_norm=0.0)
    with pytest.raises(PermanentError, match="checkpoint is kept; try a lower learning_rate"):
        tune(tmp_path, model_dir, plan)
    assert steps_of(tmp_path)
    assert not (tmp_path / "adapter").exists()
    for path in (tmp_path / "checkpoints").glob("step-*/adapter.safetensors"):
        tensors = safetensors.torch.load_file(path)
        assert all(bool(tensor.isfinite().all()) for tensor in tensors.values())


def test_early_stop_exports_the_best_adapter(tmp_path: Path, model_dir: Path) -> None:
    """Held-out answers that contradict the training ones soon get worse."""
    rows = [conversation(f"Is {number} good?", "yes, it is") for number in range(12)]
    write_rows(tmp_path / "dataset" / "train.parquet", rows)
    held_out = [conversation(f"Is {number} good?", "no, never!") for number in range(4)]
    write_rows(tmp_path / "dataset" / "validation.parquet", held_out)
    result = tune(
        tmp_path, model_dir, tiny_plan(epochs=60.0, eval_steps=2, early_stopping_patience=2)
    )
    losses = [r["eval_loss"] for r in read_records(tmp_path) if "eval_loss" in r][1:]
    assert losses[-1] > losses[-3]
    assert losses[-2] > losses[-3]
    assert result.tuned_loss == min(losses) == losses[-3]
    assert result.steps == 2 * len(losses)
    assert result.stopped_early == "held-out loss"
    again = safetensors.torch.load_file(
        tmp_path / "checkpoints" / steps_of(tmp_path)[-1] / "best.safetensors"
    )
    exported = {
        name.replace(".weight", ".default.weight"): t for name, t in weights(tmp_path).items()
    }
    torch.testing.assert_close(exported, again, rtol=0, atol=0)


@pytest.mark.parametrize("train", [1, 24])
def test_without_held_out_rows_the_losses_are_not_measured(
    tmp_path: Path, model_dir: Path, train: int
) -> None:
    write_dataset(tmp_path, train=train, held_out=0)
    result = tune(tmp_path, model_dir, tiny_plan(epochs=1.0))
    assert (result.base_loss, result.tuned_loss) == ("not measured", "not measured")
    assert math.isfinite(result.train_loss)
    assert tune(tmp_path, model_dir, tiny_plan(epochs=1.0)) == result, "a retry reads it back"
    page = (tmp_path / "report" / "report.html").read_text()
    assert "<dt>held-out loss</dt><dd>not measured</dd>" in page


def test_a_base_without_a_finite_loss_is_refused_before_training(
    tmp_path: Path, model_dir: Path
) -> None:
    write_dataset(tmp_path)
    broken = shutil.copytree(model_dir, tmp_path / "broken")
    tensors = safetensors.torch.load_file(broken / "model.safetensors")
    tensors["model.norm.weight"].fill_(math.inf)
    safetensors.torch.save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(PermanentError, match=r"^the loss on the held-out rows is nan: the model"):
        tune(tmp_path, broken, tiny_plan())
    assert not steps_of(tmp_path)


def test_targets_that_match_nothing_are_refused(tmp_path: Path, model_dir: Path) -> None:
    write_dataset(tmp_path)
    plan = tiny_plan()
    lora = msgspec.structs.replace(plan.lora, target_modules=["q_proj", "o_proj", "v_proj"])
    with pytest.raises(PermanentError) as caught:
        tune(tmp_path, model_dir, msgspec.structs.replace(plan, lora=lora))
    assert str(caught.value) == (
        "lora.target_modules q_proj, v_proj: no such layer in this model; it has "
        "down_proj, gate_up_proj, lm_head, o_proj, qkv_proj"
    )


def test_a_model_of_another_family_is_refused(tmp_path: Path, model_dir: Path) -> None:
    write_dataset(tmp_path)
    plan = tiny_plan()
    model = msgspec.structs.replace(plan.model, family="qwen2")
    with pytest.raises(PermanentError, match="has a phi3 model, but the plan says qwen2"):
        tune(tmp_path, model_dir, msgspec.structs.replace(plan, model=model))


def test_evaluation_does_not_change_what_is_trained_on_4_bit_weights(
    tmp_path: Path, model_dir: Path
) -> None:
    """bitsandbytes repacks 4-bit weights in evaluations on some CPUs and loses gradients then."""
    norms = []
    for held_out in (0, 4):
        work_dir = tmp_path / str(held_out)
        write_dataset(work_dir, held_out=held_out)
        tune(work_dir, model_dir, tiny_plan(method="qlora", epochs=2.0, eval_steps=1))
        norms.append([r["gradient_norm"] for r in read_records(work_dir) if "loss" in r])
    assert norms[0] == norms[1]


def test_contract_names_the_base_by_its_hub_id(tmp_path: Path, model_dir: Path) -> None:
    write_dataset(tmp_path)
    tune(tmp_path, model_dir, tiny_plan(method="qlora", epochs=1.0))
    contract = read_contract(tmp_path / "adapter")
    assert (contract.base.repository, contract.base.revision) == ("acme/random", "0" * 40)
    assert (contract.adapter.name, contract.adapter.r, contract.adapter.alpha) == ("demo", 8, 16)
    assert contract.quantization == "nf4"
    assert contract.stop_tokens == ["<|end|>", "<|endoftext|>"]
    assert (contract.rope, contract.max_length) == ("default", 128)
    assert 40 < contract.longest_row <= 120
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "acme/random"
    assert config["revision"] == "0" * 40
    assert config["target_modules"] == ["down_proj", "gate_up_proj", "o_proj", "qkv_proj"]
    for path in (tmp_path / "adapter").iterdir():
        assert str(tmp_path).encode() not in path.read_bytes(), path.name
        assert str(model_dir).encode() not in path.read_bytes(), path.name


# SIGTERM, kill -9 and what comes after; these steps run as processes of their own. As an
# interpreter of its own, which takes 8 s to start, a pod's step is stopped in tests/e2e.


def step(flags: list[str], log: Path, work: Callable[..., Result] = run) -> None:
    """What such a process does: all of the step, with its stderr in a file."""
    with log.open("w") as file:
        os.dup2(file.fileno(), 2)
    torch.set_num_threads(1)
    main(Params, Result, work, arguments=flags)


def started(forks: ForkServerContext, work_dir: Path, model_dir: Path) -> ForkServerProcess:
    """The step as a process that has written its first checkpoint; its log is work_dir/log."""
    write_dataset(work_dir)
    flags = flags_of(params_for(work_dir, model_dir, tiny_plan(method="qlora", **LONG)))
    process = forks.Process(target=step, args=(flags, work_dir / "log"))
    process.start()
    wait_for_checkpoint(work_dir, process.is_alive)
    return process


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, model_dir: Path) -> tuple[Path, Result]:
    work_dir = tmp_path_factory.mktemp("uninterrupted")
    write_dataset(work_dir)
    return work_dir, tune(work_dir, model_dir, tiny_plan(method="qlora", **LONG))


def check_equal(work_dir: Path, result: Result, expected: tuple[Path, Result]) -> None:
    """Bit for bit what it would have been."""
    assert 0 < result.resumed_from_step < result.steps
    numbers = ("base_loss", "tuned_loss", "train_loss", "steps")
    found = {name: getattr(result, name) for name in numbers}
    assert found == {name: getattr(expected[1], name) for name in numbers}
    assert read_records(work_dir) == read_records(expected[0])
    torch.testing.assert_close(weights(work_dir), weights(expected[0]), rtol=0, atol=0)


def test_killed_and_resumed_equals_uninterrupted(
    tmp_path: Path,
    model_dir: Path,
    forks: ForkServerContext,
    uninterrupted: tuple[Path, Result],
) -> None:
    process = started(forks, tmp_path, model_dir)
    process.kill()
    process.join(timeout=60)
    assert process.exitcode == -signal.SIGKILL
    assert not (tmp_path / "adapter").exists()
    result = tune(tmp_path, model_dir, tiny_plan(method="qlora", **LONG))
    check_equal(tmp_path, result, uninterrupted)


def test_sigterm_saves_and_asks_to_be_run_again(
    tmp_path: Path,
    model_dir: Path,
    forks: ForkServerContext,
    uninterrupted: tuple[Path, Result],
) -> None:
    process = started(forks, tmp_path, model_dir)
    process.terminate()
    process.join(timeout=60)
    log = (tmp_path / "log").read_text()
    assert process.exitcode == 75, log
    last = int(steps_of(tmp_path)[-1].removeprefix("step-"))
    assert log.splitlines()[-1] == (
        f"error: stopped by SIGTERM after step {last} of {uninterrupted[1].steps}; "
        "a retry resumes from there"
    )
    records = [r["step"] for r in read_records(tmp_path) if "loss" in r]
    assert records[-1] == last, "a finished step is not lost"
    result = tune(tmp_path, model_dir, tiny_plan(method="qlora", **LONG))
    assert result.resumed_from_step == last
    check_equal(tmp_path, result, uninterrupted)


def stopped_after(seconds: float, flags: list[str], log: Path) -> None:
    """The step, with a SIGINT by the kernel's timer: the run blocks its only thread."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))

    def work(params: Params, *, progress: Progress) -> Result:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        return run(params, progress=progress)

    step(flags, log, work)


def test_stopped_at_any_moment_the_run_comes_to_the_same_end(
    tmp_path: Path,
    model_dir: Path,
    forks: ForkServerContext,
    uninterrupted: tuple[Path, Result],
) -> None:
    """The signal arrives in steps, in evaluations and while nothing is trained yet."""
    write_dataset(tmp_path)
    flags = flags_of(params_for(tmp_path, model_dir, tiny_plan(method="qlora", **LONG)))
    codes = []
    for seconds in (0.001, 0.02, 0.1, 0.25, 0.4, 0.8):
        process = forks.Process(target=stopped_after, args=(seconds, flags, tmp_path / "log"))
        process.start()
        process.join(timeout=60)
        codes.append(process.exitcode)
        assert codes[-1] in (0, 75, 130), (tmp_path / "log").read_text()
    assert 130 in codes, "before the training"
    result = tune(tmp_path, model_dir, tiny_plan(method="qlora", **LONG))
    assert result.tuned_loss == uninterrupted[1].tuned_loss
    assert read_records(tmp_path) == read_records(uninterrupted[0])


@pytest.mark.parametrize("is_learned", [True, False])
def test_an_answer_is_said_only_if_it_was_learned(
    tmp_path: Path, model_dir: Path, is_learned: bool
) -> None:
    """The dataset step marks an answer of weight 0 as not learned."""
    question, answer = conversation("Say it.", "xyz")
    other = conversation("What is it?", "It stands.")
    rows = [[question, {**answer, "learned": is_learned}, *other]] * 24
    write_rows(tmp_path / "dataset" / "train.parquet", rows)
    write_rows(tmp_path / "dataset" / "validation.parquet", [other] * 2)
    watch = Watch(sample_prompts=["Say it."], sample_tokens=8)
    tune(tmp_path, model_dir, tiny_plan(epochs=8.0, watch=watch))
    lines = (tmp_path / "report" / "samples.jsonl").read_text().splitlines()
    said = json.loads(lines[-1])["answer"]
    assert (said == "xyz") == is_learned
