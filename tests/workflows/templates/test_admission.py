"""What the admission policy takes; tests/e2e asks a real API server."""

from __future__ import annotations

import json
import re
from types import ModuleType
from typing import Any

import pytest

from argotune.workflows.templates import evaluate, finetune, gc, rollback, serve
from argotune.workflows.templates.admission import ADAPTER_PATTERN, MODELS_PATTERN, build

_DIGEST = f"sha256:{64 * 'a'}"


@pytest.mark.parametrize(
    "reference",
    [
        "registry.example.com/me/dolly:v3",
        f"registry.example.com:5000/dolly@{_DIGEST}",
        "[::1]:5000/dolly:v12",
        f"localhost:5000/a/b@{_DIGEST}",
    ],
)
def test_an_adapter_is_named_by_its_version_or_digest(reference: str) -> None:
    assert re.search(ADAPTER_PATTERN, reference)


@pytest.mark.parametrize(
    "reference",
    [
        "",
        "registry.example.com/dolly",
        "registry.example.com/dolly:live",
        "registry.example.com/dolly:v0",
        f"registry.example.com/dolly:v3@{_DIGEST}",
        "oci:/argotune/models:v1",
        "/argotune/models:v1",
        "registry.example.com/dolly:v3 ",
    ],
)
def test_a_tag_that_moves_and_a_directory_are_not_taken(reference: str) -> None:
    assert not re.search(ADAPTER_PATTERN, reference)


@pytest.mark.parametrize(
    ("models", "is_taken"),
    [
        ('["tiny", "phi=registry.example.com/phi:v1"]', True),
        ('["tiny","phi-4"]', True),
        ("[]", True),
        ('["\\u006fci:/argotune/models:v1"]', False),
        ('["a" "b"]', False),
        ('{"a": "b"}', False),
        ("tiny", False),
    ],
)
def test_models_are_a_list_whose_text_shows_what_is_in_it(models: str, is_taken: bool) -> None:
    assert bool(re.search(MODELS_PATTERN, models)) is is_taken


def _validations() -> list[dict[str, str]]:
    found: list[dict[str, str]] = build()[0]["spec"]["validations"]
    return found


def test_no_parameter_names_a_directory_of_the_pod() -> None:
    (rule,) = [each for each in _validations() if "directory" in each["message"]]
    names = '["reference", "output-image", "start-from"]'
    assert f"!(p.name in {names}) || !p.value.startsWith('oci:')" in rule["expression"]
    lists = "!(p.name in ['models', 'adapters']) || !p.value.matches('[\"=]oci:')"
    assert lists in rule["expression"]


def test_nobody_submits_in_the_name_of_somebody_else() -> None:
    (rule,) = [each for each in _validations() if "submitted-by" in each["message"]]
    assert "['argotune.dev/submitted-by'] == request.userInfo.username" in rule["expression"]
    assert "object.spec.workflowMetadata.annotations" in rule["expression"]


@pytest.mark.parametrize("template", [evaluate, finetune, rollback, serve, gc])
def test_every_default_of_a_template_passes(template: ModuleType) -> None:
    (of_forms,) = [each for each in _validations() if "parameter's form" in each["message"]]
    (of_choices,) = [each for each in _validations() if "parameter's choices" in each["message"]]
    patterns = _map_in(of_forms["expression"], "p.value.matches(")
    choices = _map_in(of_choices["expression"], "p.value in ")
    parameters = template.build().arguments
    defaults = {item.name: item.value for item in parameters if item.value is not None}
    assert defaults
    for name, value in defaults.items():
        assert re.search(patterns.get(name, ""), value), name
        assert value in choices.get(name, [value]), name


def _map_in(expression: str, before: str) -> dict[str, Any]:
    found: dict[str, Any]
    found, _ = json.JSONDecoder().raw_decode(expression.split(before)[1])
    return found
