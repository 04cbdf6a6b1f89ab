"""The validation of a workflow: all reasons why it cannot run, found before it starts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from argotune.workflows.engine.controller.hooks import exit_hook
from argotune.workflows.engine.controller.locks import lock_names
from argotune.workflows.engine.errors import ExpressionError, PodError
from argotune.workflows.engine.language.depends import Dependencies, dependencies
from argotune.workflows.engine.language.govalues import any_string
from argotune.workflows.engine.language.loops import is_loop
from argotune.workflows.engine.language.substitute import Scope
from argotune.workflows.engine.model import JsonObject
from argotune.workflows.engine.state.documents import Catalog, TemplateBase
from argotune.workflows.engine.state.run_state import Caller
from argotune.workflows.engine.state.templates import (
    KINDS,
    POD_KINDS,
    check_display_name,
    display_name_of,
    find,
    kind_of,
    with_defaults,
)
from argotune.workflows.engine.state.variables import workflow_variables
from argotune.workflows.engine.validation.checks import (
    FIELD_NAME,
    ancestors,
    argument_problems,
    cycle,
    dag_problems,
    declared_parameters,
    duration_problems,
    missing_template,
    name_problems,
    number_problems,
    retry_problems,
    with_prefix,
)
from argotune.workflows.engine.validation.images import (
    container_problems,
    reference_problems,
    runtime_problems,
)
from argotune.workflows.engine.validation.names import (
    RETRY_NAMES,
    Known,
    expression_problems,
    item_names,
    result_names,
    tag_problems,
)
from argotune.workflows.engine.validation.paths import file_name_problems, path_problems

_WORKFLOW_NAME = re.compile(r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
_LONGEST_NAME = 63
_RUNTIME_NAMES = frozenset(
    {
        "workflow.status", "workflow.failures", "workflow.duration", "node.name", "steps.name",
        "tasks.name",
    }
)  # fmt: skip
_STEP_TAGS = frozenset(
    {
        "arguments", "when", "withItems", "withParam", "withSequence", "template", "templateRef",
        "continueOn",
    }
)  # fmt: skip


def problems_of(
    workflow: JsonObject,
    spec: JsonObject,
    catalog: Catalog,
    *,
    given: Mapping[str, str],
    runtime: str,
    environ: Mapping[str, str],
) -> list[str]:
    """All reasons why this workflow cannot run here; Argo refuses most of them too."""
    variables = workflow_variables(workflow, spec)
    checker = _Checker(
        workflow=workflow,
        spec=spec,
        catalog=catalog,
        runtime=runtime,
        environ=environ,
        variables=variables,
        everywhere=_everywhere(spec, catalog, variables),
    )
    problems = [*checker.workflow_problems(given), *runtime_problems(runtime, environ)]
    return list(dict.fromkeys(problems))


def _everywhere(spec: JsonObject, catalog: Catalog, variables: Scope) -> Known:
    """The variables of the workflow, with the global outputs of all templates."""
    specs = [
        spec,
        *(t.get("spec") or {} for t in catalog.workflow_templates.values()),
        *(t.get("spec") or {} for t in catalog.cluster_templates.values()),
    ]
    names, prefixes = set(variables) | _RUNTIME_NAMES, set[str]()
    for template in (template for each in specs for template in each.get("templates") or []):
        for parameter in (template.get("outputs") or {}).get("parameters") or []:
            global_name = parameter.get("globalName")
            if global_name and "{{" in global_name:
                prefixes.add("workflow.outputs.parameters.")
            elif global_name:
                names.add(f"workflow.outputs.parameters.{global_name}")
    return Known(frozenset(names), frozenset(prefixes))


@dataclass(slots=True)
class _Checker:
    """Walks from the entrypoint through all templates that it reaches."""

    workflow: JsonObject
    spec: JsonObject
    catalog: Catalog
    runtime: str
    environ: Mapping[str, str]
    variables: Scope
    everywhere: Known
    _seen: set[tuple[str, str]] = field(default_factory=set)

    def workflow_problems(self, given: Mapping[str, str]) -> Iterator[str]:
        yield from self._metadata()
        yield from self._parameters(given)
        base = TemplateBase.of("local/", self.spec)
        yield from self._template_names()
        if not self.spec.get("entrypoint"):
            yield "spec.entrypoint is required"
        else:
            caller = Caller(template_name=self.spec["entrypoint"])
            arguments = self.spec.get("arguments")
            yield from self._call("spec.entrypoint", caller, base, arguments)
        hook = exit_hook(self.spec, self.spec.get("arguments"))
        if hook is not None:
            yield from self._hook("spec.onExit", hook, base, self.everywhere)
        rest = {key: value for key, value in self.spec.items() if key != "templates"}
        yield from with_prefix("spec", tag_problems(rest, self.everywhere))
        yield from self._settings("spec", self.spec, self.everywhere)
        for template in base.templates.values():
            yield from self._template(template, base)

    def _metadata(self) -> Iterator[str]:
        name = self.workflow["metadata"]["name"]
        if len(name) > _LONGEST_NAME:
            yield (
                f"workflow name {name!r} must not be more than {_LONGEST_NAME} characters long "
                f"(currently {len(name)})"
            )
        if not _WORKFLOW_NAME.match(name):
            yield (
                f"workflow name {name!r} is invalid: use lower-case letters, digits, '-' and '.', "
                "with a letter or digit at both ends"
            )
        own = self.workflow["spec"]
        if own.get("workflowTemplateRef") and own.get("templates"):
            yield "spec.templates cannot stand beside spec.workflowTemplateRef"

    def _parameters(self, given: Mapping[str, str]) -> Iterator[str]:
        for parameter in (self.spec.get("arguments") or {}).get("parameters") or []:
            name, value = parameter.get("name"), parameter.get("value")
            where = f"spec.arguments.{name}"
            reference = (parameter.get("valueFrom") or {}).get("configMapKeyRef")
            if value is None and reference:
                yield (
                    f"{where}: configMap {reference.get('name')!r} has no key "
                    f"{reference.get('key')!r} among the documents"
                )
            elif value is None:
                yield f"{where}.value is required: give it with -p {name}=VALUE"
            enum = [any_string(choice) for choice in parameter.get("enum") or []]
            if enum and value is not None and any_string(value) not in enum:
                yield f"{where} must be one of {', '.join(enum)}, got {value!r}"
        yield from self._unknown_parameters(given)

    def _unknown_parameters(self, given: Mapping[str, str]) -> Iterator[str]:
        """Given values that no parameter takes; Argo drops them, and with them a mistyped one."""
        own = self.workflow["spec"]
        declared = declared_parameters(own)
        reference = own.get("workflowTemplateRef") or {}
        template = self.catalog.template(
            reference.get("name", ""), cluster_scope=bool(reference.get("clusterScope"))
        )
        declared |= declared_parameters((template or {}).get("spec") or {})
        entry = {t.get("name"): t for t in self.spec.get("templates") or []}.get(
            self.spec.get("entrypoint")
        )
        for parameter in ((entry or {}).get("inputs") or {}).get("parameters") or []:
            declared.add(parameter.get("name"))
        text = repr(self.spec.get("templates")) + repr(self.catalog.workflow_templates)
        for name in given:
            if name not in declared and f"workflow.parameters.{name}" not in text:
                known = ", ".join(sorted(filter(None, declared))) or "none"
                yield f"parameter {name!r} is not known: the workflow's parameters are {known}"

    def _template_names(self) -> Iterator[str]:
        seen: set[str] = set()
        for index, template in enumerate(self.spec.get("templates") or []):
            name = template.get("name")
            if not name:
                yield f"spec.templates[{index}].name is required"
            elif not FIELD_NAME.match(name):
                yield f"spec.templates[{index}].name: '{name}' is invalid"
            elif name in seen:
                yield f"spec.templates[{index}].name '{name}' is not unique"
            seen.add(name or "")

    def _call(
        self, where: str, caller: Caller, base: TemplateBase, arguments: JsonObject | None
    ) -> Iterator[str]:
        """Check a call of a template, and the template itself."""
        if "{{" in caller.template_name:
            return  # only the run knows which template it is
        found = find(caller, base, self.catalog)
        if found is None:
            yield f"{where}: {missing_template(caller)}"
            return
        template, inner_base = found
        yield from argument_problems(where, template, arguments)
        yield from self._template(template, inner_base)

    def _template(self, template: JsonObject, base: TemplateBase) -> Iterator[str]:
        key = (base.scope, template.get("name") or f"inline {id(template)}")
        if key in self._seen:
            return
        self._seen.add(key)
        template = with_defaults(template, self.spec.get("templateDefaults"))
        where = f"templates.{template.get('name') or '(inline)'}"
        kinds = [kind for kind in KINDS if template.get(kind) is not None]
        if len(kinds) != 1:
            problem = "template type unspecified" if not kinds else "multiple template types"
            yield f"{where}: {problem}, expected one of {', '.join(KINDS)}"
            return
        known = self._known_in(template)
        yield from self._settings(where, template, known)
        yield from self._outputs(where, template)
        match kinds[0]:
            case "dag":
                yield from self._dag(where, template, base, known)
            case "steps":
                yield from self._steps(where, template, base, known)
            case _:
                yield from self._leaf(where, template, known)

    def _known_in(self, template: JsonObject) -> Known:
        names: set[str] = {"inputs.parameters"}
        inputs, outputs = template.get("inputs") or {}, template.get("outputs") or {}
        names |= {f"inputs.parameters.{p.get('name')}" for p in inputs.get("parameters") or []}
        names |= {f"inputs.artifacts.{a.get('name')}.path" for a in inputs.get("artifacts") or []}
        if kind_of(template) in POD_KINDS:
            names.add("pod.name")
            names |= {
                f"outputs.parameters.{p.get('name')}.path" for p in outputs.get("parameters") or []
            }
        strategies = template.get("retryStrategy"), self.spec.get("retryStrategy")
        if any(strategy is not None for strategy in strategies):
            names |= RETRY_NAMES
        return self.everywhere.plus(names)

    def _settings(self, where: str, template: JsonObject, known: Known) -> Iterator[str]:
        strategy = template.get("retryStrategy")
        if strategy is not None:
            yield from with_prefix(f"{where}.retryStrategy", retry_problems(strategy, known))
        if synchronization := template.get("synchronization"):
            try:
                lock_names(synchronization, "default", self.catalog.config_maps)
            except PodError as error:
                if "{{" not in str(synchronization):
                    yield f"{where}.synchronization: {error}"
        if "{{" not in display_name_of(template):
            try:
                check_display_name(display_name_of(template))
            except ExpressionError as error:
                yield f"{where}: {error}"
        yield from duration_problems(f"{where}.timeout", template.get("timeout"))
        suspend = template.get("suspend")
        if isinstance(suspend, dict):
            yield from duration_problems(f"{where}.suspend.duration", suspend.get("duration"))
        yield from number_problems(
            f"{where}.activeDeadlineSeconds", template.get("activeDeadlineSeconds"), least=1
        )
        yield from number_problems(f"{where}.parallelism", template.get("parallelism"), least=0)

    def _outputs(self, where: str, template: JsonObject) -> Iterator[str]:
        kind = kind_of(template)
        for parameter in (template.get("outputs") or {}).get("parameters") or []:
            source = parameter.get("valueFrom") or {}
            path = f"{where}.outputs.parameters.{parameter.get('name')}"
            if kind in POD_KINDS and not source.get("path"):
                yield f"{path}.valueFrom.path must be specified for container and script templates"
            if kind == "suspend" and source.get("supplied") is None:
                yield f"{path}.valueFrom.supplied must be specified for suspend templates"
            if kind in ("dag", "steps") and not (
                source.get("parameter") or source.get("expression")
            ):
                yield f"{path}.valueFrom.parameter or expression must be specified"

    def _leaf(self, where: str, template: JsonObject, known: Known) -> Iterator[str]:
        if template.get("parallelism") is not None:
            yield f"{where}.parallelism is only valid for steps and dag templates"
        # Metrics have variables of their own, and there is nobody to read them.
        read = {key: value for key, value in template.items() if key != "metrics"}
        yield from with_prefix(where, tag_problems(read, known))
        yield from with_prefix(where, file_name_problems(template))
        container = template.get("container") or template.get("script")
        if container is None:
            return
        volumes = [*(self.spec.get("volumes") or []), *(template.get("volumes") or [])]
        claims = [
            claim.get("metadata") or {} for claim in self.spec.get("volumeClaimTemplates") or []
        ]
        declared = {volume.get("name") for volume in (*volumes, *claims)}
        for mount in container.get("volumeMounts") or []:
            if mount.get("name") not in declared:
                yield f"{where}: volume {mount.get('name')!r} is mounted but not declared"
        yield from with_prefix(where, path_problems(template, container, [*volumes, *claims]))
        yield from with_prefix(where, container_problems(container, self.runtime, self.environ))
        yield from with_prefix(
            where, reference_problems(container, volumes, self.catalog, self.variables)
        )

    def _no_leaf_fields(self, where: str, template: JsonObject) -> Iterator[str]:
        for name in ("activeDeadlineSeconds", "timeout"):
            if template.get(name) is not None:
                yield f"{where}.{name} is only valid for leaf templates"

    def _steps(
        self, where: str, template: JsonObject, base: TemplateBase, known: Known
    ) -> Iterator[str]:
        yield from self._no_leaf_fields(where, template)
        seen: set[str] = set()
        for index, group in enumerate(template["steps"]):
            results: set[str] = set()
            for step in group:
                name = step.get("name") or ""
                path = f"{where}.steps[{index}].{name}"
                yield from name_problems(f"{where}.steps[{index}]", name, seen)
                yield from self._step(path, f"steps.{name}", step, base, known)
                results |= self._results(f"steps.{name}", step, base)
            known = known.plus(results)
        yield from with_prefix(where, tag_problems(template.get("outputs"), known))

    def _dag(
        self, where: str, template: JsonObject, base: TemplateBase, known: Known
    ) -> Iterator[str]:
        yield from self._no_leaf_fields(where, template)
        tasks: list[JsonObject] = template["dag"].get("tasks") or []
        if not tasks:
            yield f"{where} must have at least one task"
        seen: set[str] = set()
        names = [
            problem for t in tasks for problem in name_problems(where, t.get("name") or "", seen)
        ]
        if names:
            yield from names
            return
        needed: dict[str, Dependencies] = {}
        for task in tasks:
            try:
                needed[task["name"]] = dependencies(task, tasks)
            except ExpressionError as error:
                yield f"{where}.tasks.{task['name']}: {error}"
        yield from dag_problems(where, template, tasks, needed)
        results = {t["name"]: self._results(f"tasks.{t['name']}", t, base) for t in tasks}
        is_sound = len(needed) == len(tasks) and not cycle(needed)
        for task in tasks:
            # Without a valid order, every task may come before every other.
            earlier = ancestors(task["name"], needed) if is_sound else results.keys()
            before = known.plus(set[str]().union(*(results[name] for name in earlier)))
            prefix = f"tasks.{task['name']}"
            yield from self._step(f"{where}.{prefix}", prefix, task, base, before)
        outputs = [template.get("outputs"), template["dag"].get("target")]
        everything = set[str]().union(*results.values())
        yield from with_prefix(where, tag_problems(outputs, known.plus(everything)))

    def _results(self, prefix: str, step: JsonObject, base: TemplateBase) -> set[str]:
        found = find(Caller.of(step, ""), base, self.catalog)
        return result_names(prefix, found[0] if found else None, in_loop=is_loop(step))

    def _step(
        self, where: str, prefix: str, step: JsonObject, base: TemplateBase, known: Known
    ) -> Iterator[str]:
        loops = [key for key in ("withItems", "withParam", "withSequence") if step.get(key)]
        if len(loops) > 1:
            yield f"{where}: only one of withItems, withParam, withSequence can be specified"
        inner = known.plus(*item_names(step))
        part = {key: value for key, value in step.items() if key in _STEP_TAGS}
        yield from with_prefix(where, tag_problems(part, inner))
        caller = Caller.of(step, "")
        yield from self._call(where, caller, base, step.get("arguments"))
        hook = exit_hook(step, self.spec.get("arguments"))
        if hook is not None:
            own = self._results(prefix, step, base)
            # The hook of a DAG's loop runs without the item, in Argo too.
            around = known if prefix.startswith("tasks.") else inner
            yield from self._hook(f"{where}.onExit", hook, base, around.plus(own))

    def _hook(
        self, where: str, hook: JsonObject, base: TemplateBase, known: Known
    ) -> Iterator[str]:
        if hook.get("expression"):
            yield from with_prefix(where, expression_problems(hook["expression"], known))
        yield from with_prefix(where, tag_problems(hook.get("arguments"), known))
        yield from self._call(where, Caller.of(hook, ""), base, hook.get("arguments"))
