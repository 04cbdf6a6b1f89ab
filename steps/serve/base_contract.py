"""Serving contracts where no training wrote one: of a base alone, and of adapters of others."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.model_cache import base_of
from argotune.steps.contracts.service_plan import ServicePlan
from argotune.steps.contracts.serving import (
    FILE_NAME,
    Adapter,
    Base,
    ServingContract,
    read_contract,
)
from argotune.steps.tokens.template import chat_template
from argotune.steps.tokens.tokenizer import load_tokenizer

_CONFIG = "adapter_config.json"


def contract_of_base(plan: ServicePlan, model_dir: Path) -> ServingContract:
    """How the base of a service without training is served: as its own files say.

    Its adapter has rank 0. Raises PermanentError for a model that says no chat template or end of
    turn, or not where its files come from.
    """
    tokenizer = load_tokenizer(model_dir)
    template = chat_template(tokenizer, model_dir, plan.model.chat_template)
    origin, digest = base_of(model_dir)
    return ServingContract(
        base=Base(
            repository=plan.model.repository if origin.is_of_preset else origin.source,
            revision=origin.version,
            family=plan.model.family,
            source=origin.source,
            digest=digest,
        ),
        adapter=Adapter(name=plan.name, r=0, alpha=0, target_modules=[]),
        quantization="nf4" if plan.load_in_4bit else None,
        chat_template=template.source,
        stop_tokens=tokenizer.convert_ids_to_tokens(template.stop_token_ids),
        stop_token_ids=template.stop_token_ids,
        max_length=plan.max_length,
        longest_row=plan.max_length,
        rope=plan.rope,
    )


def contract_of_adapter(directory: Path, base: ServingContract) -> ServingContract:
    """Read an adapter's serving.json; one without it is served as the base is.

    Raises PermanentError for what is neither.
    """
    if (directory / FILE_NAME).is_file():
        return read_contract(directory)
    path = directory / _CONFIG
    try:
        config = json.loads(path.read_bytes())
        targets = config["target_modules"]
        adapter = Adapter(
            name=directory.name,
            r=int(config["r"]),
            alpha=round(config["lora_alpha"]),
            target_modules=[targets] if isinstance(targets, str) else sorted(targets),
            use_dora=bool(config.get("use_dora")),
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise PermanentError(f"{path}: not the configuration of a LoRA adapter: {error}") from error
    return msgspec.structs.replace(base, adapter=adapter)
