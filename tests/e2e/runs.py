"""One Workflow on the cluster, its nodes by step, and all that explains why it failed."""

from __future__ import annotations

import re
from datetime import datetime

from tests.e2e.cluster import Cluster, Object, wait_for

ARGO = "argoproj.io/v1alpha1"
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
        return {name: phase for name, phase in steps.items() if name not in ("", "finetune")}

    def outputs(self, step: str | None = None) -> dict[str, str]:
        """Output parameters of a step, or of the run."""
        holder = self.workflow["status"] if step is None else self.step(step)
        found = (holder.get("outputs") or {}).get("parameters") or []
        if step is None and not found:
            return self.outputs("finetune")
        return {item["name"]: item.get("value", "") for item in found}

    def runs_step(self, name: str, *, seconds: float, attempt: int = 0) -> Object:
        """Wait until a try of a step has a container that runs; its node."""

        def running() -> Object | None:
            self.refresh()
            self._still_going(f"before step {name} ran")
            tries = self.tries(name)
            if len(tries) <= attempt or tries[attempt]["phase"] != "Running":
                return None
            pod = self.cluster.read("v1", "pods", self.pod_of(tries[attempt]))
            return tries[attempt] if pod and _main_runs(pod) else None

        return wait_for(
            f"pod of step {name} of {self.name}", running, seconds=seconds, explain=self.explain
        )

    def says(self, name: str, pattern: str, *, seconds: float, attempt: int = 0) -> re.Match[str]:
        """Wait until the log of a try of a step has the pattern; its first match."""
        node = self.runs_step(name, seconds=seconds, attempt=attempt)

        def said() -> re.Match[str] | None:
            return re.search(pattern, self.cluster.log(self.pod_of(node)))

        what = f"{pattern!r} in the log of {name} of {self.name}"
        return wait_for(what, said, seconds=seconds, explain=self.explain)

    def pod_of(self, node: Object) -> str:
        """Name of a node's pod."""
        for pod in self.pods():
            annotations = pod["metadata"]["annotations"]
            if annotations.get("workflows.argoproj.io/node-id") == node["id"]:
                return str(pod["metadata"]["name"])
        # As Argo names them: WORKFLOW-TEMPLATE-HASH.
        return f"{self.name}-{node['templateName']}-{node['id'].rpartition('-')[2]}"

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

    def _still_going(self, when: str) -> None:
        if self.phase in _ENDED:
            raise AssertionError(f"{self.name} ended {when}\n{self.explain()}")


def seconds_between(begin: str, end: str) -> float:
    """Between two times of Kubernetes."""
    return (datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds()


def _main_runs(pod: Object) -> bool:
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
