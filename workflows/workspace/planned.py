"""A workspace file, read, checked and planned before a command starts anything."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from argotune.steps.common.errors import ParamsError
from argotune.steps.contracts.in_service import NOT_DEPLOYED
from argotune.steps.contracts.service_plan import ServicePlan
from argotune.steps.contracts.training_plan import TrainingPlan
from argotune.steps.plan.params import Params
from argotune.steps.plan.planning import (
    RunService,
    ServiceParams,
    Substitution,
    find_service_substitution,
    find_substitution,
    make_plan,
    make_service_plan,
    service_of_run,
    volume_gib,
)
from argotune.steps.settings.run_settings import OF_JOINED, place_of, service_settings
from argotune.workflows.workspace.config_map import FindConfigMap
from argotune.workflows.workspace.cost_limit import check_cost_limit
from argotune.workflows.workspace.documents import Texts
from argotune.workflows.workspace.fields import WorkspaceError, flag_of
from argotune.workflows.workspace.model import Workspace
from argotune.workflows.workspace.nodes import FindClusterDefaults
from argotune.workflows.workspace.read import (
    plan_params,
    read_service,
    read_workspace,
    service_params,
)

_ADAPTERS_SIZE = "20Gi"
"""Ten adapters of rank 256 of a model of 7 billion weights in 16 bits take 13 GiB."""
_OF_CLUSTER_SERVICES = (
    "engine",
    "service-gpus",
    "service-during-tuning",
    "service-instance-type",
    "service-replicas",
    "service-max-replicas",
    "service-host",
    "service-label-selector",
    "service-memory",
    "adapter-from",
)
"""Settings that nothing reads where the service is a process."""


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A workspace and its plan."""

    workspace: Workspace
    params: Params
    """Parameters of the plan step."""
    plan: TrainingPlan
    service: RunService | None
    """None: the run makes no service of its own."""

    @property
    def volume_size(self) -> str:
        """Size of the run's volume, a quantity: the file's, else what the plan needs."""
        return self.workspace.options.get("volume-size") or f"{volume_gib(self.plan)}Gi"


@dataclass(frozen=True, kw_only=True)
class PlannedService:
    """A workspace that serves a model without training, and its plan."""

    workspace: Workspace
    params: ServiceParams
    """Parameters of the plan step."""
    plan: ServicePlan
    """Without the adapters' files, which the plan step fetches."""

    @property
    def volume_size(self) -> str:
        """Size of the run's volume, a quantity: the file's, else what ten large adapters take."""
        return self.workspace.options.get("volume-size") or _ADAPTERS_SIZE


def load(
    texts: Texts,
    *,
    overrides: Mapping[str, str],
    allow_loopback: bool,
    substitute: bool = False,
    must_be_final: bool = False,
    on_this_machine: bool = False,
    on_cluster: bool = False,
    files_are_here: bool = False,
    find_config_map: FindConfigMap | None = None,
    find_defaults: FindClusterDefaults | None = None,
    name_gpu: Callable[[Workspace], Workspace] | None = None,
    dataset_tokens: int | None = None,
) -> Planned:
    """Read the workspace and plan it.

    `must_be_final` refuses what is only to be looked at: placeholders, and a retired SKU without
    `substitute`. `files_are_here` refuses files of this machine that are missing, as does
    `on_this_machine`, and `on_cluster` refuses what pods do not reach. `name_gpu` adds which GPU
    the nodes have, where the file leaves that open. `dataset_tokens`, those of one epoch where they
    are known, say what the run costs.
    """
    workspace = read_workspace(
        texts,
        base_dir=Path.cwd(),
        allow_loopback=allow_loopback,
        overrides=overrides,
        find_config_map=find_config_map,
        find_defaults=find_defaults,
        check_plan=_plan_problems,
        on_this_machine=on_this_machine,
        on_cluster=on_cluster,
        files_are_here=files_are_here or on_this_machine,
    )
    if must_be_final and workspace.problems_before_submit:
        raise WorkspaceError(list(workspace.problems_before_submit))
    if on_this_machine:
        workspace = _on_this_machine(_warned_of_service(_without_sku(workspace)))
    workspace = _warned_without_service(workspace)
    workspace = _warned_of_joining(workspace)
    found = find_substitution(plan_params(workspace))
    workspace = _with_usable_sku(workspace, found, substitute, must_be_final)
    if name_gpu is not None:
        workspace = name_gpu(workspace)
    params = plan_params(workspace)
    plan = make_plan(params)
    service = _service(params, plan, overrides)
    planned = Planned(workspace=workspace, params=params, plan=plan, service=service)
    check_cost_limit(planned, dataset_tokens=dataset_tokens)
    return planned


def _service(params: Params, plan: TrainingPlan, overrides: Mapping[str, str]) -> RunService | None:
    """Plan the run's service. Raises WorkspaceError by the places in the file."""
    try:
        return service_of_run(params, plan)
    except ParamsError as error:
        raise WorkspaceError([_placed(problem, overrides) for problem in error.problems]) from error


def _placed(problem: str, overrides: Mapping[str, str]) -> str:
    name, colon, text = problem.partition(": ")
    return f"{flag_of(name) if name in overrides else place_of(name)}{colon}{text}"


def load_service(
    texts: Texts,
    *,
    overrides: Mapping[str, str],
    substitute: bool = False,
    must_be_final: bool = False,
    on_this_machine: bool = False,
    on_cluster: bool = False,
    find_config_map: FindConfigMap | None = None,
    find_defaults: FindClusterDefaults | None = None,
) -> PlannedService:
    """Read a workspace that serves a model without training, and plan it; as `load`."""
    workspace = read_service(
        texts,
        base_dir=Path.cwd(),
        overrides=overrides,
        find_config_map=find_config_map,
        find_defaults=find_defaults,
        check_plan=_service_plan_problems,
        on_this_machine=on_this_machine,
        on_cluster=on_cluster,
    )
    if must_be_final and workspace.problems_before_submit:
        raise WorkspaceError(list(workspace.problems_before_submit))
    if on_this_machine:
        workspace = _on_this_machine(_warned_of_service(_without_sku(workspace)))
    found = find_service_substitution(service_params(workspace))
    workspace = _with_usable_sku(workspace, found, substitute, must_be_final)
    params = service_params(workspace)
    return PlannedService(workspace=workspace, params=params, plan=make_service_plan(params))


def with_own_service(
    planned: Planned,
    reason: str,
    read: Callable[[Mapping[str, str]], Planned],
    overrides: Mapping[str, str],
) -> Planned:
    """Plan again without the service that cannot take the adapter, and warn of it.

    It is read anew, because a service of its own has settings that were not checked.
    """
    host = planned.workspace.options["serve-with"]
    found = read({**overrides, "serve-with": ""})
    warning = (
        f"{planned.workspace.place_of('serve-with')}: {host!r}: {reason}; so the adapter gets a"
        " service of its own"
    )
    workspace = dataclasses.replace(found.workspace, warnings=(*found.workspace.warnings, warning))
    return dataclasses.replace(found, workspace=workspace)


def warnings_of(
    planned: Planned | PlannedService, *, is_installation_asked: bool = False
) -> list[str]:
    """List the warnings of file and plan.

    An installation that is asked refuses the hosts that it does not permit.
    """
    hosts = () if is_installation_asked else planned.workspace.host_warnings
    service = planned.service.warnings if isinstance(planned, Planned) and planned.service else ()
    return [*planned.workspace.warnings, *hosts, *planned.plan.warnings, *service]


def print_warnings(planned: Planned | PlannedService) -> None:
    """Print the warnings of file and plan on stderr, one line each."""
    print_as_warnings(warnings_of(planned))


def print_as_warnings(texts: Iterable[str]) -> None:
    """Print the texts as warnings on stderr, one line each."""
    for text in texts:
        print(f"warning: {text}", file=sys.stderr)


def _on_this_machine(workspace: Workspace) -> Workspace:
    if "provider" in workspace.options:
        return workspace
    options = {**workspace.options, "provider": "local"}
    return dataclasses.replace(workspace, options=options)


def _without_sku(workspace: Workspace) -> Workspace:
    if workspace.instance_type is None:
        return workspace
    warning = f"resource.instanceType: {workspace.instance_type} has no effect on this machine"
    return dataclasses.replace(
        workspace, instance_type=None, warnings=(*workspace.warnings, warning)
    )


def _warned_of_service(workspace: Workspace) -> Workspace:
    """Warn of settings that only a service of a cluster has."""
    given = [name for name in _OF_CLUSTER_SERVICES if name in workspace.options]
    has_none_here = workspace.options.get("deploy-to") in ("kubernetes", NOT_DEPLOYED)
    if not given or has_none_here or workspace.options.get("serve-with"):
        return workspace
    places = ", ".join(map(workspace.place_of, given))
    warning = f"{places}: no effect on a service of this machine"
    return dataclasses.replace(workspace, warnings=(*workspace.warnings, warning))


def _warned_without_service(workspace: Workspace) -> Workspace:
    """Warn of settings of a service where the run only pushes its adapter."""
    given = [name for name in service_settings() if name in workspace.options]
    if not given or workspace.options.get("deploy-to") != NOT_DEPLOYED:
        return workspace
    places = ", ".join(map(workspace.place_of, given))
    warning = f"{places}: no effect, because deploy-to is {NOT_DEPLOYED}"
    return dataclasses.replace(workspace, warnings=(*workspace.warnings, warning))


def _warned_of_joining(workspace: Workspace) -> Workspace:
    """Warn of settings of a service where another one takes the adapter."""
    host = workspace.options.get("serve-with")
    given = [
        name for name in service_settings() if name in workspace.options and name not in OF_JOINED
    ]
    if not given or not host or workspace.options.get("deploy-to") == NOT_DEPLOYED:
        return workspace
    places = ", ".join(map(workspace.place_of, given))
    warning = f"{places}: no effect, because {host} serves the adapter"
    return dataclasses.replace(workspace, warnings=(*workspace.warnings, warning))


def _with_usable_sku(
    workspace: Workspace, found: Substitution | None, substitute: bool, must_be_final: bool
) -> Workspace:
    if found is None:
        return workspace
    if not substitute and (must_be_final or not found.retired):
        raise WorkspaceError(
            [
                f"resource.instanceType: {found.reason}; take it with --substitute or"
                f" --instance-type {found.new}"
            ]
        )
    said = "taken instead" if substitute else "planned for instead; submit asks for --substitute"
    return dataclasses.replace(
        workspace,
        instance_type=found.new,
        warnings=(*workspace.warnings, f"resource.instanceType: {found.reason}; {said}"),
    )


def _service_plan_problems(params: ServiceParams) -> Sequence[str]:
    try:
        make_service_plan(params)
    except ParamsError as error:
        return error.problems
    return []


def _plan_problems(params: Params) -> Sequence[str]:
    try:
        make_plan(params)
    except ParamsError as error:
        return error.problems
    return []
