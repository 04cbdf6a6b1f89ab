"""Finds the template that a step calls, and gives it its inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from argotune.workflows.engine.errors import ExpressionError
from argotune.workflows.engine.language.depends import Dependencies, dependencies
from argotune.workflows.engine.language.govalues import any_string, go_json
from argotune.workflows.engine.language.substitute import Scope, substitute, substitute_text
from argotune.workflows.engine.model import JsonObject, NodeType
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


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the tree a template is executed."""

    boundary_id: str = ""
    step_name: str = ""
    """The step or task as the document names it, without a loop's item."""
    hooked: bool = False
    on_exit: bool = False
    retried: bool = False
    deadline: float | None = None
    """The end of a retry's maxDuration."""


@dataclass(frozen=True, slots=True)
class TemplateCall:
    """A call of a template as the node ``name``."""

    name: str
    caller: Caller
    base: TemplateBase
    """Where the caller's template is looked up."""
    arguments: list[JsonObject] = field(default_factory=list)
    place: Place = field(default_factory=Place)

    def attempt(self, number: int, deadline: float | None) -> TemplateCall:
        """The same below a Retry node."""
        place = replace(self.place, retried=True, deadline=deadline)
        return replace(self, name=f"{self.name}({number})", place=place)


@dataclass(slots=True)
class Prepared:
    """A template with its inputs: what its node needs each time the run looks at it."""

    template: JsonObject
    base: TemplateBase
    """Where the names that it calls are looked up."""
    variables: dict[str, str]
    """``inputs.*``, ``node.name`` and the others that only this node knows."""
    inputs: JsonObject | None
    settings: JsonObject = field(default_factory=dict)
    """Retry strategy, synchronization, timeouts and the like, their tags replaced."""
    results_asked: dict[str, bool] = field(default_factory=dict)
    """Whether the template refers to a step's ``outputs.result``, by the step's name."""
    _dependencies: dict[str, Dependencies] = field(default_factory=dict)

    @property
    def node_type(self) -> NodeType:
        """The type of its node."""
        return _NODE_TYPES[self.kind]

    @property
    def kind(self) -> str:
        """``container``, ``script``, ``dag``, ``steps`` or ``suspend``."""
        return kind_of(self.template)

    @property
    def tasks(self) -> list[JsonObject]:
        """The tasks of a DAG."""
        found: list[JsonObject] = self.template["dag"].get("tasks") or []
        return found

    def dependencies(self, task: JsonObject) -> Dependencies:
        """What a task of this DAG waits for."""
        name = task["name"]
        if name not in self._dependencies:
            self._dependencies[name] = dependencies(task, self.tasks)
        return self._dependencies[name]


def kind_of(template: JsonObject) -> str:
    """The template's kind; empty where it has none."""
    return next((kind for kind in KINDS if template.get(kind) is not None), "")


def find(
    caller: Caller, base: TemplateBase, catalog: Catalog
) -> tuple[JsonObject, TemplateBase] | None:
    """The template a caller names, and where the names inside it are looked up."""
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
    """``template`` over ``templateDefaults``, of which another kind's part is left out."""
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
    """The template's input parameters with their values: argument, else value, else default."""
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
    """What a template may say about itself: its inputs, and the paths of its files."""
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
    """The template with its tags replaced, without the parts whose turn comes later."""
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
    """Finds the template of a call and gives it its inputs; ``scope`` is the workflow's."""
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
    )


def settings(template: JsonObject, scope: Scope) -> JsonObject:
    """What decides about the node before it runs."""
    keys = ("retryStrategy", "synchronization", "timeout", "activeDeadlineSeconds", "suspend")
    found: JsonObject = substitute(
        {key: template[key] for key in keys if template.get(key) is not None}, scope
    )
    return found
