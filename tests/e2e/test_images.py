"""The step images as the cluster pulls them: E2E_REGISTRY/argotune-STEP:E2E_TAG."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import Cluster, run, wait_for
from tests.e2e.site import images, tag
from tests.images.containerfile import IMAGES, VLLM

pytestmark = [pytest.mark.cluster, pytest.mark.shard3]

MB = 1_000_000
LARGEST_MB = {"provision": 200, "dataset": 560}
_PULL_SECONDS = 300

Document = dict[str, Any]
Skopeo = Callable[..., str]


@pytest.fixture(scope="module")
def skopeo(tmp_path_factory: pytest.TempPathFactory) -> Skopeo:
    """skopeo with the certificate authority that CLUSTER_CA names, if there is one."""
    authority = os.environ.get("CLUSTER_CA")
    if not authority:
        return lambda command, *rest: run("skopeo", command, *rest, seconds=_PULL_SECONDS)
    directory = tmp_path_factory.mktemp("authority")
    shutil.copyfile(authority, directory / "ca.crt")

    def trusting(command: str, *rest: str) -> str:
        flag = "--src-cert-dir" if command == "copy" else "--cert-dir"
        return run("skopeo", command, f"{flag}={directory}", *rest, seconds=_PULL_SECONDS)

    return trusting


@pytest.mark.parametrize("image", [image for image in IMAGES if image != VLLM])
def test_image_says_who_it_runs_as_and_what_it_is(skopeo: Skopeo, image: str) -> None:
    config = _json(skopeo("inspect", "--config", _reference(image)))["config"]
    assert config["User"] == "65532:65532"
    assert config["Entrypoint"] == ["python", "-m"]
    assert config["Labels"]["org.opencontainers.image.title"] == f"argotune-{image}"
    assert config["Labels"]["org.opencontainers.image.version"][0].isdigit()


def test_tune_and_serve_hold_the_same_layers_with_the_code_in_a_small_one(skopeo: Skopeo) -> None:
    tune, serve = (_layers(skopeo, image) for image in ("tune", "serve"))
    assert tune == serve
    assert tune[-1]["size"] < 3 * MB


@pytest.mark.parametrize("image", LARGEST_MB)
def test_small_images_stay_small(skopeo: Skopeo, image: str, tmp_path: Path) -> None:
    """Above the base, unpacked; a registry only knows the packed sizes."""
    skopeo("copy", "--quiet", _reference(image), f"dir:{tmp_path}")
    added = _layers(skopeo, image)[len(_base_layers(skopeo)) :]
    assert added
    unpacked = sum(_unpacked_bytes(tmp_path / layer["digest"].split(":")[1]) for layer in added)
    print(f"argotune-{image}: {unpacked / MB:.0f} MB above the base")
    assert 10 * MB < unpacked < LARGEST_MB[image] * MB


def test_image_starts_under_restricted_without_a_user_of_the_pod(cluster: Cluster) -> None:
    """The kubelet has to see by the image's own USER that it is not root's."""
    cluster.kubectl("apply", "-f", "-", text=json.dumps(_pod("images-plan", "plan")))

    def ended() -> str | None:
        pod = cluster.read("v1", "pods", "images-plan") or {}
        phase: str = pod["status"].get("phase", "")
        return phase if phase in {"Succeeded", "Failed"} else None

    phase = wait_for(
        "end of pod images-plan",
        ended,
        seconds=_PULL_SECONDS,
        explain=lambda: cluster.kubectl("describe", "pod", "images-plan"),
    )
    log = cluster.log("images-plan")
    assert phase == "Succeeded", log
    assert "model=argotune/tiny@" in log


def _pod(name: str, image: str) -> Document:
    container = {
        "name": "main",
        "image": _reference(image).removeprefix("docker://"),
        "args": [
            f"argotune.steps.{image}",
            "--outputs-dir=/argotune/outputs",
            "--name=images",
            "--preset=tiny",
        ],
        "env": [{"name": "HOME", "value": "/argotune/outputs"}],
        "volumeMounts": [{"name": "outputs", "mountPath": "/argotune/outputs"}],
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    spec = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": {"fsGroup": 65532},
        "containers": [container],
        "volumes": [{"name": "outputs", "emptyDir": {}}],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def _base_layers(skopeo: Skopeo) -> list[Document]:
    """What the images begin with alike: their own layers differ from the first on."""
    plan, dataset = (_layers(skopeo, image) for image in ("plan", "dataset"))
    alike = [ours for ours, theirs in zip(plan, dataset, strict=False) if ours == theirs]
    assert alike
    return alike


def _layers(skopeo: Skopeo, image: str) -> list[Document]:
    layers: list[Document] = _json(skopeo("inspect", "--raw", _reference(image)))["layers"]
    return layers


def _unpacked_bytes(blob: Path) -> int:
    with blob.open("rb") as packed:
        if packed.read(2) != b"\x1f\x8b":
            return blob.stat().st_size
    with gzip.open(blob) as layer:
        return sum(len(chunk) for chunk in iter(lambda: layer.read(1 << 20), b""))


def _reference(image: str) -> str:
    return f"docker://{images()}/argotune-{image}:{tag()}"


def _json(text: str) -> Document:
    document: Document = json.loads(text)
    return document
