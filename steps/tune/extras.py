"""Optional accelerations of long runs: Liger's kernels and torch.compile."""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
from collections.abc import Iterator
from typing import Any

import torch
from transformers import AttentionInterface

from argotune.steps.causal_lm.extras import remedy
from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.training_plan import Execution
from argotune.steps.tune.varlen import VARLEN, varlen_attention


def check_extras(execution: Execution) -> None:
    """Raise PermanentError with everything that the plan needs and this machine does not have."""
    cuda = torch.cuda.is_available()
    problems: list[str] = []
    if execution.liger:
        problems += _liger_problems(cuda)
    if execution.compile:
        problems += _compile_problems(cuda)
    if execution.compile and execution.shard:
        problems.append("compile and shard are on; compiled blocks cannot be sharded, use only one")
    if problems:
        raise PermanentError("; ".join(problems))


def _liger_problems(cuda: bool) -> Iterator[str]:
    if importlib.util.find_spec("liger_kernel") is None:
        yield f"liger is on, but liger-kernel is not installed here; {remedy('liger')}"
    if not cuda:
        yield "liger is on, but its kernels need a CUDA device, and this machine has none"
    if not _has_c_compiler():
        yield f"liger is on, but {_no_c_compiler('liger')}"


def _compile_problems(cuda: bool) -> Iterator[str]:
    if not cuda:
        # The image is for GPUs and has neither this compiler nor torch's headers.
        if not _is_installed(os.environ.get("CXX", "g++")):
            yield (
                "compile is on, but on a CPU it needs a C++ compiler (g++), which is missing; "
                "tune on a GPU, install g++, or turn it off"
            )
        return
    if importlib.util.find_spec("triton") is None:
        yield f"compile is on, but triton is not installed here; {remedy('compile')}"
    if not _has_c_compiler():
        yield f"compile is on, but {_no_c_compiler('compile')}"


def _no_c_compiler(extra: str) -> str:
    return f"there is no C compiler (gcc, clang) here; {remedy(extra, locally='install gcc')}"


def _has_c_compiler() -> bool:
    """Whether Triton finds a C compiler, with which it compiles its kernels' launchers."""
    return any(map(_is_installed, (os.environ.get("CC", "gcc"), "gcc", "clang")))


def _is_installed(command: str) -> bool:
    return shutil.which(command) is not None


def use_extras(model: Any, execution: Execution) -> None:
    """Apply the plan's accelerations to the model, in place."""
    if execution.liger:
        use_liger(model)
    if execution.compile:
        compile_blocks(model)


def use_liger(model: Any) -> None:
    """Replace norms, rotary embedding and gated MLP by Liger's.

    Liger's loss is not used: argotune's needs as little memory, and Liger's does not support an
    adapter on lm_head.
    """
    # Imported by name because the package is optional and not in every image.
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
    """Compile each block separately; equal blocks share the result, so it takes about a minute.

    Attention is not compiled, because its documents have other lengths in each micro-batch.
    """
    base = model.get_base_model()
    name = base.config._attn_implementation
    attentions: Any = AttentionInterface()  # type: ignore[no-untyped-call]
    uncompiled: Any = torch.compiler.disable
    AttentionInterface.register(name, uncompiled(attentions[name]))
    AttentionInterface.register(VARLEN, uncompiled(varlen_attention))
    for block in base.get_decoder().layers:
        block.compile(dynamic=True, backend=backend)
