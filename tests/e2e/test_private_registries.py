"""Step images in one private registry and adapters in another: the nodes pull from both, each by a
login of its own, and the commands of `argotune doctor` lead there.

The large images would take minutes, so that of plan stands in for all. The registry of the images
is one of the test, which the nodes reach as their own loopback where they run on this machine.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from argotune.steps.deploy.manifests.deployment import AdapterImage, deployment
from argotune.steps.deploy.params import Params
from argotune.workflows.workspace.images import LARGE, SMALL
from tests.e2e.cluster import CALL_SECONDS, Cluster, Object, run, wait_for
from tests.e2e.doubles import MODELS_CLAIM, PUSH_SECRET, Login
from tests.e2e.examined import Examined, examine
from tests.e2e.site import argotune, images, private_registry, tag
from tests.fakes import registry
from tests.fakes.tls import self_signed, server_context
from tests.steps.provenance.pushed import pushed

Copy = Callable[[str, Login, str], None]

pytestmark = [pytest.mark.cluster, pytest.mark.shard3, pytest.mark.timeout(900)]

_PULL_SECRET = "pull-the-steps"
_WORKSPACE = """
apiVersion: kaito.sh/v1beta1
kind: Workspace
metadata: {{name: two-logins}}
resource: {{labelSelector: {{matchLabels: {{kubernetes.io/os: linux}}}}}}
tuning:
  preset: {{name: tiny}}
  method: lora
  input: {{urls: ["https://example.com/data.parquet"]}}
  output: {{image: "{image}", imagePushSecret: {secret}}}
"""


@dataclass(frozen=True, kw_only=True)
class Private:
    """A namespace without any login, and the two registries."""

    cluster: Cluster
    of_images: Login
    of_adapters: Login
    workspace: Path


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """Copy an image into a registry by its login."""
    directory = tmp_path_factory.mktemp("authority")
    if authority := os.environ.get("CLUSTER_CA"):
        shutil.copyfile(authority, directory / "ca.crt")

    def copy_into(source: str, to: Login, name: str) -> None:
        checks = "false" if to.host.startswith("127.") else "true"
        run(
            *("skopeo", "copy", "--quiet", "--preserve-digests", f"--src-cert-dir={directory}"),
            *(f"--dest-cert-dir={directory}", f"--dest-tls-verify={checks}"),
            *(f"--dest-creds={to.user}:{to.password}", source, f"docker://{to.host}/{name}"),
        )

    return copy_into


@pytest.fixture(scope="module")
def private(
    api: httpx.Client, copy: Copy, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Private]:
    of_adapters = private_registry()
    if of_adapters is None or not _nodes_are_here():
        pytest.skip("needs CLUSTER_REGISTRY, and nodes on this machine, with E2E_ADDRESS as theirs")
    directory = tmp_path_factory.mktemp("private")
    cluster = Cluster(f"argotune-private-{secrets.token_hex(3)}", api)
    # The nodes' containerd does not check the certificate of a registry on loopback.
    tls = server_context(*self_signed(directory, ["127.0.0.1"]))
    with registry.serving(login=True, tls=tls) as found:
        of_images = Login(host=found.host, user=registry.USER, password=registry.PASSWORD)
        for step in (*SMALL, *LARGE):
            copy(f"docker://{images()}/argotune-plan:{tag()}", of_images, f"argotune-{step}:mine")
        workspace = directory / "workspace.yaml"
        image = f"{of_adapters.host}/{cluster.namespace}/two-logins:1"
        workspace.write_text(_WORKSPACE.format(image=image, secret=PUSH_SECRET))
        installed = ("-n", cluster.namespace)
        try:
            argotune(
                *("install", *installed, "--create-namespace", "--no-digests"),
                *(f"--images-registry={found.host}", "--images-tag=mine"),
                *("--models-size=1Gi", "--volume-size=1Gi", f"--allow-host={of_adapters.host}"),
            )
            yield Private(
                cluster=cluster,
                of_images=of_images,
                of_adapters=of_adapters,
                workspace=workspace,
            )
        finally:
            argotune("uninstall", *installed, "--delete-models", "--force")
            run("kubectl", "delete", "namespace", cluster.namespace, "--wait=false")


def _nodes_are_here() -> bool:
    found = json.loads(run("kubectl", "get", "nodes", "-o", "json"))["items"]
    addresses = [each["address"] for node in found for each in node["status"]["addresses"]]
    return os.environ.get("E2E_ADDRESS") in addresses


@dataclass(frozen=True, kw_only=True)
class Advised:
    """What the doctor found without logins, and when its commands were followed."""

    before: Examined
    named: Examined
    after: Examined


@pytest.fixture(scope="module")
def advised(private: Private) -> Advised:
    cluster, file = private.cluster, str(private.workspace)
    before = examine(cluster, file, pull="all")
    _, *install = before.command("cannot be pulled")
    run(*_with_login(before.command(f"secret {PUSH_SECRET} is not"), private.of_adapters))
    argotune(*[word.replace("SECRET", _PULL_SECRET) for word in install])
    named = examine(cluster, file)
    run(*_with_login(named.command(f"secret {_PULL_SECRET} is not"), private.of_images))
    return Advised(before=before, named=named, after=examine(cluster, file, pull="all"))


def _with_login(command: list[str], login: Login) -> list[str]:
    """The doctor's command, with what it leaves to the user."""
    user, password = f"--docker-username={login.user}", f"--docker-password={login.password}"
    assert f"--docker-server={login.host}" in command
    filled = {"--docker-username=USER": user, "--docker-password=PASSWORD": password}
    return [filled.get(word, word) for word in command]


def test_the_doctors_commands_end_in_images_that_all_start(advised: Advised) -> None:
    """The steps' by their accounts' login; the service's by both logins of its pod."""
    refused = advised.before.said("images", "problem")
    assert any("no basic auth credentials" in text for text in refused), refused
    assert advised.named.said("secrets", "problem")
    assert advised.after.said("secrets", "problem") == advised.after.said("images", "problem") == []
    (started,) = [text for text in advised.after.said("images", "ok") if " start: " in text]
    assert all(f"argotune-{step}:mine" in started for step in (*SMALL, "tune", "serve"))


@pytest.mark.parametrize(
    ("image_pull_secret", "adapter_pull_secret", "refused"),
    [
        (None, PUSH_SECRET, "of_images"),
        (_PULL_SECRET, None, "of_adapters"),
        (_PULL_SECRET, PUSH_SECRET, None),
    ],
)
def test_a_services_pod_pulls_server_and_adapter_with_a_login_each(
    private: Private,
    advised: Advised,
    copy: Copy,
    tmp_path: Path,
    image_pull_secret: str | None,
    adapter_pull_secret: str | None,
    refused: str | None,
) -> None:
    """As deploy makes it; a pod's own list switches its account's off."""
    service = f"with-{image_pull_secret or 'no'}-{adapter_pull_secret or 'no'}"
    # Both of a name that no node has pulled yet.
    copy(f"docker://{images()}/argotune-plan:{tag()}", private.of_images, f"{service}:mine")
    adapter = pushed(tmp_path, None, workflow=service)
    repository = f"{private.cluster.namespace}/{service}"
    copy(f"oci:{adapter.layout}:1", private.of_adapters, f"{repository}:1")
    reference = f"{private.of_adapters.host}/{repository}@{adapter.digest}"
    params = Params(
        name=service,
        reference=reference,
        plan_file=tmp_path / "plan.yaml",
        model_dir="model",
        cache_dir=tmp_path,
        namespace=private.cluster.namespace,
        image=f"{private.of_images.host}/{service}:mine",
        vllm_image=f"{private.of_images.host}/{service}:mine",
        model_cache_claim=MODELS_CLAIM,
        dataset_digest="sha256:" + 64 * "d",
        image_pull_secret=image_pull_secret,
        adapter_pull_secret=adapter_pull_secret,
        memory="64Mi",
    )
    made = deployment(params, AdapterImage(reference=reference))
    private.cluster.kubectl("create", "-f", "-", text=json.dumps(made))
    try:
        state = wait_for(
            f"start or refusal of {service}",
            lambda: _outcome(private.cluster, service),
            seconds=CALL_SECONDS,
        )
    finally:
        private.cluster.kubectl("delete", "deployment", service)
    if refused is None:
        assert state == "started"
    else:
        assert "no basic auth credentials" in state
        assert getattr(private, refused).host in state


def _outcome(cluster: Cluster, service: str) -> str:
    """`started`, or why the node does not pull; empty: neither yet."""
    pods = cluster.items("v1", "pods", labelSelector=f"app.kubernetes.io/instance={service}")
    statuses = [each for pod in pods for each in pod["status"].get("containerStatuses") or []]
    for status in statuses:
        if status.get("containerID"):
            return "started"
        waiting: Object = status["state"].get("waiting") or {}
        if waiting.get("reason") in ("ErrImagePull", "ImagePullBackOff"):
            return str(waiting["message"])
    return ""
