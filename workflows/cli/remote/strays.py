"""Nodes that runs left behind on a cluster, found with the user's own rights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from argotune.steps.cluster.kube import Kube
from argotune.steps.nodes.provider import Provider
from argotune.steps.nodes.providers import PROVIDERS
from argotune.steps.nodes.runs import run_is_alive
from argotune.workflows.cli.errors import InputError
from argotune.workflows.cli.providers.flags import CLUSTER_SETTINGS, read_settings
from argotune.workflows.cli.providers.registry import ENTRIES, load_commands
from argotune.workflows.cli.remote.cluster import Cluster, installed_setting
from argotune.workflows.cli.remote.runs import whole_run
from argotune.workflows.cli.show.volume import kept_volume_of
from argotune.workflows.cli.show.workflow_json import RUN_LABEL


def collect(
    cluster: Cluster,
    *,
    provider: str | None,
    given: Mapping[str, str],
    kept: bool,
    dry_run: bool,
) -> None:
    """Print the strays, and request their deletion unless it is a dry run; then print kept nodes.

    Kept nodes wait for the next run of their workspace, unless they are deleted too. `given` are
    settings that name the cluster of the nodes, in place of the installation's.
    """
    kube = cluster.kube
    is_alive = run_is_alive(kube, namespace=cluster.namespace)
    count = 0
    for chosen in _providers(cluster, kube, provider, given):
        kept_of = cluster.namespace if kept else ""
        for stray in chosen.collect(is_alive, dry_run=dry_run, kept_of=kept_of):
            print(f"{stray}{' (dry run)' if dry_run else ''}")
            count += 1
        for each in chosen.kept_nodes():
            if each.workspace.partition("/")[0] != kept_of:
                print(f"kept for {each.workspace}: {each}")
                count += 1
    if not count:
        print("nothing: every node that was made for a run has its run, and none is kept")
    for line in _kept_volumes(cluster):
        print(line)


def _kept_volumes(cluster: Cluster) -> Iterator[str]:
    """Yield a line for the volume of each failed run: it costs money until it goes with the run."""
    claims = cluster.collection("PersistentVolumeClaim", RUN_LABEL, metadata_only=True).items
    for name in sorted({claim["metadata"]["labels"][RUN_LABEL] for claim in claims}):
        run = whole_run(cluster, name)
        volume = None if run is None else kept_volume_of(run)
        if volume is not None:
            yield (f"volume {volume}: `argotune rm {name} {cluster.flags}` deletes it and the run")


def _providers(
    cluster: Cluster, kube: Kube, only: str | None, given: Mapping[str, str]
) -> Iterator[Provider]:
    for name in ENTRIES if only is None else (only,):
        connect = load_commands(name).connect
        if connect is None:
            continue
        settings = read_settings(
            {
                row.name: given.get(row.name) or installed_setting(cluster, row.name)
                for row in CLUSTER_SETTINGS
                if name in row.providers
            }
        )
        if PROVIDERS[name].names_cluster(settings):
            yield connect(kube, settings)
        elif only is not None:
            raise InputError(
                f"--{PROVIDERS[name].needed_setting}: missing, and `argotune install` has set none"
                f" in namespace {cluster.namespace}"
            )
