"""The Argo objects of one workspace, made from the rendered templates without hera, which takes
half a second to import."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from workflows.cli.errors import InputError

_RENDERED_DIR = Path(__file__).parent.parent / "rendered"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def template(*, volume_size: str | None = None, storage_class: str | None = None) -> dict[str, Any]:
    """WorkflowTemplate `finetune`, with the volume's size and storage class where given."""
    document = _rendered("finetune")
    claim = document["spec"]["volumeClaimTemplates"][0]["spec"]
    if volume_size:
        claim["resources"]["requests"]["storage"] = volume_size
    if storage_class:
        claim["storageClassName"] = storage_class
    return document


def workflow(
    arguments: Mapping[str, str],
    *,
    volume_size: str | None = None,
    storage_class: str | None = None,
) -> dict[str, Any]:
    """A Workflow that stands alone: the template's spec with the arguments filled in."""
    document = template(volume_size=volume_size, storage_class=storage_class)
    spec = document["spec"]
    _check_known(arguments, spec)
    for parameter in spec["arguments"]["parameters"]:
        parameter["value"] = arguments.get(parameter["name"], parameter["value"])
    return _workflow(arguments, document["metadata"]["annotations"], spec)


def workflow_from_template(arguments: Mapping[str, str]) -> dict[str, Any]:
    """A Workflow of nothing but arguments, for controllers with templateReferencing: Strict."""
    document = template()
    _check_known(arguments, document["spec"])
    spec = {
        "workflowTemplateRef": {"name": document["metadata"]["name"]},
        "arguments": _arguments(arguments),
    }
    return _workflow(arguments, document["metadata"]["annotations"], spec)


def cron_workflow(arguments: Mapping[str, str], schedule: str) -> dict[str, Any]:
    """The CronWorkflow of one workspace."""
    document = _rendered("retrain")
    document["metadata"]["name"] = f"retrain-{arguments['name']}"
    spec = document["spec"]
    del spec["suspend"]
    spec["schedules"] = [schedule]
    _check_known(arguments, template()["spec"])
    spec["workflowSpec"]["arguments"] = _arguments({**arguments, "only-if-changed": "true"})
    return document


def dump(*documents: Mapping[str, Any]) -> str:
    """The documents as one YAML text."""
    return yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True, width=100)


def _workflow(
    arguments: Mapping[str, str], annotations: Mapping[str, str], spec: dict[str, Any]
) -> dict[str, Any]:
    name = arguments["name"]
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {
            "generateName": f"{name}-",
            "labels": {"app.kubernetes.io/part-of": "argotune", "argotune.dev/workspace": name},
            "annotations": {
                **annotations,
                "workflows.argoproj.io/title": f"Fine-tune {arguments['preset']} as {name}",
            },
        },
        "spec": spec,
    }


def _arguments(arguments: Mapping[str, str]) -> dict[str, Any]:
    return {"parameters": [{"name": name, "value": text} for name, text in arguments.items()]}


def _check_known(arguments: Mapping[str, str], spec: Mapping[str, Any]) -> None:
    known = {parameter["name"]: parameter for parameter in spec["arguments"]["parameters"]}
    problems = [
        f"parameter {name}: unknown; known are {', '.join(sorted(known))}"
        for name in arguments.keys() - known.keys()
    ]
    problems += [
        f"parameter {name}: {text!r} is not one of {', '.join(known[name]['enum'])}"
        for name, text in arguments.items()
        if "enum" in known.get(name, {}) and text not in known[name]["enum"]
    ]
    if problems:
        raise InputError(problems)


def _rendered(name: str) -> dict[str, Any]:
    text = (_RENDERED_DIR / f"{name}.yaml").read_text()
    document: dict[str, Any] = yaml.load(text, Loader=_LOADER)
    return document
