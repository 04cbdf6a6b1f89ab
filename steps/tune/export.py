"""Export of the adapter: PEFT's files and the serving contract."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import safetensors.torch
from peft import get_peft_model_state_dict

from argotune.steps.common.fs import replacing_directory
from argotune.steps.contracts.model_cache import base_of
from argotune.steps.contracts.model_card import ModelCard, write_card
from argotune.steps.contracts.serving import Adapter, Base, Rope, ServingContract, write_contract
from argotune.steps.contracts.training_plan import TrainingPlan
from argotune.steps.tokens.template import ChatTemplate
from argotune.steps.tune.readme import readme

_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
)


def make_contract(
    plan: TrainingPlan,
    model_dir: Path,
    template: ChatTemplate,
    tokenizer: Any,
    longest_row: int,
    rope: Rope,
) -> ServingContract:
    """The serving contract of this training, which names the base model that was really there.

    Raises PermanentError if the base model's directory does not say where its files come from.
    """
    original = plan.model.original_max_position_embeddings
    fits_short = rope == "short" and original is not None
    return ServingContract(
        base=_base(plan, model_dir),
        adapter=Adapter(
            name=plan.name,
            r=plan.lora.r,
            alpha=plan.lora.alpha,
            target_modules=sorted(plan.lora.target_modules),
            use_dora=plan.lora.use_dora,
        ),
        quantization=plan.quantization.quant_type if plan.quantization else None,
        chat_template=template.source,
        stop_tokens=tokenizer.convert_ids_to_tokens(template.stop_token_ids),
        stop_token_ids=template.stop_token_ids,
        max_length=original
        if fits_short and original is not None
        else plan.model.max_position_embeddings,
        longest_row=longest_row,
        rope=rope,
    )


def _base(plan: TrainingPlan, model_dir: Path) -> Base:
    origin, digest = base_of(model_dir)
    return Base(
        repository=plan.model.repository if origin.is_of_preset else origin.source,
        revision=origin.version,
        family=plan.model.family,
        source=origin.source,
        digest=digest,
    )


def export_adapter(
    model: Any, directory: Path, contract: ServingContract, card: ModelCard, model_dir: Path
) -> None:
    """Write the adapter's directory atomically, replacing an existing one.

    The bytes depend only on weights, contract and card, so equal runs give equal images.
    """
    with replacing_directory(directory) as temporary:
        # "auto" would ask the Hub whether the vocabulary has changed, which never happens here.
        weights = get_peft_model_state_dict(model, save_embedding_layers=False)
        safetensors.torch.save_file(
            {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()},
            temporary / "adapter_model.safetensors",
            metadata={"format": "pt"},
        )
        _write_config(model, temporary, contract.base)
        for name in _TOKENIZER_FILES:
            if (model_dir / name).exists():
                shutil.copyfile(model_dir / name, temporary / name)
        (temporary / "chat_template.jinja").write_text(contract.chat_template)
        (temporary / "generation_config.json").write_text(_generation_config(contract))
        (temporary / "README.md").write_text(readme(contract, card.facts))
        write_card(temporary, card)
        write_contract(temporary, contract)


def _write_config(model: Any, directory: Path, base: Base) -> None:
    """Write adapter_config.json with the base's name, not its path in the cache."""
    config = model.peft_config["default"].to_dict()
    config.update(
        base_model_name_or_path=base.repository,
        revision=base.revision if base.is_on_hub else None,
        inference_mode=True,
    )
    text = json.dumps(config, indent=2, sort_keys=True, default=_sorted_set)
    (directory / "adapter_config.json").write_text(text + "\n")


def _generation_config(contract: ServingContract) -> str:
    """The text of generation_config.json with training's stop tokens, which the base's may lack."""
    settings = {
        "do_sample": contract.generation.temperature > 0,
        "eos_token_id": contract.stop_token_ids,
    }
    return json.dumps(settings, indent=2) + "\n"


def _sorted_set(value: Any) -> Any:
    """JSON encoder for PEFT's target_modules, a set, whose order differs between runs."""
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} in the adapter's configuration")
