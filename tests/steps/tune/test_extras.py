from __future__ import annotations

import ast
import sys
from importlib.metadata import distribution
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import msgspec
import pytest
import torch
from torch._dynamo.testing import CompileCounter

from argotune.presets.families import FAMILIES, layout_of
from argotune.steps.causal_lm import harness
from argotune.steps.common.errors import PermanentError
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.checks import LmEval
from argotune.steps.contracts.training_plan import Evaluation, Execution
from argotune.steps.tune import extras
from argotune.steps.tune.evaluate import hidden_states
from argotune.steps.tune.extras import check_extras, compile_blocks, use_liger
from argotune.steps.tune.pack import MicroBatch
from argotune.steps.tune.run import run
from tests.steps.tune.models import Wrapped, params_for, tiny_plan

LIGER_IS_TOLD = {
    "model": "base",
    "rope": True,
    "rms_norm": True,
    "swiglu": True,
    "cross_entropy": False,
    "fused_linear_cross_entropy": False,
}


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """What this machine has is taken away by hand."""
    monkeypatch.setattr(extras.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(extras.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(extras.shutil, "which", lambda name: None)


@pytest.mark.usefixtures("bare")
def test_what_is_missing_is_said_in_one_answer() -> None:
    check_extras(Execution())
    with pytest.raises(PermanentError) as caught:
        check_extras(Execution(liger=True, compile=True, shard=True))
    assert str(caught.value).split("; ") == [
        "liger is on, but liger-kernel is not installed here",
        "build the tune image with `make images STEPS=tune EXTRAS=liger`, run `make setup` on "
        "your own machine, or turn it off",
        "liger is on, but there is no C compiler (gcc, clang) here",
        "build the tune image with `make images STEPS=tune EXTRAS=liger`, install gcc on your own "
        "machine, or turn it off",
        "compile is on, but triton is not installed here",
        "build the tune image with `make images STEPS=tune EXTRAS=compile`, run `make setup` on "
        "your own machine, or turn it off",
        "compile is on, but there is no C compiler (gcc, clang) here",
        "build the tune image with `make images STEPS=tune EXTRAS=compile`, install gcc on your "
        "own machine, or turn it off",
        "compile and shard are on",
        "compiled blocks cannot be sharded, use only one",
    ]


@pytest.mark.usefixtures("bare")
def test_a_machine_without_gpu_needs_another_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(extras.torch.cuda, "is_available", lambda: False)
    with pytest.raises(PermanentError) as caught:
        check_extras(Execution(compile=True))
    assert str(caught.value) == (
        "compile is on, but on a CPU it needs a C++ compiler (g++), which is missing; tune "
        "on a GPU, install g++, or turn it off"
    )
    monkeypatch.setattr(extras.shutil, "which", lambda name: f"/usr/bin/{name}")
    check_extras(Execution(compile=True))


def test_liger_without_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(extras.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(extras.shutil, "which", lambda name: f"/usr/bin/{name}")
    with pytest.raises(
        PermanentError, match=r"^liger is on, .* need a CUDA device, and this machine has none"
    ):
        check_extras(Execution(liger=True))


@pytest.mark.parametrize("compiler", ["gcc", "clang", "/opt/cc"])
def test_tritons_compilers_are_accepted(monkeypatch: pytest.MonkeyPatch, compiler: str) -> None:
    monkeypatch.setenv("CC", "/opt/cc")
    monkeypatch.setattr(extras.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(extras.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(extras.shutil, "which", lambda name: name if name == compiler else None)
    check_extras(Execution(liger=True, compile=True))


def test_liger_replaces_all_but_the_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its kernels do not run on a CPU: here it is a module that notes how it is called."""
    calls: list[dict[str, Any]] = []
    module = ModuleType("liger_kernel.transformers")
    module._apply_liger_kernel_to_instance = lambda **given: calls.append(given)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "liger_kernel", ModuleType("liger_kernel"))
    monkeypatch.setitem(sys.modules, "liger_kernel.transformers", module)
    use_liger(SimpleNamespace(get_base_model=lambda: "base"))
    assert calls == [LIGER_IS_TOLD]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_locked_liger_knows_the_families_that_a_plan_allows_and_what_it_is_told(
    family: str,
) -> None:
    """It drops what it does not know without a word. Read, for its import takes many seconds."""
    source = distribution("liger-kernel").locate_file("liger_kernel/transformers/monkey_patch.py")
    tree = ast.parse(Path(str(source)).read_text())
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert "_apply_liger_kernel_to_instance" in functions
    function = functions.get(f"apply_liger_kernel_to_{family}")
    known = set() if function is None else {each.arg for each in function.args.args}
    assert (known >= LIGER_IS_TOLD.keys()) == layout_of(family).liger
    if not layout_of(family).liger:
        return
    (table,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and ast.unparse(node.targets[0]) == "MODEL_TYPE_TO_APPLY_LIGER_FN"
    )
    assert isinstance(table, ast.Dict)
    assert family in [ast.literal_eval(key) for key in table.keys if key is not None]


def test_blocks_are_compiled_once_for_packs_of_any_number_of_documents() -> None:
    model, plain = Wrapped(), Wrapped()
    count = CompileCounter()
    compile_blocks(model, backend=count)
    frames = []
    for lengths in ((5, 7), (3, 4, 6), (9,), (2, 3, 4, 5), (1, 2), (11, 2, 4)):
        batch = micro_batch(lengths)
        with torch.no_grad():
            found, expected = hidden_states(model, batch), hidden_states(plain, batch)
        # The compiler under test calls the same operations in the same order.
        assert torch.equal(found, expected)
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


def test_tasks_that_evaluate_would_refuse_are_refused_before_training(
    tmp_path: Path, model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness.importlib.util, "find_spec", lambda name: None)
    plan = msgspec.structs.replace(
        tiny_plan(), evaluation=Evaluation(checks=[LmEval(tasks=["arc_easy"], min=0.5)])
    )
    with pytest.raises(PermanentError, match="lm-eval is not installed here"):
        run(params_for(tmp_path, model_dir, plan), progress=Progress())
