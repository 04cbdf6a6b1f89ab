"""The rights of the person, and of the steps' accounts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from argotune.workflows.cli.checks.finding import Finding, ok, problem, warning
from argotune.workflows.cli.checks.subject import Subject

_MOST_NAMED = 6


@dataclass(frozen=True)
class Right:
    """One verb on one kind."""

    verb: str
    resource: str
    """Plural, with the subresource after a slash."""
    group: str = ""
    namespaced: bool = True

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}{f'.{self.group}' if self.group else ''}"


_ARGO = "argoproj.io"
PURPOSES: Mapping[str, tuple[Right, ...]] = {
    "submit runs": (
        Right("create", "workflows", _ARGO),
        Right("get", "workflowtemplates", _ARGO),
        Right("create", "secrets"),
    ),
    "follow runs": tuple(Right(verb, "workflows", _ARGO) for verb in ("get", "list", "watch")),
    "read logs": (Right("list", "pods"), Right("get", "pods/log")),
    "stop runs": (Right("patch", "workflows", _ARGO),),
    "see services": (Right("list", "deployments", "apps"),),
}
"""The rights that commands need in a namespace; the Role argotune-user grants all of them."""
_SUBMIT = "submit runs"


def person(subject: Subject) -> Iterator[Finding]:
    """Check the person's rights, by SelfSubjectAccessReview."""
    lacks = {
        purpose: [right for right in rights if not _may(subject, right)]
        for purpose, rights in PURPOSES.items()
    }
    granted = [purpose for purpose, missing in lacks.items() if not missing]
    if granted:
        yield ok(f"you may {', '.join(granted)} in namespace {subject.namespace}")
    for purpose, missing in lacks.items():
        if not missing:
            continue
        say = problem if purpose == _SUBMIT else warning
        yield say(
            f"you may not {purpose} in namespace {subject.namespace}: it takes the right to "
            f"{', '.join(map(str, missing))}",
            "let an administrator bind you to the Role argotune-user, which has it",
            f"kubectl -n {subject.namespace} create rolebinding argotune-users "
            "--role=argotune-user --user=YOU",
        )


def accounts(subject: Subject) -> Iterator[Finding]:
    """Check the rights of the steps' accounts, by SubjectAccessReview.

    They need all that `argotune install` gives them, and must not read Secrets.
    """
    granted = 0
    for account, rights in _rights_of_accounts(subject).items():
        if subject.get("ServiceAccount", account) is None:
            # `installation` reports it.
            continue
        missing = [right for right in rights if not _may(subject, right, account)]
        granted += len(rights) - len(missing)
        if missing:
            named = ", ".join(map(str, missing[:_MOST_NAMED]))
            more = len(missing) - _MOST_NAMED
            yield problem(
                f"account {account} may not {named}{f' and {more} more' if more > 0 else ''}",
                "install its roles again",
                subject.install_command(),
            )
        if _may(subject, Right("get", "secrets"), account):
            yield warning(
                f"account {account} may read every secret of the namespace, which no step needs",
                "find the binding that grants it, and take the account out",
                f"kubectl -n {subject.namespace} get rolebindings,clusterrolebindings -o wide",
            )
    if granted:
        yield ok(f"the steps' accounts have the {granted} rights that they need")


def _rights_of_accounts(subject: Subject) -> dict[str, list[Right]]:
    """Map each account to its rights, according to the roles and bindings of `argotune install`."""
    roles = {
        (kind, role["metadata"]["name"]): role
        for kind in ("Role", "ClusterRole")
        for role in subject.expected_of(kind)
    }
    found: dict[str, list[Right]] = {}
    for kind in ("RoleBinding", "ClusterRoleBinding"):
        for binding in subject.expected_of(kind):
            role = roles[binding["roleRef"]["kind"], binding["roleRef"]["name"]]
            rights = _rights(role, namespaced=kind == "RoleBinding")
            for bound in binding["subjects"]:
                found.setdefault(bound["name"], []).extend(rights)
    return found


def _rights(role: Mapping[str, Any], *, namespaced: bool) -> list[Right]:
    return [
        Right(verb, resource, group, namespaced)
        for rule in role.get("rules") or []
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]


def _may(subject: Subject, right: Right, account: str | None = None) -> bool:
    """Ask whether the person has the right, or the account of the namespace."""
    resource, _, subresource = right.resource.partition("/")
    attributes = {"verb": right.verb, "group": right.group, "resource": resource}
    if subresource:
        attributes["subresource"] = subresource
    if right.namespaced:
        attributes["namespace"] = subject.namespace
    spec: dict[str, Any] = {"resourceAttributes": attributes}
    kind = "SelfSubjectAccessReview"
    if account is not None:
        kind = "SubjectAccessReview"
        space = subject.namespace
        spec["user"] = f"system:serviceaccount:{space}:{account}"
        spec["groups"] = [
            "system:serviceaccounts",
            f"system:serviceaccounts:{space}",
            "system:authenticated",
        ]
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec}
    answer = subject.kube.create(review)
    return bool(answer["status"].get("allowed"))
