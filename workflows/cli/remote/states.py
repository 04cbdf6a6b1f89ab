"""The states of a run on a cluster, one after another, until it has ended."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator

from argotune.workflows.cli.errors import CliError
from argotune.workflows.cli.remote.api_errors import ClusterError, ClusterRefusal
from argotune.workflows.cli.remote.cluster import Cluster
from argotune.workflows.cli.show.workflow_json import Workflow, has_ended, unpack_nodes

TICK_SECONDS = 15
"""A state is yielded at least this often, the same again if nothing happened, because the caller
limits waits."""
_GIVE_UP_SECONDS = 300.0
_GIVE_UP_REFUSED_SECONDS = 60.0
"""An API server that starts again listens sooner than that."""
_TELL_SECONDS = 2.0
_LONGEST_PAUSE_SECONDS = 10.0
_GONE = 410


def states(cluster: Cluster, name: str) -> Iterator[Workflow]:
    """Yield the Workflow as it is now, and then after each change; the last one has ended.

    A broken connection is made again. Raises CliError when the run is deleted, or when the cluster
    does not come back (`Outage.wait`).
    """
    outage = Outage()
    workflow: Workflow = {}
    version = ""
    while True:
        try:
            if not version:
                workflow = _read(cluster, name)
                outage.has_answered = True
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
    """A time without the API server, of which a person hears on stderr when it goes on."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._since: float | None = None
        self._pause_seconds = 0.0
        self.has_answered = False
        """Whether the API server has ever answered; a list or a read says nothing of a watch."""
        self._is_told = False

    def is_over(self) -> None:
        """Note that the API server has answered."""
        if self._is_told:
            _tell("the cluster answers again")
        self.has_answered = True
        self._is_told = False
        self._since = None
        self._pause_seconds = 0.0

    def wait(self, error: ClusterError) -> None:
        """Pause before the next try, longer after each one.

        Raises the error when it will not pass: at once where nothing has ever listened, after a
        minute where nothing listens any more, after five where the server does not answer.
        """
        if isinstance(error, ClusterRefusal) and error.status == _GONE:
            # The requested version is too old, so the state is read again.
            return
        if not error.may_pass or (error.is_refused and not self.has_answered):
            raise error
        now = self._clock()
        self._since = now if self._since is None else self._since
        most_seconds = _GIVE_UP_REFUSED_SECONDS if error.is_refused else _GIVE_UP_SECONDS
        if now - self._since > most_seconds:
            raise error
        if now - self._since >= _TELL_SECONDS and not self._is_told:
            self._is_told = True
            _tell(f"{error}; trying again for up to {most_seconds:.0f} s")
        self._sleep(self._pause_seconds)
        self._pause_seconds = min(_LONGEST_PAUSE_SECONDS, 2 * self._pause_seconds or 0.5)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
