"""argotune start: start a service of this machine again, without training."""

from __future__ import annotations

from typing import Annotated

import typer

from argotune.workflows.cli import options
from argotune.workflows.cli.home import home
from argotune.workflows.cli.local import start as local_start
from argotune.workflows.cli.where import ClusterOption, ContextOption, NamespaceOption

app = typer.Typer(add_completion=False)


@app.command()
def start(
    name: Annotated[
        str,
        typer.Argument(
            help="Name of a workspace, which means its newest run that succeeded, or of a run."
        ),
    ],
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    on_cluster: ClusterOption = False,
) -> None:
    """Start a service of this machine again that was stopped or lost, without training."""
    of_cluster = {"--namespace": namespace, "--context": context, "--cluster": on_cluster}
    options.refuse(
        of_cluster,
        "services of a cluster are started by Kubernetes;"
        f" kubectl scale deployment/{name} --replicas=1 starts one that was scaled to none",
    )
    local_start.start(home(), name)
