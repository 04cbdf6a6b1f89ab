"""Start vLLM's engine for the base model and its adapter."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from argotune.steps.accelerator.cuda import TORCH, Cuda
from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.serving import ServingContract, read_contract
from argotune.steps.serve.adapters_dir import adapters_in
from argotune.steps.serve.params import Params
from argotune.steps.serve.served_files import check_weights, load_config
from argotune.steps.vllm.client import starter
from argotune.steps.vllm.engine import VllmEngine
from argotune.steps.vllm.engine_args import engine_args, write_tokenizer


def load_engine(
    params: Params, contract: ServingContract, tokenizer: Any, *, cuda: Cuda = TORCH
) -> VllmEngine:
    """The engine with the first adapter. Raises PermanentError."""
    if params.adapter_dir is None:
        raise PermanentError(
            "--adapter-dir: missing; a base without an adapter of its own is served by"
            " `python -m argotune.steps.serve`"
        )
    check_weights(params.adapter_dir)
    config = load_config(params.model_dir, contract)
    with tempfile.TemporaryDirectory(prefix="tokenizer-") as tokenizer_dir:
        arguments = engine_args(
            params,
            contract,
            config,
            further=list(_further(params)),
            tokenizer_dir=Path(tokenizer_dir),
            capability=cuda.gpu(0).capability if cuda.count() else None,
        )
        write_tokenizer(tokenizer, contract, Path(tokenizer_dir))
        return VllmEngine(
            starter(arguments),
            tokenizer,
            contract,
            name=params.name,
            directory=params.adapter_dir,
            slots=arguments["max_num_seqs"],
            max_rank=arguments["max_lora_rank"],
        )


def _further(params: Params) -> Iterator[ServingContract]:
    """The contracts of the adapters that are there; one that cannot be read is refused later."""
    if params.adapters_dir is None:
        return
    for name in adapters_in(params.adapters_dir):
        try:
            yield read_contract(params.adapters_dir / name)
        except PermanentError:
            continue
