"""What makes long runs faster where it is installed: Liger's kernels and torch.compile."""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
from collections.abc import Iterator
from typing import Any

import torch
from transformers import AttentionInterface

from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.training_plan import Execution
from argotune.steps.tune.varlen import VARLEN, varlen_attention


def check_extras(execution: Execution) -> None:
    """Refuse what this machine or image does not have. Raises PermanentError with all of it."""
    cuda = torch.cuda.is_available()
    problems: list[str] = []
    if execution.liger:
        problems += _liger_problems(cuda)
    if execution.compile:
        problems += _compile_problems(cuda)
    if execution.compile and execution.shard:
        problems.append("compile and shard are on; compiled blocks cannot be sharded, keep one")
    if problems:
        raise PermanentError("; ".join(problems))


def remedy(extra: str, locally: str = "run `make setup`") -> str:
    """How to get what is missing; `extra` is its word in EXTRAS (images/README.md)."""
    return (
        f"build the tune image with `make images STEPS=tune EXTRAS={extra}`, {locally} on a "
        "machine of your own, or leave it out"
    )


def _liger_problems(cuda: bool) -> Iterator[str]:
    if importlib.util.find_spec("liger_kernel") is None:
        yield f"liger is on, and liger-kernel is not installed here; {remedy('liger')}"
    if not cuda:
        yield "liger is on, and its kernels need a CUDA device, which is not here"
    if not _has_c_compiler():
        yield f"liger is on, and {_no_c_compiler('liger')}"


def _compile_problems(cuda: bool) -> Iterator[str]:
    if not cuda:
        # The image has neither this compiler nor torch's headers: it is for GPUs.
        if not _is_there(os.environ.get("CXX", "g++")):
            yield (
                "compile is on, and for a CPU it needs a C++ compiler (g++), which is not here; "
                "tune on a GPU, install g++, or leave it out"
            )
        return
    if importlib.util.find_spec("triton") is None:
        yield f"compile is on, and triton is not installed here; {remedy('compile')}"
    if not _has_c_compiler():
        yield f"compile is on, and {_no_c_compiler('compile')}"


def _no_c_compiler(extra: str) -> str:
    return f"there is no C compiler (gcc, clang) here; {remedy(extra, 'install gcc')}"


def _has_c_compiler() -> bool:
    """One that Triton finds, which compiles its kernels' launchers with it."""
    return any(map(_is_there, (os.environ.get("CC", "gcc"), "gcc", "clang")))


def _is_there(command: str) -> bool:
    return shutil.which(command) is not None


def use_extras(model: Any, execution: Execution) -> None:
    """Change the model in place to what the plan asks for."""
    if execution.liger:
        use_liger(model)
    if execution.compile:
        compile_blocks(model)


def use_liger(model: Any) -> None:
    """Liger's norms, rotary embedding and gated MLP; its loss is not needed beside ours, and does
    not know an adapter on lm_head."""
    # Optional, and not part of every image: by its name, not by an import statement.
    liger = importlib.import_module("liger_kernel.transformers")
    liger._apply_liger_kernel_to_instance(
        model=model.get_base_model(),
        rope=True,
        rms_norm=True,
        swiglu=True,
        cross_entropy=False,
        fused_linear_cross_entropy=False,
    )


def compile_blocks(model: Any, backend: Any = "inductor") -> None:
    """Compile each block by itself: alike, they share the result, which takes a minute instead of
    many. Attention stays as it is, for its documents have other lengths in each micro-batch."""
    base = model.get_base_model()
    name = base.config._attn_implementation
    attentions: Any = AttentionInterface()  # type: ignore[no-untyped-call]
    uncompiled: Any = torch.compiler.disable
    AttentionInterface.register(name, uncompiled(attentions[name]))
    AttentionInterface.register(VARLEN, uncompiled(varlen_attention))
    for block in base.get_decoder().layers:
        block.compile(dynamic=True, backend=backend)
