"""The call of a template: which template it is, and the values of its inputs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from argotune.workflows.engine.errors import ExpressionError
from argotune.workflows.engine.language.depends import Dependencies, dependencies
from argotune.workflows.engine.language.govalues import any_string, go_json
from argotune.workflows.engine.language.substitute import Scope, substitute, substitute_text
from argotune.workflows.engine.model import DISPLAY_NAME_ANNOTATION, JsonObject, NodeType
from argotune.workflows.engine.state.documents import Catalog, TemplateBase, merge
from argotune.workflows.engine.state.run_state import Caller

KINDS = ("container", "script", "dag", "steps", "suspend")
POD_KINDS = frozenset({"container", "script"})
_NODE_TYPES = {
    "container": NodeType.POD,
    "script": NodeType.POD,
    "dag": NodeType.DAG,
    "steps": NodeType.STEPS,
    "suspend": NodeType.SUSPEND,
}
# What a template holds for later: its parts are replaced when their own turn comes.
_LATER = frozenset({"inputs", "dag", "steps"})
_DISPLAY_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9.-]{0,61}[a-zA-Z0-9]")


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the tree a template is executed."""

    boundary_id: str = ""
    step_name: str = ""
    """The name of the step or task in the document, without a loop's item."""
    hooked: bool = False
    on_exit: bool = False
    retried: bool = False
    deadline: float | None = None
    """The end of a retry's maxDuration, in seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class TemplateCall:
    """A call of a template, as the node `name`."""

    name: str
    caller: Caller
    base: TemplateBase
    """Where the caller's template is looked up."""
    arguments: list[JsonObject] = field(default_factory=list)
    place: Place = field(default_factory=Place)

    def attempt(self, number: int, deadline: float | None) -> TemplateCall:
        """The same call as attempt `number` below a Retry node."""
        place = replace(self.place, retried=True, deadline=deadline)
        return replace(self, name=f"{self.name}({number})", place=place)


@dataclass(slots=True)
class Prepared:
    """A template with its inputs: what the operator needs of it each time it looks at the node."""

    template: JsonObject
    base: TemplateBase
    """Where the names in the template are looked up."""
    variables: dict[str, str]
    """`inputs.*`, `node.name` and the other variables of this node alone."""
    inputs: JsonObject | None
    settings: JsonObject = field(default_factory=dict)
    """Retry strategy, synchronization, timeouts and similar fields, with their tags replaced."""
    display_name: str = ""
    """The name that the template gives its node; empty if it gives none."""
    results_used: dict[str, bool] = field(default_factory=dict)
    """Whether the template refers to a step's `outputs.result`, by the step's name."""
    _dependencies: dict[str, Dependencies] = field(default_factory=dict)

    @property
    def node_type(self) -> NodeType:
        """The type of the template's node."""
        return _NODE_TYPES[self.kind]

    @property
    def kind(self) -> str:
        """`container`, `script`, `dag`, `steps` or `suspend`."""
        return kind_of(self.template)

    @property
    def tasks(self) -> list[JsonObject]:
        """The tasks of a DAG."""
        found: list[JsonObject] = self.template["dag"].get("tasks") or []
        return found

    def dependencies(self, task: JsonObject) -> Dependencies:
        """The dependencies of a task of this DAG. Raises ExpressionError."""
        name = task["name"]
        if name not in self._dependencies:
            self._dependencies[name] = dependencies(task, self.tasks)
        return self._dependencies[name]


def kind_of(template: JsonObject) -> str:
    """The template's kind; empty if it has none."""
    return next((kind for kind in KINDS if template.get(kind) is not None), "")


def find(
    caller: Caller, base: TemplateBase, catalog: Catalog
) -> tuple[JsonObject, TemplateBase] | None:
    """The template that a caller names, and where names inside it are looked up; or None."""
    if caller.inline is not None:
        return caller.inline, base
    if caller.template_ref:
        reference = caller.template_ref
        other = catalog.base(
            reference.get("name", ""), cluster_scope=bool(reference.get("clusterScope"))
        )
        template = other.templates.get(reference.get("template", "")) if other else None
        return None if other is None or template is None else (template, other)
    found = base.templates.get(caller.template_name)
    return None if found is None else (found, base)


def with_defaults(template: JsonObject, defaults: JsonObject | None) -> JsonObject:
    """`template` over `templateDefaults`, without the defaults of other kinds."""
    if not defaults:
        return template
    kind = kind_of(template)
    fitting = {key: value for key, value in defaults.items() if key not in KINDS or key == kind}
    return merge(fitting, template)


def _input_parameters(
    template: JsonObject,
    arguments: Sequence[JsonObject],
    scope: Scope,
    config_maps: Mapping[str, Mapping[str, str]],
) -> list[JsonObject]:
    """The template's input parameters with values: the argument, else value, else default."""
    given = {argument["name"]: argument for argument in arguments}
    return [
        _with_value(parameter, given.get(parameter["name"]), scope, config_maps)
        for parameter in (template.get("inputs") or {}).get("parameters") or []
    ]


def _with_value(
    parameter: JsonObject,
    argument: JsonObject | None,
    scope: Scope,
    config_maps: Mapping[str, Mapping[str, str]],
) -> JsonObject:
    kept = {key: value for key, value in parameter.items() if key not in ("value", "valueFrom")}
    if argument is not None and argument.get("value") is not None:
        return {**kept, "value": any_string(argument["value"])}
    source = (argument or {}).get("valueFrom") or parameter.get("valueFrom")
    if source:
        return {**kept, "value": _from_config_map(parameter["name"], source, scope, config_maps)}
    for key in ("value", "default"):
        if parameter.get(key) is not None:
            return {**kept, "value": substitute_text(any_string(parameter[key]), scope)}
    raise ExpressionError(f"inputs.parameters.{parameter['name']} was not supplied")


def _from_config_map(
    name: str,
    source: JsonObject,
    scope: Scope,
    config_maps: Mapping[str, Mapping[str, str]],
) -> str:
    reference = source.get("configMapKeyRef") or {}
    config_map = substitute_text(reference.get("name", ""), scope)
    key = substitute_text(reference.get("key", ""), scope)
    value = config_maps.get(config_map, {}).get(key)
    if value is not None:
        return value
    if source.get("default") is not None:
        return any_string(source["default"])
    raise ExpressionError(
        f"inputs.parameters.{name}: configMap {config_map!r} has no key {key!r} among the documents"
    )


def _input_variables(template: JsonObject, parameters: Sequence[JsonObject]) -> dict[str, str]:
    """The variables of a template about itself: its inputs, and the paths of its files."""
    variables = {f"inputs.parameters.{p['name']}": p["value"] for p in parameters}
    variables["inputs.parameters"] = go_json(list(parameters))
    for artifact in (template.get("inputs") or {}).get("artifacts") or []:
        if artifact.get("path"):
            variables[f"inputs.artifacts.{artifact['name']}.path"] = artifact["path"]
    for parameter in (template.get("outputs") or {}).get("parameters") or []:
        path = (parameter.get("valueFrom") or {}).get("path")
        if path:
            variables[f"outputs.parameters.{parameter['name']}.path"] = path
    return variables


def own_part(template: JsonObject, scope: Scope) -> JsonObject:
    """The template with its tags replaced, without inputs, tasks and steps, which come later."""
    part: JsonObject = substitute(
        {key: value for key, value in template.items() if key not in _LATER}, scope
    )
    artifacts = (template.get("inputs") or {}).get("artifacts")
    if artifacts:
        part["inputs"] = {"artifacts": substitute(artifacts, scope)}
    return part


def prepare(
    call: TemplateCall, scope: Scope, catalog: Catalog, defaults: JsonObject | None
) -> Prepared:
    """The template of a call with the values of its inputs; `scope` is the workflow's.

    Raises ExpressionError.
    """
    found = find(call.caller, call.base, catalog)
    if found is None:
        name = call.caller.template_name or call.caller.template_ref
        raise ExpressionError(f"template {name} not found")
    template = with_defaults(found[0], defaults)
    local = {"node.name": call.name}
    if call.caller.kind:
        local[f"{call.caller.kind}.name"] = call.caller.name
    outer = scope.merged(local)
    parameters = _input_parameters(template, call.arguments, outer, catalog.config_maps)
    variables = {**local, **_input_variables(template, parameters)}
    return Prepared(
        template=template,
        base=found[1],
        variables=variables,
        inputs={"parameters": parameters} if parameters else None,
        settings=settings(template, outer.merged(variables)),
        display_name=_display_name(template, outer.merged(variables)),
    )


def settings(template: JsonObject, scope: Scope) -> JsonObject:
    """The fields that decide about the node before it runs, with their tags replaced."""
    keys = ("retryStrategy", "synchronization", "timeout", "activeDeadlineSeconds", "suspend")
    found: JsonObject = substitute(
        {key: template[key] for key in keys if template.get(key) is not None}, scope
    )
    return found


def display_name_of(template: JsonObject) -> str:
    """The display name as the template has it, with its tags; empty without one."""
    return str((template.get("annotations") or {}).get(DISPLAY_NAME_ANNOTATION) or "")


def check_display_name(name: str) -> None:
    """Refuse what Argo does not take as a node's display name. Raises ExpressionError."""
    if name and not _DISPLAY_NAME.fullmatch(name):
        raise ExpressionError(
            f"annotation {DISPLAY_NAME_ANNOTATION}: {name!r}; accepted are 2 to 63 letters,"
            " digits, '-' and '.', a letter or digit first and last"
        )


def _display_name(template: JsonObject, scope: Scope) -> str:
    name = substitute_text(display_name_of(template), scope)
    check_display_name(name)
    return name
