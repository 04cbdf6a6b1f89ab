"""The operator as its workers see it: what watches would tell it, it is told before each look."""

from __future__ import annotations

from typing import Any

import yaml

from argotune.steps.cluster.kube import Kube, Object
from argotune.workflows.operator.reconcile import Reconciler
from argotune.workflows.operator.seen import Key, Seen
from tests.fakes.kube import Cluster
from tests.workflows.workspace.helpers import WORKSPACE, changed

NAMESPACE = "team-a"
NAME = "my-model"
KEY = (NAMESPACE, NAME)


class Acting:
    """One replica of the operator; `restarted` is another, which knows nothing of before."""

    def __init__(self, cluster: Cluster, kube: Kube, *, managed_only: bool = False) -> None:
        self.cluster = cluster
        self.kube = kube
        self.managed_only = managed_only
        self.restart()

    def restart(self) -> None:
        """Forget everything, as a process that was killed."""
        self.seen = Seen()
        self.reconciler = Reconciler(self.kube, self.seen, managed_only=self.managed_only)

    def apply(self, changes: dict[str, Any] | None = None, *, base: str = WORKSPACE) -> Object:
        """Do what `kubectl apply` of the Workspace does."""
        wanted = yaml.safe_load(changed(changes or {}, base=base))
        metadata = wanted["metadata"]
        there = self.cluster.objects.get(("Workspace", NAMESPACE, metadata["name"]))
        if there is None:
            metadata |= {"namespace": NAMESPACE, "uid": "uid-1", "generation": 1}
            return self.cluster.put({**wanted, "apiVersion": "kaito.sh/v1beta1"})
        annotations = {
            name: text
            for name, text in there["metadata"].get("annotations", {}).items()
            if not name.startswith("argotune.dev/")
        }
        is_same = all(wanted.get(part) == there.get(part) for part in ("tuning", "resource"))
        kept = {
            **there["metadata"],
            "annotations": {**annotations, **metadata.get("annotations", {})},
            "generation": there["metadata"]["generation"] + (not is_same),
        }
        status = {"status": there["status"]} if "status" in there else {}
        return self.cluster.put(
            {**wanted, "apiVersion": "kaito.sh/v1beta1", "metadata": kept, **status}
        )

    def annotate(self, **annotations: str | None) -> None:
        """Set annotations of argotune's; None takes one away."""
        there = self.workspace
        merged = {
            **there["metadata"].get("annotations", {}),
            **{f"argotune.dev/{name.replace('_', '-')}": it for name, it in annotations.items()},
        }
        kept = {name: text for name, text in merged.items() if text is not None}
        self.cluster.put({**there, "metadata": {**there["metadata"], "annotations": kept}})

    def delete(self) -> None:
        """Do what `kubectl delete` does."""
        metadata = self.workspace["metadata"]
        if not metadata.get("finalizers"):
            self.cluster.take("Workspace", NAMESPACE, NAME)
            return
        marked = {"deletionTimestamp": self.cluster.today(), **metadata}
        self.cluster.put({**self.workspace, "metadata": marked})

    def look(self, key: Key = KEY, *, whole: bool = True) -> float | None:
        """Learn what there is, and look at the Workspace."""
        self.learn()
        return self.reconciler.reconcile(key, whole=whole)

    def learn(self) -> None:
        """Learn what kopf's watches would tell."""
        for key, item in list(self.seen.workspaces.items()):
            if ("Workspace", *key) not in self.cluster.objects:
                self.seen.drop_workspace(item)
        for item in self.cluster.of_kind("Workspace"):
            self.seen.put_workspace(item)
        for item in self.cluster.of_kind("Workflow"):
            self.seen.put_run(item)
        for item in self.cluster.of_kind("Deployment"):
            self.seen.put_service(item)

    def play(self, name: str, **status: Any) -> None:
        """Let Argo bring a run to another state."""
        run = self.cluster.objects["Workflow", NAMESPACE, name]
        phase = status.get("phase", "Running")
        labels = {
            **run["metadata"]["labels"],
            "workflows.argoproj.io/phase": phase,
            "workflows.argoproj.io/completed": str(phase != "Running").lower(),
        }
        self.cluster.put(
            {
                **run,
                "metadata": {**run["metadata"], "labels": labels},
                "status": {**run.get("status", {}), "phase": phase, **status},
            }
        )

    @property
    def workspace(self) -> Object:
        return self.cluster.objects["Workspace", NAMESPACE, NAME]

    @property
    def runs(self) -> list[Object]:
        return self.cluster.of_kind("Workflow")

    @property
    def own(self) -> dict[str, Any]:
        """argotune's part of the status."""
        found: dict[str, Any] = self.workspace["status"]["argotune"]
        return found

    def condition(self, kind: str) -> tuple[str, str, str]:
        """Status, reason and message of a condition."""
        (found,) = [it for it in self.workspace["status"]["conditions"] if it["type"] == kind]
        return found["status"], found["reason"], found["message"]

    @property
    def said(self) -> list[tuple[str, str]]:
        """Reason and message of the Events."""
        return [(event["reason"], event["message"]) for event in self.cluster.events]
