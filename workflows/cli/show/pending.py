"""Why a step's pod does not start, in a person's terms."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from argotune.workflows.cli.show.workflow_json import Workflow, nodes_of

_PULL = re.compile(
    r"^(ErrImagePull|ImagePullBackOff|InvalidImageName|ErrImageNeverPull|ImageInspectError"
    r"|RegistryUnavailable|SignatureValidationFailed): "
)
_IMAGE = re.compile(r'(?:image(?: name)?|reference) "([^"]+)"')
_WHY = (
    re.compile(r'failed to resolve reference "[^"]+": (.+)$'),
    re.compile(r' desc = failed to pull and unpack image "[^"]+": (.+)$'),
    re.compile(r" desc = (.+)$"),
    re.compile(r"parse image name .*?(invalid .+)$"),
)
_UNSCHEDULABLE = "Unschedulable: "
_STARTING = ("PodInitializing", "ContainerCreating")
_GPU = re.compile(r"Insufficient [\w.-]+/gpu\b")


@dataclass(frozen=True, kw_only=True)
class PullProblem:
    """An image that a node could not fetch."""

    image: str
    """Empty where the kubelet does not name it."""
    reason: str

    def __str__(self) -> str:
        image = f"image {self.image}" if self.image else "the image"
        return f"{image} cannot be pulled" + (f": {self.reason}" if self.reason else "")


Waiting = tuple[Mapping[str, Any], PullProblem]
"""A node, and why its pod cannot start."""


def waiting_message(text: str) -> str:
    """Return Argo's message of a waiting pod, which is the kubelet's or the scheduler's."""
    problem = pull_problem(text)
    if problem:
        return str(problem)
    if text.startswith(_UNSCHEDULABLE):
        # The text after the first sentence is about preemption.
        why = text.removeprefix(_UNSCHEDULABLE).partition(". ")[0].rstrip(".")
        return f"waits for a {'GPU' if _GPU.search(why) else 'node'}: {why}"
    return "starting" if text.partition(":")[0] in _STARTING else text


def pull_problem(text: str) -> PullProblem | None:
    """Parse a message about an image that cannot be pulled; None for any other."""
    if not _PULL.match(text):
        return None
    image = _IMAGE.search(text)
    name = image[1] if image else ""
    whys = [found[1] for found in (pattern.search(text) for pattern in _WHY) if found]
    return PullProblem(image=name, reason=whys[0].removeprefix(f"{name}: ") if whys else "")


def pull_problems(workflow: Workflow) -> list[Waiting]:
    """List the pods that wait for an image that cannot be pulled."""
    return [
        (node, problem)
        for node in nodes_of(workflow).values()
        if node["type"] == "Pod" and node["phase"] == "Pending"
        if (problem := pull_problem(node.get("message") or ""))
    ]


class PullTimer:
    """Finds images that could not be pulled for too long."""

    def __init__(self, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds
        self._since: dict[str, float] = {}
        """Node id -> when its image was first reported as missing."""

    def overdue(self, workflow: Workflow, now_seconds: float) -> list[Waiting]:
        """List the nodes whose images have not come in time.

        Between two tries the kubelet reports other reasons for a moment, so a pod is forgotten only
        when it waits no longer.
        """
        nodes = nodes_of(workflow)
        for node_id in [*self._since]:
            if nodes.get(node_id, {}).get("phase") != "Pending":
                del self._since[node_id]
        return [
            waiting
            for waiting in pull_problems(workflow)
            if now_seconds - self._since.setdefault(waiting[0]["id"], now_seconds)
            >= self._timeout_seconds
        ]
