"""The states of a run on a cluster, one after another, until it has ended."""

from __future__ import annotations

import time
from collections.abc import Iterator

from argotune.workflows.cli.errors import CliError
from argotune.workflows.cli.remote.api_errors import ClusterError, ClusterRefusal
from argotune.workflows.cli.remote.cluster import Cluster
from argotune.workflows.cli.show.workflow_json import Workflow, has_ended, unpack_nodes

TICK_SECONDS = 15
"""A state is yielded at least this often, the same again if nothing happened, because the caller
limits waits."""
_GIVE_UP_SECONDS = 300.0
_LONGEST_PAUSE_SECONDS = 10.0
_GONE = 410


def states(cluster: Cluster, name: str) -> Iterator[Workflow]:
    """Yield the Workflow as it is now, and then after each change; the last one has ended.

    A broken connection is made again. Raises CliError when the run is deleted, or when the cluster
    has not answered for five minutes.
    """
    outage = Outage()
    workflow: Workflow = {}
    version = ""
    while True:
        try:
            if not version:
                workflow = _read(cluster, name)
                version = workflow["metadata"]["resourceVersion"]
                yield workflow
            if has_ended(workflow):
                return
            for newer, its_version in _changes(cluster, name, version):
                version = its_version
                outage.is_over()
                if newer is None:
                    continue
                workflow = newer
                yield workflow
                if has_ended(workflow):
                    return
            outage.is_over()
            yield workflow
        except ClusterError as error:
            version = ""
            outage.wait(error)


def _read(cluster: Cluster, name: str) -> Workflow:
    found = cluster.get("Workflow", name)
    if found is None:
        raise CliError(f"run {name} is not in namespace {cluster.namespace} any more")
    return unpack_nodes(found)


def _changes(cluster: Cluster, name: str, version: str) -> Iterator[tuple[Workflow | None, str]]:
    """Yield the object with its version after each change; None where only the version is new."""
    for event in cluster.watch("Workflow", name, version, TICK_SECONDS):
        kind, item = event["type"], event["object"]
        if kind == "DELETED":
            raise CliError(f"run {name} was deleted from namespace {cluster.namespace}")
        newer = None if kind == "BOOKMARK" else unpack_nodes(item)
        yield newer, item["metadata"]["resourceVersion"]


class Outage:
    """A time without the API server."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._pause_seconds = 0.0

    def is_over(self) -> None:
        """Note that the API server has answered."""
        self._since = None
        self._pause_seconds = 0.0

    def wait(self, error: ClusterError) -> None:
        """Pause before the next try, longer after each one.

        Raises the error when it will not pass.
        """
        if isinstance(error, ClusterRefusal) and error.status == _GONE:
            # The requested version is too old, so the state is read again.
            return
        if not error.may_pass:
            raise error
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        if now - self._since > _GIVE_UP_SECONDS:
            raise error
        time.sleep(self._pause_seconds)
        self._pause_seconds = min(_LONGEST_PAUSE_SECONDS, 2 * self._pause_seconds or 0.5)
