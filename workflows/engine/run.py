"""The entry of the engine: run a workflow on this machine, or resume an interrupted run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from argotune.workflows.engine.clock import Clock, MachineClock
from argotune.workflows.engine.controller.context import RunContext
from argotune.workflows.engine.controller.locks import LockTable
from argotune.workflows.engine.controller.operate import Operator
from argotune.workflows.engine.errors import EngineError, ExpressionError, UnsupportedError
from argotune.workflows.engine.language.expr import evaluate
from argotune.workflows.engine.language.substitute import substitute
from argotune.workflows.engine.loop import Listener, Listening, Loop
from argotune.workflows.engine.model import JsonObject, Node, Runtime, copied
from argotune.workflows.engine.orphans import watched
from argotune.workflows.engine.pods.docker import ContainerLauncher
from argotune.workflows.engine.pods.factory import PodFactory
from argotune.workflows.engine.pods.pod import Launcher
from argotune.workflows.engine.pods.process import ProcessLauncher, inherited_environment
from argotune.workflows.engine.pods.process_groups import GRACE_SECONDS
from argotune.workflows.engine.pods.supervise import NewPod, RunningPod
from argotune.workflows.engine.pods.volumes import VolumeStore
from argotune.workflows.engine.record import (
    CLAIMS,
    LOGS,
    PODS,
    Start,
    discard_unrecorded,
    has_record,
    load_record,
    load_start,
    run_lock,
    save_start,
)
from argotune.workflows.engine.resume import clear_pods, kept_nodes
from argotune.workflows.engine.state.documents import (
    Catalog,
    TemplateBase,
    executed_spec,
    select,
    to_workflow,
)
from argotune.workflows.engine.state.run_state import RunState
from argotune.workflows.engine.state.variables import resolve_parameter_values, workflow_variables
from argotune.workflows.engine.validation.refuse import unsupported_fields
from argotune.workflows.engine.validation.validate import problems_of

_RESOLVED = frozenset({"templates", "arguments", "hooks"})
"""Fields of a spec whose tags are not replaced when the run begins."""
_LOCKS = ".locks"


def _own_environment() -> dict[str, str]:
    return inherited_environment(os.environ)


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """How and where a workflow runs."""

    run_dir: Path
    """Record, logs and volumes of this run."""
    claims_dir: Path
    """Persistent volume claims, one directory each, which are kept between runs."""
    working_dir: Path
    """Working directory of processes whose container names no workingDir on a volume."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    """Values that replace those of `spec.arguments.parameters`; tags in them are not replaced."""
    entrypoint: str | None = None
    """The template to begin with; None: `spec.entrypoint`."""
    runtime: Runtime | None = None
    """What runs the containers; None: processes or, on resuming, what the run started with."""
    secrets: Mapping[str, Path] = field(default_factory=dict)
    """Directories or single files that stand for Secrets; a file's name is its key."""
    secret_values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Secrets as texts by name and key; they stay in memory. A path of the same name wins."""
    environ: Mapping[str, str] = field(default_factory=_own_environment)
    """The environment of all processes, besides the container's own variables."""
    listener: Listener | None = None
    """Receives the events of the run."""
    name: str | None = None
    """The workflow's name; None: the document's, or a random one."""
    namespace: str = "default"
    grace_seconds: float = GRACE_SECONDS
    """Seconds from SIGTERM to SIGKILL, unless the template's podSpecPatch sets them."""
    clock: Clock = field(default_factory=MachineClock)
    """The run's time: when it began, what is due, when its steps ended."""
    new_pod: NewPod = RunningPod
    """Makes what supervises each pod."""


def run(documents: list[JsonObject], options: Options) -> JsonObject:
    """Run the workflow among `documents` and return it with its status.

    A run that fails is a result. Raises EngineError, with all problems, before anything starts,
    and OSError if the run directory cannot be written; what has no record yet is removed.
    """
    options = _with_absolute_paths(options)
    with run_lock(options.run_dir):
        try:
            loop = _new_loop(documents, options)
            with watched(options.run_dir, options.grace_seconds):
                return loop.run()
        except (EngineError, OSError):
            discard_unrecorded(options.run_dir)
            raise


def check(documents: list[JsonObject], options: Options) -> None:
    """Raise EngineError with all problems for which `run` would refuse the documents."""
    _prepared(documents, _with_absolute_paths(options))


def resume(options: Options) -> JsonObject:
    """Resume the run in `run_dir` and return it with its status.

    What succeeded does not run again, and a run that succeeded is returned unchanged. Name, uid,
    parameters and volumes stay, and the options for them are ignored. Raises EngineError.
    """
    options = _with_absolute_paths(options)
    with run_lock(options.run_dir):
        workflow = load_record(options.run_dir)
        if workflow.get("status", {}).get("phase") == "Succeeded":
            return workflow
        start = load_start(options.run_dir)
        options = replace(options, runtime=options.runtime or start.runtime)
        loop = _loop_of_record(workflow, start, options)
        with watched(options.run_dir, options.grace_seconds):
            return loop.run()


def _with_absolute_paths(options: Options) -> Options:
    """The same with absolute paths: processes start in another directory than the caller's."""
    return replace(
        options,
        run_dir=options.run_dir.resolve(),
        claims_dir=options.claims_dir.resolve(),
        working_dir=options.working_dir.resolve(),
    )


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A workflow that nothing is wrong with, and what it is made of."""

    workflow: JsonObject
    spec: JsonObject
    """What is executed, with the values of all parameters."""
    catalog: Catalog


def _new_loop(documents: list[JsonObject], options: Options) -> Loop:
    made = _prepared(documents, options)
    save_start(options.run_dir, Start(documents=documents, runtime=_runtime(options)))
    state = RunState(made.workflow["metadata"]["name"], now=options.clock.now)
    return _loop(made.workflow, made.spec, made.catalog, options, state)


def _prepared(documents: list[JsonObject], options: Options) -> _Prepared:
    if problems := unsupported_fields(documents):
        raise UnsupportedError(problems)
    if has_record(options.run_dir):
        raise EngineError(
            [f"{options.run_dir} already holds a run: resume it, or choose another directory"]
        )
    workflow = to_workflow(
        select(documents),
        name=options.name,
        namespace=options.namespace,
        now=options.clock.now(),
    )
    catalog = Catalog.of(documents, options.secrets, options.secret_values)
    if options.entrypoint is not None:
        workflow["spec"]["entrypoint"] = options.entrypoint
    spec = copied(executed_spec(workflow, catalog))
    _add_metadata(workflow, _metadata_of(spec))
    known = workflow_variables(workflow, {**spec, "arguments": {}})
    resolve_parameter_values(spec, options.parameters, known, catalog.config_maps)
    # A parameter's value may name a label, and a label's value a parameter.
    _add_metadata(workflow, _expanded_metadata(workflow, spec))
    _add_computed_labels(workflow, spec)
    problems = problems_of(
        workflow, spec, catalog, given=options.parameters, runtime=_runtime(options),
        environ=options.environ,
    )  # fmt: skip
    if problems:
        raise EngineError(problems)
    if options.parameters:
        workflow["spec"].setdefault("arguments", {})["parameters"] = copied(
            spec["arguments"]["parameters"]
        )
    return _Prepared(workflow, spec, catalog)


def _loop_of_record(workflow: JsonObject, start: Start, options: Options) -> Loop:
    catalog = Catalog.of(start.documents, options.secrets, options.secret_values)
    spec = copied(workflow["status"]["storedWorkflowTemplateSpec"])
    problems = problems_of(
        workflow, spec, catalog, given={}, runtime=_runtime(options), environ=options.environ
    )
    if problems:
        raise EngineError(problems)
    clear_pods(options.run_dir / PODS, options.grace_seconds)
    name = workflow["metadata"]["name"]
    nodes = {
        node_id: Node.from_status(status)
        for node_id, status in workflow["status"].get("nodes", {}).items()
    }
    state = RunState(name, nodes=kept_nodes(nodes, name), now=options.clock.now)
    for node in state.nodes.values():
        state.add_global_outputs(node.outputs)
    return _loop(workflow, spec, catalog, options, state)


def _metadata_of(spec: JsonObject) -> JsonObject:
    """The labels and annotations of `workflowMetadata`."""
    given = spec.get("workflowMetadata") or {}
    return {key: given.get(key) or {} for key in ("labels", "annotations")}


def _expanded_metadata(workflow: JsonObject, spec: JsonObject) -> JsonObject:
    try:
        found: JsonObject = substitute(_metadata_of(spec), workflow_variables(workflow, spec))
    except ExpressionError as error:
        raise EngineError([f"spec.workflowMetadata: {error}"]) from None
    return found


def _add_metadata(workflow: JsonObject, added: JsonObject) -> None:
    """Add labels and annotations to the workflow's own."""
    metadata = workflow["metadata"]
    for key, values in added.items():
        metadata[key] = {**(metadata.get(key) or {}), **values}


def _add_computed_labels(workflow: JsonObject, spec: JsonObject) -> None:
    """Add the labels of `workflowMetadata.labelsFrom`, which are expressions over `workflow.*`."""
    environment = workflow_variables(workflow, spec).environment()
    problems: list[str] = []
    for name, source in ((spec.get("workflowMetadata") or {}).get("labelsFrom") or {}).items():
        where = f"spec.workflowMetadata.labelsFrom.{name}"
        try:
            value = evaluate(source["expression"], environment)
        except ExpressionError as error:
            problems.append(f"{where}: {error}")
            continue
        if not isinstance(value, str):
            problems.append(f"{where}: {source['expression']!r} is {value!r}, expected a string")
            continue
        workflow["metadata"]["labels"][name] = value
    if problems:
        raise EngineError(problems)


def _loop(
    workflow: JsonObject, spec: JsonObject, catalog: Catalog, options: Options, state: RunState
) -> Loop:
    stored = copied(spec)
    variables = workflow_variables(workflow, spec)
    base = TemplateBase.of(f"local/{state.workflow_name}", spec)
    # Parameters have their values already, which are data and hold no tags; a hook may name what is
    # known at the end only.
    spec = {
        **substitute({k: v for k, v in spec.items() if k not in _RESOLVED}, variables),
        "arguments": spec.get("arguments"),
        "hooks": spec.get("hooks"),
    }
    volumes = VolumeStore(
        claims_dir=options.claims_dir,
        run_claims_dir=options.run_dir / CLAIMS,
        claim_templates=[
            claim["metadata"]["name"] for claim in spec.get("volumeClaimTemplates") or []
        ],
        catalog=catalog,
    )
    pods = PodFactory(
        volumes=volumes,
        catalog=catalog,
        pods_dir=options.run_dir / PODS,
        logs_dir=options.run_dir / LOGS,
        default_grace_seconds=options.grace_seconds,
    )
    loop = Loop(
        workflow,
        stored,
        options.run_dir,
        _launcher(options),
        Listening(options.listener),
        clock=options.clock,
        new_pod=options.new_pod,
    )
    loop.operator = Operator(
        RunContext(
            workflow=workflow,
            spec=spec,
            base=base,
            catalog=catalog,
            variables=variables,
            state=state,
            locks=LockTable(options.claims_dir / _LOCKS),
            pods=pods,
            start_pod=loop.start_pod,
            wake_at=loop.wake_at,
            suspended=bool(spec.get("suspend")),
        )
    )
    return loop


def _runtime(options: Options) -> Runtime:
    return options.runtime or "process"


def _launcher(options: Options) -> Launcher:
    runtime = _runtime(options)
    if runtime == "process":
        return ProcessLauncher(working_dir=options.working_dir, environ=options.environ)
    return ContainerLauncher(runtime, environ=options.environ)
