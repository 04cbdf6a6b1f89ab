"""From the command's flags to the subject of the checks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from argotune.workflows.cli.checks.choices import Pull
from argotune.workflows.cli.checks.installation import PLACEHOLDER
from argotune.workflows.cli.checks.subject import Needs, Subject
from argotune.workflows.cli.checks.workspace import needs_of
from argotune.workflows.cli.installation.objects import objects
from argotune.workflows.cli.installation.settings import Settings
from argotune.workflows.cli.remote.cluster import Cluster
from argotune.workflows.cli.remote.cluster_defaults import defaults_of
from argotune.workflows.cli.texts import read_texts
from argotune.workflows.workspace.planned import Planned, PlannedService, load, load_service
from argotune.workflows.workspace.read import is_about_inference


def open_subject(
    files: Sequence[Path],
    cluster: Cluster,
    *,
    push_secret: str | None,
    pull: Pull,
    images_registry: str | None,
    images_tag: str | None,
    argo_namespace: str,
) -> Subject:
    """Open the cluster, and read what the workspace needs.

    Raises InputError or WorkspaceError for a wrong file, as `submit` does.
    """
    needs = Needs()
    if files:
        planned = _plan(files, cluster)
        cluster = cluster.within(planned.workspace.namespace)
        needs = needs_of(planned, push_secret)
    elif push_secret is not None:
        needs = Needs(push_secret=push_secret, push_secret_is_named=True)
    return Subject(
        kube=cluster.kube,
        namespace=cluster.namespace,
        # Any registry will do, because only names, roles and security are checked.
        expected=tuple(objects(Settings(images_registry=PLACEHOLDER), cluster.namespace)),
        needs=needs,
        argo_namespace=argo_namespace,
        images_registry=images_registry,
        images_tag=images_tag,
        pull=pull,
        environment=os.environ,
    )


def _plan(files: Sequence[Path], cluster: Cluster) -> Planned | PlannedService:
    texts = read_texts(files)
    if is_about_inference(texts):
        return load_service(
            texts,
            overrides={},
            find_config_map=cluster.find_config_map,
            find_defaults=defaults_of(cluster),
        )
    return load(
        texts,
        overrides={},
        allow_loopback=True,
        find_config_map=cluster.find_config_map,
        find_defaults=defaults_of(cluster),
    )
