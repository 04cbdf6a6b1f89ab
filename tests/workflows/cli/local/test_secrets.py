"""What stands for the Secrets of a run of this machine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from argotune.steps.dataset.params import SECRET_VARIABLES
from argotune.steps.evaluate.params import JUDGE_VARIABLES
from argotune.steps.notify.params import SECRET_VARIABLES as WEBHOOK_VARIABLES
from argotune.steps.tune.params import TRACKER_VARIABLES
from argotune.workflows.cli.home import Home
from argotune.workflows.cli.local.secrets import from_environment, keep_variables
from argotune.workflows.workspace import manifests
from tests.workflows.cli.command import Argotune
from tests.workflows.cli.conftest import Write
from tests.workflows.cli.documents import shell, workflow

TOKENS = {"HF_TOKEN": "hub-secret", "WANDB_API_KEY": "wandb-secret"}


def arguments(**changes: str) -> dict[str, str]:
    return {"name": "phi", "preset": "tiny", **changes}


def kept(here: Home, environ: Mapping[str, str], **changes: str) -> dict[str, dict[str, str]]:
    """What a run of argotune's own template gets of an environment."""
    given = {name.replace("_", "-"): text for name, text in changes.items()}
    keep_variables(here, "phi-1", manifests.workflow(arguments(**given)))
    return from_environment(here, "phi-1", environ)


def test_the_environment_stands_for_the_secrets_that_the_template_names(tmp_path: Path) -> None:
    assert kept(Home(tmp_path), {**TOKENS, "MLFLOW_EXPERIMENT": "no", "AWS_REGION": "x"}) == {
        "argotune-data": {"HF_TOKEN": "hub-secret", "AWS_REGION": "x"},
        "argotune-model-access": {"HF_TOKEN": "hub-secret"},
        "argotune-tracking": {"WANDB_API_KEY": "wandb-secret"},
    }


def test_a_secret_of_another_name_is_known_too(tmp_path: Path) -> None:
    assert kept(Home(tmp_path), TOKENS, model_access_secret="hub").keys() == {
        "hub",
        "argotune-data",
        "argotune-tracking",
    }


def test_the_webhook_of_this_machine_stands_for_the_secret_of_the_run(tmp_path: Path) -> None:
    environ = {"ARGOTUNE_NOTIFY_URL": "https://example.com/hook"}
    assert kept(Home(tmp_path), environ, notify_secret="chat") == {
        "chat": {"url": "https://example.com/hook"}
    }


def test_every_variable_of_the_trackers_is_among_them(tmp_path: Path) -> None:
    environ = dict.fromkeys(TRACKER_VARIABLES, "x")
    assert kept(Home(tmp_path), environ) == {"argotune-tracking": environ}


def test_no_value_is_written_down(tmp_path: Path) -> None:
    kept(Home(tmp_path), TOKENS)
    texts = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert texts
    assert not [value for value in TOKENS.values() if value in "".join(texts)]


def test_only_the_steps_that_name_a_secret_get_it() -> None:
    templates = manifests.template()["spec"]["templates"]
    named: dict[str, set[str]] = {}
    for template in templates:
        for variable in (template.get("container") or {}).get("env") or []:
            if "secretKeyRef" in (variable.get("valueFrom") or {}):
                named.setdefault(template["name"], set()).add(variable["name"])
    assert named == {
        "dataset": set(SECRET_VARIABLES),
        "model": {"HF_TOKEN"},
        **{key: set(WEBHOOK_VARIABLES.values()) for key in ("notify", "notify-waiting")},
        # It brings the model's tokenizer.
        "plan": {"HF_TOKEN"},
        "tune": set(TRACKER_VARIABLES),
        "evaluate": set(JUDGE_VARIABLES),
    }


def asking() -> dict[str, Any]:
    """A template that names the Secret of the trackers, and fails without it."""
    template = shell("main", 'env | grep -c secret; test "$WANDB_API_KEY" = wandb-secret')
    reference = {"name": "argotune-tracking", "key": "WANDB_API_KEY", "optional": True}
    variable = {"name": "WANDB_API_KEY", "valueFrom": {"secretKeyRef": reference}}
    template["container"]["env"] = [variable]
    return template


@pytest.fixture
def tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in TOKENS.items():
        monkeypatch.setenv(name, text)


@pytest.mark.usefixtures("tokens")
def test_a_foreign_workflow_gets_none_though_it_names_one(argotune: Argotune, write: Write) -> None:
    answer = argotune("run", write("workflow.yaml", workflow(asking())), "--name", "foreign")
    assert answer.code == 1
    assert argotune("logs", "foreign").out == "foreign: 0\n"


@pytest.mark.usefixtures("tokens")
def test_a_run_of_a_workspace_gets_its_own_when_it_is_resumed_too(
    argotune: Argotune, write: Write, home_dir: Path
) -> None:
    file = write("workflow.yaml", workflow(asking()))
    assert argotune("run", file, "--name", "phi-1").code == 1
    keep_variables(Home(home_dir), "phi-1", manifests.workflow(arguments()))
    answer = argotune("run", "--resume", "phi-1", "-o", "json")
    assert (answer.code, answer.err) == (0, "")
    assert json.loads(answer.out)["status"]["phase"] == "Succeeded"
