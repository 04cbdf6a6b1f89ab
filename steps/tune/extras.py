"""What makes long runs faster where it is installed: Liger's kernels and torch.compile."""

from __future__ import annotations

import importlib
import importlib.util
import shutil
from typing import Any

import torch
from transformers import AttentionInterface

from steps.common.errors import PermanentError
from steps.common.training_plan import Execution
from steps.tune.varlen import VARLEN, varlen_attention

_COMPILERS = ("cc", "gcc", "clang")


def check_extras(execution: Execution) -> None:
    """Refuse what this machine or image does not have. Raises PermanentError with all of it."""
    cuda = torch.cuda.is_available()
    problems = []
    if execution.liger and importlib.util.find_spec("liger_kernel") is None:
        problems.append(
            "liger is on, and the package is not installed here; build the tune image with "
            "liger-kernel, or leave it out"
        )
    if execution.liger and not cuda:
        problems.append("liger is on, and its kernels need a CUDA device, which is not here")
    if execution.compile and cuda and importlib.util.find_spec("triton") is None:
        problems.append(
            "compile is on, and the package is not installed here; build the tune image with "
            "triton and a C compiler, or leave it out"
        )
    if execution.compile and not any(map(shutil.which, _COMPILERS)):
        problems.append("compile is on, and there is no C compiler (cc, gcc, clang) here")
    if execution.compile and execution.shard:
        problems.append("compile and shard are on; compiled blocks cannot be sharded, keep one")
    if problems:
        raise PermanentError("; ".join(problems))


def use_extras(model: Any, execution: Execution) -> None:
    """Change the model in place to what the plan asks for."""
    if execution.liger:
        use_liger(model)
    if execution.compile:
        compile_blocks(model)


def use_liger(model: Any) -> None:
    """Liger's norms, rotary embedding and gated MLP; its loss is not needed beside ours, and does
    not know an adapter on lm_head."""
    # Optional, and not part of the image: by its name, not by an import statement.
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
