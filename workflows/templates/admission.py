"""Admission policies for people who may submit runs and may not create pods.

The API server refuses them a Workflow that is more than arguments of the installed template, a
Secret that the installation does not allow, and changes of objects that are not a run's.

Accounts that may create pods in the namespace are not restricted, because a pod reaches all that a
Workflow reaches. ValidatingAdmissionPolicies are objects of the cluster, in Kubernetes since 1.30.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence

from argotune.steps.cluster.kinds import kind_of
from argotune.steps.contracts.approval import APPROVE, DECISION, DECISIONS, REASON
from argotune.steps.contracts.in_service import SUBMITTER_ANNOTATION
from argotune.steps.contracts.served import MANAGED_BY, SERVICE_LABEL
from argotune.steps.deploy.manifests.objects import KINDS as SERVICE_KINDS
from argotune.steps.settings.run_settings import (
    IMAGE_SETTINGS,
    SECRET_SETTINGS,
    SETTINGS,
    parameter_settings,
)
from argotune.workflows.templates import evaluate, finetune, gc, rollback, serve
from argotune.workflows.templates.cluster_permissions import NAMESPACE, NAMESPACE_LABEL
from argotune.workflows.templates.manifest import Manifest, manifest
from argotune.workflows.templates.permissions import MARKER
from argotune.workflows.workspace import manifests

NAME = "admission"
RUNS, USERS = "argotune-runs", "argotune-users"
_API_VERSION = "admissionregistration.k8s.io/v1"
_ARGO = "argoproj.io"
_URL_KEYS = tuple(manifests.URL_KEYS.values())
_TEMPLATES = (evaluate.NAME, finetune.NAME, gc.NAME, rollback.NAME, serve.NAME)
ADAPTER_PATTERN = (
    "^([a-zA-Z0-9][a-zA-Z0-9.-]*|\\[[0-9a-fA-F:]+\\])(:[0-9]{1,5})?/[^@:]+"
    "(:v[1-9][0-9]*|@sha256:[0-9a-f]{64})$"
)
"""An adapter in a registry, by a version's tag or by digest: no tag that moves, no directory."""
MODELS_PATTERN = r'^\[ *("[^"\\]*"( *, *"[^"\\]*")*)? *\]$'
"""A JSON list of texts without escapes, so that its text shows what is in it."""
ADAPTERS_PATTERN = r"^\[[^\\]*\]$"
"""A JSON list without escapes, likewise."""
_MAY_NOT_CREATE_PODS = {
    "name": "may-not-create-pods",
    "expression": (
        "!authorizer.group('').resource('pods').namespace(request.namespace)"
        ".check('create').allowed()"
    ),
}
_IS_USER = {
    "name": "is-argotune-user",
    "expression": (
        f"authorizer.group('{MARKER['apiGroups'][0]}').resource('{MARKER['resources'][0]}')"
        f".namespace(request.namespace).check('{MARKER['verbs'][0]}').allowed()"
    ),
}
# A created Workflow does not change; a user may only stop, suspend and resume it.
_CHANGEABLE = ("shutdown", "suspend")
_SPEC_FIELDS = (
    "workflowTemplateRef",
    "arguments",
    "volumeClaimTemplates",
    "ttlStrategy",
    "suspend",
    "shutdown",
)
_TTL_FIELDS = ("secondsAfterFailure",)
_CLAIM_FIELDS = ("accessModes", "resources", "storageClassName")
# argo writes these with every Workflow that it creates: two empty times, and the templates, which
# the controller does not use for a Workflow that refers to a template.
_STATUS_FIELDS = ("startedAt", "finishedAt", "storedTemplates")

Rule = dict[str, object]


def _equal_but(new: str, old: str, changeable: Collection[str]) -> str:
    """Build the condition that two maps are equal but for these keys, which may be added."""
    kept = f"k in {old} && {new}[k] == {old}[k]"
    return f"{new}.all(k, k in {_list(changeable)} || ({kept})) && {old}.all(k, k in {new})"


def _list(texts: Collection[str]) -> str:
    return json.dumps(list(texts))


_OUTPUT_FIELDS = ("name", "description", "value", "valueFrom")
_NODE, _WAITING = "object.status.nodes[id]", "oldObject.status.nodes[id]"
_ANSWERS = [f"'{word} by ' + request.userInfo.username" for word in ("approved", "rejected")]
_ANSWERED = " && ".join(
    (
        f"{_WAITING}.type == 'Suspend'",
        f"{_WAITING}.templateName == '{APPROVE}'",
        f"{_WAITING}.phase == 'Running'",
        f"{_NODE}.phase in ['Running', 'Succeeded']",
        _equal_but(_NODE, _WAITING, ("phase", "finishedAt", "message", "outputs")),
        # Argo's server names the person who is logged in to its UI so.
        f"(!has({_NODE}.message) || {_NODE}.message in [{', '.join(_ANSWERS)}]"
        f" || {_NODE}.message.startsWith('Resumed by: '))",
        f"has({_NODE}.outputs) && {_NODE}.outputs.all(k, k == 'parameters')",
        f"{_NODE}.outputs.parameters.all(p, p.all(k, k in {_list(_OUTPUT_FIELDS)})"
        f" && (p.name == '{REASON}' || (p.name == '{DECISION}'"
        f" && (!has(p.value) || p.value in {_list(DECISIONS)}))))",
    )
)
"""Whether node `id` is the answer to an approval, of which Argo's UI writes the outputs before the
end."""
_APPROVAL = " && ".join(
    (
        _equal_but("object.status", "oldObject.status", ("nodes",)),
        "has(object.status.nodes) && has(oldObject.status.nodes)",
        "oldObject.status.nodes.all(id, id in object.status.nodes)",
        "object.status.nodes.all(id, id in oldObject.status.nodes"
        f" && ({_NODE} == {_WAITING} || ({_ANSWERED})))",
    )
)
"""Whether a change of the status is nothing but the answer to an approval."""

_ANNOTATIONS, _OLD_ANNOTATIONS = "object.metadata.annotations", "oldObject.metadata.annotations"
_SAYS_WHO = f"has({_ANNOTATIONS}) && '{SUBMITTER_ANNOTATION}' in {_ANNOTATIONS}"
_SAID_WHO = f"has({_OLD_ANNOTATIONS}) && '{SUBMITTER_ANNOTATION}' in {_OLD_ANNOTATIONS}"
_WHO, _OLD_WHO = (f"{each}['{SUBMITTER_ANNOTATION}']" for each in (_ANNOTATIONS, _OLD_ANNOTATIONS))
_RUNS_ANNOTATIONS = "object.spec.workflowMetadata.annotations"
_SUBMITTER = (
    f"(!({_SAYS_WHO}) || (request.operation == 'CREATE'"
    f" ? {_WHO} == request.userInfo.username : ({_SAID_WHO} && {_WHO} == {_OLD_WHO})))"
    " && (object.kind != 'CronWorkflow' || !has(object.spec.workflowMetadata)"
    f" || !has({_RUNS_ANNOTATIONS}) || !('{SUBMITTER_ANNOTATION}' in {_RUNS_ANNOTATIONS}))"
)
"""Whether nobody else is said to have submitted it, nor the runs of a schedule."""


def build() -> list[Manifest]:
    """Build both policies with their bindings, for one namespace.

    `argotune install` replaces the namespace.
    """
    return [
        *_policy(
            RUNS,
            [_resources(_ARGO, ["workflows", "cronworkflows"], ["CREATE", "UPDATE"])],
            [_MAY_NOT_CREATE_PODS],
            _run_rules(),
            variables=_VARIABLES,
        ),
        *_policy(
            USERS,
            [
                *(
                    _resources(kind.group, [kind.plural], ["DELETE"])
                    for kind in map(kind_of, SERVICE_KINDS)
                ),
                _resources(_ARGO, ["cronworkflows"], ["DELETE"]),
                _resources("", ["secrets"], ["CREATE", "DELETE"]),
            ],
            [_IS_USER, _MAY_NOT_CREATE_PODS],
            _user_rules(),
        ),
    ]


_VARIABLES = {
    "spec": "object.kind == 'CronWorkflow' ? object.spec.workflowSpec : object.spec",
    "parameters": (
        "has(variables.spec.arguments) && has(variables.spec.arguments.parameters)"
        " ? variables.spec.arguments.parameters : []"
    ),
    "isNew": "object.kind == 'CronWorkflow' || request.operation == 'CREATE'",
}


def _run_rules() -> list[Rule]:
    """Permit Workflows and CronWorkflows of arguments for our templates, without later changes."""
    return [
        _rule(
            "object.kind != 'Workflow' || (request.operation == 'CREATE'"
            f" ? (!has(object.status) || object.status.all(k, k in {_list(_STATUS_FIELDS)}))"
            " : (has(object.status) == has(oldObject.status)"
            f" && (!has(object.status) || object.status == oldObject.status || ({_APPROVAL}))))",
            "status: the controller alone writes it, but the answer to an approval, which says by"
            " whom it is",
        ),
        _rule(
            "variables.isNew || ("
            f"object.spec.all(k, k in {_list(_CHANGEABLE)}"
            " || (k in oldObject.spec && object.spec[k] == oldObject.spec[k]))"
            f" && oldObject.spec.all(k, k in {_list(_CHANGEABLE)} || k in object.spec))",
            f"spec: of an existing Workflow only {_words(_CHANGEABLE)} may be changed",
        ),
        _rule(
            _SUBMITTER,
            f"annotation {SUBMITTER_ANNOTATION}: it is who creates the Workflow, by the name at the"
            " API server, and stays; leave it out",
        ),
        _rule(
            f"object.kind != 'CronWorkflow' || object.metadata.name != '{gc.NAME}'",
            f"CronWorkflow {gc.NAME}: it looks for nodes of all runs and is its installer's",
        ),
        _new(
            f"variables.spec.all(k, k in {_list(_SPEC_FIELDS)})",
            f"spec: accepted are {_words(_SPEC_FIELDS)}; all else is the installed template's",
        ),
        _new(
            "has(variables.spec.workflowTemplateRef)"
            " && variables.spec.workflowTemplateRef.all(k, k == 'name')"
            f" && variables.spec.workflowTemplateRef.name in {_list(_TEMPLATES)}",
            f"spec.workflowTemplateRef: accepted are the templates {_words(_TEMPLATES)} of this"
            " namespace",
        ),
        _new(
            "(!has(variables.spec.arguments)"
            " || variables.spec.arguments.all(k, k == 'parameters'))"
            " && variables.parameters.all(p, p.all(k, k in ['name', 'value'])"
            " && has(p.name) && has(p.value) && type(p.value) == string)",
            "spec.arguments: accepted are parameters of a name and a text as value",
        ),
        *_parameter_rules(),
        _new(
            "!has(variables.spec.volumeClaimTemplates)"
            " || variables.spec.volumeClaimTemplates.all("
            f"c, c.spec.all(k, k in {_list(_CLAIM_FIELDS)}))",
            f"spec.volumeClaimTemplates: accepted of a claim's spec are {_words(_CLAIM_FIELDS)}",
        ),
        _new(
            "!has(variables.spec.ttlStrategy)"
            f" || variables.spec.ttlStrategy.all(k, k in {_list(_TTL_FIELDS)})",
            f"spec.ttlStrategy: accepted is {_TTL_FIELDS[0]}",
        ),
    ]


def _parameter_rules() -> list[Rule]:
    rows = parameter_settings()
    templates = (evaluate, rollback, serve)
    others = [*gc.PARAMETERS, *(each for module in templates for each in module.parameters())]
    names = list(dict.fromkeys([*(row.name for row in rows), *(str(item.name) for item in others)]))
    choices = {row.name: _choices(row.cluster_choices(), row.default) for row in rows}
    choices = {name: texts for name, texts in choices.items() if texts}
    # Where nothing is the default, a run may say so.
    patterns = {
        row.name: row.value.pattern if row.default else f"^$|{row.value.pattern}"
        for row in rows
        if row.value.pattern
    }
    patterns |= {
        "reference": ADAPTER_PATTERN,
        "gpus": "^[0-9]{1,3}$",
        "start": "^(true|false)$",
        "leave": "^(true|false)$",
        "models": MODELS_PATTERN,
        "adapters": ADAPTERS_PATTERN,
        "shown-answers": "^[0-9]{1,3}$",
    }
    # A run names the defaults too; the template lets no Secret in that is not allowed.
    secrets = {name: SETTINGS[name].default for name in SECRET_SETTINGS}
    pattern = f"'{manifests.install_tag(manifests.ALLOWED_SECRETS_PATTERN)}'"
    claims = f"'{manifests.install_tag(manifests.ALLOWED_CLAIMS_PATTERN)}'"
    outputs = f"'{manifests.install_tag(manifests.ALLOWED_OUTPUT_CLAIMS_PATTERN)}'"
    classes = f"'{manifests.install_tag(manifests.ALLOWED_PRIORITY_CLASSES_PATTERN)}'"
    return [
        _each("p.name in " + _list(names), "there is no such parameter"),
        _each(
            f"(!(p.name in {_list(('reference', *IMAGE_SETTINGS))}) || !p.value.startsWith('oci:'))"
            " && (!(p.name in ['models', 'adapters']) || !p.value.matches('[\"=]oci:'))",
            "a directory would be one of the pod; name an image of a registry",
        ),
        _each(
            "!p.value.contains('{{')",
            "{{ is not accepted, because Argo would expand it",
        ),
        _each(
            f"!(p.name in {_map(choices)}) || p.value in {_map(choices)}[p.name]",
            "the value is not one of the parameter's choices",
        ),
        _each(
            f"!(p.name in {_map(patterns)}) || p.value.matches({_map(patterns)}[p.name])",
            "the value has not the parameter's form, such as that of a quantity",
        ),
        _each(
            f"!(p.name in {_list(SECRET_SETTINGS)}) || p.value == {_map(secrets)}[p.name]"
            f" || p.value.matches({pattern})"
            " || (p.name == 'urls-secret' && (p.value == object.metadata.name + '-urls'"
            " || variables.parameters.exists(n, n.name == 'name'"
            " && p.value.startsWith(n.value + '-urls-'))))",
            "the installation does not allow this Secret; an administrator adds it by"
            " `argotune install --allow-secret NAME`",
        ),
        _each(
            f"p.name != 'priority-class' || p.value == '' || p.value.matches({classes})",
            "the installation does not allow this PriorityClass; an administrator adds it by"
            " `argotune install --allow-priority-class NAME`",
        ),
        _each(
            f"p.name != 'data-claim' || p.value == '' || p.value.matches({claims})",
            "the installation does not allow this PersistentVolumeClaim; an administrator adds it"
            " by `argotune install --allow-claim NAME`",
        ),
        _each(
            f"p.name != 'output-claim' || p.value == '' || p.value.matches({outputs})",
            "the installation does not allow to write to this PersistentVolumeClaim; an"
            " administrator adds it by `argotune install --allow-output-claim NAME`",
        ),
    ]


def _choices(texts: Sequence[str], default: str) -> list[str]:
    """List the accepted values; an empty default is one of them."""
    return list(dict.fromkeys([*texts, default])) if texts else []


def _user_rules() -> list[Rule]:
    """Permit deleting services of runs and schedules, and making and deleting Secrets with URLs.

    The installer's schedule is not among them.
    """
    labels = "oldObject.metadata.labels"
    return [
        _rule(
            "request.operation != 'DELETE'"
            " || request.resource.resource in ['cronworkflows', 'secrets']"
            f" || (has({labels}) && '{SERVICE_LABEL}' in {labels}"
            f" && '{MANAGED_BY}' in {labels} && {labels}['{MANAGED_BY}'] == 'argotune')",
            f"only objects that a run deployed may be deleted; they have the label {SERVICE_LABEL}",
        ),
        _rule(
            "request.resource.resource != 'cronworkflows'"
            f" || oldObject.metadata.name != '{gc.NAME}'",
            f"CronWorkflow {gc.NAME}: it looks for nodes of all runs and is its installer's",
        ),
        _rule(
            "request.resource.resource != 'secrets' || request.operation != 'DELETE'"
            " || (oldObject.metadata.name.matches('-urls-[0-9a-f]+$')"
            " && has(oldObject.metadata.ownerReferences)"
            " && oldObject.metadata.ownerReferences.exists(o, o.kind in ['CronWorkflow',"
            " 'Workspace']))",
            "only Secrets with the URLs of a schedule may be deleted",
        ),
        _rule(
            "request.resource.resource != 'secrets' || request.operation == 'DELETE'"
            " || (object.type == 'Opaque'"
            " && object.metadata.name.matches('-urls(-[0-9a-f]+)?$')"
            f" && (!has(object.data) || object.data.all(k, k in {_list(_URL_KEYS)})))",
            f"Secrets of runs are called NAME-urls and have no keys but {' and '.join(_URL_KEYS)}",
        ),
    ]


def _policy(
    name: str,
    resources: Sequence[Rule],
    conditions: Sequence[Mapping[str, str]],
    rules: Sequence[Rule],
    *,
    variables: Mapping[str, str] | None = None,
) -> list[Manifest]:
    """Build a policy and the binding that puts it into force in one namespace."""
    full_name = f"{name}-{NAMESPACE}"
    spec: dict[str, object] = {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": list(resources)},
        "matchConditions": [dict(condition) for condition in conditions],
        "validations": list(rules),
    }
    if variables:
        spec["variables"] = [{"name": key, "expression": text} for key, text in variables.items()]
    objects = [
        manifest("ValidatingAdmissionPolicy", full_name, api_version=_API_VERSION, spec=spec),
        manifest(
            "ValidatingAdmissionPolicyBinding",
            full_name,
            api_version=_API_VERSION,
            spec={
                "policyName": full_name,
                "validationActions": ["Deny"],
                "matchResources": {
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}}
                },
            },
        ),
    ]
    for item in objects:
        item["metadata"]["labels"][NAMESPACE_LABEL] = NAMESPACE
    return objects


def _resources(group: str, resources: Sequence[str], operations: Sequence[str]) -> Rule:
    return {
        "apiGroups": [group],
        "apiVersions": ["*"],
        "resources": [*resources],
        "operations": [*operations],
    }


def _rule(expression: str, message: str) -> Rule:
    return {"expression": expression, "message": message}


def _new(expression: str, message: str) -> Rule:
    """Build a rule for a new Workflow and any CronWorkflow."""
    return _rule(f"!variables.isNew || ({expression})", message)


def _each(expression: str, message: str) -> Rule:
    """Build a rule for each parameter p; the message names those that break it."""
    broken = f"variables.parameters.filter(p, !({expression})).map(p, p.name).join(', ')"
    return {
        "expression": f"!variables.isNew || variables.parameters.all(p, {expression})",
        "messageExpression": f"'parameter ' + {broken} + {json.dumps(': ' + message)}",
        "message": message,
    }


def _map(texts: Mapping[str, object]) -> str:
    return json.dumps(texts)


def _words(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
