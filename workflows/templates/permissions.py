"""The rights of each step, of the executor beside it, and of people who submit, in the namespace.

A step has the verbs that its code calls and no other; none may read a Secret. A write is a
server-side apply, which needs `patch`, and `create` where the object is new.
"""

from __future__ import annotations

from collections.abc import Sequence

from argotune.steps.cluster.kinds import KAITO, kind_of
from argotune.steps.deploy.manifests.objects import KINDS as SERVICE_KINDS
from argotune.workflows.templates import accounts
from argotune.workflows.templates.manifest import Manifest, manifest

NAME = "permissions"
API_VERSION = "rbac.authorization.k8s.io/v1"
API_GROUP = "rbac.authorization.k8s.io"
EXECUTOR = "argotune-executor"
USER = "argotune-user"
_READ = ["get", "list", "watch"]
_WRITE = [*_READ, "create", "update", "patch", "delete"]

Rule = dict[str, list[str]]


def rule(group: str, resources: Sequence[str], verbs: Sequence[str]) -> Rule:
    """Build a rule over resources of one API group; "" is Kubernetes' own."""
    return {"apiGroups": [group], "resources": [*resources], "verbs": [*verbs]}


def of_services(verbs: Sequence[str]) -> list[Rule]:
    """Build the rules over all kinds of objects that a service has."""
    kinds = map(kind_of, SERVICE_KINDS)
    return [rule(kind.group, [kind.plural], verbs) for kind in kinds]


_EXECUTOR_RULES = [rule("argoproj.io", ["workflowtaskresults"], ["create", "patch"])]

_DEPLOY_VERBS = ["get", "create", "patch", "delete"]
_DEPLOY_RULES = [
    *of_services(_DEPLOY_VERBS),
    # Who began the run, and who approved it, or rejected it for step reject.
    rule("argoproj.io", ["workflows"], ["get"]),
    # Why a rollout does not complete.
    rule("", ["pods"], ["list"]),
    # The same, and to say it about the Workflow.
    rule("", ["events"], ["list", "create", "patch"]),
    rule("", ["pods/log"], ["get"]),
]

_PROVISION_RULES = [
    # watch, which shares the account: whether the run still needs its node, and the end of a run
    # that gets none any more.
    rule("argoproj.io", ["workflows"], ["get", "patch"]),
    # watch: why the run's pod does not start on the node that is paid for.
    rule("", ["pods"], ["list"]),
    # watch: when tune has to end for a limit of cost, in a ConfigMap that tune's pod mounts.
    rule("", ["configmaps"], ["create", "patch"]),
    # The workspace's service, which gives its GPU to the run where it is told to.
    rule("apps", ["deployments"], ["get", "patch"]),
    # Why they wait, said about the Workflow.
    rule("", ["events"], ["create", "patch"]),
]

_RELEASE_RULES = [
    # The service's GPU, which it gets back; and gc, which shares the account: whether a service has
    # the node of a run that has ended.
    rule("apps", ["deployments"], ["get", "list", "patch"]),
    # Until when the run had its node; and gc, which shares the account: whether a node's run goes
    # on.
    rule("argoproj.io", ["workflows"], ["get", "patch"]),
]

MARKER = rule("argotune.dev", ["runs"], ["submit"])
"""No such resource exists: the right to it tells the admission policy who is bound to
`argotune-user`, and the operator."""

_USER_RULES = [
    MARKER,
    # What the operator runs, where there is one.
    rule(KAITO, [kind_of("Workspace").plural], _WRITE),
    rule("argoproj.io", ["workflows", "cronworkflows"], _WRITE),
    rule("argoproj.io", ["workflowtemplates"], _READ),
    # URLs with tokens go into a Secret; to read one back takes another right. Those that a schedule
    # names no more are deleted. The admission policy refuses other Secrets, and the deletion of
    # what is not a run's.
    rule("", ["secrets"], ["create", "delete"]),
    # The training config by its name, and what `argotune status` and `logs` show.
    rule("", ["configmaps"], ["get"]),
    rule("", ["pods", "events", "persistentvolumeclaims"], _READ),
    rule("", ["pods/log"], ["get"]),
    # Services that a run deployed: to read, to delete, and to query (`argotune chat`).
    *of_services([*_READ, "delete"]),
    # `get` was enough for a WebSocket before Kubernetes 1.35.
    rule("", ["pods/portforward"], ["get", "create"]),
]


def build() -> list[Manifest]:
    """Build the roles with their bindings; only the platform binds `argotune-user` to people.

    An account that may create Workflows in a namespace runs pods as any of its accounts and with
    any of its Secrets mounted, whatever this role permits: the admission policy limits that to the
    installed templates.
    """
    return [
        _role(EXECUTOR, _EXECUTOR_RULES),
        _binding(EXECUTOR, accounts.ACCOUNTS),
        _role(accounts.DEPLOY, _DEPLOY_RULES),
        _binding(accounts.DEPLOY, [accounts.DEPLOY]),
        _role(accounts.PROVISION, _PROVISION_RULES),
        _binding(accounts.PROVISION, [accounts.PROVISION]),
        _role(accounts.RELEASE, _RELEASE_RULES),
        _binding(accounts.RELEASE, [accounts.RELEASE]),
        _role(USER, _USER_RULES),
    ]


def _role(name: str, rules: list[Rule]) -> Manifest:
    return manifest("Role", name, api_version=API_VERSION, rules=rules)


def _binding(role: str, subjects: Sequence[str]) -> Manifest:
    # A subject without a namespace is one of the binding's.
    return manifest(
        "RoleBinding",
        role,
        api_version=API_VERSION,
        roleRef={"apiGroup": API_GROUP, "kind": "Role", "name": role},
        subjects=[{"kind": "ServiceAccount", "name": name} for name in subjects],
    )
