"""The end of a Workspace: its run stops and gives its node back, its schedule and service go.

A finalizer keeps the object until that is done, for ten minutes at most: what a cloud has not
released by then is for the schedule `gc`.
"""

from __future__ import annotations

from datetime import UTC, datetime

from argotune.steps.cluster.errors import ApiError, ApiRefusal
from argotune.steps.cluster.kube import Kube, Object
from argotune.steps.nodes.made_node import running_node
from argotune.workflows.cli.errors import CliError
from argotune.workflows.cli.installation.operator import FINALIZER as FINALIZER
from argotune.workflows.cli.installation.operator import is_held, without_hold
from argotune.workflows.cli.remote.cluster import Cluster
from argotune.workflows.cli.remote.service_removal import remove_service
from argotune.workflows.cli.remote.watching import shut_down
from argotune.workflows.cli.show.rows import utc_now
from argotune.workflows.operator import schedule
from argotune.workflows.operator.events import WorkspaceEvents
from argotune.workflows.operator.seen import Seen

MOST_SECONDS = 600.0
"""After this the object goes, whatever is left. Clouds take up to five minutes for a machine."""
_AGAIN_SECONDS = 10.0
_GONE = 404


class Deletion:
    """Ends one Workspace."""

    def __init__(self, kube: Kube, cluster: Cluster, seen: Seen, events: WorkspaceEvents) -> None:
        self._kube = kube
        self._cluster = cluster
        self._seen = seen
        self._events = events

    def go_on(self, workspace: Object) -> float | None:
        """Do what is left to do; returns the seconds until the next look, None where it is done.

        Raises ApiError and CliError where something is to be tried again, until the time is over.
        """
        if not is_held(workspace):
            return None
        if namespace_is_ending(self._kube, self._cluster.namespace):
            # Nothing can be created in it any more, so no step can give a node back.
            drop_finalizer(self._kube, workspace)
            return None
        is_late = _age_seconds(workspace) > MOST_SECONDS
        try:
            if self._is_waiting_for_runs(workspace, is_late=is_late):
                return _AGAIN_SECONDS
            self._take_away(workspace)
        except (ApiError, CliError) as error:
            if not is_late:
                raise
            said = f"what is left of it was not taken away in {MOST_SECONDS:.0f} s: {error}"
            self._say(workspace, "LeftBehind", said)
        drop_finalizer(self._kube, workspace)
        return None

    def _is_waiting_for_runs(self, workspace: Object, *, is_late: bool) -> bool:
        schedule.pause_if_there(self._cluster, workspace)
        runs = self._seen.own_runs(workspace)
        active = [run for run in runs if not run.has_ended]
        for run in active:
            if not run.is_ending:
                shut_down(self._cluster, run.name, "Stop")
        if active and not is_late:
            names = ", ".join(run.name for run in active)
            self._events.say(workspace, "Stopping", f"{names}: stops, and gives its node back")
            return True
        for run in runs:
            node = running_node(run.made)
            if node is not None:
                self._say(
                    workspace,
                    "NodeLeftToGc",
                    f"node {node.placement} of run {run.name} was not given back in"
                    f" {MOST_SECONDS:.0f} s; schedule gc of the namespace deletes it",
                )
        return False

    def _take_away(self, workspace: Object) -> None:
        schedule.take_away(self._cluster, workspace)
        if other := self._seen.run_of_other(workspace):
            name = workspace["metadata"]["name"]
            stays = f"service {name} stays: run {other} deployed it, which is not this Workspace's"
            self._say(workspace, "ServiceStays", stays)
            return
        said: list[str] = []
        remove_service(self._cluster, workspace["metadata"]["name"], said.append)
        if said:
            self._events.say(workspace, "ServiceRemoved", "; ".join(said))

    def _say(self, workspace: Object, reason: str, text: str) -> None:
        self._events.say(workspace, reason, text, is_warning=True)


def namespace_is_ending(kube: Kube, name: str) -> bool:
    """Whether the namespace is being deleted, or gone."""
    found = kube.get("Namespace", None, name)
    return found is None or bool(found["metadata"].get("deletionTimestamp"))


def drop_finalizer(kube: Kube, workspace: Object) -> None:
    """Let the object go."""
    metadata = workspace["metadata"]
    try:
        kube.patch("Workspace", metadata["namespace"], metadata["name"], without_hold(workspace))
    except ApiRefusal as error:
        if error.status != _GONE:
            raise


def _age_seconds(workspace: Object) -> float:
    since = datetime.fromisoformat(workspace["metadata"]["deletionTimestamp"])
    return (utc_now() - since.astimezone(UTC)).total_seconds()
