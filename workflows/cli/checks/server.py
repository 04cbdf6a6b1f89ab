"""The API server, the person's login, and the namespace."""

from __future__ import annotations

from collections.abc import Iterator

from argotune.steps.cluster.errors import ApiRefusal
from argotune.workflows.cli.checks.finding import Finding, ok, problem, warning
from argotune.workflows.cli.checks.subject import Subject

_ENFORCE = "pod-security.kubernetes.io/enforce"


def server(subject: Subject) -> Iterator[Finding]:
    """Check whether the API server answers, and accepts the person's login."""
    version = subject.kube.server_version()
    try:
        user = subject.kube.user_name()
    except ApiRefusal as error:
        if error.status != 401:
            raise
        yield problem(
            f"{subject.kube.host} does not accept the kubeconfig's login: {error.message}",
            "log in again, as your cluster's provider says",
        )
        return
    yield ok(f"Kubernetes {version} answers at {subject.kube.host}{f' to {user}' if user else ''}")


def namespace(subject: Subject) -> Iterator[Finding]:
    """Check whether the namespace exists, and which Pod Security Standard it enforces."""
    name = subject.namespace
    found = subject.get("Namespace", name)
    if found is None:
        yield problem(
            f"namespace {name} is not there; what is in it was not looked at",
            "make it, with what runs need",
            f"argotune install -n {name} --create-namespace --images-registry REGISTRY",
        )
        return
    if found["metadata"].get("deletionTimestamp"):
        yield problem(f"namespace {name} is being deleted", "wait for its end, or name another")
        return
    enforced = (found["metadata"].get("labels") or {}).get(_ENFORCE)
    if enforced == "restricted":
        yield ok(f"namespace {name} enforces the Pod Security Standard restricted")
        return
    standard = f"only {enforced}" if enforced else "no Pod Security Standard"
    yield warning(
        f"namespace {name} enforces {standard}, and argotune's pods keep to restricted",
        "hold all other pods there to it too",
        f"kubectl label namespace {name} {_ENFORCE}=restricted --overwrite",
    )
