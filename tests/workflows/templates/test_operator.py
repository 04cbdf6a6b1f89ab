"""The operator's objects."""

from __future__ import annotations

import ipaddress
from typing import Any

from argotune.workflows.cli.installation.operator import OF_ALL, OPERATOR
from argotune.workflows.templates import network, operator, permissions

OBJECTS = {(item["kind"], item["metadata"]["name"]): item for item in operator.build()}
POD = OBJECTS["Deployment", OPERATOR]["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]


def rights(kind: str, name: str) -> set[tuple[str, str]]:
    return {
        (resource, verb)
        for rule in OBJECTS[kind, name]["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_its_rights_in_a_namespace_and_in_all_differ_by_the_lease() -> None:
    own = rights("Role", OPERATOR)
    of_all = rights("ClusterRole", f"{OF_ALL}-argotune")
    assert own - of_all == {("leases", verb) for verb in ("get", "create", "update")}
    assert of_all < own


def test_it_creates_no_pod_and_lists_no_secret() -> None:
    own = rights("Role", OPERATOR)
    assert not [right for right in own if "*" in right or right[0].startswith("pods")]
    assert {verb for resource, verb in own if resource == "secrets"} == {"get", "create", "delete"}
    assert {verb for resource, verb in own if resource == "workspaces"} == {
        "list",
        "watch",
        "patch",
    }
    # Names of nodes and classes are all that it sees outside.
    assert rights("ClusterRole", f"{OPERATOR}-argotune") == {
        ("nodes", "list"),
        ("storageclasses", "list"),
    }


def test_every_binding_is_of_its_account_and_a_role_of_the_same_name() -> None:
    bindings = [item for (kind, _), item in OBJECTS.items() if kind.endswith("Binding")]
    assert len(bindings) == 3
    for binding in bindings:
        assert (binding["roleRef"]["kind"], binding["roleRef"]["name"]) in OBJECTS
        assert binding["roleRef"]["name"] == binding["metadata"]["name"]
        assert [subject["name"] for subject in binding["subjects"]] == [OPERATOR]


def test_its_pods_satisfy_restricted_and_write_nowhere_but_in_their_scratch() -> None:
    assert POD["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert POD["securityContext"]["runAsNonRoot"] is True
    context = CONTAINER["securityContext"]
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert (context["allowPrivilegeEscalation"], context["readOnlyRootFilesystem"]) == (False, True)
    writable = [mount for mount in CONTAINER["volumeMounts"] if not mount.get("readOnly")]
    assert [mount["mountPath"] for mount in writable] == ["/tmp"]


def test_selectors_find_its_pods() -> None:
    labels = OBJECTS["Deployment", OPERATOR]["spec"]["template"]["metadata"]["labels"]
    for kind, field in (
        ("Deployment", "selector"),
        ("PodDisruptionBudget", "selector"),
        ("NetworkPolicy", "podSelector"),
    ):
        selector: dict[str, Any] = OBJECTS[kind, OPERATOR]["spec"][field]
        assert selector["matchLabels"].items() <= labels.items()


def test_what_goes_out_is_what_may_go_out_of_runs_and_its_port_is_open() -> None:
    policy = OBJECTS["NetworkPolicy", OPERATOR]["spec"]
    runs, _ = network.build()
    assert policy["egress"] == runs["spec"]["egress"]
    everywhere = policy["egress"][1]["to"][0]["ipBlock"]
    metadata = ipaddress.ip_network("169.254.0.0/16")
    assert str(metadata) in everywhere["except"]
    assert policy["ingress"][0]["ports"][0]["port"] == CONTAINER["ports"][0]["containerPort"]


def test_who_views_or_edits_a_namespace_does_so_with_its_workspaces() -> None:
    roles = {}
    for role in ("view", "edit"):
        labels = OBJECTS["ClusterRole", f"argotune-workspaces-{role}-argotune"]["metadata"][
            "labels"
        ]
        prefix = "rbac.authorization.k8s.io/aggregate-to-"
        roles[role] = {name.removeprefix(prefix) for name in labels if name.startswith(prefix)}
        verbs = {verb for _, verb in rights("ClusterRole", f"argotune-workspaces-{role}-argotune")}
        assert ("create" in verbs) == (role == "edit")
    assert roles == {"view": {"view", "edit", "admin"}, "edit": {"edit", "admin"}}
    assert ("workspaces", "create") in {
        (resource, verb)
        for item in permissions.build()
        if item["metadata"]["name"] == permissions.USER
        for rule in item["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
