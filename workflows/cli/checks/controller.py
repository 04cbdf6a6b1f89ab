"""Argo's controller: where it runs, its version, and whether it sees the namespace."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from argotune.steps.cluster.errors import MissingRight
from argotune.steps.cluster.kube import Object
from argotune.workflows.cli.checks.finding import Finding, ok, problem, unknown, warning
from argotune.workflows.cli.checks.subject import Subject

CONFIG_MAP = "workflow-controller-configmap"
Version = tuple[int, int, int]

_OLDEST: Version = (3, 6, 0)
_SAFE: Mapping[int, Version] = {3: (3, 7, 15), 4: (4, 0, 6)}
"""Major version -> first release without known vulnerabilities."""
_SELECTORS: tuple[Mapping[str, str], ...] = (
    {"fields": "metadata.name=workflow-controller"},  # the released manifests
    {"labels": "app.kubernetes.io/component=workflow-controller"},  # the Helm chart
)
_SERVER_TIMEOUT_SECONDS = 5.0
_SERVER_ERRORS = (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError)


@dataclass(frozen=True, kw_only=True)
class Controller:
    """The relevant properties of the controller's Deployment."""

    namespace: str
    name: str
    image: str
    arguments: Sequence[str]
    ready: int
    """Number of ready pods."""

    def argument(self, name: str) -> str | None:
        """Read the value of `--name VALUE` or `--name=VALUE`."""
        for given, following in itertools.pairwise([*self.arguments, ""]):
            if given == f"--{name}":
                return following
            if given.startswith(f"--{name}="):
                return given.partition("=")[2]
        return None

    @property
    def config_map(self) -> str:
        """Name of the controller's ConfigMap."""
        return self.argument("configmap") or CONFIG_MAP

    @property
    def watched(self) -> str | None:
        """The only namespace whose Workflows it runs; None: all."""
        if not any(text in ("--namespaced", "--namespaced=true") for text in self.arguments):
            return None
        return self.argument("managed-namespace") or self.namespace


def find_controller(subject: Subject) -> Controller | None:
    """Find the controller's Deployment where the person may see it."""
    return _find(subject)[0]


def running(subject: Subject) -> Iterator[Finding]:
    """Check whether the controller runs, and runs Workflows of this namespace."""
    if not subject.has_argo:
        return
    controller, where = _find(subject)
    if controller is None:
        yield unknown(
            f"no Deployment of Argo's controller is seen in {where}",
            "where it runs elsewhere, the trial run tells whether it works; "
            "--argo-namespace says where to look",
        )
        return
    name = f"{controller.namespace}/{controller.name}"
    if not controller.ready:
        yield problem(
            f"Argo's controller {name} has no pod that is ready",
            "see why",
            f"kubectl -n {controller.namespace} describe deployment {controller.name}",
        )
    elif controller.watched not in (None, subject.namespace):
        yield problem(
            f"Argo's controller {name} runs only Workflows of namespace {controller.watched}",
            f"work in that namespace, or take its argument --namespaced away, with the ClusterRole "
            f"of Argo's cluster install; nothing happens in {subject.namespace} before",
        )
    else:
        yield ok(f"Argo's controller {name} runs, and takes Workflows of {subject.namespace}")


def version(subject: Subject) -> Iterator[Finding]:
    """Check Argo's version, by the first sign of it."""
    if not subject.has_argo:
        return
    for source, text in _version_signs(subject):
        found = parse_version(text)
        if found is not None:
            yield _judge(found, source)
            return
    yield unknown(
        "Argo's version is in nothing that you may see: neither the controller's "
        "Deployment, nor ARGO_SERVER, nor the executor's image on pods and nodes",
        "set ARGO_SERVER as for the command argo, or ask; it should be 4.0.6 or later",
    )


def server(subject: Subject) -> Iterator[Finding]:
    """Check whether the Argo server of the environment answers."""
    address = subject.environment.get("ARGO_SERVER")
    if not address:
        return
    try:
        _server_version(subject.environment)
    except _SERVER_ERRORS as error:
        yield warning(
            f"the Argo server {address} of ARGO_SERVER does not tell its version: "
            f"{_message(error)}",
            "correct ARGO_SERVER, ARGO_SECURE and ARGO_TOKEN, or unset them",
        )
        return
    yield ok(f"the Argo server answers at {address}")


def parse_version(text: str) -> Version | None:
    """Parse the numbers of v4.0.2, 4.0.2+unknown or v3.7.0-rc1."""
    match = re.search(r"(\d+)\.(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2]), int(match[3])) if match else None


def _judge(found: Version, source: str) -> Finding:
    shown = f"Argo {'.'.join(map(str, found))} ({source})"
    if found < _OLDEST:
        return problem(
            f"{shown} is too old: argotune's templates need 3.6 or later",
            "install Argo Workflows 4.0.6 or later",
        )
    if found < _SAFE.get(found[0], found):
        safe = ".".join(map(str, _SAFE[found[0]]))
        return warning(
            f"{shown} has holes that {safe} closes: who may submit gets round "
            "templateReferencing: Strict (CVE-2026-42296), and one annotation of a pod stops the "
            "controller (CVE-2026-40886)",
            f"upgrade to {safe} or later",
        )
    return ok(f"{shown} is new enough")


def _version_signs(subject: Subject) -> Iterator[tuple[str, str]]:
    """List where a version shows and the text there, the most reliable first."""
    controller = find_controller(subject)
    if controller is not None:
        yield "the controller's image", _tag(controller.image)
        executor = controller.argument("executor-image") or ""
        yield "the controller's --executor-image", _tag(executor)
    if subject.environment.get("ARGO_SERVER"):
        # `server` reports one that does not answer.
        with contextlib.suppress(*_SERVER_ERRORS):
            yield "the Argo server", _server_version(subject.environment)
    yield "the executor of a pod here", _only(_executors_of_pods(subject))
    yield "the executor's image on the nodes", _only(_executors_on_nodes(subject))


def _find(subject: Subject) -> tuple[Controller | None, str]:
    """Find the controller, and name where it was looked for."""
    try:
        return _find_in(subject, None), "the whole cluster"
    except MissingRight:
        namespace = subject.argo_namespace
    try:
        return _find_in(subject, namespace), f"namespace {namespace}"
    except MissingRight:
        return None, f"namespace {namespace}, which you may not list"


def _find_in(subject: Subject, namespace: str | None) -> Controller | None:
    for selector in _SELECTORS:
        found = subject.kube.list(
            "Deployment",
            namespace,
            fields=selector.get("fields", ""),
            labels=selector.get("labels", ""),
        )
        for deployment in found:
            return _controller(deployment)
    return None


def _controller(deployment: Object) -> Controller:
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    return Controller(
        namespace=deployment["metadata"]["namespace"],
        name=deployment["metadata"]["name"],
        image=container["image"],
        arguments=[*(container.get("command") or []), *(container.get("args") or [])],
        ready=int((deployment.get("status") or {}).get("readyReplicas") or 0),
    )


def _server_version(environment: Mapping[str, str]) -> str:
    """Read the version as the command argo finds its server. Raises _SERVER_ERRORS."""
    scheme = "http" if environment.get("ARGO_SECURE", "true") == "false" else "https"
    base = environment.get("ARGO_BASE_HREF", "").strip("/")
    token = environment.get("ARGO_TOKEN")
    response = httpx.get(
        f"{scheme}://{environment['ARGO_SERVER']}/{f'{base}/' if base else ''}api/v1/version",
        headers={"Authorization": token} if token else {},
        timeout=_SERVER_TIMEOUT_SECONDS,
        verify=environment.get("ARGO_INSECURE_SKIP_VERIFY") != "true",
    )
    response.raise_for_status()
    found: dict[str, Any] = response.json()
    return str(found["version"])


def _executors_of_pods(subject: Subject) -> set[str]:
    try:
        pods = subject.kube.list(
            "Pod", subject.namespace, labels="workflows.argoproj.io/workflow", limit=50
        )
    except MissingRight:
        return set()
    containers = [item for pod in pods for item in pod["spec"]["containers"]]
    return {_tag(item["image"]) for item in containers if item["name"] == "wait"}


def _executors_on_nodes(subject: Subject) -> set[str]:
    try:
        nodes = subject.nodes
    except MissingRight:
        return set()
    images = [image for node in nodes for image in node["status"].get("images") or []]
    names = [name for image in images for name in image.get("names") or []]
    found = (re.search(r"/argoexec:(.+)$", name) for name in names)
    return {match[1] for match in found if match}


def _tag(image: str) -> str:
    """Return the image's tag; a port or a digest is not one."""
    _, colon, tag = image.partition("@")[0].rpartition("/")[2].partition(":")
    return tag if colon else ""


def _only(versions: set[str]) -> str:
    """Return the one version; with several, none is known to run now."""
    return next(iter(versions)) if len(versions) == 1 else ""


def _message(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
