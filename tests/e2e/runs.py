"""One Workflow on the cluster, its nodes by step, and all that explains why it failed."""

from __future__ import annotations

import re
from datetime import datetime

from tests.e2e.cluster import CALL_SECONDS, Cluster, Object, wait_for

ARGO = "argoproj.io/v1alpha1"
_NODE_NAME = "workflows.argoproj.io/node-name"
STEPS = ("plan", "dataset", "model", "provision", "tune", "evaluate", "push", "deploy", "release")
# The node was there before, so nobody watches over it.
ALL_WELL = {
    **dict.fromkeys(STEPS, "Succeeded"),
    **dict.fromkeys(("watch", "answer", "approval", "notify"), "Skipped"),
    **dict.fromkeys(("score", "approved", "reject"), "Omitted"),
}
"""Phases of a run that ended well on a node that it did not make."""
ENDED_EARLY = {
    **dict.fromkeys(("plan", "dataset", "release"), "Succeeded"),
    **dict.fromkeys(("model", "provision", "notify"), "Skipped"),
    **dict.fromkeys(("tune", "watch", "answer", "score", "evaluate", "push"), "Omitted"),
    **dict.fromkeys(("approval", "approved", "deploy", "reject"), "Omitted"),
}
"""Phases of a run whose data has not changed since the last."""
_ENDED = {"Succeeded", "Failed", "Error", "Skipped", "Omitted"}
_LOG_LINES = 25


class Run:
    """A Workflow by name; `workflow` is what the cluster last said of it."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster = cluster
        self.name = name
        self.workflow = self.refresh()

    def refresh(self) -> Object:
        """Ask again, and return the Workflow."""
        found = self.cluster.read(ARGO, "workflows", self.name)
        assert found is not None, f"workflow {self.name} is gone"
        self.workflow = found
        return found

    @property
    def uid(self) -> str:
        return str(self.workflow["metadata"]["uid"])

    @property
    def phase(self) -> str:
        return str(self.workflow.get("status", {}).get("phase", "Pending"))

    def ends(self, phase: str, *, seconds: float) -> Run:
        """Wait for the end, which must be this phase."""

        def ended() -> bool:
            labels = self.refresh()["metadata"].get("labels", {})
            return bool(labels.get("workflows.argoproj.io/completed") == "true")

        wait_for(f"end of {self.name}", ended, seconds=seconds, explain=self.explain)
        assert self.phase == phase, self.explain()
        return self

    def nodes(self) -> list[Object]:
        """Nodes in the order in which they began."""
        nodes = (self.workflow.get("status", {}).get("nodes") or {}).values()
        return sorted(nodes, key=lambda node: (node.get("startedAt") or "~", node["id"]))

    def step(self, name: str) -> Object:
        """The node of a step: that of its retries."""
        found = [n for n in self.nodes() if name in (n["displayName"], n.get("templateName"))]
        found = [node for node in found if node["type"] != "Pod"] or found
        assert found, f"{self.name} has no node {name}\n{self.explain()}"
        return found[0]

    def tries(self, name: str) -> list[Object]:
        """The pods' nodes of a step, in order."""
        return [n for n in self.nodes() if n["type"] == "Pod" and n.get("templateName") == name]

    def phases(self) -> dict[str, str]:
        """Phase of every step, and of the exit handler."""
        tries = {node["id"] for node in self.nodes() if node["type"] == "Pod"}
        steps = {
            node.get("templateName", ""): str(node.get("phase"))
            for node in self.nodes()
            if node["id"] not in tries
        }
        return {name: phase for name, phase in steps.items() if name not in ("", "finetune", "end")}

    def outputs(self, step: str | None = None) -> dict[str, str]:
        """Output parameters of a step, or of the run."""
        holder = self.workflow["status"] if step is None else self.step(step)
        found = (holder.get("outputs") or {}).get("parameters") or []
        if step is None and not found:
            return self.outputs("finetune")
        return {item["name"]: item.get("value", "") for item in found}

    def running_pod(self, step: str, *, seconds: float, other_than: str | None = None) -> Object:
        """Wait for a pod of a step whose own container runs; other_than is a UID. Nodes are of no
        help: Argo says of them that they run 10 s later, and may give a lost pod's name and node
        to its successor."""

        def found() -> Object | None:
            for pod in self.pods():
                of_step = f".{step}(" in pod["metadata"]["annotations"][_NODE_NAME]
                if of_step and _main_runs(pod) and pod["metadata"]["uid"] != other_than:
                    return pod
            self.refresh()
            assert self.phase not in _ENDED, f"{self.name} has ended\n{self.explain()}"
            return None

        what = f"running pod of step {step} of {self.name}"
        return wait_for(what, found, seconds=seconds, explain=self.explain)

    def says(self, pod: Object, pattern: str, *, seconds: float) -> list[str]:
        """Wait until a pod's log has the pattern; all that it matches. A run that has ended says
        no more."""

        def found() -> list[str]:
            has_ended = self.refresh() and self.phase in _ENDED
            matches = re.findall(pattern, self.cluster.log(pod["metadata"]["name"]))
            assert matches or not has_ended, f"{self.name} has ended\n{self.explain()}"
            return matches

        what = f"{pattern!r} in the log of {pod['metadata']['name']}"
        return wait_for(what, found, seconds=seconds, explain=self.explain)

    def pods(self) -> list[Object]:
        """Pods of the run that are there."""
        label = f"workflows.argoproj.io/workflow={self.name}"
        return self.cluster.items("v1", "pods", labelSelector=label)

    def volumes(self) -> list[str]:
        """Claims that the run made and that are there."""
        return [
            str(claim["metadata"]["name"])
            for claim in self.cluster.items("v1", "persistentvolumeclaims")
            if any(o["uid"] == self.uid for o in claim["metadata"].get("ownerReferences", []))
        ]

    def delete(self) -> None:
        """Delete the Workflow, and with it what belongs to it."""
        self.cluster.kubectl("delete", "workflow", self.name, "--wait=false", "--ignore-not-found")

    def explain(self) -> str:
        """What a person would look at: messages of nodes, states and logs of pods, warnings."""
        status = self.refresh().get("status", {})
        lines = [f"{self.name}: {self.phase}: {status.get('message', '')}"]
        for node in self.nodes():
            message = node.get("message", "")
            lines.append(f"  {node['type']} {node['displayName']}: {node.get('phase')}: {message}")
        names = set()
        for pod in self.pods():
            name = pod["metadata"]["name"]
            names.add(name)
            if pod["status"]["phase"] == "Succeeded":
                continue
            lines.append(f"pod {name} on {pod['spec'].get('nodeName')}: {_state(pod)}")
            lines += [f"    {line}" for line in self._log_end(name)]
        for event in self.cluster.items("v1", "events", fieldSelector="type=Warning"):
            if event["involvedObject"].get("name") in {*names, self.name}:
                lines.append(f"warning: {event.get('reason')}: {event.get('message')}")
        return "\n".join(lines)

    def _log_end(self, pod: str) -> list[str]:
        """The last lines of a pod's log, without those of Argo's own executor."""
        lines = self.cluster.log(pod).splitlines()
        return [line for line in lines if " argo=true" not in line][-_LOG_LINES:]


def run_with_label(cluster: Cluster, label: str) -> Run:
    """The one run with a label, once it is there."""

    def names() -> list[str]:
        found = cluster.items(ARGO, "workflows", labelSelector=label)
        return [str(item["metadata"]["name"]) for item in found]

    return Run(cluster, wait_for(f"run with label {label}", names, seconds=CALL_SECONDS)[0])


def seconds_between(begin: str, end: str) -> float:
    """Between two times of Kubernetes."""
    return (datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds()


def _main_runs(pod: Object) -> bool:
    """Whether the step's own container is running."""
    statuses = pod["status"].get("containerStatuses") or []
    return any(s["name"] == "main" and "running" in s["state"] for s in statuses)


def _state(pod: Object) -> str:
    """The pod's phase and what its containers and conditions complain of."""
    status = pod["status"]
    found = [status["phase"], status.get("message", "")]
    for condition in status.get("conditions") or []:
        if condition["status"] != "True" and condition.get("message"):
            found.append(f"{condition['type']}: {condition['message']}")
    for container in status.get("containerStatuses") or []:
        state = container["state"]
        for kind in ("waiting", "terminated"):
            if kind in state:
                found.append(f"{container['name']} {kind}: {state[kind].get('reason')}")
                found.append(state[kind].get("message", ""))
    return "; ".join(filter(None, found))
