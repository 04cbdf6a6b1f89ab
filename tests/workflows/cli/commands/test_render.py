"""argotune render: its three forms, made of Argo's own fields and defined references."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from hera.workflows import models

from argotune.steps.common.yaml_limits import SafeLoader
from argotune.steps.settings.run_settings import SETTINGS
from argotune.workflows.workspace.manifests import parameters_of, template
from tests.fakes.kube import Cluster
from tests.workflows.cli.command import Argotune
from tests.workflows.cli.conftest import Write
from tests.workflows.cli.documents import TINY
from tests.workflows.templates.references import tags, undefined_references
from tests.workflows.templates.schema import unknown_fields
from tests.workflows.workspace.helpers import CONFIG_MAP, QUICK_START, WORKSPACE, changed

FORMS: dict[str, list[str]] = {
    "Workflow": [],
    "reference": ["--template-ref"],
    "CronWorkflow": ["--schedule", "0 3 * * *"],
}
KINDS = {
    "Workflow": models.Workflow,
    "CronWorkflow": models.CronWorkflow,
}
SECRET_URLS = "https://example.com/a.parquet?sig=hunter2"


def documents(text: str) -> dict[str, dict[str, Any]]:
    """The printed documents by kind."""
    return {document["kind"]: document for document in yaml.load_all(text, Loader=SafeLoader)}


def argo_object(text: str) -> dict[str, Any]:
    return next(document for kind, document in documents(text).items() if kind in KINDS)


def arguments_of(document: dict[str, Any]) -> dict[str, str]:
    spec = document["spec"].get("workflowSpec", document["spec"])
    return {item["name"]: item["value"] for item in spec["arguments"]["parameters"]}


@pytest.mark.parametrize("flags", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("substitute", [[], ["--substitute"]], ids=["as-is", "substitute"])
def test_quick_start_is_rendered_in_every_form(
    argotune: Argotune, write: Write, flags: list[str], substitute: list[str]
) -> None:
    file = write("workspace.yaml", QUICK_START)
    answer = argotune("render", file, *flags, *substitute)
    assert answer.code == 0
    document = argo_object(answer.out)
    assert unknown_fields(KINDS[document["kind"]], document) == []
    assert undefined_references(document["spec"]) == []
    assert arguments_of(document)["preset"] == "phi-3-mini-128k-instruct"
    assert arguments_of(document)["instance-type"] == "Standard_NC24ads_A100_v4"
    assert all(line.startswith("warning: ") for line in answer.err.splitlines())


def test_a_rendered_workflow_stands_alone(argotune: Argotune, write: Write) -> None:
    answer = argotune("render", write("workspace.yaml", WORKSPACE))
    assert (answer.code, answer.err) == (0, "")
    document = argo_object(answer.out)
    assert document["metadata"]["generateName"] == "my-model-"
    assert document["metadata"]["labels"]["argotune.dev/workspace"] == "my-model"
    names = [
        "argotune-data",
        "argotune-model-access",
        "argotune-no-urls",
        "argotune-signing",
        "my-secret",
    ]
    own = template({"allowed-secrets": json.dumps(names)})
    assert document["spec"]["templates"] == own["spec"]["templates"]
    arguments = arguments_of(document)
    assert arguments["name"] == "my-model"
    assert json.loads(arguments["urls"]) == ["https://example.com/data.parquet"]
    assert arguments["push-secret"] == "my-secret"


@pytest.mark.parametrize("flags", FORMS.values(), ids=FORMS)
def test_every_parameter_of_the_template_is_named(
    argotune: Argotune, write: Write, flags: list[str]
) -> None:
    """Otherwise `argo retry RUN -p NAME=VALUE` loses the others (argo-workflows 11631)."""
    answer = argotune("render", write("workspace.yaml", WORKSPACE), *flags)
    given = arguments_of(argo_object(answer.out))
    assert given.keys() == parameters_of(template()).keys()
    assert (given["question"], given["name"]) == ("Hello! Who are you?", "my-model")


def test_a_reference_holds_arguments_only(argotune: Argotune, write: Write) -> None:
    answer = argotune("render", write("workspace.yaml", WORKSPACE), "--template-ref")
    document = argo_object(answer.out)
    assert document["spec"].keys() == {"workflowTemplateRef", "arguments"}
    assert document["spec"]["workflowTemplateRef"] == {"name": "finetune"}
    assert tags(document) == []


@pytest.mark.parametrize("flags", [["--template-ref"], ["--schedule", "@daily"]])
def test_a_reference_warns_of_secrets_that_only_an_installer_allows(
    argotune: Argotune, write: Write, flags: list[str]
) -> None:
    answer = argotune("render", write("workspace.yaml", WORKSPACE), *flags)
    assert answer.code == 0
    assert answer.err == (
        "warning: tuning.output.imagePushSecret: 'my-secret' must be among the Secrets that the"
        " installation allows, or the run fails; an administrator adds it by `argotune install"
        " --allow-secret my-secret`\n"
    )
    usual = changed({"tuning/output/imagePushSecret": "argotune-push"})
    assert argotune("render", write("workspace.yaml", usual), *flags).err == ""


def test_a_schedule_makes_a_cron_workflow_that_skips_unchanged_data(
    argotune: Argotune, write: Write
) -> None:
    answer = argotune("render", write("workspace.yaml", WORKSPACE), "--schedule", "0 3 * * *")
    document = argo_object(answer.out)
    assert document["metadata"]["name"] == "retrain-my-model"
    assert document["spec"]["schedules"] == ["0 3 * * *"]
    assert document["spec"]["timezone"] == "Etc/UTC"
    assert "suspend" not in document["spec"]
    assert arguments_of(document)["only-if-changed"] == "true"


@pytest.mark.parametrize("command", [("render", "--schedule"), ("schedule", "--cron")])
def test_what_is_wrong_with_the_times_is_told_with_the_problems_of_the_file(
    argotune: Argotune, write: Write, cluster: Cluster, command: tuple[str, str]
) -> None:
    file = write("workspace.yaml", changed({"tuning/method": "dora"}))
    answer = argotune(command[0], file, command[1], "99", "--timezone", "Mars")
    assert answer.code == 2
    assert [problem.partition(":")[0] for problem in answer.errors] == [
        "tuning.method",
        "schedule '99'",
        "--timezone 'Mars'",
    ]


def test_a_schedule_may_have_several_times_in_a_time_zone(argotune: Argotune, write: Write) -> None:
    file = write("workspace.yaml", WORKSPACE)
    flags = ("--schedule", "@daily", "--schedule", "30 12 * * mon-fri")
    answer = argotune("render", file, *flags, "--timezone", "Europe/Berlin")
    assert answer.code == 0
    spec = argo_object(answer.out)["spec"]
    assert spec["schedules"] == ["@daily", "30 12 * * mon-fri"]
    assert spec["timezone"] == "Europe/Berlin"


def test_a_schedule_that_argo_would_never_run_is_refused(argotune: Argotune, write: Write) -> None:
    name = 45 * "a"
    usual = {"metadata/name": name, "tuning/output/imagePushSecret": "argotune-push"}
    file = write("workspace.yaml", changed(usual))
    flags = ("--schedule", "0 3 * * 7", "--schedule", "nightly", "--timezone", "Mars/Phobos")
    answer = argotune("render", file, *flags)
    assert (answer.code, answer.out) == (2, "")
    assert [error.partition(";")[0] for error in answer.errors] == [
        f"metadata.name: {name!r}",
        "schedule day-of-week '7': no such time",
        "schedule 'nightly': accepted are five fields, minute hour day-of-month month"
        ' day-of-week, such as "0 3 * * 1-5" (Sunday is 0), or @hourly, @daily, @weekly, @monthly'
        " or @yearly",
        "--timezone 'Mars/Phobos': no time zone of this name",
    ]
    assert argotune("render", file).code == 0


def test_a_time_zone_without_a_schedule_is_refused(argotune: Argotune, write: Write) -> None:
    answer = argotune("render", write("workspace.yaml", WORKSPACE), "--timezone", "Etc/UTC")
    assert (answer.code, answer.errors) == (
        2,
        ["--timezone 'Etc/UTC': has an effect only with --schedule"],
    )


@pytest.mark.parametrize("flags", FORMS.values(), ids=FORMS)
def test_argo_shows_the_workspace_first_and_related_arguments_together(
    argotune: Argotune, write: Write, flags: list[str]
) -> None:
    extra = ("--set", "tune-cpu=3", "--set", "provider=existing")
    answer = argotune("render", write("workspace.yaml", WORKSPACE), *extra, *flags)
    document = argo_object(answer.out)
    title = document["metadata"]["annotations"]["workflows.argoproj.io/title"]
    assert title.startswith("my-model: ")
    names = [*arguments_of(document)]
    assert names[:2] == ["name", "preset"]
    assert names == [name for name in SETTINGS if name in names]


def test_a_schedule_is_a_reference_already(argotune: Argotune, write: Write) -> None:
    file = write("workspace.yaml", WORKSPACE)
    answer = argotune("render", file, "--template-ref", "--schedule", "0 3 * * *")
    assert answer.code == 2
    assert answer.errors == [
        "--template-ref and --schedule: take one; a schedule is a reference too"
    ]


@pytest.mark.parametrize("flags", FORMS.values(), ids=FORMS)
def test_volume_size_and_storage_class_reach_the_claim(
    argotune: Argotune, write: Write, flags: list[str]
) -> None:
    file = write("workspace.yaml", WORKSPACE)
    answer = argotune("render", file, "--volume-size", "7Gi", "--storage-class", "fast", *flags)
    spec = argo_object(answer.out)["spec"]
    claim = spec.get("workflowSpec", spec)["volumeClaimTemplates"][0]["spec"]
    assert claim["resources"]["requests"]["storage"] == "7Gi"
    assert claim["storageClassName"] == "fast"


def test_a_whole_workflow_gets_its_images_by_flags(argotune: Argotune, write: Write) -> None:
    file = write("workspace.yaml", WORKSPACE)
    flags = ("--images-registry", "registry.example.org/ours", "--images-tag", "2")
    templates = argo_object(argotune("render", file, *flags).out)["spec"]["templates"]
    (plan,) = [each for each in templates if each["name"] == "plan"]
    assert plan["container"]["image"] == "registry.example.org/ours/argotune-plan:2"
    answer = argotune("render", file, "--template-ref", *flags[:2])
    assert answer.code == 2
    assert answer.errors == [
        "--images-registry: for a workflow with the whole template in it; the installed template's"
        " is set by `argotune install`"
    ]


def test_a_whole_workflow_pulls_its_service_with_the_secret_of_the_step_images(
    argotune: Argotune, write: Write
) -> None:
    file = write("workspace.yaml", WORKSPACE)
    templates = argo_object(argotune("render", file, "--set", "image-pull-secret=pull").out)
    (dag,) = [each["dag"] for each in templates["spec"]["templates"] if each["name"] == "finetune"]
    (deploy,) = [task for task in dag["tasks"] if task["name"] == "deploy"]
    given = {"name": "image-pull-secret", "value": "pull"}
    assert given in deploy["arguments"]["parameters"]


def test_the_config_map_may_lie_in_a_further_file(argotune: Argotune, write: Write) -> None:
    workspace = write("workspace.yaml", changed({"tuning/config": "my-config"}))
    config_map = write("config-map.yaml", CONFIG_MAP)
    answer = argotune("render", workspace, config_map)
    assert (answer.code, answer.err) == (0, "")
    config = yaml.safe_load(arguments_of(argo_object(answer.out))["config"])
    assert config == {"training_config": {"LoraConfig": {"r": 8}}}


@pytest.mark.parametrize("flags", FORMS.values(), ids=FORMS)
def test_tokens_of_urls_are_in_a_secret_and_nowhere_else(
    argotune: Argotune, write: Write, flags: list[str]
) -> None:
    text = changed({"tuning/input": {"urls": [SECRET_URLS, "https://example.com/b.parquet"]}})
    answer = argotune("render", write("workspace.yaml", text), *flags)
    assert answer.code == 0
    secret, document = documents(answer.out)["Secret"], argo_object(answer.out)
    assert json.loads(secret["stringData"]["urls.json"]) == [
        SECRET_URLS,
        "https://example.com/b.parquet",
    ]
    arguments = arguments_of(document)
    assert arguments["urls-secret"] == secret["metadata"]["name"]
    assert json.loads(arguments["urls"]) == [
        "https://example.com/a.parquet",
        "https://example.com/b.parquet",
    ]
    assert "hunter2" not in yaml.safe_dump(document) + answer.err


@pytest.mark.parametrize("flags", FORMS.values(), ids=FORMS)
def test_argo_lint_accepts_it(
    argotune: Argotune, write: Write, tmp_path: Path, flags: list[str]
) -> None:
    argo = shutil.which("argo")
    if argo is None:
        pytest.skip("argo is not on PATH")
    answer = argotune("render", write("workspace.yaml", QUICK_START), *flags)
    rendered = write("rendered.yaml", answer.out)
    installed = write("installed.yaml", yaml.safe_dump(template()))
    result = subprocess.run(
        [argo, "lint", "--offline", "--no-color", str(installed), str(rendered)],
        env={"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "no linting errors found" in result.stdout


@pytest.mark.parametrize("form", ["reference", "CronWorkflow"])
def test_what_refers_to_an_installed_template_names_nothing_of_this_machine(
    argotune: Argotune, write: Write, form: str
) -> None:
    file = write("workspace.yaml", TINY)
    answer = argotune("render", file, *FORMS[form], "--url", "http://127.0.0.1:9/a.jsonl")
    assert (answer.code, answer.out) == (2, "")
    url, image = answer.errors
    assert url.startswith("--url[0]: 'http://127.0.0.1:9/a.jsonl': this machine, which `argotune")
    assert image.startswith("tuning.output.image: 'oci:")


def test_rendering_for_this_machine_keeps_its_directory(
    argotune: Argotune, write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = argotune("render", write("workspace.yaml", TINY))
    assert answer.code == 0
    assert arguments_of(argo_object(answer.out))["output-image"] == f"oci:{tmp_path}/dist/my-tiny"


def test_any_setting_can_be_given_by_a_flag(argotune: Argotune, write: Write) -> None:
    file = write("workspace.yaml", WORKSPACE)
    answer = argotune("render", file, "--set", "tune-memory=32Gi", "--set", "zones=1,2")
    given = arguments_of(argo_object(answer.out))
    assert given["tune-memory"] == "32Gi"
    assert given["zones"] == '["1", "2"]'


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (["--set", "tune-memory"], "--set 'tune-memory': accepted is NAME=VALUE"),
        (
            ["--set", "tune-memroy=1Gi"],
            "--set 'tune-memroy=1Gi': no setting tune-memroy; did you mean tune-memory?",
        ),
        (
            ["--set", "tune-cpu=2", "--set", "tune-cpu=4"],
            "--set 'tune-cpu=4': tune-cpu is given twice; give it once",
        ),
        (
            ["--volume-size", "1Gi", "--set", "volume-size=2Gi"],
            "--set 'volume-size=2Gi': volume-size is given twice; give it once",
        ),
        (["--set", "tune-memory=x"], "--set tune-memory: 'x'; accepted is a quantity such as 16Gi"),
    ],
)
def test_a_setting_that_is_wrong_is_refused(
    argotune: Argotune, write: Write, flags: list[str], problem: str
) -> None:
    answer = argotune("render", write("workspace.yaml", WORKSPACE), *flags)
    assert answer.code == 2
    assert answer.errors == [problem]


def test_an_unknown_setting_hides_no_other_problem(argotune: Argotune, write: Write) -> None:
    file = write("workspace.yaml", WORKSPACE.replace("method: lora", "method: full"))
    answer = argotune("render", file, "--set", "tune-memroy=1Gi", "--set", "tune-cpu=x")
    assert answer.code == 2
    assert [each.partition(";")[0] for each in answer.errors] == [
        "--set 'tune-memroy=1Gi': no setting tune-memroy",
        "--set tune-cpu: 'x'",
        "tuning.method: 'full'",
    ]
