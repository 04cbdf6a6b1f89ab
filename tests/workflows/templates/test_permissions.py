"""The roles: each step has the verbs that its code calls, no other, and none reads secrets."""

from __future__ import annotations

import ast
import contextlib
import re
from collections.abc import Callable, Iterator, Sequence

import pytest

from argotune.steps.cluster.kube import Kube
from argotune.steps.common.errors import StepError
from argotune.steps.deploy.manifests.objects import KINDS as SERVICE_KINDS
from argotune.workflows.templates import accounts, cluster_permissions, finetune, permissions
from argotune.workflows.templates.golden import RENDERED_DIR
from argotune.workflows.workspace.manifests import read_rendered
from tests.fakes.kube import Cluster, serving
from tests.workflows.templates.rights import Right, rights, rights_for

PACKAGES_DIR = RENDERED_DIR.parents[2]
"""Holds argotune."""
ROLE_KINDS = ("Role", "ClusterRole")
ROLES = {
    item["metadata"]["name"]: item["rules"]
    for item in [*permissions.build(), *cluster_permissions.build()]
    if item["kind"] in ROLE_KINDS
}
BINDINGS = [
    item for item in [*permissions.build(), *cluster_permissions.build()] if "roleRef" in item
]

EXECUTOR = {("argoproj.io", "workflowtaskresults", verb) for verb in ("create", "patch")}
CALLS: dict[str, Callable[[Kube, str], object]] = {
    "get": lambda kube, kind: kube.get(kind, "ns", "x"),
    "apply": lambda kube, kind: kube.apply(
        {"kind": kind, "metadata": {"name": "x", "namespace": "ns"}, "spec": {}}
    ),
    "patch": lambda kube, kind: kube.patch(kind, "ns", "x", {}),
    "delete": lambda kube, kind: kube.delete(kind, "ns", "x"),
    # What APIs there are everybody may read who is logged in (system:discovery).
    "api": lambda kube, kind: None,
    "knows": lambda kube, kind: None,
    "pods": lambda kube, kind: kube.pods("ns", "a=b"),
    "deployments": lambda kube, kind: kube.deployments("ns", "a=b"),
    "deployment": lambda kube, kind: kube.deployment("ns", "x"),
    "change_deployment": lambda kube, kind: kube.change_deployment(
        {"metadata": {"name": "x", "namespace": "ns", "resourceVersion": "1"}}, {}, {}
    ),
    "pods_on_nodes": lambda kube, kind: kube.pods_on_nodes(),
    "nodes": lambda kube, kind: kube.nodes(""),
    "warnings": lambda kube, kind: kube.warnings("ns", "x"),
    "warnings_about": lambda kube, kind: kube.warnings_about("uid"),
    "node_claims": lambda kube, kind: kube.node_claims("a=b"),
    "node_claim": lambda kube, kind: kube.node_claim("x"),
    "create_node_claim": lambda kube, kind: kube.create_node_claim(
        {"kind": "NodeClaim", "metadata": {"name": "x"}}
    ),
    "change_node_claim": lambda kube, kind: kube.change_node_claim(
        {"metadata": {"name": "x", "resourceVersion": "1"}}, {}
    ),
    "delete_node_claim": lambda kube, kind: kube.delete_node_claim("x"),
    "node_pools": lambda kube, kind: kube.node_pools(),
    "workflow": lambda kube, kind: kube.workflow("ns", "x"),
    "stop_workflow": lambda kube, kind: kube.stop_workflow("ns", "x"),
    "annotate_workflow": lambda kube, kind: kube.annotate_workflow("ns", "x", {}),
    "apply_config_map": lambda kube, kind: kube.apply_config_map(
        {"kind": "ConfigMap", "metadata": {"name": "x", "namespace": "ns"}}
    ),
    "create_event": lambda kube, kind: kube.create_event(
        {
            "kind": "Event",
            "metadata": {"generateName": "x-", "namespace": "ns"},
            "involvedObject": {},
        }
    ),
    "repeat_event": lambda kube, kind: kube.repeat_event("ns", "x", count=2, last=""),
    "pod_log": lambda kube, kind: kube.pod_log("ns", "x", previous=False, tail_lines=1),
}
"""How each method of the steps' client is called, for every kind that deploy makes."""
TAKING_AWAY = [
    f"argotune.steps.nodes.{provider}.{half}"
    for provider in ("aks", "karpenter")
    for half in ("keep", "remove")
]
"""The half of the providers that release runs."""
PROVIDERS = ["argotune.steps.nodes.aks.provider", "argotune.steps.nodes.karpenter.provider"]
"""Both halves."""


def test_what_deploy_and_reject_may_is_what_they_call() -> None:
    called = methods_called(["argotune.steps.deploy.kubernetes", "argotune.steps.reject.run"])
    assert {"apply", "delete", "pod_log", "workflow"} <= called
    assert rights_of(accounts.DEPLOY) - EXECUTOR == rights_used(called)


def test_what_provision_may_is_what_it_the_watch_and_the_providers_of_the_template_call() -> None:
    (parameter,) = (item for item in finetune.parameters() if item.name == "provider")
    assert parameter.enum
    others = [f"argotune.steps.nodes.{name}" for name in ("local", "existing")]
    called = methods_called(
        ["argotune.steps.provision.run", "argotune.steps.watch.run", *others, *PROVIDERS]
    )
    assert {"nodes", "stop_workflow", "create_event"} <= called
    assert rights_of(accounts.PROVISION) - EXECUTOR == rights_used(called)


def test_what_release_gc_and_notify_may_is_what_they_call() -> None:
    steps = [f"argotune.steps.{step}.run" for step in ("release", "gc", "notify")]
    called = methods_called([*TAKING_AWAY, *steps], but=PROVIDERS)
    assert {"delete_node_claim", "nodes", "workflow"} <= called
    assert rights_of(accounts.RELEASE) - EXECUTOR == rights_used(called)


def test_the_account_of_the_other_steps_may_only_report_results() -> None:
    assert rights_of(accounts.STEP) == EXECUTOR


@pytest.mark.parametrize("account", accounts.ACCOUNTS)
def test_no_step_touches_secrets_or_has_a_wildcard(account: str) -> None:
    rights = rights_of(account)
    assert rights
    assert not [right for right in rights if right[1].startswith("secrets") or "*" in right]


def test_only_nodes_and_what_makes_them_are_seen_or_changed_across_the_cluster() -> None:
    bindings = [item for item in BINDINGS if item["kind"] == "ClusterRoleBinding"]
    assert [binding["subjects"][0]["name"] for binding in bindings] == [
        accounts.PROVISION,
        accounts.RELEASE,
    ]
    for binding in bindings:
        found = rights(ROLES[binding["roleRef"]["name"]])
        kinds = {(group, resource) for group, resource, _ in found}
        assert kinds <= {
            ("", "nodes"),
            ("", "pods"),
            ("", "events"),
            ("karpenter.sh", "nodeclaims"),
            ("karpenter.sh", "nodepools"),
        }
        changed = {resource for _, resource, verb in found if verb not in ("get", "list")}
        assert changed == {"nodeclaims"}


def test_the_role_of_people_is_bound_to_nobody_and_reads_no_secret() -> None:
    assert permissions.USER not in {item["roleRef"]["name"] for item in BINDINGS}
    found = rights(ROLES[permissions.USER])
    verbs = {verb for _, resource, verb in found if resource == "secrets"}
    assert verbs == {"create", "delete"}
    assert ("argoproj.io", "workflows", "create") in found


def test_every_binding_is_of_a_role_and_accounts_that_are_there() -> None:
    assert BINDINGS
    assert {item["roleRef"]["name"] for item in BINDINGS} <= ROLES.keys()
    subjects = {subject["name"] for item in BINDINGS for subject in item["subjects"]}
    assert subjects == {*accounts.ACCOUNTS}


def test_the_accounts_are_those_of_the_templates_each_with_a_token_for_its_executor() -> None:
    template = read_rendered("finetune")[0]["spec"]
    used = {template["serviceAccountName"]}
    for item in template["templates"]:
        if "container" in item:
            used |= {item["serviceAccountName"], item["executor"]["serviceAccountName"]}
    built = accounts.build()
    made = {item["metadata"]["name"]: item for item in built if item["kind"] == "ServiceAccount"}
    assert used == made.keys()
    mounting = {name for name, item in made.items() if item["automountServiceAccountToken"]}
    assert mounting == {accounts.PROVISION, accounts.RELEASE, accounts.DEPLOY}
    tokens = [item for item in built if item["kind"] == "Secret"]
    assert {item["metadata"]["name"] for item in tokens} == {
        f"{name}.service-account-token" for name in made
    }
    owner = "kubernetes.io/service-account.name"
    assert {item["metadata"]["annotations"][owner] for item in tokens} == made.keys()


def rights_of(account: str) -> set[Right]:
    """All that the bindings give an account."""
    bound = [
        item["roleRef"]["name"]
        for item in BINDINGS
        if account in [subject["name"] for subject in item["subjects"]]
    ]
    return {right for name in bound for right in rights(ROLES[name])}


def methods_called(modules: Sequence[str], *, but: Sequence[str] = ()) -> set[str]:
    """The methods of Kube that these modules call, and those that they import of their steps, but
    for some that are left out."""
    todo, seen, called = list(modules), set(but), set[str]()
    while todo:
        module = todo.pop()
        path = PACKAGES_DIR / module.replace(".", "/")
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if module in seen or not path.exists():
            continue
        seen.add(module)
        tree = ast.parse(path.read_text())
        todo += list(modules_imported(tree))
        called |= set(calls_in(tree))
    return called


def modules_imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("argotune.steps."):
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def calls_in(tree: ast.Module) -> Iterator[str]:
    """METHOD of every `kube.METHOD(...)` and `self.kube.METHOD(...)`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            receiver = ast.unparse(node.func.value)
            if re.fullmatch(r"(self\.)?_?kube", receiver):
                yield node.func.attr


def rights_used(methods: set[str]) -> set[Right]:
    """What the API server would ask for the calls, from the requests that they make."""
    cluster = Cluster()
    with serving(cluster) as kube:
        for method in methods:
            for kind in SERVICE_KINDS:
                # What is asked for is not there; only the question matters.
                with contextlib.suppress(StepError):
                    CALLS[method](kube, kind)
    assert cluster.requests
    return {right for request in cluster.requests for right in rights_for(request)}
