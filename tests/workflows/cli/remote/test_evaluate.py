"""argotune evaluate on a cluster: the Workflow that it makes, and what it shows of it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from argotune.steps.plan.base_model.own import dump_preset, load_preset
from argotune.steps.settings.step_params import evaluation_settings
from argotune.workflows.workspace.manifests import fill_in, parameters_of, read_rendered
from tests.fakes.kube import Cluster, Object
from tests.fakes.registry import serving
from tests.steps.plan.side_by_side.adapters import TINY
from tests.workflows.cli.cluster_workflows import run_of, step
from tests.workflows.cli.command import Argotune
from tests.workflows.cli.commands.test_evaluate import FOUND
from tests.workflows.cli.commands.test_rollback import KNOWN, NEW, needs_skopeo, put_service
from tests.workflows.cli.remote.test_states import meanwhile

DATA = "https://example.com/questions.jsonl"
HERE = ("-n", "team-a")
TABLE = "python-docs  1.2500  +3.2500 (+3.0000 to +3.5000)  1.00 passed"


@pytest.fixture
def installed(cluster: Cluster) -> Cluster:
    """A cluster with the template and the service phi."""
    (template,) = (fill_in(each, {}) for each in read_rendered("evaluate"))
    cluster.put({**template, "metadata": {**template["metadata"], "namespace": "team-a"}})
    put_service(cluster, KNOWN)
    return cluster


def created(cluster: Cluster) -> tuple[Object, dict[str, Any]]:
    """The Workflow, and its arguments."""
    (made,) = cluster.of_kind("Workflow")
    given = made["spec"]["arguments"]["parameters"]
    return made, {each["name"]: each["value"] for each in given}


def test_a_workflow_of_arguments_is_made_for_the_installed_template(
    installed: Cluster, argotune: Argotune
) -> None:
    image = "registry.example.com/me/phi:v1"
    answer = argotune(
        "evaluate", "phi", "TINY", image, "--data", DATA, *HERE, "--allow-cpu", "--answers", "7",
        "--set", "provider=existing", "--set", "label-selector=pool=gpu", "--set", "zones=1,2",
    )  # fmt: skip
    assert (answer.code, answer.err) == (0, "")
    made, given = created(installed)
    name = made["metadata"]["name"]
    assert answer.out.splitlines() == [
        f"workflow.argoproj.io/{name} created in namespace team-a",
        f"watch it: argotune status {name} -n team-a --watch",
        f"then what was found: argotune report {name} -n team-a",
    ]
    assert set(made["spec"]) == {"workflowTemplateRef", "arguments"}
    assert made["spec"]["workflowTemplateRef"] == {"name": "evaluate"}
    assert made["metadata"]["labels"]["argotune.dev/workspace"] == given["name"] == "evaluation"
    assert made["metadata"]["annotations"]["argotune.dev/submitted-by"] == "ann"
    assert json.loads(given["models"]) == [f"phi={NEW}", "tiny", image]
    assert json.loads(given["urls"]) == [DATA]
    assert (given["shown-answers"], given["allow-cpu"]) == ("7", "true")
    assert (given["label-selector"], given["zones"]) == ("pool=gpu", '["1", "2"]')
    (template,) = read_rendered("evaluate")
    rows = {row.name for row in evaluation_settings()}
    assert given.keys() == parameters_of(template).keys() == {*rows, "models", "shown-answers"}


def test_a_preset_of_the_installation_or_of_this_machine_goes_with_the_workflow(
    installed: Cluster,
    argotune: Argotune,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    presets = tmp_path / "presets"
    presets.mkdir()
    monkeypatch.setenv("ARGOTUNE_HOME", str(tmp_path))
    mine, other = (msgspec.structs.replace(TINY, name=name) for name in ("mine", "other"))
    config_map = {"data": {"mine.yaml": dump_preset(mine)}}
    installed.put(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "argotune-presets", "namespace": "team-a"},
            **config_map,
        }
    )
    assert argotune("evaluate", "mine", "--data", DATA, *HERE).code == 0
    _, given = created(installed)
    assert load_preset(given["own-preset"]) == mine
    assert json.loads(given["models"]) == ["mine"]
    (presets / "other.yaml").write_text(dump_preset(other))
    (presets / "wrong.yaml").write_text(dump_preset(other))
    answer = argotune("evaluate", "mine", "other", "wrong", "--data", DATA, *HERE)
    assert answer.code == 2
    assert answer.errors == [
        "preset wrong: name: 'other'; accepted is the file's name",
        "mine, other, wrong: models are compared on one base; name one preset",
    ]


def test_tokens_of_urls_are_in_a_secret_of_the_workflow(
    installed: Cluster, argotune: Argotune
) -> None:
    assert argotune("evaluate", "tiny", "--data", f"{DATA}?sig=abc", *HERE).code == 0
    made, given = created(installed)
    assert "abc" not in json.dumps(made)
    (secret,) = installed.of_kind("Secret")
    assert secret["metadata"]["name"] == given["urls-secret"] == f"{made['metadata']['name']}-urls"
    assert json.loads(secret["stringData"]["urls.json"]) == [f"{DATA}?sig=abc"]
    assert secret["metadata"]["ownerReferences"][0]["name"] == made["metadata"]["name"]


def test_checks_are_in_the_config(installed: Cluster, argotune: Argotune, tmp_path: Path) -> None:
    checks = tmp_path / "checks.yaml"
    checks.write_text("[{kind: regex, pattern: x}]")
    answer = argotune("evaluate", "tiny", "--data", DATA, "--checks", checks, *HERE)
    assert answer.code == 0
    _, given = created(installed)
    assert "pattern: x" in given["config"]


def test_a_service_without_training_is_no_model(installed: Cluster, argotune: Argotune) -> None:
    (service,) = installed.of_kind("Deployment")
    service["metadata"]["annotations"] = {"argotune.dev/serves": "acme/m@1 with docs (a/b:v1)"}
    answer = argotune("evaluate", "phi", "--data", DATA, *HERE)
    assert (answer.code, installed.of_kind("Workflow")) == (2, [])
    assert answer.errors == [
        "phi: its service is one without training, and has no adapter of its own; name its"
        " preset, and each of its adapters by the image"
    ]


@needs_skopeo
def test_versions_are_found_by_this_persons_login_or_else_left_to_the_run(
    installed: Cluster, argotune: Argotune
) -> None:
    manifest = ("application/vnd.oci.image.manifest.v1+json", b"{}")
    for login in (False, True):
        with serving(login=login) as registry:
            image = f"{registry.host}/team/phi"
            registry.manifests["team/phi", "v1"] = manifest
            put_service(installed, dataclasses.replace(KNOWN, adapter=f"{image}@sha256:{64 * 'b'}"))
            asked = ("--data", DATA, *HERE)
            if not login:
                refused = argotune("evaluate", "phi:v1", "phi:v9", *asked)
                assert (refused.code, installed.of_kind("Workflow")) == (2, [])
                assert refused.errors == [
                    f"'v9': {image} has no such version; `argotune versions phi -n team-a` lists"
                    " what there is"
                ]
            answer = argotune("evaluate", "phi:v1", "phi", *asked)
        assert answer.code == 0
        made, given = created(installed)
        installed.take("Workflow", "team-a", made["metadata"]["name"])
        found = ":v1" if login else f"@sha256:{hashlib.sha256(manifest[1]).hexdigest()}"
        assert json.loads(given["models"])[0] == f"phi:v1={image}{found}"
        assert answer.err.startswith("warning: phi:v1 was not looked up before the run: ") == login


def test_all_that_is_wrong_is_said_at_once_and_nothing_is_made(
    installed: Cluster, argotune: Argotune
) -> None:
    answer = argotune(
        "evaluate", "other", "oci:dist:v1", "--data", "rows.jsonl", *HERE,
        "--set", "output-image=x", "--set", "provder=aks",
    )  # fmt: skip
    assert answer.code == 2
    assert [said.removeprefix("error: ").partition(": ")[0] for said in answer.errors] == [
        "--set 'output-image=x'",
        "--set 'provder=aks'",
        "other",
        "oci:dist:v1",
        "--data rows.jsonl",
    ]
    assert "no workspace with a service of namespace team-a" in answer.errors[2]
    assert not installed.of_kind("Workflow")


def test_what_the_plan_step_would_refuse_is_refused_here(
    installed: Cluster, argotune: Argotune
) -> None:
    settings = ("--set", "tune-memory=lots", "--set", "push-secret=payroll")
    answer = argotune("evaluate", "tiny", "--data", DATA, *HERE, *settings)
    assert answer.code == 2
    memory, secret = answer.errors
    assert memory.startswith("--set tune-memory: 'lots'; accepted is a quantity")
    assert secret.startswith("--set push-secret: 'payroll' is not among the Secrets")
    assert not installed.of_kind("Workflow")


def test_an_installation_without_the_template_is_named(
    cluster: Cluster, argotune: Argotune
) -> None:
    answer = argotune("evaluate", "tiny", "--data", DATA, *HERE)
    assert (answer.code, answer.err) == (
        3,
        "error: WorkflowTemplate evaluate is not in namespace team-a: `argotune install -n team-a`"
        " puts it there\n",
    )


@pytest.mark.parametrize("flags", [("--wait",), ("--set", "provider=aks")])
def test_flags_of_a_cluster_are_refused_without_one(
    argotune: Argotune, flags: tuple[str, ...]
) -> None:
    answer = argotune("evaluate", "tiny", "--data", DATA, *flags)
    assert answer.code == 2
    assert answer.errors == [f"{flags[0]}: for a cluster; name a namespace by -n"]


def test_a_page_is_refused_where_nobody_waits_for_what_is_found(
    installed: Cluster, argotune: Argotune
) -> None:
    answer = argotune("evaluate", "tiny", "--data", DATA, *HERE, "--html", "page.html")
    assert answer.errors == ["--html: nothing is found yet; add --wait"]
    assert not installed.of_kind("Workflow")


def evaluated(name: str, phase: str = "Succeeded") -> Object:
    """A run that has measured, whose report no registry keeps."""
    return run_of(
        *step("evaluate", phase, outputs={"found": msgspec.json.encode(FOUND).decode()}),
        *step("push", phase, outputs={"report": "none: it is kept beside an adapter"}),
        phase=phase,
        name=name,
    )


def end_when_created(cluster: Cluster) -> Callable[[], None]:
    def end() -> None:
        cluster.wait_for(lambda: bool(cluster.of_kind("Workflow")))
        (made,) = cluster.of_kind("Workflow")
        cluster.put(evaluated(made["metadata"]["name"]))

    return end


def test_who_waits_sees_the_same_table_as_on_one_machine(
    installed: Cluster, argotune: Argotune, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    with meanwhile(end_when_created(installed)):
        answer = argotune("evaluate", "tiny", "--data", DATA, *HERE, "--wait", "--html", page)
    assert (answer.code, answer.err) == (0, f"written to {page}\n")
    assert "+3.2500 (+3.0000 to +3.5000)" in page.read_text()
    lines = [line.rstrip() for line in answer.out.splitlines()]
    assert TABLE in lines
    assert lines[-1] == "kept at its Workflow alone, for a week: it is kept beside an adapter"


def test_the_report_of_an_evaluation_is_in_its_outputs_too(
    cluster: Cluster, argotune: Argotune
) -> None:
    cluster.put(evaluated("evaluation-abcde"))
    answer = argotune("report", "evaluation", *HERE)
    assert (answer.code, answer.err) == (0, "")
    assert TABLE in [line.rstrip() for line in answer.out.splitlines()]
