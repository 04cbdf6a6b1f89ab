"""The output of `argotune status` for a cluster's namespace; pods and runs may be deleted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NoReturn

from rich.console import Console
from rich.table import Table
from rich.text import Text

from argotune.steps.cluster.kube import Object, Objects
from argotune.steps.contracts.in_service import joined_in
from argotune.steps.nodes.ledger import accelerator_of
from argotune.steps.nodes.made_node import MadeNode, node_of_service
from argotune.workflows.cli.console import console
from argotune.workflows.cli.remote.api_errors import ClusterRefusal
from argotune.workflows.cli.remote.cluster import Cluster
from argotune.workflows.cli.remote.mirror import Mirror
from argotune.workflows.cli.remote.reasons import obstacles, reasons
from argotune.workflows.cli.remote.runs import (
    SERVICES,
    by_service,
    cluster_runs,
    deployments,
    find_cluster_run,
    host_of,
    newest_by_workspace,
    newest_first,
    refuse_name,
    whole_run,
)
from argotune.workflows.cli.remote.schedules import find_schedules, schedule_named
from argotune.workflows.cli.remote.service_obstacles import service_obstacles
from argotune.workflows.cli.remote.watching import advice, database_note
from argotune.workflows.cli.remote.watching import watch as watch_until_the_end
from argotune.workflows.cli.show.readiness import is_ready, readiness
from argotune.workflows.cli.show.results import Output, phase_and_reason, print_record
from argotune.workflows.cli.show.rows import last_line, step_name, step_rows, utc_now
from argotune.workflows.cli.show.schedules import Schedule, runs_table, schedules_table
from argotune.workflows.cli.show.spending import (
    Spending,
    kept_node_of,
    spending_of,
    spending_on,
)
from argotune.workflows.cli.show.spent_table import spent_rows, spent_table
from argotune.workflows.cli.show.view import steps_table
from argotune.workflows.cli.show.volume import kept_volume_of
from argotune.workflows.cli.show.workflow_json import (
    LOG_OUTPUT,
    SUMMARY_OUTPUT,
    WORKSPACE_LABEL,
    Workflow,
    changes_nothing,
    has_ended,
    is_offloaded,
    makes_no_adapter,
    name_of,
    nodes_of,
    outputs_of,
    outputs_of_node,
    phase_of,
    shown_phase,
    workspace_of,
)
from argotune.workflows.cli.show.workspace_table import WorkspaceRow, watch_table, workspaces_table

_INSTANCE_LABEL = "node.kubernetes.io/instance-type"
_FAILED = ("Failed", "Error")


def print_workspaces(cluster: Cluster, output: Output | None, *, watch: bool) -> None:
    """Print one row for each workspace that has a run or a service in the namespace."""
    if watch:
        _watch_workspaces(cluster)
    runs = cluster_runs(cluster)
    if output:
        newest = [whole_run(cluster, name_of(run)) for run in newest_by_workspace(runs).values()]
        print_record([run for run in newest if run is not None], output)
        return
    if rows := _rows(runs, cluster.list("Deployment", SERVICES)):
        console().print(workspaces_table(rows))
    else:
        _say_no_runs(cluster)
    _print_schedules(cluster, console())


def _watch_workspaces(cluster: Cluster) -> NoReturn:
    with (
        Mirror(cluster, "Workflow", WORKSPACE_LABEL, metadata_only=True) as runs,
        Mirror(cluster, "Deployment", SERVICES) as services,
    ):
        watch_table(console(), lambda: _rows(newest_first(runs.objects()), services.objects()))


def print_spent(cluster: Cluster, label: str) -> None:
    """What the runs of the namespace spent, summed by a label of theirs."""
    rows = spent_rows(cluster_runs(cluster), label, utc_now())
    if rows:
        console().print(spent_table(rows, label))
    else:
        _say_no_runs(cluster)


def print_run(cluster: Cluster, name: str, output: Output | None) -> None:
    """Print steps, results and service of one run; for a deleted run, its service.

    The name may be a schedule's, of which times, obstacles and runs are printed.
    """
    run = find_cluster_run(cluster, name)
    workspace = workspace_of(run) if run else name
    service = deployments(cluster).get(workspace)
    schedules = [] if output else _schedules_of(cluster, workspace)
    if run is None and service is None and not schedules:
        if not _print_schedule(cluster, name, output):
            refuse_name(cluster, name)
        return
    if output:
        print_record(run or service, output)
        return
    screen = console()
    if run is not None:
        _print_run(cluster, screen, run)
    if service is not None:
        _print_service(cluster, screen, workspace, service)
    for schedule in schedules:
        screen.print(f"schedule: {schedule}", soft_wrap=True)
    if run is not None:
        screen.print(f"in Argo's UI: /workflows/{cluster.namespace}/{name_of(run)}", soft_wrap=True)


def watch_run(cluster: Cluster, name: str) -> None:
    """Show the run until it has ended; of a schedule the newest one."""
    run = find_cluster_run(cluster, name)
    if run is None and (scheduled := _schedule_named(cluster, name)):
        _, _, runs = scheduled
        run = next(iter(runs), None)
    watch_until_the_end(cluster, name_of(run or refuse_name(cluster, name)))


def _print_schedule(cluster: Cluster, name: str, output: Output | None) -> bool:
    """Print the schedule of this name with its runs; return whether there is one."""
    found = _schedule_named(cluster, name)
    if found is None:
        return False
    cron, schedule, runs = found
    if output:
        print_record(cron, output)
        return True
    screen, now = console(), utc_now()
    screen.print(schedules_table([schedule], now))
    screen.print()
    screen.print(runs_table(runs, now) if runs else "it has begun no run that is still there")
    flags = cluster.flags
    screen.print(f"begin one now: argotune trigger {name} {flags}", soft_wrap=True)
    return True


def _schedule_named(cluster: Cluster, name: str) -> tuple[Object, Schedule, list[Workflow]] | None:
    """Find the schedule of this name; None too where schedules cannot be seen."""
    try:
        return schedule_named(cluster, name)
    except ClusterRefusal:
        return None


def _print_schedules(cluster: Cluster, screen: Console) -> None:
    try:
        found = find_schedules(cluster)
    except ClusterRefusal as error:
        screen.print(f"schedules are not seen: {error}", soft_wrap=True)
        return
    if found:
        screen.print()
        screen.print(schedules_table(found, utc_now()))


def _schedules_of(cluster: Cluster, workspace: str) -> list[Schedule]:
    """List the schedules of a workspace; none where they cannot be seen."""
    try:
        return [each for each in find_schedules(cluster) if each.workspace == workspace]
    except ClusterRefusal:
        return []


def _say_no_runs(cluster: Cluster) -> None:
    cluster.check_namespace()
    print(
        f"no runs in namespace {cluster.namespace};"
        f" `argotune submit workspace.yaml {cluster.flags}` starts one"
    )


def _rows(runs: Sequence[Workflow], services: Objects) -> list[WorkspaceRow]:
    """Build the table's rows from the metadata of the runs, the newest first."""
    newest, served = newest_by_workspace(runs), by_service(services)
    machines: dict[str, str] = {}
    for run in runs:
        if machine := accelerator_of(run):
            machines.setdefault(workspace_of(run), machine)
    rows = [_row(run, served.get(name), machines.get(name, "")) for name, run in newest.items()]
    return rows + [_row_of_service(name, it) for name, it in served.items() if name not in newest]


def _row(run: Workflow, service: Object | None, machine: str) -> WorkspaceRow:
    """Build the row of a workspace; `machine` is that of its newest run that had one."""
    ready = readiness(run, service)
    accelerator = accelerator_of(run)
    # A scheduled run with unchanged data provisions nothing and keeps the service.
    tunes = not makes_no_adapter(run) and not changes_nothing(run)
    spending = _spending_of_service(service) or spending_of(run, utc_now())
    return WorkspaceRow(
        name=workspace_of(run),
        instance=accelerator or _instance_type(service) or ("" if tunes else machine),
        resource_ready=ready.resource,
        inference_ready=ready.inference,
        workspace_ready=ready.workspace,
        created=run["metadata"]["creationTimestamp"],
        spent="" if spending is None else spending.short,
        phase=shown_phase(run),
    )


def _row_of_service(name: str, service: Object) -> WorkspaceRow:
    ready, spending = is_ready(service), _spending_of_service(service)
    return WorkspaceRow(
        name=name,
        instance=_instance_type(service),
        resource_ready=ready,
        inference_ready=ready,
        workspace_ready=ready,
        created=service["metadata"]["creationTimestamp"],
        spent="" if spending is None else spending.short,
    )


def _spending_of_service(service: Object | None) -> Spending | None:
    """Compute what the service's own node has cost; None where it has none."""
    node = _node_of(service)
    return None if node is None else spending_on((node,), utc_now())


def _node_of(service: Object | None) -> MadeNode | None:
    metadata = (service or {}).get("metadata", {})
    return node_of_service(metadata.get("annotations") or {})


def _instance_type(service: Object | None) -> str:
    """Return the cloud's name of the machine, where the service requests or has one."""
    node = _node_of(service)
    if node is not None:
        return node.placement.partition(" ")[0]
    pod = ((service or {}).get("spec", {}).get("template", {})).get("spec", {})
    return str((pod.get("nodeSelector") or {}).get(_INSTANCE_LABEL, ""))


def _print_run(cluster: Cluster, screen: Console, run: Workflow) -> None:
    name = name_of(run)
    said = f"{name}: {phase_and_reason(run)}"
    screen.print(said, soft_wrap=True)
    for line in obstacles(cluster, run, utc_now()):
        if line not in said:
            screen.print(f"  {line}", soft_wrap=True)
    if is_offloaded(run):
        screen.print(database_note(cluster, name), soft_wrap=True)
    screen.print(steps_table(step_rows(run, utc_now(), reasons(cluster, run))))
    results = outputs_of(run)
    outputs = _outputs_table(run)
    if outputs.row_count:
        screen.print(outputs)
    for key, value in results.items():
        if value:
            screen.print(f"{key}: {value}", soft_wrap=True)
    volume = kept_volume_of(run)
    if volume is not None:
        screen.print(f"volume: {volume}", soft_wrap=True)
    kept = kept_node_of(run, utc_now())
    if kept:
        screen.print(f"kept: {kept}", soft_wrap=True)
    spending = spending_of(run, utc_now())
    if spending is not None:
        screen.print(f"{spending.label}: {spending}", soft_wrap=True)
        if has_ended(run) and not spending.is_over:
            left = f"the node may still be there: argotune gc {cluster.flags}"
            screen.print(left, soft_wrap=True)
    for label, log in _failed_logs(run):
        screen.print(f"the end of the log of {label}:")
        for line in log.splitlines():
            screen.print(f"  {line}", soft_wrap=True)
    if has_ended(run) and phase_of(run) in _FAILED:
        for line in advice(cluster, run):
            screen.print(line, soft_wrap=True)


def _outputs_table(run: Workflow) -> Table:
    """Build the table of each step's outputs for later steps, without the run's own results."""
    table = Table.grid(padding=(0, 2))
    results = outputs_of(run).items()
    for row in step_rows(run, utc_now()):
        given = {
            name: value
            for name, value in outputs_of_node(nodes_of(run)[row.id]).items()
            if value and name not in (LOG_OUTPUT, SUMMARY_OUTPUT) and (name, value) not in results
        }
        for place, (name, value) in enumerate(given.items()):
            step = row.name if place == 0 else ""
            table.add_row("", Text(step), Text(name, style="dim"), Text(last_line(value)))
    return table


def _failed_logs(run: Workflow) -> Iterator[tuple[str, str]]:
    """Yield each failed step with the last lines that it logged."""
    for node in nodes_of(run).values():
        log = outputs_of_node(node).get(LOG_OUTPUT, "")
        if node["type"] == "Pod" and node["phase"] in _FAILED and log:
            yield step_name(node), log


def _print_service(cluster: Cluster, screen: Console, name: str, service: Object) -> None:
    host, namespace = host_of(service), cluster.namespace
    others = joined_in(service["metadata"].get("annotations") or {})
    node, spending = _node_of(service), _spending_of_service(service)
    wanted = service.get("spec", {}).get("replicas", 1)
    ready = service.get("status", {}).get("readyReplicas") or 0
    for line in (
        f"service: http://{host}.{namespace}.svc, {ready} of {wanted} ready",
        *(f"  {line}" for line in service_obstacles(cluster, service)),
        *([f"model in requests: {name}, which joined the service {host}"] if name != host else []),
        *([f"adapters that joined it: {', '.join(others)}"] if others else []),
        f'ask it: argotune chat {name} "A question" {cluster.flags}',
        f"from this machine: kubectl port-forward service/{host} 8080:80 {cluster.flags}",
    ):
        screen.print(line, soft_wrap=True)
    if node is not None:
        screen.print(
            f"node: {node.placement}, the service's own since {node.since:%Y-%m-%d %H:%M} UTC; it"
            f" goes with it: argotune stop {name} --service {cluster.flags}",
            soft_wrap=True,
        )
        screen.print(f"spent so far: {spending}", soft_wrap=True)
