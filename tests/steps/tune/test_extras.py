from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from steps.common.errors import PermanentError
from steps.common.training_plan import Execution
from steps.tune import extras
from steps.tune.evaluate import hidden_states
from steps.tune.extras import check_extras, compile_blocks, use_liger
from steps.tune.pack import MicroBatch
from tests.steps.tune.models import Wrapped


def test_what_is_missing_is_said_in_one_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """What this machine has is taken away by hand."""
    check_extras(Execution())
    monkeypatch.setattr(extras.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(extras.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(extras.shutil, "which", lambda name: None)
    with pytest.raises(PermanentError) as caught:
        check_extras(Execution(liger=True, compile=True, shard=True))
    assert str(caught.value) == (
        "liger is on, and the package is not installed here; build the tune image with "
        "liger-kernel, or leave it out; liger is on, and its kernels need a CUDA device, which is "
        "not here; compile is on, and there is no C compiler (cc, gcc, clang) here; compile and "
        "shard are on; compiled blocks cannot be sharded, keep one"
    )


def test_compiling_on_a_gpu_needs_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(extras.torch.cuda, "is_available", lambda: True)
    with pytest.raises(PermanentError, match="compile is on, and the package is not installed"):
        check_extras(Execution(compile=True))


def test_liger_replaces_all_but_the_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its kernels do not run on a CPU: here it is a module that notes how it is called."""
    calls: list[dict[str, Any]] = []
    module = ModuleType("liger_kernel.transformers")
    module._apply_liger_kernel_to_instance = lambda **given: calls.append(given)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "liger_kernel", ModuleType("liger_kernel"))
    monkeypatch.setitem(sys.modules, "liger_kernel.transformers", module)
    use_liger(SimpleNamespace(get_base_model=lambda: "base"))
    assert calls == [
        {
            "model": "base",
            "rope": True,
            "rms_norm": True,
            "swiglu": True,
            "cross_entropy": False,
            "fused_linear_cross_entropy": False,
        }
    ]


def test_blocks_are_compiled_once_for_packs_of_any_number_of_documents() -> None:
    model, plain = Wrapped(), Wrapped()
    count = CompileCounter()
    compile_blocks(model, backend=count)
    frames = []
    for lengths in ((5, 7), (3, 4, 6), (9,), (2, 3, 4, 5), (1, 2), (11, 2, 4)):
        batch = micro_batch(lengths)
        with torch.no_grad():
            found, expected = hidden_states(model, batch), hidden_states(plain, batch)
        torch.testing.assert_close(found, expected)
        frames.append(count.frame_count)
    assert frames[0] > 0
    assert set(frames) == {frames[0]}


def micro_batch(lengths: tuple[int, ...]) -> MicroBatch:
    none = torch.zeros(0, dtype=torch.long)
    return MicroBatch(
        input_ids=torch.arange(sum(lengths))[None],
        position_ids=torch.cat([torch.arange(length) for length in lengths])[None],
        label_positions=none,
        targets=none,
        document_lengths=lengths,
    )
