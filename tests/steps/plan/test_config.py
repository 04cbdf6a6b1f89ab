"""Kaito's training config: mapped, refused by name, or said to have no effect."""

from __future__ import annotations

import pytest

from argotune.presets.loader import model_preset
from argotune.presets.schema import Method
from argotune.steps.contracts.checks import ExactMatch, Regex
from argotune.steps.plan.config import read_config
from argotune.steps.plan.settings import Settings
from tests.steps.plan.helpers import config

# What Kaito 0.12 ships as its default for QLoRA, in its own words and values.
KAITO_DEFAULT = config("""
    ModelConfig:
      torch_dtype: "bfloat16"
      local_files_only: true
      device_map: "auto"
    QuantizationConfig:
      load_in_4bit: true
      bnb_4bit_quant_type: "nf4"
      bnb_4bit_compute_dtype: "bfloat16"
      bnb_4bit_use_double_quant: true
    LoraConfig:
      r: 8
      lora_alpha: 8
      lora_dropout: 0.0
    TrainingArguments:
      output_dir: "/mnt/results"
      ddp_find_unused_parameters: false
      save_strategy: "epoch"
      per_device_train_batch_size: 1
    DataCollator:
      mlm: true
    DatasetConfig:
      shuffle_dataset: true
      train_test_split: 1
""")


def read(
    text: str, *, preset: str = "phi-3-mini-4k-instruct", method: Method = "qlora"
) -> tuple[Settings, list[str], list[str]]:
    problems: list[str] = []
    warnings: list[str] = []
    settings = read_config(text, model_preset(preset), method, problems=problems, warnings=warnings)
    return settings, problems, warnings


def problems_of(text: str, *, method: Method = "qlora") -> list[str]:
    return read(text, method=method)[1]


def settings_of(text: str, *, method: Method = "qlora") -> Settings:
    settings, problems, _ = read(text, method=method)
    assert problems == []
    return settings


@pytest.mark.parametrize("text", ["", "training_config:\n", "---\n", "training_config: {}\n"])
def test_empty_config_gives_the_presets_defaults(text: str) -> None:
    settings = settings_of(text)
    assert (settings.r, settings.alpha, settings.dropout) == (16, 32, 0.0)
    assert settings.target_modules == "all-linear"
    assert (settings.learning_rate, settings.scheduler) == (2e-4, "cosine")
    assert (settings.max_length, settings.tokens_per_step) == (4096, 32768)
    assert settings.validation_share == 0.05


def test_default_config_of_kaito_is_taken_without_a_warning() -> None:
    settings, problems, warnings = read(KAITO_DEFAULT)
    assert problems == []
    assert warnings == []
    assert (settings.r, settings.alpha) == (8, 8)
    assert (settings.rows_per_micro_batch, settings.min_steps) == (1, None)
    assert settings.validation_share == 0
    assert settings.load_in_4bit is True


def test_training_arguments_are_mapped() -> None:
    settings = settings_of(
        config("""
            TrainingArguments:
              per_device_train_batch_size: 2
              gradient_accumulation_steps: 4
              num_train_epochs: 1.5
              max_steps: 100
              learning_rate: 2e-4
              lr_scheduler_type: constant_with_warmup
              warmup_ratio: 0.1
              weight_decay: "0.01"
              max_grad_norm: 0.3
              adam_beta2: 0.95
              gradient_checkpointing: true
              seed: 7
              eval_steps: 10
              save_steps: 20
              max_seq_length: 1024
        """)
    )
    assert settings.micro_batch_tokens == 2048
    assert settings.accumulation_steps == 4
    assert (settings.epochs, settings.max_steps) == (1.5, 100)
    assert (settings.learning_rate, settings.scheduler) == (2e-4, "constant_with_warmup")
    assert (settings.warmup_ratio, settings.weight_decay) == (0.1, 0.01)
    assert (settings.max_grad_norm, settings.adam_beta2) == (0.3, 0.95)
    assert settings.gradient_checkpointing is True
    assert (settings.seed, settings.eval_steps, settings.save_steps) == (7, 10, 20)
    assert settings.min_steps is None


def test_dataset_config_is_mapped() -> None:
    settings = settings_of(
        config("""
            DatasetConfig:
              context_column: question
              response_column: answer
              train_test_split: 0.8
              shuffle_seed: 3
        """)
    )
    assert settings.messages_column is None
    assert settings.context_column == "question"
    assert settings.response_column == "answer"
    assert settings.validation_share == 0.2
    assert settings.split_seed == 3


def test_columns_that_contradict_each_other_are_refused() -> None:
    for keys in ("{messages_column: chat, response_column: answer}", "{context_column: question}"):
        (problem,) = problems_of(config(f"DatasetConfig: {keys}"))
        assert problem.startswith("training_config.DatasetConfig: ")


def test_own_section_is_mapped() -> None:
    settings = settings_of(
        config("""
            Argotune:
              max_length: 512
              max_truncated_share: 0.5
              validation_share: 0.1
              split_seed: 1
              max_rejected_share: 0
              micro_batch_tokens: 1024
              tokens_per_step: 4096
              early_stopping_patience: null
              gpus: 2
              gpu_memory_gib: 24
              gpu_model: RTX 4090
              disk_gib: 200
        """)
    )
    assert (settings.max_length, settings.max_truncated_share) == (512, 0.5)
    assert (settings.validation_share, settings.split_seed) == (0.1, 1)
    assert settings.max_rejected_share == 0
    assert (settings.micro_batch_tokens, settings.tokens_per_step) == (1024, 4096)
    assert settings.early_stopping_patience is None
    assert (settings.gpus, settings.gpu_memory_gib) == (2, 24)
    assert (settings.gpu_model, settings.disk_gib) == ("RTX 4090", 200)


def test_how_the_work_is_laid_out_is_mapped() -> None:
    settings = settings_of(
        config("""
            TrainingArguments:
              fsdp: full_shard auto_wrap
              use_liger_kernel: true
              torch_compile: true
            Argotune:
              processes: 2
              cache_quantized: true
        """)
    )
    assert (settings.shard, settings.liger, settings.compile) == (True, True, True)
    assert (settings.processes, settings.cache_quantized) == (2, True)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("wandb", ["wandb"]),
        ("[tensorboard, mlflow, wandb]", ["mlflow", "wandb"]),
        ("none", []),
        ("tensorboard", []),
    ],
)
def test_trackers_are_those_of_report_to(value: str, expected: list[str]) -> None:
    settings = settings_of(
        config(f"TrainingArguments: {{report_to: {value}, project: p, run_name: r}}")
    )
    assert settings.report_to == expected
    assert (settings.project, settings.run_name) == ("p", "r")


@pytest.mark.parametrize(
    ("keys", "steps", "ratio"),
    [
        ("warmup_steps: 10", 10, 0.03),
        ("warmup_steps: 0.25", 0, 0.25),
        ("warmup_steps: 0, warmup_ratio: 0.1", 0, 0.1),
        ("warmup_ratio: 0.1", 0, 0.1),
        ("max_steps: 10, warmup_steps: 20", 20, 0.03),
    ],
)
def test_warmup_is_a_number_of_steps_or_a_share(keys: str, steps: int, ratio: float) -> None:
    settings = settings_of(config(f"TrainingArguments: {{{keys}}}"))
    assert (settings.warmup_steps, settings.warmup_ratio) == (steps, ratio)


@pytest.mark.parametrize(
    ("keys", "warning"),
    [
        (
            "warmup_steps: 10, warmup_ratio: 0.1",
            "training_config.TrainingArguments.warmup_ratio: 0.1 has no effect beside "
            "warmup_steps: 10, as in transformers",
        ),
        (
            "lr_scheduler_type: constant, warmup_steps: 10",
            "training_config.TrainingArguments.warmup_steps: has no effect with "
            "lr_scheduler_type: constant, as in transformers; constant_with_warmup has a warm-up",
        ),
    ],
)
def test_a_warmup_that_transformers_passes_over_is_warned_about(keys: str, warning: str) -> None:
    _, problems, warnings = read(config(f"TrainingArguments: {{{keys}}}"))
    assert (problems, warnings) == ([], [warning])


def test_what_transformers_and_peft_have_is_taken_by_their_names() -> None:
    settings = settings_of(
        config("""
            TrainingArguments:
              optim: paged_adamw_8bit
              adam_beta1: 0.8
              adam_epsilon: 1e-6
              lr_scheduler_type: cosine_with_min_lr
              lr_scheduler_kwargs: {min_lr_rate: 0.1}
              eval_steps: 0.1
              save_steps: 0.25
              neftune_noise_alpha: 5
              max_grad_norm: 0
            LoraConfig: {use_dora: true, use_rslora: true, init_lora_weights: gaussian}
        """)
    )
    assert (settings.optim, settings.adam_beta1, settings.adam_epsilon) == (
        "paged_adamw_8bit",
        0.8,
        1e-6,
    )
    assert settings.scheduler == "cosine_with_min_lr"
    assert settings.scheduler_kwargs == {"min_lr_rate": 0.1}
    assert (settings.eval_steps, settings.save_steps) == (0.1, 0.25)
    assert (settings.neftune_noise_alpha, settings.max_grad_norm) == (5, 0)
    assert (settings.use_dora, settings.use_rslora) == (True, True)
    assert settings.init_lora_weights == "gaussian"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "LoraConfig: {r: 0}",
            "training_config.LoraConfig.r: 0; accepted is a whole number from 1 to 512",
        ),
        (
            "LoraConfig: {r: true}",
            "training_config.LoraConfig.r: True; accepted is a whole number from 1 to 512",
        ),
        (
            "LoraConfig: {rr: 8}",
            "training_config.LoraConfig.rr: unknown key; did you mean r?",
        ),
        (
            "LoraConfig: {lora_alpa: 8}",
            "training_config.LoraConfig.lora_alpa: unknown key; did you mean lora_alpha?",
        ),
        (
            "{LoraConfig: {use_dora: true}, TrainingArguments: {fsdp: true}}",
            "training_config.LoraConfig.use_dora: true; needs whole weights, whose norms it "
            "learns, but training_config.TrainingArguments.fsdp shards them; remove one of the two",
        ),
        (
            "LoraConfig: {init_lora_weights: pissa}",
            "training_config.LoraConfig.init_lora_weights: 'pissa'; accepted is true, false, "
            "gaussian or orthogonal: the others (pissa, olora, loftq, eva, ...) change the base's "
            "weights or need data, and vLLM cannot serve such adapters",
        ),
        (
            "LoraConfig: {init_lora_weights: orthogonal, r: 7}",
            "training_config.LoraConfig.init_lora_weights: orthogonal; needs an even rank, not 7",
        ),
        (
            "LoraConfig: {modules_to_save: [lm_head]}",
            "training_config.LoraConfig.modules_to_save: ['lm_head']; accepted is null or []: "
            "vLLM cannot serve such adapters, and whole layers of a model would be trained and "
            "stored; target_modules adapts layers",
        ),
        (
            "LoraConfig: {target_modules: []}",
            "training_config.LoraConfig.target_modules: []; accepted is a list of layer names, "
            "or attention, mlp, all-linear",
        ),
        (
            "TrainingArguments: {learning_rate: high}",
            "training_config.TrainingArguments.learning_rate: 'high'; accepted is a number "
            "above 0 to 1",
        ),
        (
            "TrainingArguments: {learning_rate: .nan}",
            "training_config.TrainingArguments.learning_rate: nan; accepted is a number "
            "above 0 to 1",
        ),
        (
            "TrainingArguments: {fp16: true}",
            "training_config.TrainingArguments.fp16: True; accepted is false or null: weights and "
            "computation are bfloat16; float16 overflows: a fifth of such runs of 7B models ended "
            "in NaN (QLoRA paper's code)",
        ),
        (
            "TrainingArguments: {optim: galore_adamw}",
            "training_config.TrainingArguments.optim: 'galore_adamw'; accepted is adamw_torch, "
            "adafactor, sgd, adagrad, rmsprop, adamw_8bit, adamw_bnb_8bit, paged_adamw_32bit, "
            "paged_adamw_8bit, ademamix, ademamix_8bit, paged_ademamix_32bit, "
            "paged_ademamix_8bit, lion_32bit, lion_8bit, paged_lion_32bit, paged_lion_8bit, "
            "rmsprop_bnb, rmsprop_bnb_8bit, rmsprop_bnb_32bit: the others need packages that the "
            "image of tune does not have; paged_adamw_8bit and adafactor save memory as they do",
        ),
        (
            "TrainingArguments: {eval_steps: 2.5}",
            "training_config.TrainingArguments.eval_steps: 2.5; accepted is a whole number of 1 "
            "or more, or a share of the steps above 0 and below 1, or null",
        ),
        (
            "{TrainingArguments: {per_device_train_batch_size: 2}, Argotune: {min_steps: 9}}",
            "training_config.TrainingArguments.per_device_train_batch_size and "
            "training_config.Argotune.min_steps set the same value; keep one",
        ),
        (
            "TrainingArguments: {lr_scheduler_type: reduce_lr_on_plateau}",
            "training_config.TrainingArguments.lr_scheduler_type: 'reduce_lr_on_plateau'; accepted "
            "is one of linear, cosine, cosine_with_restarts, polynomial, constant, "
            "constant_with_warmup, inverse_sqrt, cosine_with_min_lr, cosine_warmup_with_min_lr, "
            "warmup_stable_decay: the rate of a step must follow from its number, so that a run "
            "resumes",
        ),
        (
            "TrainingArguments: {lr_scheduler_type: cosine_with_min_lr}",
            "training_config.TrainingArguments.lr_scheduler_type: cosine_with_min_lr needs min_lr "
            "or min_lr_rate in lr_scheduler_kwargs",
        ),
        (
            "TrainingArguments: {lr_scheduler_kwargs: {num_cycle: 2}}",
            "training_config.TrainingArguments.lr_scheduler_kwargs: num_cycle: not an argument of "
            "cosine, which takes num_cycles",
        ),
        (
            "TrainingArguments: {lr_scheduler_kwargs: {num_cycles: no}}",
            "training_config.TrainingArguments.lr_scheduler_kwargs: num_cycles: False; accepted "
            "is a number above 0",
        ),
        (
            "TrainingArguments: {lr_scheduler_type: polynomial, lr_scheduler_kwargs: {lr_end: 1}}",
            "training_config.TrainingArguments.lr_scheduler_kwargs: lr_end must be below the "
            "learning_rate, 0.0002",
        ),
        (
            "TrainingArguments: {output_dir: ../etc}",
            "training_config.TrainingArguments.output_dir: '../etc'; accepted is a directory "
            "below /mnt",
        ),
        (
            "TrainingArguments: {deepspeed: ds.json}",
            "training_config.TrainingArguments.deepspeed: 'ds.json'; accepted is null or \"\" or "
            "[] or {}: the tune step starts one process per GPU itself",
        ),
        (
            "TrainingArguments: {report_to: [wandb, comet]}",
            "training_config.TrainingArguments.report_to: ['wandb', 'comet']; accepted is mlflow, "
            "wandb, tensorboard, a list of them, or none",
        ),
        (
            "TrainingArguments: {fsdp: shard_grad_op}",
            "training_config.TrainingArguments.fsdp: 'shard_grad_op'; accepted is true, false, or "
            "full_shard with or without auto_wrap",
        ),
        (
            "Argotune: {sample_prompts: [Who?, '']}",
            "training_config.Argotune.sample_prompts: ['Who?', '']; accepted is a list of at most "
            "20 strings",
        ),
        (
            "ModelConfig: {trust_remote_code: true}",
            "training_config.ModelConfig.trust_remote_code: True; accepted is false or null: code "
            "of a model repository is never run",
        ),
        (
            "QuantizationConfig: {load_in_8bit: true}",
            "training_config.QuantizationConfig.load_in_8bit: True; accepted is false or null: "
            "8-bit weights are not supported; method qlora uses 4-bit",
        ),
        (
            "QuantizationConfig: {load_in_4bit: false}",
            "training_config.QuantizationConfig.load_in_4bit: false; method qlora needs true, "
            "method lora needs false",
        ),
        (
            "DatasetConfig: {train_test_split: 0.2}",
            "training_config.DatasetConfig.train_test_split: 0.2; accepted is a number from 0.5 "
            "to 1",
        ),
        (
            "{DatasetConfig: {train_test_split: 0.9}, Argotune: {validation_share: 0.1}}",
            "training_config.DatasetConfig.train_test_split and "
            "training_config.Argotune.validation_share set the same value; keep one",
        ),
        (
            "{TrainingArguments: {max_length: 1024}, Argotune: {max_length: 512}}",
            "training_config.TrainingArguments.max_length and training_config.Argotune.max_length "
            "set the same value; keep one",
        ),
        (
            "Argotune: {max_length: 8192}",
            "training_config.Argotune.max_length: 8192; accepted is at most 4096, the context of "
            "phi-3-mini-4k-instruct",
        ),
        (
            "Argotune: {micro_batch_tokens: 1024}",
            "training_config.Argotune.micro_batch_tokens: 1024; accepted is max_length (4096) or "
            "more, because a row is never split",
        ),
        (
            "LoraConfigs: {r: 8}",
            "training_config.LoraConfigs: unknown section; did you mean LoraConfig?",
        ),
        (
            "Optimizer: {r: 8}",
            "training_config.Optimizer: unknown section; known are ModelConfig, "
            "QuantizationConfig, LoraConfig, TrainingArguments, DatasetConfig, DataCollator, "
            "Argotune",
        ),
        (
            "LoraConfig: {num_train_epochs: 3}",
            "training_config.LoraConfig.num_train_epochs: unknown key; move it to "
            "TrainingArguments",
        ),
        ("LoraConfig: 8", "training_config.LoraConfig: 8 is not a mapping"),
    ],
)
def test_wrong_key_is_answered_with_what_is_accepted(text: str, problem: str) -> None:
    assert problems_of(config(text)) == [problem]


def test_4_bit_weights_go_with_qlora_only() -> None:
    assert problems_of(config("QuantizationConfig: {load_in_4bit: true}"), method="lora") == [
        "training_config.QuantizationConfig.load_in_4bit: true; method lora needs false, method "
        "qlora needs true"
    ]


def test_there_are_no_4_bit_weights_to_keep_without_qlora() -> None:
    assert problems_of(config("Argotune: {cache_quantized: true}"), method="lora") == [
        "training_config.Argotune.cache_quantized: true; needs method qlora, because method lora "
        "has no 4-bit weights"
    ]
    assert problems_of(config("Argotune: {cache_quantized: false}"), method="lora") == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("LoraConfig: {r: 8}", "training_config.yaml: LoraConfig; accepted is one root key, "),
        ("- a", "training_config.yaml: ['a']; accepted is one root key, "),
        ("training_config: {r: ]", "training_config.yaml: line 1, column 22: while parsing "),
        ("a: 1\na: 2", "training_config.yaml: line 2, column 1: duplicate key a"),
        ("a: 1\n---\nb: 2", "training_config.yaml: line 3: second document; expected one document"),
    ],
)
def test_text_that_is_no_training_config(text: str, problem: str) -> None:
    found = problems_of(text)
    assert len(found) == 1
    assert found[0].startswith(problem)


def test_every_problem_comes_in_one_answer() -> None:
    found = problems_of(
        config("""
            LoraConfig: {r: -1, dropout: 0.1}
            TrainingArguments: {fp16: true, num_train_epochs: 0}
            Nonsense: {}
        """)
    )
    assert [problem.partition(":")[0] for problem in found] == [
        "training_config.LoraConfig.r",
        "training_config.LoraConfig.dropout",
        "training_config.TrainingArguments.fp16",
        "training_config.TrainingArguments.num_train_epochs",
        "training_config.Nonsense",
    ]


def test_key_without_effect_is_said() -> None:
    _, problems, warnings = read(
        config("TrainingArguments: {trackio_space_id: x, logging_steps: 5, packing: false}")
    )
    assert problems == []
    assert warnings == [
        "training_config.TrainingArguments.trackio_space_id: 'x' has no effect: every step is "
        "written to report/metrics.jsonl; trackers are named by report_to",
        "training_config.TrainingArguments.logging_steps: 5 has no effect: every step is written "
        "to report/metrics.jsonl",
        "training_config.TrainingArguments.packing: False has no effect: rows are packed without "
        "padding, and each row attends only to itself",
    ]


CHECKS = config("""
    Argotune:
      checks:
        - kind: exact_match
          min: 0.8
        - kind: regex
          pattern: "^[0-9]+$"
      check_tokens: 64
""")


def test_checks_of_answers_are_read() -> None:
    settings = settings_of(CHECKS)
    assert settings.checks == [ExactMatch(min=0.8), Regex(pattern="^[0-9]+$")]
    assert (settings.check_rows, settings.check_tokens) == (200, 64)


def test_wrong_check_is_named_by_its_place() -> None:
    text = config("""
        Argotune:
          checks:
            - kind: regex
              pattern: (
            - kind: llm
    """)
    assert [problem.partition(";")[0] for problem in problems_of(text)] == [
        "training_config.Argotune.checks[0].pattern: '('",
        "training_config.Argotune.checks[1].kind: 'llm' is no kind of check",
    ]


def test_checks_need_held_out_rows() -> None:
    text = config("""
        DatasetConfig:
          train_test_split: 1
        Argotune:
          checks: [{kind: exact_match}]
    """)
    [problem] = problems_of(text)
    assert problem.startswith("training_config.Argotune.checks: checks need held-out rows")


def test_settings_of_checks_without_checks_have_no_effect() -> None:
    _, _, warnings = read(
        config("""
        Argotune:
          check_rows: 5
    """)
    )
    assert warnings == ["training_config.Argotune.check_rows: has no effect without checks"]
