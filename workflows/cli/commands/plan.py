"""argotune plan: what a run would do, need and cost, before it does anything."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console

from argotune.steps.common.errors import StepError
from argotune.steps.contracts.data_report import DataReport
from argotune.steps.contracts.in_service import NOT_DEPLOYED
from argotune.steps.contracts.service_plan import dump_service_plan
from argotune.steps.contracts.training_plan import dump_plan
from argotune.steps.nodes.providers import PROVIDERS
from argotune.workflows.cli import options
from argotune.workflows.cli.console import console
from argotune.workflows.cli.errors import NOT_POSSIBLE, CliError
from argotune.workflows.cli.home import home
from argotune.workflows.cli.local.runs import measured_speed
from argotune.workflows.cli.overrides import OF_VOLUMES, join_overrides, with_overrides
from argotune.workflows.cli.providers.flags import (
    CLOUD,
    CLUSTER_SETTINGS,
    PROVIDER,
    outlook_flags,
    plan_flags,
    with_flags,
)
from argotune.workflows.cli.providers.registry import ENTRIES
from argotune.workflows.cli.remote.api_errors import ClusterError
from argotune.workflows.cli.remote.cluster import Cluster
from argotune.workflows.cli.show.data import count_rows
from argotune.workflows.cli.show.plan_rows import (
    Row,
    memory_rows,
    plan_rows,
    sku_rows,
    what_hours_are_of,
)
from argotune.workflows.cli.show.plan_tables import print_rows, print_skus
from argotune.workflows.cli.show.service_rows import (
    print_service_plan,
    retrain_row,
    run_service_rows,
)
from argotune.workflows.cli.show.view import SilentView
from argotune.workflows.cli.texts import read_texts
from argotune.workflows.cli.where import (
    ClusterOption,
    ContextOption,
    NamespaceOption,
    chosen_cluster,
)
from argotune.workflows.engine.errors import EngineError
from argotune.workflows.workspace import planned as workspaces
from argotune.workflows.workspace.cost_limit import check_cost_limit
from argotune.workflows.workspace.documents import Texts
from argotune.workflows.workspace.input import refused_urls
from argotune.workflows.workspace.model import Workspace, provider_of
from argotune.workflows.workspace.node_request import request_of
from argotune.workflows.workspace.nodes import FindClusterDefaults, node_is_of_run
from argotune.workflows.workspace.read import is_about_inference

app = typer.Typer(add_completion=False)

_NODE_PANEL = "Where the GPU node would come from"


class Output(StrEnum):
    """The format of the plan."""

    TABLE = "table"
    YAML = "yaml"


@app.command()
@with_overrides(but=OF_VOLUMES)
@with_flags(plan_flags(), _NODE_PANEL)
def plan(
    files: options.Files,
    output: Annotated[
        Output, typer.Option("--output", "-o", help="Tables, or the plan that the steps read.")
    ] = Output.TABLE,
    every: Annotated[
        bool, typer.Option("--all", help="Also the SKUs on which the job cannot run, and why.")
    ] = False,
    dataset_tokens: Annotated[
        int | None,
        typer.Option(help="Tokens of the dataset: hours and cost of the whole run.", min=1),
    ] = None,
    substitute: options.Substitute = False,
    allow_loopback: options.AllowLoopback = False,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    on_cluster: ClusterOption = False,
    *,
    overrides: Mapping[str, str],
    given: Mapping[str, str],
) -> None:
    """Show what a run would do: hyperparameters, GPU memory, and the SKUs that fit."""
    if output is Output.YAML:
        nodes = {f"--{flag.name}": given.get(flag.name) for flag in outlook_flags()}
        shown = {"--all": every, "--namespace": namespace, "--context": context}
        options.refuse(
            {**shown, "--cluster": on_cluster, **nodes},
            "for the tables; --output yaml is the plan alone",
        )
    texts = read_texts(files)
    if is_about_inference(texts):
        flags = {
            "--dataset-tokens": dataset_tokens,
            "--namespace": namespace,
            "--context": context,
            "--cluster": on_cluster,
            **{f"--{name}": text for name, text in given.items() if name not in (PROVIDER, CLOUD)},
        }
        options.refuse(flags, "for a training; a service is planned by its file alone")
        provided = {
            name: text for name, text in given.items() if name in (PROVIDER, CLOUD) and text
        }
        _plan_service(
            texts, join_overrides(overrides, provided), output, every=every, substitute=substitute
        )
        return
    cluster = chosen_cluster(namespace, context, on_cluster)
    of_file = (PROVIDER, CLOUD, *(row.name for row in CLUSTER_SETTINGS))
    planned = workspaces.load(
        texts,
        overrides=join_overrides(
            overrides, {name: text for name, text in given.items() if name in of_file}
        ),
        # Nothing is fetched here.
        allow_loopback=True,
        files_are_here=True,
        substitute=substitute,
        dataset_tokens=dataset_tokens,
        find_defaults=None if cluster is None else _defaults_of(cluster),
        name_gpu=None if cluster is None else _gpu_of_nodes(cluster),
    )
    if not allow_loopback:
        workspaces.print_as_warnings(refused_urls(planned.workspace))
    provider = provider_of(planned.workspace.options)
    _refuse_other_providers(provider, given)
    if not PROVIDERS[provider].is_on_cluster:
        chosen = {"--namespace": namespace, "--context": context, "--cluster": on_cluster}
        options.refuse(chosen, f"provider {provider} tunes on this machine; leave it out")
    if output is Output.YAML:
        workspaces.print_warnings(planned)
        print(dump_plan(planned.plan), end="")
        return
    screen = console()
    data = _read_local_data(planned)
    if data is not None and data.tokens is not None and dataset_tokens is None:
        dataset_tokens = data.tokens.train
        check_cost_limit(planned, dataset_tokens=dataset_tokens)
    rows = plan_rows(planned.plan, dataset_tokens=dataset_tokens)
    if planned.workspace.options.get("deploy-to") == NOT_DEPLOYED:
        rows.append(Row(name="service", value="none", note="the adapter is pushed, not deployed"))
    elif host := planned.workspace.options.get("serve-with"):
        rows.append(Row(name="service", value=host, note="is there, and takes the adapter"))
    elif planned.service is not None:
        replicas = planned.workspace.options.get("service-replicas", "")
        rows += run_service_rows(planned.service, replicas=replicas)
    if retrain := retrain_row(planned, dataset_tokens=dataset_tokens):
        rows.append(retrain)
    print_rows(screen, f"Plan of {planned.workspace.name}", rows)
    if data is not None:
        print_rows(screen, "Data, as read here", _data_rows(planned, data))
    print_rows(screen, "GPU memory, estimated", memory_rows(planned.plan))
    if PROVIDERS[provider].is_on_cluster:
        print_skus(
            screen,
            sku_rows(planned.params, every=every, dataset_tokens=dataset_tokens),
            what_hours_are_of(planned.plan, dataset_tokens=dataset_tokens),
            planned.plan.method,
            alternatives=request_of(planned).instance_types[1:],
        )
    is_asked = bool(any(text for name, text in given.items() if name != CLOUD) or cluster)
    entry = ENTRIES.get(provider)
    would_come = True
    try:
        if is_asked or (entry is not None and entry.is_foreseen_unasked):
            would_come = _print_outlook(screen, planned, cluster, given, dataset_tokens)
    except (CliError, StepError) as error:
        if is_asked:
            workspaces.print_warnings(planned)
            raise
        print(f"warning: the GPU node was not looked for: {error}", file=sys.stderr)
    workspaces.print_warnings(planned)
    if is_asked and not would_come:
        raise typer.Exit(NOT_POSSIBLE)


def _plan_service(
    texts: Texts, overrides: Mapping[str, str], output: Output, *, every: bool, substitute: bool
) -> None:
    planned = workspaces.load_service(texts, overrides=overrides, substitute=substitute)
    if output is Output.YAML:
        print(dump_service_plan(planned.plan), end="")
    else:
        print_service_plan(
            console(),
            planned.params,
            planned.plan,
            every=every,
            makes_node=node_is_of_run(planned.workspace.options),
        )
    workspaces.print_warnings(planned)


def _read_local_data(planned: workspaces.Planned) -> DataReport | None:
    """Read the data if all of them are files of this machine; a warning says why not."""
    urls = [url for _, url in planned.workspace.all_urls]
    if not urls or not all(url.startswith("file:") for url in urls):
        return None
    # The engine takes a fifth of a second to import.
    from argotune.workflows.cli.local.look import look_at_data

    try:
        look = look_at_data(home(), planned, SilentView(), rows=0)
    except (CliError, StepError, EngineError) as error:
        print(f"warning: the data were not read: {error}", file=sys.stderr)
        return None
    if look.problem:
        print(f"warning: a run would fail: {look.problem}", file=sys.stderr)
    return look.report


def _data_rows(planned: workspaces.Planned, data: DataReport) -> list[Row]:
    """List the counts of the data, and how long this machine trains on them."""
    rows = list(count_rows(data))
    speed = measured_speed(home(), planned.plan)
    if data.tokens is None or data.tokens.steps is None:
        return rows
    if speed is None:
        note = f"no run here has tuned {data.model} by {planned.plan.method} yet"
        return [*rows, Row(name="here", value="not known", note=note)]
    run, tokens_per_second = speed
    minutes = data.tokens.steps.run_tokens / tokens_per_second / 60
    note = f"on this machine, at {tokens_per_second:,.0f} tokens/s as run {run}"
    return [*rows, Row(name="here", value=f"{minutes:.2g} minutes", note=note)]


def _refuse_other_providers(provider: str, given: Mapping[str, str]) -> None:
    """Refuse the flags with which another provider looks for the node."""
    flags = {
        f"--{flag.name}": given.get(flag.name)
        for entry in ENTRIES.values()
        if entry.name != provider
        for flag in entry.plan_flags
    }
    options.refuse(flags, f"is not for provider {provider}")


def _defaults_of(cluster: Cluster) -> FindClusterDefaults:
    from argotune.workflows.cli.remote.cluster_defaults import defaults_of

    return defaults_of(cluster, for_any_machine=True)


def _gpu_of_nodes(cluster: Cluster) -> Callable[[Workspace], Workspace]:
    from argotune.workflows.cli.remote.gpus import with_gpu_of_nodes

    def named(workspace: Workspace) -> Workspace:
        try:
            return with_gpu_of_nodes(cluster.within(workspace.namespace), workspace)
        except ClusterError:
            # The outlook says what keeps the cluster from answering.
            return workspace

    return named


def _print_outlook(
    screen: Console,
    planned: workspaces.Planned,
    cluster: Cluster | None,
    given: Mapping[str, str],
    dataset_tokens: int | None,
) -> bool:
    # The doctor's checks take a third of a second to import, with httpx, and a plan alone needs
    # none of them.
    from argotune.workflows.cli.outlook.nodes import Asked, print_outlook

    asked = Asked(cluster=cluster, flags=given, dataset_tokens=dataset_tokens)
    return print_outlook(screen, planned, asked)
