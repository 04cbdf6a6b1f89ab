"""transformers' TrainingArguments, TRL's additions to them, and older names of both."""

from __future__ import annotations

from argotune.steps.plan.key import BFLOAT16, FLOAT16, Key, each, fixed, mapped, no_effect
from argotune.steps.plan.readers import (
    boolean,
    interval,
    none_for,
    number,
    optimizer,
    or_none,
    sharding,
    text,
    trackers,
    whole,
)
from argotune.steps.plan.schedulers import scheduler, scheduler_kwargs

_OWN_PROCESSES = "the tune step starts one process per GPU itself"
_METRICS = "every step is written to report/metrics.jsonl"
PACKED = "rows are packed without padding, and each row attends only to itself"
_CHECKPOINTS = "the last checkpoints are kept for resuming"
_PUSHED = "the adapter is pushed as an image, see tuning.output.image"
_PLAIN_LOSS = "the loss is the plain cross-entropy of the assistant's tokens"
_BEST = (
    "with Argotune.early_stopping_patience the adapter with the best held-out loss is kept, else"
    " the last one"
)

TRAINING_ARGUMENTS: dict[str, Key] = {
    # Keys that set a value.
    "per_device_train_batch_size": mapped(
        "rows_per_micro_batch",
        whole(1, 4096),
        "rows per forward pass; unset: as many as fit in micro_batch_tokens",
    ),
    "gradient_accumulation_steps": mapped(
        "accumulation_steps",
        whole(1, 65536),
        "micro-batches per optimizer step; with either, the step does not shrink for little data",
    ),
    "num_train_epochs": mapped("epochs", number(above=0, at_most=1000), "passes over the rows"),
    "max_steps": mapped(
        "max_steps",
        none_for(-1, or_none(whole(1))),
        "optimizer steps, whatever num_train_epochs: the rows are repeated; -1: by the epochs",
    ),
    "learning_rate": mapped("learning_rate", number(above=0, at_most=1), "peak learning rate"),
    "lr_scheduler_type": mapped(
        "scheduler", scheduler, "learning rate schedule after the warm-up, as in transformers"
    ),
    "lr_scheduler_kwargs": mapped(
        "scheduler_kwargs", scheduler_kwargs, "further arguments of the schedule"
    ),
    "warmup_ratio": mapped(
        "warmup_ratio", number(at_least=0, at_most=1), "share of the steps for the warm-up"
    ),
    "warmup_steps": mapped(
        "warmup_steps",
        number(at_least=0),
        "steps of the warm-up; below 1: share of the steps; 0: by warmup_ratio",
    ),
    "weight_decay": mapped("weight_decay", number(at_least=0, at_most=1), "AdamW's decay"),
    "max_grad_norm": mapped(
        "max_grad_norm", number(at_least=0), "norm for gradient clipping; 0: none"
    ),
    "optim": mapped("optim", optimizer, "optimizer, as in transformers"),
    "adam_beta1": mapped("adam_beta1", number(at_least=0, at_most=0.99999), "AdamW's first beta"),
    "adam_beta2": mapped("adam_beta2", number(above=0, at_most=0.99999), "AdamW's second beta"),
    "adam_epsilon": mapped("adam_epsilon", number(above=0, at_most=1), "AdamW's epsilon"),
    "neftune_noise_alpha": mapped(
        "neftune_noise_alpha",
        none_for(0, or_none(number(above=0))),
        "scale of NEFTune's noise on the embeddings; 5 to 15 are usual; unset: none",
    ),
    "gradient_checkpointing": mapped(
        "gradient_checkpointing",
        boolean,
        "recompute activations; unset: only if memory requires it",
    ),
    "seed": mapped("seed", whole(0, 2**32 - 1), "seed of initialization, row order and dropout"),
    "eval_steps": mapped(
        "eval_steps",
        or_none(interval),
        "steps between evaluations; below 1: share of the steps; unset: one per epoch",
    ),
    "save_steps": mapped(
        "save_steps",
        or_none(interval),
        "steps between checkpoints; below 1: share of the steps; unset: one per evaluation",
    ),
    "max_length": mapped("max_length", whole(16), "longest row, tokens (TRL's SFTConfig)"),
    "max_seq_length": mapped("max_length", whole(16), "older name of max_length"),
    "fsdp": mapped(
        "shard",
        sharding,
        "shard the base weights over the GPUs, for models too large for one GPU",
    ),
    "use_liger_kernel": mapped(
        "liger", boolean, "use Liger's kernels; needs an image built with EXTRAS=liger"
    ),
    "torch_compile": mapped(
        "compile", boolean, "compile each block; needs an image built with EXTRAS=compile"
    ),
    "report_to": mapped(
        "report_to", trackers, "mlflow, wandb or both; needs an image built with EXTRAS=track"
    ),
    "project": mapped(
        "project", none_for("huggingface", or_none(text)), "project or experiment of the trackers"
    ),
    "run_name": mapped(
        "run_name", or_none(text), "name of the run in the trackers; unset: workspace"
    ),
    # Keys that accept one value only.
    "bf16": fixed(BFLOAT16, True, None),
    "fp16": fixed(f"{BFLOAT16}; {FLOAT16}", False, None),
    **each("bf16_full_eval fp16_full_eval", fixed(BFLOAT16, False, None)),
    "tf32": no_effect(BFLOAT16, True, False, None),
    "optim_args": fixed("each optimizer has its own defaults", None, {}, ""),
    "optim_target_modules": fixed("only GaLore and APOLLO have it", None, {}, ""),
    "average_tokens_across_devices": fixed("the loss is averaged over tokens", True, None),
    "label_smoothing_factor": fixed(_PLAIN_LOSS, 0, None),
    **each(
        "assistant_only_loss completion_only_loss",
        fixed("only the assistant's tokens are trained on", True, None),
    ),
    "data_seed": fixed("seed gives the order of the rows too", None),
    "eval_strategy": no_effect(
        "the held-out loss is measured every eval_steps, else after each epoch",
        "steps",
        "epoch",
        None,
    ),
    "evaluation_strategy": no_effect(
        "the held-out loss is measured every eval_steps, else after each epoch",
        "steps",
        "epoch",
        None,
    ),
    "save_strategy": no_effect(_CHECKPOINTS, "steps", "epoch", None),
    "load_best_model_at_end": no_effect(_BEST, True, None),
    **each("metric_for_best_model", fixed(_BEST, "loss", "eval_loss", None)),
    "greater_is_better": fixed(_BEST, False, None),
    "train_sampling_strategy": fixed(
        "rows are in random order, packed by length", "random", "group_by_length", None
    ),
    **each(
        "torch_compile_backend torch_compile_mode",
        fixed("torch_compile uses PyTorch's defaults", None),
    ),
    "liger_kernel_config": fixed("Liger's norms, rotary embedding and MLP are used", None),
    "auto_find_batch_size": fixed("the plan step chooses the batch size", False, None),
    "use_cpu": fixed("leave resource.instanceType empty to tune on this machine", False, None),
    "no_cuda": fixed("leave resource.instanceType empty to tune on this machine", False, None),
    "full_determinism": no_effect("the same seed gives the same order and splits", False, None),
    "resume_from_checkpoint": no_effect(
        "an interrupted run resumes automatically", True, False, None
    ),
    "ignore_data_skip": fixed("a resumed run continues with the next row", False, None),
    "dataset_text_field": fixed("name columns in DatasetConfig", "text", None),
    **each(
        "eos_token pad_token chat_template_path", fixed("the model's own tokens are used", None)
    ),
    **each(
        "deepspeed parallelism_config accelerator_config",
        fixed(_OWN_PROCESSES, None, "", [], {}),
    ),
    **each(
        "fsdp_config fsdp_transformer_layer_cls_to_wrap fsdp_min_num_params",
        no_effect("the frozen weights are sharded block by block", None, "", {}, 0),
    ),
    **each(
        "push_to_hub hub_always_push",
        fixed(_PUSHED, False, None),
    ),
    **each(
        "hub_token hub_private_repo hub_model_id hub_strategy hub_revision",
        fixed(_PUSHED, None, "every_save"),
    ),
    # Keys without effect.
    "output_dir": no_effect("results are on the run's volume", "/mnt/results", None),
    "overwrite_output_dir": no_effect("results are on the run's volume", True, False),
    **each("do_train do_eval do_predict", no_effect("tuning trains and evaluates", True, False)),
    "per_device_eval_batch_size": no_effect(f"as in training: {PACKED}", 8, None),
    "packing": no_effect(PACKED, True, None),
    **each(
        "packing_strategy eval_packing padding_free group_by_length",
        no_effect(PACKED, None, True),
    ),
    **each("pad_to_multiple_of length_column_name", no_effect(PACKED, None, "length")),
    **each(
        "gradient_checkpointing_kwargs activation_checkpointing_kwargs"
        " activation_checkpointing activation_offloading",
        no_effect("see gradient_checkpointing", None, False, {}, {"use_reentrant": False}),
    ),
    "torch_empty_cache_steps": no_effect("the cache is never emptied: that costs 10 %", None),
    "use_cache": no_effect("training uses no key-value cache", False, None),
    **each(
        "logging_strategy logging_steps logging_first_step log_on_each_node logging_dir"
        " logging_nan_inf_filter include_num_input_tokens_seen include_tokens_per_second"
        " log_level log_level_replica disable_tqdm skip_memory_metrics debug",
        no_effect(_METRICS, None, True, False, "steps", "passive", "warning", 500, "no", "", []),
    ),
    **each(
        "trackio_space_id trackio_bucket_id trackio_static_space_id",
        no_effect(f"{_METRICS}; trackers are named by report_to", None, "trackio"),
    ),
    **each(
        "eval_delay prediction_loss_only eval_on_start eval_do_concat_batches"
        " eval_use_gather_object eval_accumulation_steps include_for_metrics batch_eval_metrics"
        " label_names",
        no_effect("evaluation measures only the held-out loss", None, False, True, 0, []),
    ),
    **each(
        "save_only_model save_on_each_node save_total_limit enable_jit_checkpoint save_safetensors"
        " restore_callback_states_from_checkpoint",
        no_effect(_CHECKPOINTS, None, False, True),
    ),
    **each(
        "dataloader_drop_last dataloader_num_workers dataloader_pin_memory"
        " dataloader_persistent_workers dataloader_prefetch_factor dataloader_in_order"
        " dataloader_multiprocessing_context"
        " dataset_num_proc dataset_kwargs remove_unused_columns",
        no_effect("rows are tokenized once, before the first step", None, False, True, 0, {}),
    ),
    **each(
        "ddp_find_unused_parameters ddp_bucket_cap_mb ddp_broadcast_buffers ddp_static_graph"
        " ddp_backend ddp_timeout local_rank",
        no_effect(
            f"{_OWN_PROCESSES}; gradients are summed once per step", None, False, 1800, -1, 0
        ),
    ),
}
