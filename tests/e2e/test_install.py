"""argotune install and uninstall on a real API server: what its checks, its field managers and its
authoriser make of them."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from argotune.workflows.cli.installation.objects import MANAGER
from argotune.workflows.templates import accounts
from tests.e2e.cluster import CALL_SECONDS, Cluster, Object, kubeconfig_of, run, wait_for
from tests.workflows.templates.test_permissions import rights_of

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

REGISTRY = "registry.example.org/argotune"
SIZES = ("--models-size=1Gi", "--volume-size=1Gi")
KINDS = (
    "configmaps,serviceaccounts,secrets,roles,rolebindings,networkpolicies,persistentvolumeclaims,"
    "workflowtemplates,cronworkflows"
)
RESOURCES = {
    "": [
        "configmaps",
        "events",
        "nodes",
        "persistentvolumeclaims",
        "pods",
        "pods/exec",
        "pods/log",
        "secrets",
        "serviceaccounts",
        "serviceaccounts/token",
        "services",
    ],
    "apps": ["deployments"],
    "argoproj.io": ["workflows", "workflowtaskresults", "workflowtemplates"],
    "karpenter.sh": ["nodeclaims", "nodepools"],
    "autoscaling": ["horizontalpodautoscalers"],
    "gateway.networking.k8s.io": ["httproutes"],
    "monitoring.coreos.com": ["servicemonitors"],
    "networking.k8s.io": ["ingresses", "networkpolicies"],
    "policy": ["poddisruptionbudgets"],
    "rbac.authorization.k8s.io": ["roles", "rolebindings"],
}
VERBS = ("get", "list", "watch", "create", "update", "patch", "delete")
LISTS = [("", kind, "list") for kind in ("nodes", "pods", "events")]
ACROSS_THE_CLUSTER = {accounts.PROVISION: LISTS, accounts.RELEASE: LISTS[:2]}
WORKSPACE = """
apiVersion: kaito.sh/v1beta1
kind: Workspace
metadata: {name: by-a-person}
resource: {labelSelector: {matchLabels: {apps: nowhere}}}
tuning:
  preset: {name: tiny}
  method: lora
  input: {urls: ["https://example.com/data.parquet?sig=of-a-token"]}
  output: {image: registry.example.org/by-a-person:1, imagePushSecret: argotune-push}
"""


@dataclass(frozen=True, kw_only=True)
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str

    def outcomes(self) -> dict[str, str]:
        """Object -> what was done with it."""
        lines = [line.partition(" ") for line in self.out.splitlines()]
        return {name: outcome for name, _, outcome in lines if "/" in name}


def argotune(*arguments: str, text: str | None = None, **environment: str) -> Done:
    done = subprocess.run(
        [sys.executable, "-m", "argotune.workflows.cli", *arguments],
        input=text,
        capture_output=True,
        text=True,
        timeout=CALL_SECONDS,
        check=False,
        env={**os.environ, **environment},
    )
    return Done(code=done.returncode, out=done.stdout, err=done.stderr)


def install(cluster: Cluster, *flags: str) -> Done:
    by_tag = ("--images-registry", REGISTRY, "--no-digests")
    done = argotune("install", "-n", cluster.namespace, *by_tag, *flags)
    assert "Traceback" not in done.err
    return done


@contextmanager
def installation(api: httpx.Client) -> Iterator[Cluster]:
    """An installation in a namespace of its own; both go at the end."""
    cluster = Cluster(f"argotune-install-{secrets.token_hex(3)}", api)
    try:
        done = install(cluster, "--create-namespace", *SIZES)
        assert (done.code, done.err) == (0, "")
        yield cluster
    finally:
        argotune("uninstall", "-n", cluster.namespace, "--delete-models", "--force")
        run("kubectl", "delete", "namespace", cluster.namespace, "--wait=false")


@pytest.fixture(scope="module")
def installed(api: httpx.Client) -> Iterator[Cluster]:
    """For tests that change nothing of it."""
    with installation(api) as cluster:
        yield cluster


@pytest.fixture
def own(api: httpx.Client) -> Iterator[Cluster]:
    """For a test that changes it."""
    with installation(api) as cluster:
        yield cluster


def objects(cluster: Cluster) -> list[Object]:
    found = cluster.kubectl("get", KINDS, "-o", "json", "--show-managed-fields")
    items = json.loads(found)["items"]
    assert items
    return [item for item in items if isinstance(item, dict)]


def token_data(cluster: Cluster, account: str) -> Object | None:
    secret = cluster.read("v1", "secrets", f"{account}.service-account-token")
    return secret and secret.get("data")


def versions(cluster: Cluster) -> dict[str, object]:
    """Object -> what every write of ours changes."""
    return {
        f"{item['kind']}/{item['metadata']['name']}": _version(item) for item in objects(cluster)
    }


def _version(item: Object) -> object:
    """The object's, or when we wrote it last: controllers note in a claim what became of it, and in
    a schedule each of its times, suspended or not."""
    metadata = item["metadata"]
    if item["kind"] not in ("CronWorkflow", "PersistentVolumeClaim"):
        return metadata["resourceVersion"]
    times = [each["time"] for each in metadata["managedFields"] if each["manager"] == MANAGER]
    assert times
    return times


@pytest.mark.smoke
def test_the_namespace_enforces_restricted(installed: Cluster) -> None:
    found = json.loads(run("kubectl", "get", "namespace", installed.namespace, "-o", "json"))
    assert found["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.smoke
@pytest.mark.parametrize("account", accounts.ACCOUNTS)
def test_every_account_gets_a_token_for_its_executor(installed: Cluster, account: str) -> None:
    wait_for(f"token of {account}", lambda: token_data(installed, account), seconds=CALL_SECONDS)


@pytest.mark.smoke
def test_a_second_time_writes_nothing(installed: Cluster) -> None:
    before = versions(installed)
    done = argotune("install", "-n", installed.namespace)
    assert (done.code, done.err) == (0, "")
    assert set(done.outcomes().values()) == {"unchanged"}
    assert versions(installed) == before


@pytest.mark.smoke
def test_a_dry_run_tells_the_changes_and_writes_nothing(installed: Cluster) -> None:
    before = versions(installed)
    done = argotune("install", "-n", installed.namespace, "--dry-run", "--volume-size", "2Gi")
    assert (done.code, done.err) == (0, "")
    changed = {k: v for k, v in done.outcomes().items() if v != "unchanged (dry run)"}
    with_volumes = ("finetune", "evaluate", "serve")
    assert changed == {
        f"workflowtemplate.argoproj.io/{name}": "configured (dry run)" for name in with_volumes
    }
    assert versions(installed) == before


@pytest.mark.smoke
def test_the_yaml_passes_the_servers_strict_checks(installed: Cluster) -> None:
    done = install(installed, *SIZES, "--output=yaml")
    assert done.code == 0
    checked = installed.kubectl(
        *("apply", "--server-side", "--dry-run=server", "--validate=strict"),
        *("--field-manager=argotune-install", "-f", "-"),
        text=done.out,
    )
    assert len(checked.splitlines()) > 15


@pytest.mark.smoke
@pytest.mark.parametrize("account", accounts.ACCOUNTS)
def test_an_account_may_what_its_code_calls_and_nothing_else(
    installed: Cluster, api: httpx.Client, account: str
) -> None:
    asked = [
        (group, resource, verb)
        for group, resources in RESOURCES.items()
        for resource in resources
        for verb in VERBS
    ]
    may = {right for right in asked if allowed(api, installed.namespace, account, right)}
    expected = rights_of(account)
    assert may == expected
    assert not [right for right in may if right[1] == "secrets"]


@pytest.mark.smoke
@pytest.mark.parametrize("account", accounts.ACCOUNTS)
def test_an_account_sees_of_other_namespaces_only_who_is_on_the_nodes_and_events(
    installed: Cluster, api: httpx.Client, account: str
) -> None:
    asked = [("", "secrets", "get"), ("apps", "deployments", "get"), *LISTS]
    may = [right for right in asked if allowed(api, installed.namespace, account, right, "default")]
    assert may == ACROSS_THE_CLUSTER.get(account, [])


@pytest.mark.smoke
def test_a_person_with_the_users_role_submits_looks_and_stops(
    installed: Cluster, tmp_path: Path
) -> None:
    account = f"--serviceaccount={installed.namespace}:person"
    installed.kubectl("create", "serviceaccount", "person")
    installed.kubectl("create", "rolebinding", "person", "--role=argotune-user", account)
    kubeconfig = kubeconfig_of(installed, "person", tmp_path)
    namespace = ("-n", installed.namespace)
    done = argotune("submit", "-", *namespace, text=WORKSPACE, KUBECONFIG=kubeconfig)
    assert done.code == 0, done.err
    (workflow,) = installed.workflows()
    assert workflow["spec"]["workflowTemplateRef"] == {"name": "finetune"}
    name = workflow["metadata"]["name"]
    seen = argotune("status", *namespace, name, KUBECONFIG=kubeconfig)
    assert seen.code in (0, 1), seen.err
    assert name in seen.out
    stopped = argotune("stop", *namespace, "--terminate", name, KUBECONFIG=kubeconfig)
    assert stopped.code == 0, stopped.err
    secret = subprocess.run(
        ["kubectl", f"--kubeconfig={kubeconfig}", *namespace, "get", "secrets"],
        capture_output=True,
        text=True,
        timeout=CALL_SECONDS,
        check=False,
    )
    assert 'cannot list resource "secrets"' in secret.stderr


@pytest.mark.shard1
def test_what_others_have_changed_is_refused_then_taken_over(own: Cluster) -> None:
    change = '{"automountServiceAccountToken": true}'
    own.kubectl("patch", "serviceaccount", "argotune-step", "--field-manager=ann", "-p", change)
    before = versions(own)
    done = install(own, "--volume-size", "3Gi")
    assert done.code == 3
    assert done.err == (
        'error: serviceaccount/argotune-step: .automountServiceAccountToken (conflict with "ann"'
        " using v1); --force-conflicts takes these fields over\n"
    )
    assert versions(own) == before
    done = install(own, "--force-conflicts")
    assert done.code == 0
    changed = [name for name, outcome in done.outcomes().items() if outcome != "unchanged"]
    assert changed == ["serviceaccount/argotune-step"]


@pytest.mark.shard1
def test_a_schedule_that_was_resumed_stays_resumed(own: Cluster) -> None:
    resume = ("--type=merge", "-p", '{"spec": {"suspend": false}}', "--field-manager=ann")
    own.kubectl("patch", "cronworkflow", "gc", *resume)
    done = install(own)
    assert done.code == 0
    assert done.outcomes()["cronworkflow.argoproj.io/gc"] == "unchanged, for ann changed it"
    found = own.read("argoproj.io/v1alpha1", "cronworkflows", "gc")
    assert found is not None
    assert found["spec"]["suspend"] is False


@pytest.mark.shard1
def test_uninstall_leaves_nothing_of_ours_and_all_of_others(own: Cluster) -> None:
    own.kubectl("create", "secret", "generic", "argotune-push", "--from-literal=a=b")
    template = own.read("argoproj.io/v1alpha1", "workflowtemplates", "finetune")
    assert template is not None
    copy = {**template, "metadata": {"name": "copy", "labels": template["metadata"]["labels"]}}
    own.create(copy)
    done = argotune("uninstall", "-n", own.namespace)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[-1].startswith("stays: claim argotune-models with the weights")
    # The account default and the ConfigMap of the cluster's authority are Kubernetes' own.
    assert {f"{item['kind']}/{item['metadata']['name']}" for item in objects(own)} == {
        "ConfigMap/kube-root-ca.crt",
        "PersistentVolumeClaim/argotune-models",
        "Secret/argotune-push",
        "ServiceAccount/default",
        "WorkflowTemplate/copy",
    }
    of_the_cluster = run("kubectl", "get", "clusterroles,clusterrolebindings", "-o", "name")
    assert own.namespace not in of_the_cluster
    done = argotune("uninstall", "-n", own.namespace, "--delete-models")
    assert done.out == "persistentvolumeclaim/argotune-models deleted\n"


def allowed(
    api: httpx.Client,
    namespace: str,
    account: str,
    right: tuple[str, str, str],
    where: str | None = None,
) -> bool:
    """Whether the cluster's authoriser lets the account; nodes are of no namespace."""
    group, resource, verb = right
    resource, _, subresource = resource.partition("/")
    attributes = {
        "group": group,
        "resource": resource,
        "subresource": subresource,
        "verb": verb,
        "namespace": "" if resource == "nodes" else where or namespace,
    }
    spec = {
        "user": f"system:serviceaccount:{namespace}:{account}",
        "groups": ["system:serviceaccounts", f"system:serviceaccounts:{namespace}"],
        "resourceAttributes": attributes,
    }
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": spec,
    }
    answer = api.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", json=review)
    assert answer.is_success, answer.text
    return bool(answer.json()["status"]["allowed"])
