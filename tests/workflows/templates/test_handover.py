"""What a step hands on is accepted by the steps that get it, at its extremes too.

A step's own tests show that it writes such a result or that it reads one. Only here the text that
one writes goes through the template's arguments into the parameters of the other.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

import pytest

from argotune.steps.common.fields import fields_of, parse_fields, text_of
from argotune.steps.common.values import NOT_MEASURED
from argotune.steps.dataset.params import Params as DatasetParams
from argotune.steps.dataset.params import Result as DatasetResult
from argotune.steps.deploy.params import Params as DeployParams
from argotune.steps.evaluate.params import Params as EvaluateParams
from argotune.steps.evaluate.params import Result as EvaluateResult
from argotune.steps.model.params import Result as ModelResult
from argotune.steps.plan.params import Result as PlanResult
from argotune.steps.provision.params import Params as ProvisionParams
from argotune.steps.provision.params import Result as ProvisionResult
from argotune.steps.push.params import Params as PushParams
from argotune.steps.push.params import Result as PushResult
from argotune.steps.reject.params import Params as RejectParams
from argotune.steps.tune.params import Params as TuneParams
from argotune.steps.tune.params import Result as TuneResult
from argotune.steps.watch.params import Params as WatchParams
from argotune.workflows.workspace import manifests

DIGEST = f"sha256:{64 * 'a'}"
READERS = {
    "dataset": DatasetParams,
    "provision": ProvisionParams,
    "watch": WatchParams,
    "tune": TuneParams,
    "answer": EvaluateParams,
    "evaluate": EvaluateParams,
    "push": PushParams,
    "deploy": DeployParams,
    "reject": RejectParams,
}
# Values of other parameters, which no step hands on.
OTHERS = {
    "dataset": {
        "urls": '["https://example.com/a"]',
        "plan-file": "/plan.yaml",
        "work-dir": "/work",
    },
    "provision": {"run": "uid"},
    "watch": {"run": "uid", "workflow": "run", "namespace": "ns"},
    "tune": {"plan-file": "/plan.yaml", "work-dir": "/work"},
    "answer": {"plan-file": "/plan.yaml", "work-dir": "/work"},
    "evaluate": {"plan-file": "/plan.yaml", "work-dir": "/work"},
    "push": {
        "plan-file": "/plan.yaml",
        "work-dir": "/work",
        "image": "registry.example.com/a:1",
        "created": "2026-01-31T12:00:00Z",
    },
    "deploy": {
        "target": "process",
        "services-dir": "/services",
        "name": "a",
        "plan-file": "/plan.yaml",
        "cache-dir": "/models",
    },
    "reject": {
        "name": "a",
        "plan-file": "/plan.yaml",
        "work-dir": "/work",
        "history-file": "/models/history/a.json",
    },
}

PLANS = (
    PlanResult(
        plan="",
        model="m",
        gpus=0,
        disk_gib=1,
        alternatives=(),
        memory_gb=0.0,
        service_gpus=0,
        engine="auto",
        load_in_4bit=False,
        max_length=None,
        cpu_memory="2Gi",
        fastest_tokens_per_second="",
        warnings="",
        gate=DIGEST,
        has_scorers=False,
        scored_checks=(),
        scorers="{}",
    ),
    PlanResult(
        plan="x" * 100_000,
        model="m",
        gpus=16,
        disk_gib=10**9,
        alternatives=tuple(f"Standard_{number}" for number in range(100)),
        memory_gb=1234567.875,
        service_gpus=8,
        engine="vllm",
        load_in_4bit=True,
        max_length=10**6,
        cpu_memory="9999Gi",
        fastest_tokens_per_second='{"Standard_NC24ads_A100_v4": 3812.5}',
        warnings="a\nb",
        gate=DIGEST,
        has_scorers=True,
        scored_checks=("tone", "length"),
        scorers='{"tone": {"scorer": "tone", "args": ["\'a\' $ \\"b\\""], "env": []}}',
    ),
)
DATASETS = (
    DatasetResult(
        summary="",
        findings="",
        rows=1,
        train_rows=1,
        validation_rows=0,
        rejected_rows=0,
        duplicate_rows=0,
        removed_rows=0,
        tokens=None,
        learned_tokens=None,
        longest_row_tokens=None,
        cut_rows=None,
        cut_tokens=None,
        validation_tokens=None,
        steps=None,
        run_tokens=None,
        digest=DIGEST,
        changed=True,
    ),
    DatasetResult(
        summary="1200000000000 rows: 'a', \"b\" $ {{c}} | d",
        findings="rows with 'a', \"b\" $ {{c}} | d: 1",
        rows=10**12,
        train_rows=10**12,
        validation_rows=10**11,
        rejected_rows=10**11,
        duplicate_rows=10**11,
        removed_rows=10**11,
        tokens=10**15,
        learned_tokens=10**14,
        longest_row_tokens=10**9,
        cut_rows=0,
        cut_tokens=0,
        validation_tokens=10**13,
        steps=10**9,
        run_tokens=10**15,
        digest=DIGEST,
        changed=True,
    ),
)
MODELS = (
    ModelResult(model_dir="presets/owner--name/0", size_gb=0.0, cached=True, origin="hub at 0"),
    ModelResult(model_dir=f"dir/{16 * 'a'}/{64 * 'a'}", size_gb=1e6, cached=False, origin=""),
)
PROVISIONS = tuple(
    ProvisionResult(
        node="n",
        accelerator="cpu",
        node_selector=selector,
        tolerations="[]",
        placement=placement,
        node_since="2026-01-31T12:00:00Z" if placement else "",
        price_usd_per_hour=3.673 if placement else None,
        tried="",
        watched=selector != "{}",
    )
    for selector, placement in (
        ('{"argotune.dev/node": "a"}', "Standard_NC24ads_A100_v4 spot in zone 2"),
        ('{"a.example.com/b": ""}', ""),
        ("{}", ""),
    )
)
TUNES = tuple(
    TuneResult(
        base_loss=base,
        tuned_loss=tuned,
        train_loss=tuned if isinstance(tuned, float) else 0.0,
        steps=0,
        tokens_per_step=0,
        warning="",
        tokens_per_second=0.0,
        peak_memory_gb=0.0,
        loading_memory_gb=0.0,
        kept_blocks=0,
        resumed_from_step=0,
        stopped_early="",
    )
    for base, tuned in (
        (NOT_MEASURED, NOT_MEASURED),
        (4.2, NOT_MEASURED),
        (0.0, 1e-300),
        (1.7e308, 123456789.0),
    )
)
EVALUATIONS = tuple(
    EvaluateResult(
        summary="",
        verdict="rejected" if outcome else "passed",
        reason="worse than 'a', \"b\" $ {{c}} | d",
        outcome=outcome,
        warning="",
        base_loss=loss,
        new_loss=loss,
        live_loss=loss,
    )
    for outcome, loss in (("", NOT_MEASURED), ("kept v3", 1e-300), ("kept v3", 1.7e308))
)
PUSHES = tuple(
    PushResult(
        digest=DIGEST,
        reference=f"{name}@{DIGEST}",
        size_mb=0.0,
        report="",
        provenance=f"{name}@{DIGEST}",
        signed=True,
        volume="",
    )
    for name in (
        "registry.example.com:5000/a/b",
        "oci:/dist",
        # The working directory, which push makes a relative oci:DIRECTORY absolute with.
        "oci:/home/ann@example.com/my runs/a:b/dist",
    )
)
EXTREMES = {
    "plan": PLANS,
    "dataset": DATASETS,
    "model": MODELS,
    "provision": PROVISIONS,
    "tune": TUNES,
    "evaluate": EVALUATIONS,
    "push": PUSHES,
}
_OUTPUT = re.compile(r"\{\{tasks\.([a-z]+)\.outputs\.parameters\.([a-z-]+)\}\}")


def tasks() -> dict[str, dict[str, str]]:
    """Each task of the rendered DAG with its arguments."""
    spec = manifests.read_rendered(manifests.NAME)[0]["spec"]
    (dag,) = [each["dag"] for each in spec["templates"] if each["name"] == spec["entrypoint"]]
    return {
        task["name"]: {each["name"]: each["value"] for each in task["arguments"]["parameters"]}
        for task in dag["tasks"]
        # What a scorer gets goes to a program that is no step.
        if "arguments" in task and task["name"] != "score"
    }


def arrows() -> Iterator[tuple[str, str]]:
    """Each pair of steps of which one gets outputs of the other."""
    for reader, arguments in tasks().items():
        writers = {step for text in arguments.values() for step, _ in _OUTPUT.findall(text)}
        yield from ((writer, reader) for writer in sorted(writers))


def outputs_of(result: Any) -> dict[str, str]:
    """The files that the step's main writes."""
    return {
        field.name.replace("_", "-"): text_of(getattr(result, field.name))
        for field in dataclasses.fields(result)
    }


def handed_on(reader: str, results: dict[str, Any]) -> dict[str, str]:
    """The flags of a step that come from outputs, with these results of the other steps."""
    texts = {step: outputs_of(result) for step, result in results.items()}
    flags = {field.kebab for field in fields_of(READERS[reader])}
    return {
        name: _OUTPUT.sub(lambda found: texts[found[1]][found[2]], text)
        for name, text in tasks()[reader].items()
        if name in flags and _OUTPUT.search(text)
    }


def test_every_step_that_hands_something_on_has_its_extremes_here() -> None:
    assert {writer for writer, _ in arrows()} == set(EXTREMES)
    assert {reader for _, reader in arrows()} == set(READERS)


@pytest.mark.parametrize(
    ("writer", "reader", "number"),
    [
        (writer, reader, number)
        for writer, reader in arrows()
        for number, result in enumerate(EXTREMES[writer])
        if reader != "watch" or getattr(result, "watched", True)
    ],
)
def test_an_extreme_result_is_accepted_by_its_reader(writer: str, reader: str, number: int) -> None:
    usual = {step: results[0] for step, results in EXTREMES.items()}
    given = handed_on(reader, usual | {writer: EXTREMES[writer][number]})
    params = parse_fields(READERS[reader], OTHERS[reader] | given)
    parsed = {field.kebab: getattr(params, field.name) for field in fields_of(READERS[reader])}
    assert {name: text_of(parsed[name]) for name in given} == given
