"""The table of keys knows every key that the libraries behind Kaito's sections have."""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

from argotune.presets.loader import model_preset
from argotune.steps.plan.config import document_keys, read_config
from argotune.steps.plan.key import Fixed, Mapped, NoEffect
from argotune.steps.plan.keys import SECTIONS
from argotune.steps.plan.settings import Settings


def fields_in_source(package: str, module: str, *classes: str) -> set[str]:
    """Names of annotated fields and __init__ arguments, read without importing torch."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    tree = ast.parse((Path(spec.origin).parent / module).read_text())
    found = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name in classes]
    assert len(found) == len(classes)
    return {name for node in found for name in _names(node)}


def _names(definition: ast.ClassDef) -> Iterator[str]:
    for node in definition.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            yield from (argument.arg for argument in node.args.args if argument.arg != "self")


def test_every_training_argument_of_transformers_is_decided() -> None:
    names = fields_in_source("transformers", "training_args.py", "TrainingArguments")
    assert len(names) > 100
    assert names - SECTIONS["TrainingArguments"].keys() == set()


def test_every_lora_setting_of_peft_is_decided() -> None:
    names = fields_in_source("peft", "tuners/lora/config.py", "LoraConfig")
    names |= fields_in_source("peft", "config.py", "PeftConfigMixin", "PeftConfig")
    assert len(names) > 30
    assert names - SECTIONS["LoraConfig"].keys() == set()


def test_every_bitsandbytes_setting_is_decided() -> None:
    names = fields_in_source("transformers", "utils/quantization_config.py", "BitsAndBytesConfig")
    assert "bnb_4bit_quant_type" in names
    assert names - SECTIONS["QuantizationConfig"].keys() == set()


def test_every_collator_setting_is_decided() -> None:
    names = fields_in_source(
        "transformers", "data/data_collator.py", "DataCollatorForLanguageModeling"
    )
    assert "mlm" in names
    assert names - SECTIONS["DataCollator"].keys() == set()


# Kaito's own classes, from presets/workspace/tuning/text-generation/cli.py.
KAITO_DATASET_CONFIG = (
    "dataset_path dataset_extension shuffle_dataset shuffle_seed context_column response_column"
    " messages_column train_test_split"
)
KAITO_MODEL_CONFIG = (
    "pretrained_model_name_or_path state_dict cache_dir from_tf force_download resume_download"
    " proxies output_loading_info local_files_only revision trust_remote_code load_in_4bit"
    " load_in_8bit torch_dtype device_map chat_template"
)


@pytest.mark.parametrize(
    ("section", "names"),
    [("DatasetConfig", KAITO_DATASET_CONFIG), ("ModelConfig", KAITO_MODEL_CONFIG)],
)
def test_every_key_of_kaitos_own_sections_is_decided(section: str, names: str) -> None:
    assert set(names.split()) - SECTIONS[section].keys() == set()


ALL_KEYS = [
    pytest.param(key, id=f"{section}.{name}")
    for section, keys in SECTIONS.items()
    for name, key in keys.items()
]


@pytest.mark.parametrize("key", ALL_KEYS)
def test_every_key_sets_a_field_or_says_why_not(key: object) -> None:
    assert len(ALL_KEYS) > 200
    if isinstance(key, Mapped):
        assert key.field in {field.name for field in dataclasses.fields(Settings)}
        assert key.doc
    else:
        assert isinstance(key, Fixed | NoEffect)
        assert key.reason


@pytest.mark.parametrize(
    ("section", "name"), [(section, name) for section, keys in SECTIONS.items() for name in keys]
)
def test_no_key_is_dropped_in_silence(section: str, name: str) -> None:
    """A value that no key expects is a problem or a warning that names the key."""
    problems: list[str] = []
    warnings: list[str] = []
    text = f"training_config: {{{section}: {{{name}: [{{never: expected}}]}}}}"
    read_config(text, model_preset("phi-4"), "qlora", problems=problems, warnings=warnings)
    (said,) = (*problems, *warnings)
    path = f"training_config.{section}.{name}"
    assert said.startswith((f"{path}: [{{'never': 'expected'}}]", f"{path}[0]"))
    assert len(said.rpartition(": ")[2]) > 3


def test_every_setting_can_be_set() -> None:
    mapped = {
        key.field for keys in SECTIONS.values() for key in keys.values() if isinstance(key, Mapped)
    }
    unmapped = {field.name for field in dataclasses.fields(Settings)} - mapped
    # The workspace names the validation files, not the config.
    assert unmapped == {"has_validation_files"}


def test_reference_has_each_own_key_with_its_default() -> None:
    own = {row.key: row.default for row in document_keys() if row.section == "Argotune"}
    assert own == {
        "max_length": "the preset's",
        "max_truncated_share": "0.1",
        "validation_share": "0.05",
        "split_seed": "42",
        "ignore_columns": "",
        "max_rejected_share": "0.05",
        "micro_batch_tokens": "",
        "tokens_per_step": "the preset's",
        "min_steps": "the preset's",
        "early_stopping_patience": "the preset's",
        "processes": "",
        "cache_quantized": "False",
        "sample_prompts": "",
        "samples": "3",
        "sample_tokens": "48",
        "checks": "",
        "check_rows": "200",
        "check_tokens": "256",
        "gpus": "",
        "gpu_memory_gib": "",
        "gpu_model": "",
        "disk_gib": "",
    }
