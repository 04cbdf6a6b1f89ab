"""The 4-bit base that a first run keeps and later runs read."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from bitsandbytes.functional import QuantState
from bitsandbytes.nn.modules import Linear4bit, Params4bit
from safetensors import SafetensorError
from transformers import AutoConfig

from argotune.steps.causal_lm import quantized_cache
from argotune.steps.causal_lm.device import Device
from argotune.steps.common.errors import Interrupted
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.model_cache import MARKER, damage
from argotune.steps.contracts.serving import Rope
from argotune.steps.contracts.training_plan import Execution, Quantization, TrainingPlan
from argotune.steps.tune.device import find_device
from argotune.steps.tune.launch import SPAWN, Context
from argotune.steps.tune.load import load_model
from argotune.steps.tune.run import run
from tests.steps.tune.float64 import DEVICE, TOLERANCE
from tests.steps.tune.models import params_for, save_model, tiny_plan, write_dataset

NAME = "main+nf4-double-float32-uint8"
KEPT = Execution(cache_quantized=True)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A model as the model step leaves it in the cache."""
    return save_base(tmp_path / "models" / "owner--model" / "main")


def save_base(directory: Path, family: str = "phi3") -> Path:
    return save_model(directory, family)


def load(base: Path, plan: TrainingPlan | None = None, rope: Rope = "default", **more: Any) -> Any:
    plan = plan or tiny_plan(method="qlora", execution=KEPT)
    return load_model(plan, base, find_device(), rope, **more)


def load_fresh(base: Path, rope: Rope = "default", **more: Any) -> Any:
    return load(base, tiny_plan(method="qlora"), rope, **more)


def without_weights(base: Path) -> Path:
    """The base with nothing to quantise."""
    paths = list(base.glob("*.safetensors"))
    assert paths
    for path in paths:
        path.unlink()
    return base


def neighbours(base: Path) -> list[str]:
    """What is beside the model, without the locks."""
    return sorted(path.name for path in base.parent.iterdir() if path.suffix != ".lock")


def check_equal(found: Any, expected: Any) -> None:
    """Bit for bit: parameters, buffers, and all that bitsandbytes knows of its 4-bit ones."""
    for kind in ("named_parameters", "named_buffers"):
        tensors, others = (dict(getattr(model, kind)()) for model in (found, expected))
        assert tensors.keys() == others.keys()
        for name, tensor in tensors.items():
            check_same_bits(name, tensor, others[name])
    layers, others = (
        [module for module in model.modules() if isinstance(module, Linear4bit)]
        for model in (found, expected)
    )
    assert len(layers) == len(others) >= 8
    for layer, other in zip(layers, others, strict=True):
        check_same_layer(layer, other)


def check_same_bits(name: str, found: torch.Tensor, expected: torch.Tensor) -> None:
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape), name
    raw = (tensor.detach().contiguous().flatten().view(torch.uint8) for tensor in (found, expected))
    assert torch.equal(*raw), name


def check_same_layer(found: Any, expected: Any) -> None:
    assert found.support_avx512bf16_for_cpu is False
    for attribute in ("compute_dtype", "quant_storage"):
        assert getattr(found, attribute) == getattr(expected, attribute), attribute
    weight, other = found.weight, expected.weight
    assert isinstance(weight, Params4bit)
    for attribute in ("blocksize", "compress_statistics", "quant_type", "quant_storage"):
        assert getattr(weight, attribute) == getattr(other, attribute), attribute
    assert weight.bnb_quantized
    assert found.quant_state is weight.quant_state
    check_same_state(weight.quant_state, other.quant_state)


def check_same_state(found: QuantState, expected: QuantState) -> None:
    for attribute in ("shape", "dtype", "blocksize", "quant_type", "nested"):
        assert getattr(found, attribute) == getattr(expected, attribute), attribute
    for attribute in ("absmax", "code", "offset"):
        mine, other = getattr(found, attribute), getattr(expected, attribute)
        assert (mine is None) == (other is None), attribute
        if mine is not None:
            check_same_bits(attribute, mine, other)
    assert (found.state2 is None) == (expected.state2 is None)
    if found.state2 is not None:
        check_same_state(found.state2, expected.state2)


@pytest.mark.parametrize("sharded", [False, True], ids=["whole", "sharded"])
@pytest.mark.parametrize("family", ["phi3", "mistral", "qwen2"])
def test_what_is_read_is_what_quantising_gives(tmp_path: Path, family: str, sharded: bool) -> None:
    base = save_base(tmp_path / "main", family)
    plan = tiny_plan(method="qlora", execution=KEPT)
    plan = msgspec.structs.replace(plan, model=msgspec.structs.replace(plan.model, family=family))
    targets = ["o_proj", "down_proj"]
    plan = msgspec.structs.replace(
        plan, lora=msgspec.structs.replace(plan.lora, target_modules=targets)
    )
    first = load(base, plan, sharded=sharded)
    fresh = load(base, msgspec.structs.replace(plan, execution=Execution()), sharded=sharded)
    check_equal(first, fresh)
    check_equal(load(without_weights(base), plan, sharded=sharded), fresh)


@pytest.mark.parametrize("settings", [("nf4", True), ("nf4", False), ("fp4", True)])
def test_every_4_bit_setting_has_its_own_place(base: Path, settings: tuple[Any, bool]) -> None:
    def plan(execution: Execution) -> TrainingPlan:
        quantization = Quantization(quant_type=settings[0], double_quant=settings[1])
        made = tiny_plan(method="qlora", execution=execution)
        return msgspec.structs.replace(made, quantization=quantization)

    load(base)
    load(base, plan(KEPT))
    fresh = load(base, plan(Execution()))
    check_equal(load(without_weights(base), plan(KEPT)), fresh)
    form = f"{settings[0]}-{'double' if settings[1] else 'single'}"
    assert set(neighbours(base)) == {"main", NAME, f"main+{form}-float32-uint8"}


def test_weights_of_a_gpu_are_kept_in_its_type(base: Path) -> None:
    """As on a GPU, on the CPU: all weights in bfloat16, files of more than one part."""
    plan = tiny_plan(method="qlora", execution=KEPT)
    device = Device(torch.device("cpu"), torch.bfloat16, None)
    fresh = load_model(tiny_plan(method="qlora"), base, device, "default")
    load_model(plan, base, device, "default")
    assert neighbours(base) == ["main", "main+nf4-double-bfloat16-uint8"]
    check_equal(load_model(plan, without_weights(base), device, "default"), fresh)


def test_many_files_are_read_as_one(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantized_cache, "_FILE_SIZE", "20KB")
    fresh = load_fresh(base)
    load(base)
    assert len(list((base.parent / NAME).glob("model-*.safetensors"))) > 2
    check_equal(load(without_weights(base)), fresh)


@pytest.mark.filterwarnings("ignore:.*original_max_position_embeddings")
def test_tied_embeddings_and_the_rotary_factors_of_each_run(tmp_path: Path) -> None:
    """The first run has short rows, the second one long ones."""
    base = save_base(tmp_path / "main", "tied phi-4-mini")
    fresh = {rope: load_fresh(base, rope) for rope in ("short", "long")}
    load(base, rope="short")
    without_weights(base)
    for rope, expected in fresh.items():
        found = load(base, rope=rope)
        check_equal(found, expected)
        model = found.get_base_model()
        assert model.lm_head.weight is model.get_input_embeddings().weight
    names = ("rope_parameters", "tie_word_embeddings", "original_max_position_embeddings")
    kept, own = (AutoConfig.from_pretrained(path) for path in (tmp_path / NAME, base))
    assert [getattr(kept, name) for name in names] == [getattr(own, name) for name in names]


def tune(
    work_dir: Path, base: Path, execution: Execution, context: Context = SPAWN
) -> tuple[list[float], bytes]:
    """The run's losses and its adapter."""
    write_dataset(work_dir)
    plan = tiny_plan(method="qlora", execution=execution, max_steps=3)
    result = run(params_for(work_dir, base, plan), progress=Progress(), context=context)
    losses = [result.base_loss, result.tuned_loss, result.train_loss]
    return losses, (work_dir / "adapter" / "adapter_model.safetensors").read_bytes()


def test_a_run_on_kept_weights_gives_the_same_adapter(
    tmp_path: Path, base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "argotune")
    fresh = tune(tmp_path / "fresh", base, Execution())
    assert neighbours(base) == ["main"]
    assert tune(tmp_path / "writes", base, KEPT) == fresh
    assert tune(tmp_path / "reads", without_weights(base), KEPT) == fresh
    events = [m.split()[0] for m in caplog.messages if m.startswith("quantized_cache")]
    assert events == ["quantized_cache_written", "quantized_cache_read"]


@pytest.mark.usefixtures("in_float64")
def test_two_processes_shard_what_they_read(
    tmp_path: Path, base: Path, forks: ForkServerContext
) -> None:
    losses, _ = tune(tmp_path / "one", base, Execution())
    load_model(tiny_plan(method="qlora", execution=KEPT), base, DEVICE, "default", sharded=True)
    execution = Execution(processes=2, shard=True, cache_quantized=True)
    found, _ = tune(tmp_path / "two", without_weights(base), execution, forks)
    assert found == pytest.approx(losses, rel=TOLERANCE)
    assert neighbours(base) == ["main", "main+nf4-double-float64-float64"]


def test_what_is_kept_is_whole_and_others_may_read_it(base: Path) -> None:
    load(base)
    kept = base.parent / NAME
    assert neighbours(base) == ["main", NAME]
    assert damage(kept, read_contents=True) == []
    assert kept.stat().st_mode & 0o777 == 0o755
    for path in kept.iterdir():
        assert path.stat().st_mode & 0o777 == 0o644, path.name


@pytest.mark.parametrize("harm", ["cut", "bits", "made from"])
def test_what_is_damaged_or_old_is_made_anew(
    base: Path, caplog: pytest.LogCaptureFixture, harm: str
) -> None:
    fresh = load_fresh(base)
    load(base)
    kept = base.parent / NAME
    weights = kept / "model.safetensors"
    size = weights.stat().st_size
    if harm == "cut":
        os.truncate(weights, size - 1)
        problem = f"model.safetensors has {size - 1} bytes instead of {size}"
    elif harm == "bits":
        # Its header, so that the file is not even one of safetensors.
        weights.write_bytes(b"\xff" * size)
        problem = "Error while deserializing header"
    else:
        path = kept / "made_from.json"
        text = path.read_text().replace('"format": "1"', '"format": "0"')
        path.write_text(text)
        problem = "it was made from format 0 instead of 1"
    check_equal(load(base), fresh)
    (warning,) = caplog.messages
    assert warning.startswith("quantized_cache_unusable ")
    assert problem in warning
    caplog.clear()
    assert neighbours(base) == ["main", NAME]
    check_equal(load(without_weights(base)), fresh)
    assert caplog.messages == []


def test_another_base_under_the_same_name_is_quantised(base: Path) -> None:
    load(base)
    shutil.rmtree(base)
    save_base(base, "phi3 with a window")
    load(base)
    config = AutoConfig.from_pretrained(base.parent / NAME)
    assert config.sliding_window == 6


def test_a_base_without_a_marker_is_not_kept(base: Path, caplog: pytest.LogCaptureFixture) -> None:
    (base / MARKER).unlink()
    load(base)
    assert neighbours(base) == ["main"]
    (warning,) = caplog.messages
    assert warning.startswith("quantized_cache_off reason=")


def test_what_cannot_be_written_is_left_out(base: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file has the name: no user, not even root, can make a directory of it."""
    fresh = load_fresh(base)
    (base.parent / NAME).write_text("in the way")
    check_equal(load(base), fresh)
    (warning,) = caplog.messages
    assert warning.startswith("quantized_cache_not_written ")
    assert "Not a directory" in warning
    assert neighbours(base) == ["main", NAME]


class Quantised:
    """A base that was just quantised, and what happens while it is written."""

    def __init__(self, base: Path) -> None:
        self.model = load_fresh(base).get_base_model()
        self.base_config = AutoConfig.from_pretrained(base)
        cache = quantized_cache.quantized_cache(
            base, self.config.quantization_config, find_device()
        )
        assert cache is not None
        self.cache = cache
        self.weights: dict[str, torch.Tensor] = self.model.state_dict()
        self.meanwhile: Callable[[Path], None] = lambda directory: None

    @property
    def config(self) -> Any:
        return self.model.config

    def state_dict(self) -> dict[str, torch.Tensor]:
        return self.weights

    def save_pretrained(self, directory: Path, **options: Any) -> None:
        self.model.save_pretrained(directory, **options)
        self.meanwhile(directory)

    def write(self, **options: Any) -> None:
        self.cache.write(self, self.base_config, **options)


def test_a_full_disk_is_known_before_anything_is_written(
    base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    quantised = Quantised(base)
    quantised.weights = {"weight": torch.empty(9_100_000_000, dtype=torch.uint8, device="meta")}
    quantised.meanwhile = lambda directory: pytest.fail("written")
    quantised.write(free_bytes=lambda directory: 5_000_000_000)
    (warning,) = caplog.messages
    assert warning == (
        f'quantized_cache_not_written directory={base.parent / NAME} reason="it needs 9.1 GB, '
        'but 5.0 GB are free" effect="the next run quantizes again"'
    )
    assert neighbours(base) == ["main"]


def test_a_failure_while_writing_leaves_nothing(
    base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(directory: Path) -> None:
        assert directory.name == f".{NAME}.part"
        assert not (directory / MARKER).exists()
        raise SafetensorError("I/O error: No space left on device")

    quantised = Quantised(base)
    quantised.meanwhile = fail
    quantised.write()
    (warning,) = caplog.messages
    assert 'reason="I/O error: No space left on device"' in warning
    assert neighbours(base) == ["main"]


def test_a_stop_while_writing_leaves_nothing(base: Path) -> None:
    def stop(directory: Path) -> None:
        raise Interrupted("stopped by SIGTERM")

    quantised = Quantised(base)
    quantised.meanwhile = stop
    with pytest.raises(Interrupted):
        quantised.write()
    assert neighbours(base) == ["main"]


@pytest.mark.parametrize("is_done", [False, True])
def test_of_two_runs_the_second_does_not_write(
    base: Path, caplog: pytest.LogCaptureFixture, is_done: bool
) -> None:
    first, second = Quantised(base), Quantised(base)
    if not is_done:
        first.meanwhile = lambda directory: second.write()
    first.write()
    if is_done:
        second.write()
    first_words = "has written it in the meantime" if is_done else "is writing it"
    (warning,) = (text for text in caplog.messages if "not_written" in text)
    assert f'reason="another run {first_words}"' in warning
    assert neighbours(base) == ["main", NAME]
    assert damage(base.parent / NAME) == []


def test_what_a_killed_run_has_left_is_removed(base: Path) -> None:
    mine, replaced, other = (
        base.parent / name for name in (f".{NAME}.part", f".{NAME}.old.part", ".main.partial")
    )
    for path in (mine, replaced, other):
        path.mkdir()
        (path / "model.safetensors").touch()
    load(base)
    assert neighbours(base) == sorted([other.name, "main", NAME])


def test_only_the_leader_writes(base: Path) -> None:
    load(base, leads=False)
    assert neighbours(base) == ["main"]


def test_16_bit_weights_are_not_kept(base: Path) -> None:
    load(base, tiny_plan(method="lora", execution=KEPT))
    assert neighbours(base) == ["main"]
