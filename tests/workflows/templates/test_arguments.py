"""What a submitter writes reaches the step as it was written."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from argotune.steps.settings.run_settings import parameter_settings
from argotune.steps.settings.step_params import evaluation_settings
from argotune.workflows.engine.run import Options, run
from argotune.workflows.workspace.manifests import fill_in, install_defaults, read_rendered

_PRINT = "import json, sys; open('/tmp/argv', 'w').write(json.dumps(sys.argv[1:]))"
_HOSTILE = "$(HOME) $$ $(TMPDIR) $$(HOME) $é 'a' \"b\" \\ & $"


FILES = ("finetune", "evaluate", "serve", "rollback", "gc")


def steps() -> list[tuple[str, str]]:
    """The container templates of all rendered templates with their files, of equal ones the first.

    Those of scorers have no args; tests/workflows/templates/test_scorer.py is about them.
    """
    found: dict[tuple[str, ...], tuple[str, str]] = {}
    for file in FILES:
        for each in fill_in(read_rendered(file)[0], {})["spec"]["templates"]:
            if args := each.get("container", {}).get("args"):
                found.setdefault(tuple(args), (each["name"], file))
    return list(found.values())


def container(step: str, file: str = "finetune") -> dict[str, Any]:
    """A container template of a rendered file."""
    template = fill_in(read_rendered(file)[0], {})
    (found,) = [each for each in template["spec"]["templates"] if each["name"] == step]
    return dict(found)


def parameters_of(template: dict[str, Any], scope: str) -> list[str]:
    """The parameters that the template's args read."""
    text = " ".join(template["container"]["args"])
    return sorted(set(re.findall(rf"{scope}\.parameters(?:\.|\[')([\w-]+)", text)))


def received(template: dict[str, Any], directory: Path) -> list[str]:
    """The arguments with which the step's command is started where every value is hostile."""
    printing = {
        "name": "main",
        "inputs": {"parameters": [{"name": name} for name in parameters_of(template, "inputs")]},
        "outputs": {"parameters": [{"name": "argv", "valueFrom": {"path": "/tmp/argv"}}]},
        "container": {
            "command": ["python", "-c", _PRINT],
            "args": [arg for arg in template["container"]["args"] if "{{retries}}" not in arg],
            "env": [item for item in template["container"]["env"] if "value" in item],
        },
    }
    names = {*parameters_of(template, "inputs"), *parameters_of(template, "workflow")}
    arguments = {"parameters": [{"name": name, "value": _HOSTILE} for name in sorted(names)]}
    workflow = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": "wf"},
        "spec": {"entrypoint": "main", "arguments": arguments, "templates": [printing]},
    }
    options = Options(
        run_dir=directory / "run", claims_dir=directory / "claims", working_dir=directory
    )
    finished = run([workflow], options)
    (output,) = finished["status"]["nodes"]["wf"]["outputs"]["parameters"]
    found: list[str] = json.loads(output["value"])
    return found


def test_there_are_steps_of_every_file() -> None:
    assert {file for _, file in steps()} == set(FILES)


@pytest.mark.parametrize(("step", "file"), steps())
def test_the_text_of_a_parameter_reaches_the_step_unchanged(
    step: str, file: str, tmp_path: Path
) -> None:
    template = container(step, file)
    taken = [arg.partition("=") for arg in received(template, tmp_path)]
    texts = {name.removeprefix("--"): text for name, _, text in taken}
    names = parameters_of(template, "inputs")
    assert {texts[name] for name in names} <= {_HOSTILE}
    whole = [text for text in texts.values() if _HOSTILE in text]
    assert len(whole) >= max(1, len(names))
    assert not [text for text in texts.values() if "{{=" in text]


@pytest.mark.parametrize("file", ["finetune", "evaluate"])
def test_the_plan_step_is_given_every_setting_of_later_steps(file: str, tmp_path: Path) -> None:
    taken = [arg.partition("=") for arg in received(container("plan", file), tmp_path)]
    texts = {name.removeprefix("--"): text for name, _, text in taken}
    fed_to_plan_alone = {"preset", "own-preset", "method", "config", "model-source", "start-from"}
    fed_to_plan_alone |= {"cloud", "engine", "service-load-in-4bit"}
    rows = parameter_settings() if file == "finetune" else evaluation_settings()
    names = {row.name for row in rows} - fed_to_plan_alone
    assert json.loads(texts["settings"]) == dict.fromkeys(names, _HOSTILE)
    assert json.loads(texts["installed"]) == install_defaults()
