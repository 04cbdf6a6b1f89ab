"""What the passes of a step ask of the device, seen with tensors that have no contents: what needs
a number of one raises, and so does an operation on tensors of two devices."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from bitsandbytes.nn.modules import Linear4bit
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from argotune.steps.causal_lm.device import Device
from argotune.steps.tune import loop, varlen
from argotune.steps.tune.device import find_device
from argotune.steps.tune.evaluate import micro_batch_loss
from argotune.steps.tune.load import load_model
from argotune.steps.tune.loop import train
from argotune.steps.tune.pack import Packs
from argotune.steps.tune.stop import StopRequest
from tests.fakes.jobs import bare_job
from tests.steps.tune.models import CONFIGS, linear_layers, save_model, tiny_plan
from tests.steps.tune.test_pack import packed, rows_of

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
AS_ON_CUDA = Device(CPU, torch.bfloat16, torch.bfloat16)


@pytest.fixture(params=["phi3", "mistral with a window", "qwen2", "tied phi-4-mini"])
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["lora", "qlora"])
def method(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_step_waits_for_the_device_where_it_reads_its_loss_and_nowhere_else(
    tmp_path: Path, family: str, method: str
) -> None:
    model = model_for_cuda(tmp_path / "model", family, method)
    training = tiny_plan(accumulation_steps=2).training
    with (
        contentless(model, CPU),
        StopRequest() as stop,
        pytest.raises(DataDependentOutputException) as caught,
    ):
        train(bare_job(model, AS_ON_CUDA, training, packs(), tmp_path, stop))
    steps = [f for f in traceback.extract_tb(caught.value.__traceback__) if "/steps/" in f.filename]
    assert steps[-1].filename == loop.__file__
    assert "torch.cat([totals, norm" in str(steps[-1].line)


def test_a_forward_pass_on_cuda_stays_there(tmp_path: Path, family: str, method: str) -> None:
    find_device()  # It leaves the kernel that needs no plan, for which no GPU is asked.
    model = model_for_cuda(tmp_path / "model", family, method)
    with contentless(model, CUDA), autocast_on_cuda():
        loss = micro_batch_loss(model, packs().micro_batch(0).to(CUDA))
    assert (loss.device.type, loss.dtype, loss.requires_grad) == ("cuda", torch.float32, True)


def model_for_cuda(directory: Path, family: str, method: str) -> Any:
    """A random model in the types and with the attention that it has on CUDA, one block kept and
    one recomputed."""
    save_model(directory, family)
    kind = CONFIGS[family].model_type
    plan = tiny_plan(method=method, gradient_checkpointing=True, kept_blocks=1)
    plan = msgspec.structs.replace(
        plan,
        model=msgspec.structs.replace(plan.model, family=kind),
        lora=msgspec.structs.replace(plan.lora, target_modules=linear_layers(kind)),
    )
    model = load_model(plan, directory, AS_ON_CUDA, "default")
    model.get_base_model().set_attn_implementation(varlen.VARLEN)
    return model.train()


def packs() -> Packs:
    """Two micro-batches of two documents."""
    made = packed(rows_of(60, 60, 40, 40), 100)
    assert [made.micro_batch(index).document_lengths for index in range(2)] == [(60, 40)] * 2
    return made


@contextmanager
def contentless(model: torch.nn.Module, device: torch.device) -> Iterator[None]:
    """While it lasts no tensor has contents; those of the model lie on the device."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        for module in model.modules():
            for name, buffer in module._buffers.items():
                module._buffers[name] = None if buffer is None else _like(buffer, device)
            for name, parameter in module._parameters.items():
                if parameter is not None:
                    module._parameters[name] = _parameter_like(parameter, device)
            if isinstance(module, Linear4bit):
                module.quant_state.to(device)
                module.weight.quant_state = module.quant_state
        try:
            yield
        finally:
            # It would keep such tensors for passes with real ones.
            varlen._starts.cache_clear()


def _parameter_like(parameter: torch.nn.Parameter, device: torch.device) -> torch.nn.Parameter:
    return torch.nn.Parameter(_like(parameter, device), requires_grad=parameter.requires_grad)


def _like(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=device)


@contextmanager
def autocast_on_cuda() -> Iterator[None]:
    """What torch.autocast does, which does nothing where there is no GPU."""
    torch.set_autocast_enabled("cuda", True)
    torch.set_autocast_dtype("cuda", torch.bfloat16)
    try:
        yield
    finally:
        torch.clear_autocast_cache()
        torch.set_autocast_enabled("cuda", False)
