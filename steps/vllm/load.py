"""Start vLLM's engine for the base model and its adapters."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from argotune.steps.accelerator.cuda import TORCH, Cuda
from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.serving import ServingContract
from argotune.steps.serve.adapters_dir import adapters_in
from argotune.steps.serve.base_contract import contract_of_adapter
from argotune.steps.serve.params import Params
from argotune.steps.serve.served_files import adapters_of_service, check_weights, load_config
from argotune.steps.vllm.client import starter
from argotune.steps.vllm.engine import VllmEngine
from argotune.steps.vllm.engine_args import engine_args, write_tokenizer


def load_engine(
    params: Params, contract: ServingContract, tokenizer: Any, *, cuda: Cuda = TORCH
) -> VllmEngine:
    """The engine with the first adapter, or with a base alone. Raises PermanentError."""
    if params.adapter_dir is not None:
        check_weights(params.adapter_dir)
    config = load_config(params.model_dir, contract)
    with tempfile.TemporaryDirectory(prefix="tokenizer-") as tokenizer_dir:
        arguments = engine_args(
            params,
            contract,
            config,
            further=list(_further(params, contract)),
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
            max_rank=arguments.get("max_lora_rank", 0),
        )


def _further(params: Params, base: ServingContract) -> Iterator[ServingContract]:
    """The contracts of the adapters that are there; one that cannot be read is refused later."""
    directories = adapters_of_service(params.service_dir)
    if params.adapters_dir is not None:
        directories += [params.adapters_dir / name for name in adapters_in(params.adapters_dir)]
    for directory in directories:
        try:
            yield contract_of_adapter(directory, base)
        except PermanentError:
            continue
