"""The operator: whose the definition of Workspaces is, whether it works, and on which of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from argotune.steps.cluster.errors import MissingRight
from argotune.steps.cluster.kinds import KINDS
from argotune.steps.cluster.kube import Object
from argotune.workflows.cli.checks.finding import Finding, info, ok, problem, unknown, warning
from argotune.workflows.cli.checks.subject import Subject
from argotune.workflows.cli.installation.applied import is_ours
from argotune.workflows.cli.installation.definition import KIND, OF_OPERATORS
from argotune.workflows.cli.installation.operator import (
    DEFINITION,
    MANAGED,
    OPERATOR,
    image_of_operator,
    is_chosen,
    is_managed_only,
    scope_of,
)
from argotune.workflows.cli.installation.settings import version_of
from argotune.workflows.workspace.images import OPERATOR as IMAGE
from argotune.workflows.workspace.images import image_of, short
from argotune.workflows.workspace.manifests import decided_values

_MOST_NAMED = 5


def operator(subject: Subject) -> Iterator[Finding]:
    """Check definition, operator and Workspaces.

    A cluster without the kind and a namespace without the operator have no fault.
    """
    kind = KINDS["Workspace"]
    has_kind = subject.kube.api(kind.group, kind.version) is not None
    deployment = subject.get("Deployment", OPERATOR)
    if deployment is not None:
        yield from _deployment(subject, deployment)
    if has_kind:
        yield from _definition(subject, deployment)
        yield from _workspaces(subject, deployment)
    elif deployment is not None:
        yield problem(
            f"the definition {DEFINITION} is not there, so the operator has nothing to do",
            "install it",
            subject.install_command("--operator"),
        )


def _deployment(subject: Subject, deployment: Object) -> Iterator[Finding]:
    """Whether it runs, which replica works, and with which image."""
    wanted, status = deployment["spec"]["replicas"], deployment.get("status") or {}
    available = status.get("availableReplicas", 0)
    where = "all namespaces" if scope_of(deployment) == "all" else "this namespace"
    image = short(image_of_operator(deployment))
    if not available:
        yield problem(
            f"the operator does not run: none of its {wanted} pods ({image}) is available",
            "see why",
            f"kubectl -n {subject.namespace} describe pods -l {OF_OPERATORS}",
        )
        return
    text = f"the operator of {where} runs, {available} of {wanted} pods of {image}"
    holder = ((subject.get("Lease", OPERATOR) or {}).get("spec") or {}).get("holderIdentity")
    if not holder:
        yield warning(
            f"{text}, and none of them has the Lease {OPERATOR}, so none works",
            "see why",
            f"kubectl -n {subject.namespace} logs -l {OF_OPERATORS} --prefix",
        )
    else:
        yield ok(f"{text}; {holder} has the lease and works")
    template = subject.template if subject.has_argo else None
    if template is not None:
        expected = image_of(decided_values(template), IMAGE)
        if expected != image_of_operator(deployment):
            yield warning(
                f"the operator's image is {image_of_operator(deployment)}, and that of the"
                f" installation {expected}",
                "install again",
                subject.install_command(),
            )


def _definition(subject: Subject, deployment: Object | None) -> Iterator[Finding]:
    """Whose the definition is, and whether the operator was told so."""
    try:
        found = subject.get(KIND, DEFINITION)
    except MissingRight as error:
        yield unknown(
            f"whose the definition {DEFINITION} is: unknown, it takes the right to {error.right}"
        )
        return
    if found is None:
        return
    ours = is_ours(found)
    if ours:
        yield ok(f"the definition {DEFINITION} is that of argotune {version_of(found)}")
    else:
        yield info(
            f"the definition {DEFINITION} is not of argotune install: Kaito's, or somebody's own;"
            f" an operator beside it works on Workspaces with the annotation {MANAGED} alone"
        )
    if deployment is not None and is_managed_only(deployment) == ours:
        told = "somebody else's" if ours else "argotune's"
        yield warning(
            f"the operator was told that the definition {DEFINITION} is {told}",
            "install again",
            subject.install_command("--operator"),
        )


def _workspaces(subject: Subject, deployment: Object | None) -> Iterator[Finding]:
    """Name the Workspaces of the namespace that no operator of argotune works on."""
    workspaces = subject.kube.list("Workspace", subject.namespace)
    try:
        operators = [deployment] if deployment else _operators_of_all(subject)
    except MissingRight as error:
        if workspaces:
            yield unknown(
                f"who works on Workspaces {_named(workspaces)}: unknown, it takes the right to"
                f" {error.right}"
            )
        return
    left = [
        each
        for each in workspaces
        if not any(is_chosen(each, managed_only=is_managed_only(one)) for one in operators)
    ]
    if left and operators:
        yield info(
            f"the operator leaves Workspaces {_named(left)} alone: their annotation"
            " argotune.dev/managed says so, or they lack it beside a definition that is not ours"
        )
    elif left:
        yield warning(
            f"no operator of argotune works on Workspaces {_named(left)}",
            "install it, unless Kaito's controller does, or submit their files with"
            " `argotune submit`",
            subject.install_command("--operator"),
        )
    elif workspaces:
        yield ok(f"the operator works on all {len(workspaces)} Workspaces of the namespace")


def _operators_of_all(subject: Subject) -> list[Object]:
    """List those of other namespaces that work on this one too."""
    found = subject.kube.list("Deployment", labels=OF_OPERATORS)
    return [each for each in found if is_ours(each) and scope_of(each) == "all"]


def _named(workspaces: Sequence[Object]) -> str:
    names = [str(each["metadata"]["name"]) for each in workspaces]
    more = len(names) - _MOST_NAMED
    return f"{', '.join(names[:_MOST_NAMED])}{f' and {more} more' if more > 0 else ''}"
