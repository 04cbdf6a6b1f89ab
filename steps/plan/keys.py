"""Every key of the training config: what it sets, or why it is refused or has no effect.

The sections are Kaito's (training_config.yaml: transformers' from_pretrained, BitsAndBytesConfig,
PEFT's LoraConfig, transformers' TrainingArguments with TRL's additions, Kaito's DatasetConfig and
DataCollator), and `Argotune` for values that those have no key for. The reference of all keys is
generated from this table by `argotune.steps.plan.config.document_keys`.
"""

from __future__ import annotations

from collections.abc import Mapping

from argotune.steps.plan.checks import read_checks
from argotune.steps.plan.key import BFLOAT16, FLOAT16, Key, each, fixed, mapped, no_effect
from argotune.steps.plan.readers import (
    boolean,
    initialization,
    modules,
    number,
    one_of,
    or_none,
    text,
    texts,
    whole,
)
from argotune.steps.plan.training_keys import PACKED, TRAINING_ARGUMENTS

_PRESET_NAMES_THE_MODEL = "the preset names the model and its pinned revision"
_DOWNLOAD = "the model step downloads the weights into the model cache"

_MODEL_CONFIG: dict[str, Key] = {
    **each(
        "torch_dtype dtype",
        fixed(f"{BFLOAT16}; {FLOAT16}", "bfloat16", "auto", None),
    ),
    "pretrained_model_name_or_path": fixed(
        f"{_PRESET_NAMES_THE_MODEL}; choose another with tuning.preset.name",
        "/workspace/tfs/weights",
        None,
    ),
    "revision": fixed(_PRESET_NAMES_THE_MODEL, "main", None),
    "trust_remote_code": fixed("code of a model repository is never run", False, None),
    "chat_template": fixed("training and serving use the model's own template", None),
    "load_in_4bit": mapped("load_in_4bit", boolean, "must match the method"),
    "load_in_8bit": fixed("8-bit weights are not supported; method qlora uses 4-bit", False, None),
    "device_map": fixed("the whole model is on one GPU", "auto", "cuda", "cuda:0", None),
    "attn_implementation": no_effect(
        "tuning uses its own attention for packed rows", "sdpa", "eager", None
    ),
    **each("local_files_only force_download resume_download", no_effect(_DOWNLOAD, True, False)),
    **each("cache_dir proxies from_tf output_loading_info", no_effect(_DOWNLOAD, None, False)),
    "state_dict": fixed("the preset's weights are used", None),
}

_QUANTIZATION_CONFIG: dict[str, Key] = {
    "load_in_4bit": mapped("load_in_4bit", boolean, "must match the method"),
    "load_in_8bit": fixed("8-bit weights are not supported; method qlora uses 4-bit", False, None),
    "bnb_4bit_quant_type": mapped("quant_type", one_of("nf4", "fp4"), "4-bit data type"),
    "bnb_4bit_use_double_quant": mapped(
        "double_quant", boolean, "quantize the quantization constants too"
    ),
    "bnb_4bit_compute_dtype": fixed(f"{BFLOAT16}; {FLOAT16}", "bfloat16", None),
    "bnb_4bit_quant_storage": fixed(
        "the type depends on whether the weights are sharded", "uint8", "bfloat16", None
    ),
    "quant_method": fixed("bitsandbytes quantizes the weights", "bitsandbytes", None),
    **each(
        "llm_int8_threshold llm_int8_skip_modules llm_int8_enable_fp32_cpu_offload"
        " llm_int8_has_fp16_weight",
        no_effect("8-bit weights are not supported", 6.0, False, None),
    ),
}

_NOT_SERVABLE = "vLLM cannot serve such adapters"

_LORA_CONFIG: dict[str, Key] = {
    "r": mapped("r", whole(1, 512), "rank of the adapter; vLLM serves at most 512"),
    "lora_alpha": mapped("alpha", whole(1), "scaling of the adapter is alpha / r"),
    "lora_dropout": mapped(
        "dropout", number(at_least=0, at_most=0.9), "dropout before the adapter"
    ),
    "target_modules": mapped(
        "target_modules",
        modules,
        "linear layers to adapt, or their role: attention, mlp, or all-linear",
    ),
    "use_rslora": mapped("use_rslora", boolean, "scale by alpha / sqrt(r)"),
    "bias": fixed(_NOT_SERVABLE, "none", None),
    "modules_to_save": fixed(
        f"{_NOT_SERVABLE}, and whole layers of a model would be trained and stored; target_modules "
        "adapts layers",
        None,
        [],
    ),
    "use_dora": mapped(
        "use_dora",
        boolean,
        "train each weight's norm too (DoRA), with PEFT's layers; vLLM does not serve it",
    ),
    "init_lora_weights": mapped(
        "init_lora_weights", initialization, "true, gaussian, orthogonal; false: PEFT's random B"
    ),
    "loftq_config": fixed(_NOT_SERVABLE, None, {}),
    "lora_bias": fixed(_NOT_SERVABLE, False, None),
    "layer_replication": fixed(_NOT_SERVABLE, None),
    "use_qalora": fixed(_NOT_SERVABLE, False, None),
    "alora_invocation_tokens": fixed(_NOT_SERVABLE, None),
    "trainable_token_indices": fixed("new tokens are not trained; vLLM cannot serve them", None),
    **each(
        "exclude_modules layers_to_transform layers_pattern rank_pattern alpha_pattern"
        " target_parameters megatron_config runtime_config eva_config corda_config"
        " lora_ga_config velora_config monteclora_config arrow_config kasa_config",
        fixed("every block gets the same adapter", None, {}, []),
    ),
    **each(
        "fan_in_fan_out use_bdlora ensure_weight_tying",
        fixed("does not apply to these models", False, None),
    ),
    "qalora_group_size": no_effect("only for QA-LoRA", 16),
    "megatron_core": no_effect("only for Megatron", "megatron.core"),
    "task_type": fixed("the models are causal language models", "CAUSAL_LM", None),
    "peft_type": fixed("methods lora and qlora create LoRA adapters", "LORA", None),
    "inference_mode": fixed("the adapter is trained", False, None),
    **each(
        "base_model_name_or_path revision auto_mapping peft_version",
        no_effect(_PRESET_NAMES_THE_MODEL, None),
    ),
}

_SHUFFLED = "rows are shuffled with the seed, and split by the hash of their question"

_DATASET_CONFIG: dict[str, Key] = {
    "messages_column": mapped(
        "messages_column", or_none(text), "column with lists of {role, content}"
    ),
    "context_column": mapped("context_column", or_none(text), "column with the prompt"),
    "response_column": mapped("response_column", or_none(text), "column with the answer"),
    "train_test_split": mapped(
        "train_share",
        number(at_least=0.5, at_most=1),
        "share of the rows to train on; 1: no rows are held out",
    ),
    "shuffle_seed": mapped("split_seed", whole(0, 2**32 - 1), "seed of the split"),
    "shuffle_dataset": no_effect(_SHUFFLED, True, None),
    "dataset_path": fixed("all files of tuning.input are used", None),
    "dataset_extension": no_effect("the format is detected from the file's content", None),
}

_DATA_COLLATOR: dict[str, Key] = {
    # Kaito's own template sets mlm: true and then disables it: these models have no mask token.
    "mlm": no_effect("these models predict the next token", True, False),
    **each(
        "mlm_probability mask_replace_prob random_replace_prob whole_word_mask",
        no_effect("these models predict the next token", None, False, 0.15, 0.8, 0.1),
    ),
    "pad_to_multiple_of": no_effect(PACKED, None),
    "return_tensors": fixed("tensors are PyTorch's", "pt", None),
    "tokenizer": fixed("the model's own tokenizer is used", None),
    "seed": no_effect("TrainingArguments.seed is used", None),
}

_ARGOTUNE: dict[str, Key] = {
    "max_length": mapped("max_length", whole(16), "longest row, tokens"),
    "max_truncated_share": mapped(
        "max_truncated_share",
        number(at_least=0, at_most=1),
        "tuning fails if a larger share of rows would be truncated",
    ),
    "validation_share": mapped(
        "validation_share", number(at_least=0, at_most=0.5), "share of the questions to hold out"
    ),
    "split_seed": mapped("split_seed", whole(0, 2**32 - 1), "seed of the split"),
    "ignore_columns": mapped(
        "ignore_columns",
        texts(1000),
        "columns of the data that are left out although their names say that they matter",
    ),
    "max_rejected_share": mapped(
        "max_rejected_share",
        number(at_least=0, at_most=1),
        "the dataset step fails if a larger share of rows is unusable",
    ),
    "micro_batch_tokens": mapped(
        "micro_batch_tokens", whole(16), "tokens of one packed forward pass; unset: as many as fit"
    ),
    "tokens_per_step": mapped(
        "tokens_per_step", whole(16), "most tokens per optimizer step; fewer for little data"
    ),
    "min_steps": mapped(
        "min_steps",
        or_none(whole(1)),
        "steps that the epochs take at least: steps shrink for little data, down to one row;"
        " null: they do not",
    ),
    "early_stopping_patience": mapped(
        "early_stopping_patience",
        or_none(whole(1)),
        "evaluations without a better held-out loss before the run ends; null: never",
    ),
    "processes": mapped(
        "processes", whole(1, 16), "number of training processes; unset: one per GPU"
    ),
    "cache_quantized": mapped(
        "cache_quantized",
        boolean,
        "store the 4-bit weights beside the model's own for later runs; only with method qlora",
    ),
    "sample_prompts": mapped(
        "sample_prompts",
        texts(20),
        "questions that the model answers at each evaluation; unset: those of held-out rows",
    ),
    "samples": mapped("samples", whole(0, 20), "number of held-out rows to answer; 0: none"),
    "sample_tokens": mapped("sample_tokens", whole(1, 512), "longest sample answer, tokens"),
    "checks": mapped(
        "checks",
        read_checks,
        "checks of the answers to held-out prompts, which the adapter has to pass: a list of kinds"
        " with their options, below",
    ),
    "check_rows": mapped(
        "check_rows", whole(1, 10_000), "held-out rows whose prompts are answered for checks"
    ),
    "check_tokens": mapped("check_tokens", whole(1, 4096), "longest answer for checks, tokens"),
    "gpus": mapped(
        "gpus", whole(0, 16), "GPUs of an existing node without an instance type; 0: its CPU"
    ),
    "gpu_memory_gib": mapped(
        "gpu_memory_gib", number(above=0), "memory of one GPU of such a node, GiB"
    ),
    "gpu_model": mapped("gpu_model", text, "GPU model of such a node, for messages"),
    "disk_gib": mapped("disk_gib", whole(32, 4096), "OS disk of the GPU node, GiB"),
}

OWN_SECTION = "Argotune"

SECTIONS: Mapping[str, Mapping[str, Key]] = {
    "ModelConfig": _MODEL_CONFIG,
    "QuantizationConfig": _QUANTIZATION_CONFIG,
    "LoraConfig": _LORA_CONFIG,
    "TrainingArguments": TRAINING_ARGUMENTS,
    "DatasetConfig": _DATASET_CONFIG,
    "DataCollator": _DATA_COLLATOR,
    OWN_SECTION: _ARGOTUNE,
}
