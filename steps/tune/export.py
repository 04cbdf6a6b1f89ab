"""Export of the adapter: PEFT's files and the serving contract."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import safetensors.torch
from peft import get_peft_model_state_dict

from argotune.steps.common.fs import replacing_directory
from argotune.steps.contracts.serving import Adapter, Base, Rope, ServingContract, write_contract
from argotune.steps.contracts.training_plan import TrainingPlan
from argotune.steps.tune.model_card import model_card
from argotune.steps.tune.template import ChatTemplate

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
    plan: TrainingPlan, template: ChatTemplate, tokenizer: Any, longest_row: int, rope: Rope
) -> ServingContract:
    """The serving contract of this training."""
    original = plan.model.original_max_position_embeddings
    fits_short = rope == "short" and original is not None
    return ServingContract(
        base=Base(
            repository=plan.model.repository,
            revision=plan.model.revision,
            family=plan.model.family,
        ),
        adapter=Adapter(
            name=plan.name,
            r=plan.lora.r,
            alpha=plan.lora.alpha,
            target_modules=sorted(plan.lora.target_modules),
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


def export_adapter(
    model: Any, directory: Path, plan: TrainingPlan, contract: ServingContract, model_dir: Path
) -> None:
    """Write the adapter's directory atomically, replacing an existing one.

    The bytes depend only on the weights and the plan, so equal runs give equal images.
    """
    with replacing_directory(directory) as temporary:
        # "auto" would ask the Hub whether the vocabulary has changed, which never happens here.
        weights = get_peft_model_state_dict(model, save_embedding_layers=False)
        safetensors.torch.save_file(
            {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()},
            temporary / "adapter_model.safetensors",
            metadata={"format": "pt"},
        )
        _write_config(model, temporary, plan)
        for name in _TOKENIZER_FILES:
            if (model_dir / name).exists():
                shutil.copyfile(model_dir / name, temporary / name)
        (temporary / "chat_template.jinja").write_text(contract.chat_template)
        (temporary / "generation_config.json").write_text(_generation_config(contract))
        (temporary / "README.md").write_text(
            model_card(contract, is_on_hub=plan.model.source != "cache")
        )
        write_contract(temporary, contract)


def _write_config(model: Any, directory: Path, plan: TrainingPlan) -> None:
    """Write adapter_config.json with the base's Hub id, not this machine's path."""
    config = model.peft_config["default"].to_dict()
    config.update(
        base_model_name_or_path=plan.model.repository,
        revision=plan.model.revision,
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
