"""Why a step's pod does not start, in a person's words."""

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
    """Argo's message of a pod that waits, which is the kubelet's or the scheduler's."""
    problem = pull_problem(text)
    if problem:
        return str(problem)
    if text.startswith(_UNSCHEDULABLE):
        # What follows the first sentence is about preemption.
        why = text.removeprefix(_UNSCHEDULABLE).partition(". ")[0].rstrip(".")
        return f"waits for a {'GPU' if _GPU.search(why) else 'node'}: {why}"
    return "starting" if text.partition(":")[0] in _STARTING else text


def pull_problem(text: str) -> PullProblem | None:
    """What the message says of an image that cannot be pulled, if that is what it says."""
    if not _PULL.match(text):
        return None
    image = _IMAGE.search(text)
    name = image[1] if image else ""
    whys = [found[1] for found in (pattern.search(text) for pattern in _WHY) if found]
    return PullProblem(image=name, reason=whys[0].removeprefix(f"{name}: ") if whys else "")


def pull_problems(workflow: Workflow) -> list[Waiting]:
    """The pods that wait for an image that cannot be pulled."""
    return [
        (node, problem)
        for node in nodes_of(workflow).values()
        if node["type"] == "Pod" and node["phase"] == "Pending"
        if (problem := pull_problem(node.get("message") or ""))
    ]


class PullTimer:
    """Notices an image that could not be pulled for too long."""

    def __init__(self, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds
        self._since: dict[str, float] = {}
        """Node id -> when its image was first said not to come."""

    def overdue(self, workflow: Workflow, now_seconds: float) -> list[Waiting]:
        """The nodes whose images have not come in time.

        Between two tries the kubelet says other things for a moment: only a pod that waits no
        more is forgotten.
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
