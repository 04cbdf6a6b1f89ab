"""What the operator has seen of the cluster: Workspaces, their runs and their services.

kopf's watches fill it. A Workflow is a hundred kilobytes, so of a run only what its Workspace's
status says of it is kept.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from argotune.steps.cluster.kube import Object
from argotune.steps.contracts.in_service import WORKSPACE_UID, deployed_by_other
from argotune.steps.nodes.ledger import made_nodes
from argotune.steps.nodes.made_node import Made
from argotune.workflows.cli.remote.runs import by_service, newest_by_workspace
from argotune.workflows.cli.show.approval import approval_of
from argotune.workflows.cli.show.pace import Pace
from argotune.workflows.cli.show.results import phase_and_reason
from argotune.workflows.cli.show.rows import step_rows, utc_now
from argotune.workflows.cli.show.workflow_json import (
    WORKSPACE_LABEL,
    Workflow,
    has_ended,
    node_of_step,
    outputs_of,
    shown_phase,
    unpack_nodes,
    workspace_of,
)
from argotune.workflows.operator.content import config_map_of, kept

Key = tuple[str, str]
"""Namespace and name of a Workspace."""
CONTENT = "operator.argotune.dev/content"
"""Annotation: of a Workspace, the digest of the content that its newest run is made of; of a
Workflow, the digest of its own."""
RUN = "operator.argotune.dev/run"
"""Annotation of a Workspace: its newest run."""
HELD = "operator.argotune.dev/held"
"""Annotation of a Workflow that the operator has suspended, and lets go again."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One Workflow of a Workspace, as far as its status says it."""

    name: str
    owners: tuple[str, ...]
    """UIDs of the objects that own it: the Workspace, or its CronWorkflow."""
    metadata: Mapping[str, Any]
    """Name, labels, annotations and time of creation."""
    phase: str
    """Argo's, or Stopped."""
    message: str
    """The phase with its reason, for a person."""
    has_ended: bool
    is_ending: bool
    """Whether it was asked to end."""
    awaits_approval: bool
    steps: tuple[tuple[str, str], ...]
    """Name and phase of each step."""
    progress: str
    """Units done and their number of the step that reports them: 120/400."""
    ends_at: datetime | None
    """When that step ends at its pace."""
    outputs: Mapping[str, str]
    node: str
    """Where tune runs."""
    made: Made
    """Nodes that were made for it."""

    @property
    def created(self) -> str:
        """Time of its creation, RFC 3339."""
        return str(self.metadata["creationTimestamp"])

    @property
    def content(self) -> str:
        """Digest of its content; empty for a run of a schedule or a person."""
        return str(self._annotations.get(CONTENT, ""))

    def is_of(self, workspace: Object) -> bool:
        """Whether this Workspace or its schedule began it, and not only one of its name."""
        uid = workspace["metadata"]["uid"]
        return uid in self.owners or self._annotations.get(WORKSPACE_UID) == uid

    @property
    def is_held(self) -> bool:
        """Whether the operator has suspended it."""
        return HELD in self._annotations

    @property
    def workflow(self) -> Workflow:
        """The Workflow with its metadata alone, as lists of runs have it."""
        return {"metadata": self.metadata}

    @property
    def _annotations(self) -> Mapping[str, str]:
        return self.metadata.get("annotations") or {}


@dataclass
class Seen:
    """The objects by namespace and name; watches change it while workers read it."""

    workspaces: dict[Key, Object] = field(default_factory=dict)
    _runs: dict[Key, Run] = field(default_factory=dict)
    _services: dict[Key, Object] = field(default_factory=dict)
    _paces: dict[tuple[str, str], Pace] = field(default_factory=dict)
    """UID of the run and id of the node -> its pace."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def put_workspace(self, workspace: Object) -> Key:
        """Keep a Workspace, unless a newer state of it is known; returns its key.

        What a watch tells may be older than what a worker wrote meanwhile.
        """
        key, found = _key(workspace), kept(workspace)
        with self._lock:
            known = self.workspaces.get(key)
            if known is None or _is_newer(workspace["metadata"], known["metadata"]):
                self.workspaces[key] = found
        return key

    def drop_workspace(self, workspace: Object) -> None:
        """Forget a Workspace that is gone."""
        with self._lock:
            self.workspaces.pop(_key(workspace), None)

    def put_run(self, workflow: Workflow) -> Key:
        """Keep a run, and return the key of its Workspace, which need not exist."""
        found = unpack_nodes(workflow)
        with self._lock:
            run = self._read(found)
            self._runs[_key(workflow)] = run
            if run.has_ended:
                self._forget_pace(found)
        return _workspace_key(found)

    def drop_run(self, workflow: Workflow) -> Key:
        """Forget a run that is gone, and return the key of its Workspace."""
        with self._lock:
            self._runs.pop(_key(workflow), None)
            self._forget_pace(workflow)
        return _workspace_key(workflow)

    def put_service(self, deployment: Object) -> list[Key]:
        """Keep a service, and return the keys of the Workspaces that it serves."""
        found = {
            "metadata": {
                name: deployment["metadata"].get(name)
                for name in ("name", "namespace", "labels", "annotations")
            },
            "spec": {"replicas": deployment["spec"].get("replicas")},
            "status": deployment.get("status") or {},
        }
        with self._lock:
            self._services[_key(deployment)] = found
        return _served_keys(found)

    def drop_service(self, deployment: Object) -> list[Key]:
        """Forget a service that is gone, and return the keys of the Workspaces that it served."""
        with self._lock:
            self._services.pop(_key(deployment), None)
        return _served_keys(deployment)

    def run(self, namespace: str, name: str) -> Run | None:
        """Return a run by its name; None where it is gone."""
        return self._runs.get((namespace, name))

    def runs_of(self, key: Key) -> list[Run]:
        """List the runs of a Workspace's name, the newest first."""
        namespace, name = key
        with self._lock:
            workspace = self.workspaces.get(key) or {"metadata": {}}
            found = [
                run
                for (where, _), run in self._runs.items()
                if where == namespace and workspace_of(run.workflow) == name
            ]
        noted = (workspace["metadata"].get("annotations") or {}).get(RUN)
        # Times are in whole seconds, and of two runs in one the noted one is the newer.
        found.sort(key=lambda run: (run.created, run.name == noted), reverse=True)
        return found

    def own_runs(self, workspace: Object) -> list[Run]:
        """List the runs that the Workspace or its schedule began, the newest first."""
        return [run for run in self.runs_of(_key(workspace)) if run.is_of(workspace)]

    def run_of_other(self, workspace: Object) -> str:
        """Return the run that deployed the service of the Workspace's name, if it is not its own.

        Who may apply Workspaces must not reach by a name what others have deployed.
        """
        service = self.service_of(_key(workspace))
        annotations = (service or {"metadata": {}})["metadata"].get("annotations") or {}
        run = deployed_by_other(annotations, str(workspace["metadata"]["uid"]))
        # The step that notes whose the service is may have been refused it.
        return "" if run in [each.name for each in self.own_runs(workspace)] else run

    def shown_run(self, key: Key) -> Run | None:
        """Return the run that a Workspace's status is about, as `argotune status` chooses it."""
        runs = self.runs_of(key)
        chosen = newest_by_workspace(run.workflow for run in runs).get(key[1])
        return None if chosen is None else self.run(key[0], str(chosen["metadata"]["name"]))

    def service_of(self, key: Key) -> Object | None:
        """Return the Deployment that serves a Workspace, with its own annotations."""
        namespace, name = key
        with self._lock:
            there = [it for (where, _), it in self._services.items() if where == namespace]
        return by_service(there).get(name)

    def keys_with_config_map(self, namespace: str, name: str) -> list[Key]:
        """List the Workspaces of a namespace that name the ConfigMap."""
        with self._lock:
            return [
                key
                for key, workspace in self.workspaces.items()
                if key[0] == namespace and (config_map_of(workspace) or ("",))[0] == name
            ]

    def _read(self, workflow: Workflow) -> Run:
        metadata, now = workflow["metadata"], utc_now()
        read = ("name", "uid", "labels", "annotations", "creationTimestamp")
        rows = step_rows(workflow, now)
        at_work = [] if has_ended(workflow) else rows
        counted = next((row for row in at_work if row.phase == "Running" and row.total > 1), None)
        ends_at = None
        if counted is not None:
            pace = self._paces.setdefault((str(metadata["uid"]), counted.id), Pace())
            left = pace.seconds_left(counted, time.monotonic())
            ends_at = None if left is None else now + timedelta(seconds=left)
        asked = approval_of(workflow)
        return Run(
            name=str(metadata["name"]),
            owners=tuple(each["uid"] for each in metadata.get("ownerReferences") or []),
            metadata={name: metadata[name] for name in read if name in metadata},
            phase=shown_phase(workflow),
            message=phase_and_reason(workflow),
            has_ended=has_ended(workflow),
            is_ending=bool(workflow.get("spec", {}).get("shutdown")),
            awaits_approval=asked is not None and asked.is_waiting,
            steps=tuple((row.name, row.phase) for row in rows),
            progress="" if counted is None else f"{counted.done}/{counted.total}",
            ends_at=ends_at,
            outputs=outputs_of(workflow),
            node=_node_of_tune(workflow),
            made=made_nodes(workflow),
        )

    def _forget_pace(self, workflow: Workflow) -> None:
        uid = workflow["metadata"].get("uid")
        self._paces = {key: pace for key, pace in self._paces.items() if key[0] != uid}


def _node_of_tune(workflow: Workflow) -> str:
    """Return the node of the run's pod on a GPU; of a retried one, that of its last try."""
    node = node_of_step(workflow, "tune")
    nodes: Mapping[str, Any] = workflow.get("status", {}).get("nodes") or {}
    tries = [nodes[child] for child in node.get("children") or [] if child in nodes]
    hosts = [str(each.get("hostNodeName") or "") for each in (node, *tries)]
    return next((host for host in reversed(hosts) if host), "")


def _key(item: Mapping[str, Any]) -> Key:
    return str(item["metadata"]["namespace"]), str(item["metadata"]["name"])


def _is_newer(metadata: Mapping[str, Any], known: Mapping[str, Any]) -> bool:
    """Whether the metadata are not of an earlier state of the same object.

    Versions are numbers that grow: Kubernetes promises it since 1.35, and always did it.
    """
    if metadata["uid"] != known["uid"]:
        return True
    return int(metadata["resourceVersion"]) >= int(known["resourceVersion"])


def _workspace_key(workflow: Workflow) -> Key:
    metadata = workflow["metadata"]
    return str(metadata["namespace"]), str((metadata.get("labels") or {}).get(WORKSPACE_LABEL, ""))


def _served_keys(deployment: Object) -> list[Key]:
    namespace = str(deployment["metadata"]["namespace"])
    return [(namespace, name) for name in by_service([deployment])]
