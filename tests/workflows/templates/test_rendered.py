"""The rendered YAML: what `make golden` wrote, made of Argo's own fields and defined references."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path
from typing import Any

import pytest
import yaml
from hera.workflows import models

from tests.workflows.templates.references import undefined_references
from tests.workflows.templates.schema import unknown_fields
from workflows.templates import finetune
from workflows.templates.golden import RENDERED_DIR, golden

KINDS = {
    "WorkflowTemplate": models.WorkflowTemplate,
    "CronWorkflow": models.CronWorkflow,
    "Workflow": models.Workflow,
}
RENDERED = sorted(RENDERED_DIR.glob("*.yaml"))
ARGO = [RENDERED_DIR / "finetune.yaml", RENDERED_DIR / "retrain.yaml"]


def load(path: Path) -> dict[str, Any]:
    document = yaml.safe_load(path.read_text())
    assert isinstance(document, dict)
    return document


def test_every_template_is_rendered_and_nothing_else() -> None:
    assert [path.name for path in RENDERED] == sorted(golden())


@pytest.mark.parametrize("path", RENDERED, ids=lambda path: path.name)
def test_rendered_file_is_what_the_template_builds(path: Path) -> None:
    assert path.read_text() == golden()[path.name], "run `make golden`"


@pytest.mark.parametrize("path", ARGO, ids=lambda path: path.name)
def test_rendered_file_has_only_fields_that_argo_knows(path: Path) -> None:
    document = load(path)
    assert unknown_fields(KINDS[document["kind"]], document) == []


@pytest.mark.parametrize(
    ("path", "key"),
    [
        (("spec",), "entrypiont"),
        (("spec", "templates", 0), "activeDeadlineSecond"),
        (("spec", "templates", 0, "container"), "volumeMount"),
        (("spec", "templates", 0, "container", "securityContext", "capabilities"), "dorp"),
        (("spec", "templates", 0, "retryStrategy", "backoff"), "maxDurations"),
        (("spec", "volumeClaimTemplates", 0, "spec", "resources"), "request"),
    ],
)
def test_a_field_that_argo_does_not_know_is_found_at_any_depth(
    path: tuple[str | int, ...], key: str
) -> None:
    document = copy.deepcopy(load(RENDERED_DIR / "finetune.yaml"))
    place: Any = document
    for part in path:
        place = place[part]
    place[key] = "x"
    found = unknown_fields(models.WorkflowTemplate, document)
    assert [problem.rpartition(".")[2] for problem in found] == [key]


def test_every_reference_of_the_template_is_defined() -> None:
    assert undefined_references(load(RENDERED_DIR / "finetune.yaml")["spec"]) == []


@pytest.mark.parametrize(
    "tag",
    ["workflow.parameters.prest", "inputs.parameters.x", "tasks.plan.outputs.parameters.gpu"],
)
def test_a_reference_that_nothing_defines_is_found(tag: str) -> None:
    spec = load(RENDERED_DIR / "finetune.yaml")["spec"]
    spec["templates"][-1]["dag"]["tasks"][0]["arguments"]["parameters"][0]["value"] = (
        f"{{{{{tag}}}}}"
    )
    assert undefined_references(spec) == [f"finetune: {tag}"]


def test_cron_arguments_are_parameters_of_the_template() -> None:
    cron = load(RENDERED_DIR / "retrain.yaml")["spec"]["workflowSpec"]
    known = {
        item["name"]
        for item in load(RENDERED_DIR / "finetune.yaml")["spec"]["arguments"]["parameters"]
    }
    given = [item["name"] for item in cron["arguments"]["parameters"]]
    assert given
    assert set(given) <= known


def test_parameters_have_descriptions_and_choices_for_the_form() -> None:
    parameters = load(RENDERED_DIR / "finetune.yaml")["spec"]["arguments"]["parameters"]
    assert parameters
    assert [item["name"] for item in parameters if not item.get("description")] == []
    enums = {item["name"]: item["enum"] for item in parameters if "enum" in item}
    assert set(enums) >= {"preset", "method", "provider", "deploy-to"}
    values = {item["name"]: item["value"] for item in parameters}
    assert [name for name, choices in enums.items() if values[name] not in choices] == []


CONTAINERS = [
    template
    for template in load(RENDERED_DIR / "finetune.yaml")["spec"]["templates"]
    if "container" in template
]


def test_every_step_has_a_template() -> None:
    assert [template["name"] for template in CONTAINERS] == [step.name for step in finetune.STEPS]


@pytest.mark.parametrize("template", CONTAINERS, ids=lambda template: template["name"])
def test_container_is_what_the_restricted_standard_asks_for(template: dict[str, Any]) -> None:
    security = template["container"]["securityContext"]
    assert security["allowPrivilegeEscalation"] is False
    assert security["runAsNonRoot"] is True
    assert security["readOnlyRootFilesystem"] is True
    assert security["capabilities"] == {"drop": ["ALL"]}
    pod = load(RENDERED_DIR / "finetune.yaml")["spec"]["securityContext"]
    assert pod["runAsUser"] > 0
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}


@pytest.mark.parametrize("template", CONTAINERS, ids=lambda template: template["name"])
def test_container_has_a_deadline_retries_and_never_a_shell(template: dict[str, Any]) -> None:
    assert template["activeDeadlineSeconds"] > 0
    assert "75" in template["retryStrategy"]["expression"]
    assert template["container"]["command"][:2] == ["python", "-m"]


@pytest.mark.parametrize("template", CONTAINERS, ids=lambda template: template["name"])
def test_outputs_have_defaults_for_steps_that_were_left_out(template: dict[str, Any]) -> None:
    outputs = template["outputs"]["parameters"]
    assert outputs
    assert [item["name"] for item in outputs if "default" not in item["valueFrom"]] == []


def test_only_steps_that_run_one_after_the_other_share_the_read_write_once_volume() -> None:
    spec = load(RENDERED_DIR / "finetune.yaml")["spec"]
    assert spec["volumeClaimTemplates"][0]["spec"]["accessModes"] == ["ReadWriteOnce"]
    dag = next(template["dag"] for template in spec["templates"] if "dag" in template)
    depends = {task["name"]: task.get("depends", "") for task in dag["tasks"]}
    mounting = [
        template["name"]
        for template in CONTAINERS
        if any(mount["name"] == "work" for mount in template["container"]["volumeMounts"])
    ]
    assert mounting == ["plan", "dataset", "model", "tune", "push", "deploy"]
    for before, after in itertools.pairwise(mounting):
        assert before in depends[after]


def flags_of(step: str) -> list[str]:
    template = next(template for template in CONTAINERS if template["name"] == step)
    flags: list[str] = template["container"]["args"]
    return flags


def test_internal_hosts_are_fixed_in_the_template() -> None:
    """`argotune install` rewrites this flag; whoever submits a run cannot."""
    assert "--allowed-hosts=[]" in flags_of("dataset")


def test_what_reaches_registries_and_dataset_hosts_mounts_the_private_authority() -> None:
    spec = load(RENDERED_DIR / "finetune.yaml")["spec"]
    volume = next(volume for volume in spec["volumes"] if volume["name"] == "argotune-ca")
    assert volume["configMap"] == {"name": "argotune-ca", "optional": True}
    mounting = [
        template["name"]
        for template in CONTAINERS
        if any(mount["name"] == "argotune-ca" for mount in template["container"]["volumeMounts"])
    ]
    assert mounting == ["dataset", "model", "push", "deploy"]
    for step in mounting:
        assert "--ca-file=/argotune/ca/ca.crt" in flags_of(step)


@pytest.mark.parametrize("name", ["urls-secret", "push-secret", "model-secret"])
def test_secrets_may_be_missing(name: str) -> None:
    spec = load(RENDERED_DIR / "finetune.yaml")["spec"]
    volume = next(volume for volume in spec["volumes"] if volume["name"] == name)
    assert volume["secret"]["optional"] is True
