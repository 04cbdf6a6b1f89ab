"""The Argo objects of one workspace, made from the rendered templates.

The templates are read without hera, whose import takes half a second. What the installer decides is
`{{install.NAME}}` in the rendered templates; here it becomes text, and INSTALLED_ANNOTATION records
the values.
"""

from __future__ import annotations

import copy
import functools
import json
import random
import re
import string
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from argotune.steps.common import strict_yaml
from argotune.steps.nodes.labels import WORKSPACE_LABEL
from argotune.steps.settings.run_settings import (
    SECRET_SETTINGS,
    SETTINGS,
    installer_settings,
)
from argotune.steps.settings.step_params import names_pattern
from argotune.workflows.workspace.fields import WorkspaceError
from argotune.workflows.workspace.images import digest_texts
from argotune.workflows.workspace.model import SERVICE_TEMPLATE, TEMPLATE
from argotune.workflows.workspace.schedule import NAME_PREFIX, schedule_problems

NAME = TEMPLATE
URL_KEYS = {"urls": "urls.json", "validation-urls": "validation-urls.json"}
"""Keys in the Secret with a run's URLs, a JSON list each, by the parameter with the same URLs."""
INSTALLED_ANNOTATION = "argotune.dev/installed"
"""Annotation of the WorkflowTemplate: the settings that the installer decided, as JSON."""
ALLOWED_SECRETS_PATTERN = "allowed-secrets-pattern"
"""Install tag of the pattern that follows from the setting `allowed-secrets`."""
ALLOWED_REGISTRIES = "allowed-registries"
"""Install tag of the hosts inside the network that a run's registries may be, as JSON: those of the
setting `allowed-hosts`, and the registry of the step images."""
ALL_SETTINGS = "all-settings"
"""Install tag of all settings that the installer decided, as JSON in an argument of a container."""
ALLOWED_PRIORITY_CLASSES_PATTERN = "allowed-priority-classes-pattern"
"""Install tag of the pattern that follows from the setting `allowed-priority-classes`."""
ALLOWED_CLAIMS_PATTERN = "allowed-claims-pattern"
"""Install tag of the pattern that follows from the setting `allowed-claims`."""
ALLOWED_OUTPUT_CLAIMS_PATTERN = "allowed-output-claims-pattern"
"""Install tag of the pattern that follows from the setting `allowed-output-claims`."""
PATTERNS = {
    ALLOWED_SECRETS_PATTERN: "allowed-secrets",
    ALLOWED_PRIORITY_CLASSES_PATTERN: "allowed-priority-classes",
    ALLOWED_CLAIMS_PATTERN: "allowed-claims",
    ALLOWED_OUTPUT_CLAIMS_PATTERN: "allowed-output-claims",
}
"""Install tag of a pattern -> the setting that lists the allowed names."""
INSTALL_TAG = re.compile(r"\{\{install\.([a-z-]+)\}\}")
"""Matches the place of an installer's setting; the group is its name."""
_INSTALLED_LISTS = ("allowed-hosts", *PATTERNS.values())
"""Settings of the annotation that are JSON lists themselves."""
# Many times what any step but tune uses.
_MOST_CPUS = "2"
_RANDOM_CHARACTERS = string.ascii_lowercase + string.digits
_RENDERED_DIR = Path(__file__).parent.parent / "rendered"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def install_tag(name: str) -> str:
    """Return the placeholder of an installer's setting in a rendered template."""
    return f"{{{{install.{name}}}}}"


@functools.cache
def read_rendered(name: str) -> tuple[dict[str, Any], ...]:
    """Read the documents of a rendered file, with their install tags.

    A file is read once, so that whoever changes a document has to copy it first.
    """
    text = (_RENDERED_DIR / f"{name}.yaml").read_text()
    return tuple(yaml.load_all(text, Loader=_LOADER))


def install_defaults() -> dict[str, str]:
    """Return the defaults of the settings that the installer decides, by name."""
    return {row.name: row.default for row in installer_settings()}


def fill_in(document: dict[str, Any], values: Mapping[str, str]) -> dict[str, Any]:
    """Replace the tags of a document by the installer's settings.

    A setting without a value has its default. A WorkflowTemplate gets the settings in an
    annotation.
    """
    chosen = {**install_defaults(), **values}
    recorded = json.dumps(chosen, sort_keys=True)
    # Kubernetes makes `$$` of an argument into `$`.
    following = {**derived_values(chosen), ALL_SETTINGS: recorded.replace("$", "$$")}
    filled: dict[str, Any] = _replace(document, {**chosen, **following})
    if filled["kind"] == "WorkflowTemplate":
        if chosen["limits"] == "true":
            _limit_cpus(filled["spec"]["templates"])
        annotations = filled["metadata"].setdefault("annotations", {})
        annotations[INSTALLED_ANNOTATION] = recorded
    return filled


def derived_values(values: Mapping[str, str]) -> dict[str, str]:
    """Return the texts of install tags that follow from several settings or a part of one."""
    return {
        **{tag: names_pattern(json.loads(values[name])) for tag, name in PATTERNS.items()},
        ALLOWED_REGISTRIES: json.dumps(allowed_registries(values)),
        **digest_texts(values),
    }


def allowed_registries(values: Mapping[str, str]) -> list[str]:
    """List the hosts inside the network that a run's registries may be, HOST or HOST:PORT."""
    return [*json.loads(values["allowed-hosts"]), values["images-registry"].partition("/")[0]]


def installed_values(template: Mapping[str, Any]) -> dict[str, str]:
    """Read the settings that the installer decided from the installed WorkflowTemplate.

    In a template of a version without the annotation they are defaults of parameters. Raises
    WorkspaceError where somebody edited the annotation into something else.
    """
    text = (template["metadata"].get("annotations") or {}).get(INSTALLED_ANNOTATION)
    if text is None:
        known = parameters_of(template)
        names = [name for name in install_defaults() if name in known]
        return {name: str(known[name].get("value", "")) for name in names}
    try:
        values = json.loads(text)
        lists = [json.loads(values[name]) for name in _INSTALLED_LISTS if name in values]
        is_read = all(isinstance(value, str) for value in values.values()) and all(
            isinstance(item, str) for items in lists for item in items
        )
    except (ValueError, TypeError, AttributeError, RecursionError):
        is_read = False
    if not is_read:
        raise WorkspaceError([_unreadable(template, text)])
    return dict(values)


def decided_values(template: Mapping[str, Any]) -> dict[str, str]:
    """Read the installer's settings; those that an older template lacks have their defaults."""
    return {**install_defaults(), **installed_values(template)}


def sets_volume_size(template: Mapping[str, Any]) -> bool:
    """Whether the installation has set the size of its runs' volumes, by `--volume-size`."""
    rendered = read_rendered(str(template["metadata"]["name"]))[0]
    return _volume_size(template) != _volume_size(rendered)


def template(
    values: Mapping[str, str] | None = None,
    *,
    name: str = NAME,
    volume_size: str | None = None,
    storage_class: str | None = None,
) -> dict[str, Any]:
    """Build WorkflowTemplate `finetune`, or the one of the name, with the installer's settings.

    Volume size and storage class are set where they are given.
    """
    document = fill_in(read_rendered(name)[0], values or {})
    document["spec"] |= _claims(document["spec"], volume_size, storage_class)
    return document


def workflow(
    arguments: Mapping[str, str],
    *,
    name: str = NAME,
    volume_size: str | None = None,
    storage_class: str | None = None,
) -> dict[str, Any]:
    """Build a Workflow that stands alone: the template's spec with the arguments.

    It may use the Secrets, the priority class and the claims that the arguments name.
    """
    values = {name: text for name, text in arguments.items() if name in install_defaults()}
    values.setdefault("allowed-secrets", json.dumps(_secrets_in(arguments)))
    for setting, allowed in (
        ("priority-class", "allowed-priority-classes"),
        ("data-claim", "allowed-claims"),
        ("output-claim", "allowed-output-claims"),
    ):
        used = arguments.get(setting)
        values.setdefault(allowed, json.dumps([used] if used else []))
    document = template(values, name=name, volume_size=volume_size, storage_class=storage_class)
    spec = document["spec"]
    given = _template_arguments(arguments)
    _offer_all_choices(spec)
    _check_known(given, spec)
    for parameter in spec["arguments"]["parameters"]:
        parameter["value"] = given.get(parameter["name"], parameter.get("value", ""))
    return _workflow(arguments, name, document["metadata"]["annotations"], spec)


def workflow_from_template(
    arguments: Mapping[str, str],
    installed: Mapping[str, Any] | None = None,
    *,
    name: str = NAME,
    volume_size: str | None = None,
    storage_class: str | None = None,
) -> dict[str, Any]:
    """Build a Workflow of arguments only, for a WorkflowTemplate.

    The template is the installed one where it is known, and otherwise that of this version. The
    volume's size and storage class are not arguments: Argo uses the Workflow's volume claims in
    place of the template's.
    """
    document = installed or template(name=name)
    given = _template_arguments(arguments)
    _check_known(given, document["spec"])
    spec = {
        "workflowTemplateRef": {"name": name},
        "arguments": arguments_for(given, document["spec"]),
        **_claims(document["spec"], volume_size, storage_class),
    }
    return _workflow(arguments, name, document["metadata"].get("annotations") or {}, spec)


def cron_workflow(
    arguments: Mapping[str, str],
    schedules: Sequence[str],
    *,
    timezone: str,
    installed: Mapping[str, Any] | None = None,
    volume_size: str | None = None,
    storage_class: str | None = None,
) -> dict[str, Any]:
    """Build the CronWorkflow of one workspace, for the installed template or this version's.

    Raises WorkspaceError for a name, schedule or time zone on which Argo would never run.
    """
    problems = schedule_problems(arguments["name"], schedules, timezone)
    if problems:
        raise WorkspaceError(problems)
    document = copy.deepcopy(read_rendered("retrain")[0])
    name = arguments["name"]
    document["metadata"]["name"] = f"{NAME_PREFIX}{name}"
    document["metadata"]["labels"][WORKSPACE_LABEL] = name
    document["metadata"]["annotations"] = {
        "workflows.argoproj.io/title": f"{name}: tune again when the data changes",
        "workflows.argoproj.io/description": (
            f"Tunes {arguments['preset']} for {arguments['output-image']}, only when the dataset"
            " or the plan differ from what is deployed."
        ),
    }
    spec, template_spec = document["spec"], (installed or template())["spec"]
    spec["schedules"] = list(schedules)
    spec["timezone"] = timezone
    given = _template_arguments(arguments)
    _check_known(given, template_spec)
    spec["workflowSpec"] |= {
        "arguments": arguments_for({**given, "only-if-changed": "true"}, template_spec),
        **_claims(template_spec, volume_size, storage_class),
    }
    return document


def parameters_of(template: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the template's parameters by name."""
    return {item["name"]: item for item in template["spec"]["arguments"]["parameters"]}


def workflow_of(
    template: Mapping[str, Any],
    given: Mapping[str, str],
    *,
    metadata: Mapping[str, str],
    workspace: str,
    title: str,
) -> dict[str, Any]:
    """Build a Workflow of arguments for another installed template than `finetune`.

    `metadata` has its name or generateName.
    """
    name = template["metadata"]["name"]
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {
            **metadata,
            "labels": {
                "app.kubernetes.io/part-of": "argotune",
                WORKSPACE_LABEL: workspace,
                # As Argo's server sets it. Lists of runs have no more than their metadata.
                "workflows.argoproj.io/workflow-template": name,
            },
            "annotations": {"workflows.argoproj.io/title": title},
        },
        "spec": {
            "workflowTemplateRef": {"name": name},
            "arguments": arguments_for(given, template["spec"]),
        },
    }


def with_name(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the Workflow under a given name, in place of one that the server makes."""
    metadata = {key: value for key, value in document["metadata"].items() if key != "generateName"}
    return {**document, "metadata": {"name": name, **metadata}}


def with_annotations(document: Mapping[str, Any], annotations: Mapping[str, str]) -> dict[str, Any]:
    """Return the object with these annotations beside its own."""
    metadata = document["metadata"]
    merged = {**(metadata.get("annotations") or {}), **annotations}
    return {**document, "metadata": {**metadata, "annotations": merged}}


def random_name(prefix: str) -> str:
    """Make a name from a generateName, as Kubernetes does: a long one is cut to 63 characters."""
    return f"{f'{prefix}-'[:58]}{''.join(random.choices(_RANDOM_CHARACTERS, k=5))}"


def dump(*documents: Mapping[str, Any]) -> str:
    """Write the documents as one YAML text."""
    return strict_yaml.dump(*documents)


def _unreadable(template: Mapping[str, Any], text: str) -> str:
    metadata = template["metadata"]
    name, where = metadata["name"], f"-n {metadata.get('namespace', 'NAMESPACE')}"
    return (
        f"WorkflowTemplate {name}: metadata.annotations.{INSTALLED_ANNOTATION}: {text[:60]!r} is"
        f" not the JSON that `argotune install` writes there; remove it by `kubectl annotate"
        f" workflowtemplate {name} {where} {INSTALLED_ANNOTATION}-`, and run `argotune install"
        f" {where}` with all its flags again"
    )


def _workflow(
    arguments: Mapping[str, str],
    template_name: str,
    annotations: Mapping[str, str],
    spec: dict[str, Any],
) -> dict[str, Any]:
    name = arguments["name"]
    is_service = template_name == SERVICE_TEMPLATE
    # As Argo's server sets it. Lists of runs have no more than their metadata.
    template_label = (
        {"workflows.argoproj.io/workflow-template": template_name} if is_service else {}
    )
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {
            "generateName": f"{name}-",
            "labels": {
                "app.kubernetes.io/part-of": "argotune",
                WORKSPACE_LABEL: name,
                **template_label,
            },
            "annotations": {
                **annotations,
                "workflows.argoproj.io/title": (
                    f"{name}: {'serve' if is_service else 'fine-tune'} {arguments['preset']}"
                ),
            },
        },
        "spec": spec,
    }


def arguments_for(given: Mapping[str, str], spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments for all parameters of the template, with defaults for those not given.

    `argo retry RUN -p NAME=VALUE` replaces the template's parameters by the Workflow's own
    (argo-workflows 11631); the tags of a parameter that is missing there would stay unexpanded.
    """
    known = parameters_of({"spec": spec})
    texts = {name: given.get(name, str(item.get("value", ""))) for name, item in known.items()}
    return {"parameters": [{"name": name, "value": text} for name, text in texts.items()]}


def _claims(
    spec: Mapping[str, Any], volume_size: str | None, storage_class: str | None
) -> dict[str, Any]:
    """Return the volume claims with the given size or storage class; none without either."""
    if not volume_size and not storage_class:
        return {}
    claims: list[dict[str, Any]] = copy.deepcopy(spec["volumeClaimTemplates"])
    for claim in claims:
        if volume_size:
            claim["spec"]["resources"]["requests"]["storage"] = volume_size
        if storage_class:
            claim["spec"]["storageClassName"] = storage_class
    return {"volumeClaimTemplates": claims}


def _offer_all_choices(spec: dict[str, Any]) -> None:
    """Add the choices of this machine, which a cluster's form lacks: the Workflow may run here."""
    for parameter in spec["arguments"]["parameters"]:
        if "enum" in parameter:
            parameter["enum"] = list(SETTINGS[parameter["name"]].parameter_choices())


def _volume_size(template: Mapping[str, Any]) -> str:
    claim = template["spec"]["volumeClaimTemplates"][0]
    return str(claim["spec"]["resources"]["requests"]["storage"])


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


def _template_arguments(arguments: Mapping[str, str]) -> dict[str, str]:
    """Select the arguments that are parameters of an installed template."""
    decided = install_defaults()
    return {name: text for name, text in arguments.items() if name not in decided}


def _secrets_in(arguments: Mapping[str, str]) -> list[str]:
    """List the Secrets that the arguments or the template's defaults name."""
    named = {arguments.get(name, SETTINGS[name].default) for name in SECRET_SETTINGS}
    return sorted(filter(None, named))


def _limit_cpus(templates: Sequence[dict[str, Any]]) -> None:
    """Limit the CPUs of every container: in tune's patch, to those that it asks for."""
    for item in templates:
        if "resources" in item.get("container", {}):
            item["container"]["resources"]["limits"]["cpu"] = _MOST_CPUS
        elif "container" in item:
            patch = item["podSpecPatch"]
            asked = re.search(r'"cpu": (\{\{.*?\}\})', patch)
            if asked is None:
                raise ValueError(f"template {item['name']}: its patch asks for no CPUs")
            limits = f'"limits": {{"cpu": {asked[1]}, '
            item["podSpecPatch"] = patch.replace('"limits": {', limits)


def _replace(value: Any, texts: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return INSTALL_TAG.sub(lambda match: texts[match[1]], value)
    if isinstance(value, dict):
        return {key: _replace(item, texts) for key, item in value.items()}
    if isinstance(value, list):
        return [_replace(item, texts) for item in value]
    return value
