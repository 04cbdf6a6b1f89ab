"""Whether pods can mount an image as a volume, as `deploy` does with the adapter."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from argotune.steps.cluster.errors import ApiRefusal, MissingRight
from argotune.workflows.cli.checks.finding import Finding, info, ok
from argotune.workflows.cli.checks.pods import trial_pod
from argotune.workflows.cli.checks.subject import Subject

_OLDEST: Mapping[str, tuple[int, int]] = {"containerd": (2, 1), "cri-o": (1, 31)}
"""Container runtime -> first version that mounts images."""
_INSTEAD = "deploy copies the adapter into the claim of the weights instead; nothing to do"


def image_volumes(subject: Subject) -> Iterator[Finding]:
    """Check the API server with the dry run of a pod, and the nodes' runtimes."""
    # Adapters of a service without training are copied, for their strength.
    if not subject.needs.has_service or subject.needs.is_service:
        return
    refusal = _refusal(subject)
    if refusal:
        yield info(f"the API server takes no image volumes ({refusal})", _INSTEAD)
        return
    old = sorted(_old_runtimes(subject))
    if old:
        yield info(f"the container runtime of nodes mounts no images: {', '.join(old)}", _INSTEAD)
        return
    yield ok("pods can mount the adapter's image as a volume, as far as API server and nodes tell")


def _refusal(subject: Subject) -> str:
    """Say why the API server refuses an image volume; empty where it accepts one.

    A server without the feature drops the field, and then misses the volume's type.
    """
    pod = trial_pod(subject, "image-volume", "example.com/image:1", account="default")
    pod["spec"]["volumes"] = [{"name": "image", "image": {"reference": "example.com/image:1"}}]
    try:
        subject.kube.create(pod, subject.namespace, dry_run=True, strict=False)
    except ApiRefusal as error:
        if error.status != 422:
            raise
        return error.message
    return ""


def _old_runtimes(subject: Subject) -> Iterator[str]:
    try:
        nodes = subject.nodes
    except MissingRight:
        return
    for node in nodes:
        runtime = str(node["status"]["nodeInfo"]["containerRuntimeVersion"])
        match = re.match(r"([\w-]+)://v?(\d+)\.(\d+)", runtime)
        if match and (int(match[2]), int(match[3])) < _OLDEST.get(match[1], (0, 0)):
            yield f"{node['metadata']['name']} ({runtime})"
