"""The Argo objects of one workspace, made from the rendered templates without hera, which takes
half a second to import."""

from __future__ import annotations

import copy
import random
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from argotune.workflows.workspace.errors import WorkspaceError

NAME = "finetune"
"""Of the WorkflowTemplate."""
_RANDOM_CHARACTERS = string.ascii_lowercase + string.digits
_RENDERED_DIR = Path(__file__).parent.parent / "rendered"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def template(*, volume_size: str | None = None, storage_class: str | None = None) -> dict[str, Any]:
    """WorkflowTemplate `finetune`, with the volume's size and storage class where given."""
    document = _rendered(NAME)
    document["spec"] |= _claims(document["spec"], volume_size, storage_class)
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


def workflow_from_template(
    arguments: Mapping[str, str],
    installed: Mapping[str, Any] | None = None,
    *,
    volume_size: str | None = None,
    storage_class: str | None = None,
) -> dict[str, Any]:
    """A Workflow of nothing but arguments for a WorkflowTemplate: the one that is installed where
    it is known, else that of this version.

    The volume's size and storage class are no arguments: Argo takes the Workflow's volume claims
    in place of the template's.
    """
    document = installed or template()
    _check_known(arguments, document["spec"])
    spec = {
        "workflowTemplateRef": {"name": NAME},
        "arguments": _arguments(arguments),
        **_claims(document["spec"], volume_size, storage_class),
    }
    return _workflow(arguments, document["metadata"].get("annotations") or {}, spec)


def cron_workflow(
    arguments: Mapping[str, str],
    schedule: str,
    *,
    volume_size: str | None = None,
    storage_class: str | None = None,
) -> dict[str, Any]:
    """The CronWorkflow of one workspace."""
    document = _rendered("retrain")
    document["metadata"]["name"] = f"retrain-{arguments['name']}"
    spec, template_spec = document["spec"], template()["spec"]
    del spec["suspend"]
    spec["schedules"] = [schedule]
    _check_known(arguments, template_spec)
    spec["workflowSpec"] |= {
        "arguments": _arguments({**arguments, "only-if-changed": "true"}),
        **_claims(template_spec, volume_size, storage_class),
    }
    return document


def parameters_of(template: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The template's parameters by their names."""
    return {item["name"]: item for item in template["spec"]["arguments"]["parameters"]}


def named(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The Workflow under a name of its own instead of one that the server makes."""
    metadata = {key: value for key, value in document["metadata"].items() if key != "generateName"}
    return {**document, "metadata": {"name": name, **metadata}}


def random_name(prefix: str) -> str:
    """Kubernetes' way to make a name of a generateName."""
    return f"{prefix}-{''.join(random.choices(_RANDOM_CHARACTERS, k=5))}"


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


def _claims(
    spec: Mapping[str, Any], volume_size: str | None, storage_class: str | None
) -> dict[str, Any]:
    """The volume claims with another size or storage class; nothing where neither is given."""
    if not volume_size and not storage_class:
        return {}
    claims: list[dict[str, Any]] = copy.deepcopy(spec["volumeClaimTemplates"])
    for claim in claims:
        if volume_size:
            claim["spec"]["resources"]["requests"]["storage"] = volume_size
        if storage_class:
            claim["spec"]["storageClassName"] = storage_class
    return {"volumeClaimTemplates": claims}


def _check_known(arguments: Mapping[str, str], spec: Mapping[str, Any]) -> None:
    known = parameters_of({"spec": spec})
    problems = [
        f"parameter {name}: unknown; known are {', '.join(sorted(known))}"
        for name in sorted(arguments.keys() - known.keys())
    ]
    problems += [
        f"parameter {name}: {text!r} is not one of {', '.join(known[name]['enum'])}"
        for name, text in arguments.items()
        if "enum" in known.get(name, {}) and text not in known[name]["enum"]
    ]
    if problems:
        raise WorkspaceError(problems)


def _rendered(name: str) -> dict[str, Any]:
    text = (_RENDERED_DIR / f"{name}.yaml").read_text()
    document: dict[str, Any] = yaml.load(text, Loader=_LOADER)
    return document
