"""argotune doctor on a real cluster: what it says of namespaces that are well, and of broken ones.

E2E_REGISTRY and E2E_TAG say where the step images are, as for the other tests.
"""

from __future__ import annotations

import json
import os
import secrets
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from argotune.workflows.cli.checks.images import SMALL
from tests.e2e.cluster import Cluster, Object, kubeconfig_of, run, wait_for
from tests.e2e.examined import doctor, examine
from tests.e2e.nodes import can_bring_nodes, gpu_node
from tests.fakes import arm
from tests.fakes.nodes import DOWN, UP
from tests.fakes.tls import self_signed, server_context
from tests.fakes.workload_identity import CA_KEY, USE_LABEL, Identity, webhook

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

REGISTRY = "registry.example.org:5000"
AKS_CLUSTER = (
    "/subscriptions/26fe00f8-9173-4872-9134-bb1d2e00343a/resourceGroups/team/providers/"
    "Microsoft.ContainerService/managedClusters/prod"
)
CLIENT_ID = "66666666-7777-8888-9999-000000000000"
# A documentation address: nobody answers, so a pull goes on until it is given up.
NOWHERE = "192.0.2.1:5000/argotune"
WORKSPACE = """
apiVersion: kaito.sh/v1beta1
kind: Workspace
metadata: {{name: looked-at}}
resource:
  instanceType: Standard_NC24ads_A100_v4
  labelSelector: {{matchLabels: {{doctor: "{label}"}}}}
tuning:
  preset: {{name: phi-4}}
  method: qlora
  input: {{urls: ["https://example.com/data.parquet"]}}
  output: {{image: "registry.example.org:5000/looked-at:1", imagePushSecret: mine}}
"""


@contextmanager
def namespace(api: httpx.Client, *flags: str, registry: str | None = None) -> Iterator[Cluster]:
    """A namespace of its own that enforces restricted; with a registry argotune is installed."""
    cluster = Cluster(f"argotune-doctor-{secrets.token_hex(3)}", api)
    installer = [sys.executable, "-m", "argotune.workflows.cli"]
    try:
        run("kubectl", "create", "namespace", cluster.namespace)
        enforce = "pod-security.kubernetes.io/enforce=restricted"
        run("kubectl", "label", "namespace", cluster.namespace, enforce)
        if registry:
            sizes = ("--models-size=1Gi", "--volume-size=1Gi")
            run(
                *(*installer, "install", "-n", cluster.namespace),
                *("--images-registry", registry, *sizes, *flags),
            )
            cluster.kubectl("wait", "--for=jsonpath={.status.phase}=Bound", "pvc", "--all")
        yield cluster
    finally:
        if registry:
            run(*installer, "uninstall", "-n", cluster.namespace, "--delete-models", "--force")
        run("kubectl", "delete", "namespace", cluster.namespace, "--wait=false")


@pytest.fixture(scope="module")
def images() -> str:
    registry = os.environ.get("E2E_REGISTRY")
    if not registry:
        pytest.fail("set E2E_REGISTRY (and E2E_TAG) to where `make push-images` put the images")
    return registry


@pytest.fixture(scope="module")
def bare(api: httpx.Client) -> Iterator[Cluster]:
    """Nothing is installed."""
    with namespace(api) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def whole(api: httpx.Client, images: str) -> Iterator[Cluster]:
    """All that runs need is installed, and a registry's login."""
    tag = os.environ.get("E2E_TAG", "0.1.0")
    with namespace(api, "--images-tag", tag, registry=images) as cluster:
        create_login(cluster, "argotune-push", REGISTRY)
        yield cluster


def create_login(cluster: Cluster, name: str, registry: str) -> None:
    login = (f"--docker-server={registry}", "--docker-username=u", "--docker-password=p")
    cluster.kubectl("create", "secret", "docker-registry", name, *login)


def leftovers(cluster: Cluster) -> list[Object]:
    """Pods and Workflows that were not deleted; those on their way out do not count."""
    return [*pods_left(cluster), *_staying(cluster.workflows())]


def pods_left(cluster: Cluster) -> list[Object]:
    """The doctor's own."""
    return _staying(cluster.items("v1", "pods", labelSelector="argotune.dev/doctor=true"))


def _staying(items: Sequence[Object]) -> list[Object]:
    return [item for item in items if "deletionTimestamp" not in item["metadata"]]


@pytest.mark.smoke
def test_a_namespace_that_is_whole(whole: Cluster) -> None:
    found = examine(whole, pull="small")
    assert [row for row in found.rows if row["level"] == "problem"] == []
    assert found.said("installation", "ok")[-1] == (
        "the 5 secrets with the accounts' tokens are filled"
    )
    assert found.said("secrets", "ok") == [f"secret argotune-push has a login for {REGISTRY}"]
    (accounts,) = [text for text in found.said("permissions", "ok") if "accounts" in text]
    assert accounts.startswith("the steps' accounts have the ")
    trial = found.said("images", "ok")[-1]
    assert trial.startswith("a trial run of one pod ended well after ")
    pulled = found.said("images", "ok")[-2]
    assert all(f"argotune-{step}:" in pulled for step in SMALL)
    assert leftovers(whole) == []


@pytest.mark.shard3
def test_what_azure_permits_the_accounts(api: httpx.Client, images: str, tmp_path: Path) -> None:
    """Pods of the accounts, with the workload identity that a webhook gives them, ask a fake Azure
    on this machine."""
    address = os.environ.get("E2E_ADDRESS")
    if not address:
        pytest.skip("needs E2E_ADDRESS: see tests/e2e/README.md")
    tag = os.environ.get("E2E_TAG", "0.1.0")
    aks = (f"--aks-cluster-id={AKS_CLUSTER}", f"--azure-client-id={CLIENT_ID}")
    certificate, key = self_signed(tmp_path, [address])
    tls = server_context(certificate, key)
    with namespace(api, "--images-tag", tag, *aks, registry=images) as cluster:
        with (
            arm.serving(cloud := arm.Cloud(), tls, address=(address, 0)) as url,
            identities(cluster, url, address, certificate, key),
        ):
            assert examine(cluster, pull="small").said("azure", "ok") == [
                "argotune-provision is let in by Azure and may read, write, delete the agent pools "
                "of cluster prod",
                "argotune-release is let in by Azure and may read, delete the agent pools of "
                "cluster prod",
            ]
            cloud.permissions = [{"actions": ["*"], "notActions": ["*/agentPools/delete"]}]
            lacks = "may not Microsoft.ContainerService/managedClusters/agentPools/delete on"
            assert examine(cluster, pull="small").said("azure", "problem") == [
                f"argotune-{step} {lacks} cluster prod" for step in ("provision", "release")
            ]
            said = "AADSTS700213: No matching federated identity record found"
            refusal = {"error": "invalid_client", "error_description": said}
            cloud.token_faults = [arm.Fault("POST", "token", 401, refusal, times=99)]
            (first, _) = examine(cluster, pull="small").said("azure", "problem")
            assert first == (
                f"the identity {CLIENT_ID} has no federated credential for argotune-provision of "
                f"namespace {cluster.namespace}: {said}"
            )
        # The schedule `gc`, which such an installation resumes, has Workflows of its own.
        assert pods_left(cluster) == []


@contextmanager
def identities(
    cluster: Cluster, url: str, address: str, certificate: Path, key: Path
) -> Iterator[None]:
    """Workload identity for the pods of the namespace."""
    identity = Identity(
        cloud_url=url, ca_config_map="azure-ca", client_id_of=lambda account: CLIENT_ID
    )
    labels = {"kubernetes.io/metadata.name": cluster.namespace}
    selector = {
        "namespaceSelector": {"matchLabels": labels},
        "objectSelector": {"matchLabels": {USE_LABEL: "true"}},
    }
    cluster.kubectl("create", "configmap", "azure-ca", f"--from-file={CA_KEY}={certificate}")
    with webhook(
        identity,
        host=address,
        certificate=certificate,
        key=key,
        name=cluster.namespace,
        selector=selector,
    ) as configuration:
        run("kubectl", "create", "-f", "-", text=json.dumps(configuration))
        try:
            yield
        finally:
            run("kubectl", "delete", "-f", "-", text=json.dumps(configuration))


@pytest.mark.shard3
def test_a_quota_that_refuses_every_pod_of_a_run(whole: Cluster) -> None:
    """The server judges the pods that Argo would make, and none is made."""
    whole.kubectl("create", "quota", "cpus", "--hard=limits.cpu=20")
    try:
        whole.kubectl("wait", "--for=jsonpath={.status.hard}", "resourcequota/cpus")
        found = examine(whole)
    finally:
        whole.kubectl("delete", "resourcequota", "cpus")
    (steps, service) = found.said("pods", "problem")
    assert "must specify limits.cpu for: init,main,wait" in steps
    assert all(f"{step}," in steps or f"{step}:" in steps for step in ("plan", "tune", "release"))
    assert "the pods of serve: failed quota: cpus: must specify limits.cpu for: serve" in service
    assert found.command("the pods of serve")[-2:] == ["--limits", "true"]
    assert examine(whole).said("pods", "problem") == []
    assert leftovers(whole) == []


@pytest.mark.smoke
def test_a_namespace_without_an_installation(bare: Cluster) -> None:
    found = examine(bare, pull="small")
    assert found.said("installation", "problem")[0] == (
        f"WorkflowTemplate finetune is not in namespace {bare.namespace}"
    )
    assert found.command("WorkflowTemplate finetune is not in") == [
        *("argotune", "install", "-n", bare.namespace, "--images-registry", "REGISTRY")
    ]
    assert found.said("storage", "problem")[0].startswith("claim argotune-models for the weights")
    assert found.said("secrets", "warning") == [
        f"secret argotune-push is not in namespace {bare.namespace}; push needs a login"
    ]
    assert found.said("images", "info")[-1].startswith(
        "the controller takes Workflows of this namespace"
    )
    assert leftovers(bare) == []


@pytest.mark.smoke
def test_a_namespace_that_is_not_there(api: httpx.Client) -> None:
    found = examine(Cluster("argotune-doctor-nowhere", api), pull="small")
    problems = [row["message"] for row in found.rows if row["level"] == "problem"]
    assert problems == [
        "namespace argotune-doctor-nowhere is not there; what is in it was not looked at"
    ]


@pytest.mark.shard3
def test_images_that_are_not_there(whole: Cluster, images: str) -> None:
    found = examine(whole, "--images-tag", "0.0.0-none", pull="small")
    image = f"{images}/argotune-plan:0.0.0-none"
    pulls, trial = found.said("images", "problem")
    assert pulls.startswith(f"image {image} cannot be pulled: ")
    assert pulls.endswith(", argotune-release:0.0.0-none")
    assert "ErrImagePull" in trial
    assert image in trial
    assert leftovers(whole) == []


@pytest.mark.shard3
def test_ctrl_c_leaves_no_pod(whole: Cluster) -> None:
    with subprocess.Popen(
        [*doctor(whole), "--images-registry", NOWHERE],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        wait_for("trial pods", lambda: len(leftovers(whole)) == len(SMALL), seconds=60)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 130
    assert leftovers(whole) == []


LOGIN = ("docker-registry", "mine", "--docker-username=u", "--docker-password=p")


@pytest.mark.shard3
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), f"secret mine is not in namespace {{}}; push needs a login for {REGISTRY}"),
        (
            ("generic", "mine", "--from-literal=.dockerconfigjson={}"),
            "secret mine is of type Opaque, not kubernetes.io/dockerconfigjson",
        ),
        (
            (*LOGIN, "--docker-server=other.example.org"),
            f"secret mine has no login for registry {REGISTRY}; it has other.example.org",
        ),
        ((*LOGIN, f"--docker-server={REGISTRY}"), None),
    ],
)
def test_the_secret_of_a_workspace(
    bare: Cluster, tmp_path: Path, arguments: tuple[str, ...], said: str | None
) -> None:
    path = tmp_path / "workspace.yaml"
    path.write_text(WORKSPACE.format(label="any"))
    if arguments:
        bare.kubectl("create", "secret", *arguments)
    try:
        found = examine(bare, str(path))
    finally:
        bare.kubectl("delete", "secret", "mine", "--ignore-not-found")
    expected = [said.format(bare.namespace)] if said else []
    assert found.said("secrets", "problem") == expected


@pytest.mark.shard3
def test_an_installation_that_was_taken_apart(api: httpx.Client, images: str) -> None:
    with namespace(api, "--no-digests", registry=images) as cluster:
        cluster.kubectl("delete", "rolebinding", "argotune-deploy")
        cluster.kubectl("delete", "secret", "argotune-step.service-account-token")
        cluster.kubectl(
            "create",
            "rolebinding",
            "too-much",
            "--clusterrole=view",
            f"--serviceaccount={cluster.namespace}:argotune-step",
        )
        cluster.kubectl("create", "role", "secrets", "--verb=get", "--resource=secrets")
        cluster.kubectl(
            "create",
            "rolebinding",
            "secrets",
            "--role=secrets",
            f"--serviceaccount={cluster.namespace}:argotune-step",
        )
        found = examine(cluster)
    assert found.said("installation", "problem") == [
        "missing of what `argotune install` makes: RoleBinding argotune-deploy",
        "missing of the secrets with the accounts' tokens: argotune-step.service-account-token",
    ]
    (missing,) = found.said("permissions", "problem")
    assert missing.startswith("account argotune-deploy may not get networkpolicies.")
    assert found.said("permissions", "warning") == [
        "account argotune-step may read every secret of the namespace, which no step needs"
    ]


@pytest.mark.shard3
def test_a_person_with_the_users_role_alone(whole: Cluster, tmp_path: Path) -> None:
    whole.kubectl("create", "serviceaccount", "person")
    whole.kubectl(
        *("create", "rolebinding", "person", "--role=argotune-user"),
        f"--serviceaccount={whole.namespace}:person",
    )
    found = examine(whole, pull="small", KUBECONFIG=kubeconfig_of(whole, "person", tmp_path))
    assert found.code == 0
    (may,) = found.said("permissions", "ok")
    assert may.startswith("you may submit runs, follow runs, read logs, stop runs")
    assert found.said("gpu", "unknown")[0] == (
        "the GPU nodes: unknown, it takes the right to list nodes in the whole cluster"
    )
    assert found.said("images", "unknown")[-1].startswith("whether a trial run ends well: ")
    assert leftovers(whole) == []


@pytest.mark.shard3
@pytest.mark.skipif(not can_bring_nodes(), reason=f"{UP} and {DOWN} are not set")
def test_a_gpu_node_is_found_by_the_labels_of_the_workspace(bare: Cluster, tmp_path: Path) -> None:
    label = secrets.token_hex(3)
    path = tmp_path / "workspace.yaml"
    path.write_text(WORKSPACE.format(label=label))
    name = f"doctor-{label}"
    with gpu_node(name, f"doctor={label}"):
        well = wait_for("GPU", lambda: examine(bare, str(path)).said("gpu", "ok"), seconds=60)
        run("kubectl", "taint", "node", name, "team=other:NoSchedule")
        (tainted,) = examine(bare, str(path)).said_of_nodes("warning")
    gone = examine(bare, str(path)).said_of_nodes("warning")
    assert well == [f"GPU nodes that fit: {name} (1 x GPU (model unknown))"]
    assert tainted.startswith(
        f"no GPU node fits: {name}: taint team=other:NoSchedule is not tolerated; provider existing"
    )
    assert len(gone) == 1


@pytest.mark.shard3
def test_the_commands_that_it_gives_are_taken_by_the_cluster(bare: Cluster) -> None:
    run("kubectl", "label", "namespace", bare.namespace, "pod-security.kubernetes.io/enforce-")
    found = examine(bare)
    run(*found.command("enforces no Pod Security Standard"))
    assert examine(bare).said("cluster", "ok")[-1] == (
        f"namespace {bare.namespace} enforces the Pod Security Standard restricted"
    )
    restarts = [row for row in found.rows if "failedPodRestart" in row["message"]]
    assert len(restarts) == 1
    if restarts[0]["command"]:
        run(*shlex.split(restarts[0]["command"]), "--dry-run=server")
