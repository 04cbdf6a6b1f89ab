"""What stands in the cluster for the rest of the world: a server of datasets, a registry over TLS,
and a workbench from which the tests look at both and ask services, as an application would."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from argotune.steps.cluster.scheduling import GPU_TOLERATIONS
from tests.e2e.cluster import CALL_SECONDS, Cluster, Object
from tests.e2e.pods import dataset, registry, webhook
from tests.fakes.registry import PASSWORD, USER, docker_config

DATASET_FILE = "python-docs.parquet"
OTHER_DATASET_FILE = "half-of-python-docs.parquet"
MODELS_CLAIM = "argotune-models"
CA_CONFIG_MAP = "argotune-ca"
PUSH_SECRET = "argotune-push"
NOTIFY_SECRET = "argotune-notify"
_REPOSITORY = Path(__file__).parent.parent.parent
_PACKAGES = (
    "tests/fakes/http.py",
    "tests/fakes/listening.py",
    "tests/fakes/registry.py",
    "tests/e2e/pods/*.py",
)
_LABEL = "argotune-e2e"
_USER_ID = 65532
_READY_SECONDS = 180


@dataclass(frozen=True, kw_only=True)
class Login:
    """A registry and who may push there."""

    host: str
    user: str
    password: str


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a service said."""

    response: str
    details: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What came of asking a service again and again."""

    answers: dict[str, int] = field(default_factory=dict)
    """Answer -> how often."""
    errors: dict[str, int] = field(default_factory=dict)
    """Error -> how often."""


class Doubles:
    """The pods, once they are ready."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def ask(self, url: str, prompt: str, *models: str) -> Answer:
        """POST a prompt from a pod of the namespace, for a model by name or for the service's."""
        answer = json.loads(self._workbench("tests.e2e.pods.ask", url, prompt, *models))
        return Answer(response=answer["response"], details=answer)

    @contextmanager
    def keep_asking(self, url: str, prompt: str, *, clients: int = 1) -> Iterator[Asked]:
        """Ask from a pod meanwhile, without a second try; the answers are there at the end."""
        command = ["kubectl", f"--namespace={self._cluster.namespace}", "exec", "-i", "workbench"]
        command += ["--", "python3", "-m", "tests.e2e.pods.keep_asking", url, prompt]
        command += [str(clients)]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as client:
            asked = Asked()
            try:
                yield asked
                # It ends with its input.
                said, _ = client.communicate(timeout=CALL_SECONDS)
                found = json.loads(said)
                asked.answers.update(found["answers"])
                asked.errors.update(found["errors"])
            finally:
                client.kill()

    def tags(self, host: str, repository: str) -> dict[str, str]:
        """Tags of a repository and the digests that they name."""
        answer: dict[str, str] = json.loads(
            self._workbench(
                "tests.e2e.pods.tags", host, repository,
                "/push/.dockerconfigjson", "/ca/ca.crt",
            )
        )  # fmt: skip
        return answer

    def told(self) -> list[Object]:
        """The messages that the webhook got."""
        return [json.loads(line) for line in self._cluster.log("webhook").splitlines()]

    def put_model(self, cache_dir: Path, directory: Path) -> None:
        """Copy a model of this machine's cache, below it, into the cluster's."""
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            tar.add(directory, arcname=str(directory.relative_to(cache_dir)))
        command = ["kubectl", f"--namespace={self._cluster.namespace}", "exec", "-i", "workbench"]
        command += ["--", "python3", "-m", "tests.e2e.pods.unpack", "/models"]
        done = subprocess.run(
            command,
            input=archive.getvalue(),
            capture_output=True,
            timeout=CALL_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()

    def _workbench(self, module: str, *arguments: str) -> str:
        return self._cluster.kubectl("exec", "workbench", "--", "python3", "-m", module, *arguments)


def hosts(namespace: str) -> tuple[str, str]:
    """HOST:PORT of the dataset server and of the registry."""
    return f"dataset.{namespace}.svc:80", f"registry.{namespace}.svc:443"


def webhook_host(namespace: str) -> str:
    """HOST:PORT of the webhook."""
    return f"webhook.{namespace}.svc:80"


def put_up(
    cluster: Cluster,
    image: str,
    dataset_files: Sequence[Path],
    certificates: Path,
    logins: Sequence[Login],
    others: Sequence[Object],
) -> Doubles:
    """Make the pods and all that they read; returns when they are ready, the others or not."""
    objects = [
        _code(),
        _secret("registry-tls", {n: certificates / n for n in ("tls.crt", "tls.key")}),
        _config_map("dataset", dataset_files),
        _login_secret(PUSH_SECRET, logins),
        _service("dataset", 80, dataset.PORT),
        _service("registry", 443, registry.PORT),
        _service("webhook", 80, webhook.PORT),
        _secret_of(NOTIFY_SECRET, url=f"http://{webhook_host(cluster.namespace)}/"),
        _pod(
            "dataset",
            image,
            ["tests.e2e.pods.dataset", *(f"/data/{file.name}" for file in dataset_files)],
            {"/data": {"configMap": {"name": "dataset"}}},
            port=dataset.PORT,
        ),
        _pod(
            "registry",
            image,
            ["tests.e2e.pods.registry", "/tls/tls.crt", "/tls/tls.key"],
            {"/tls": {"secret": {"secretName": "registry-tls"}}},
            port=registry.PORT,
        ),
        _pod("webhook", image, ["tests.e2e.pods.webhook"], {}, port=webhook.PORT),
        _pod(
            "workbench",
            image,
            ["tests.e2e.pods.idle"],
            {
                "/models": {"persistentVolumeClaim": {"claimName": MODELS_CLAIM}},
                "/push": {"secret": {"secretName": PUSH_SECRET}},
                "/ca": {"configMap": {"name": CA_CONFIG_MAP}},
            },
        ),
        *others,
    ]
    cluster.kubectl(
        "apply", "--server-side", "-f", "-",
        text=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}),
    )  # fmt: skip
    cluster.kubectl(
        "wait", "pod", f"--selector={_LABEL}", "--for=condition=Ready",
        f"--timeout={_READY_SECONDS}s", seconds=_READY_SECONDS + 10,
    )  # fmt: skip
    return Doubles(cluster)


def pull_ahead(name: str, image: str, node_selector: str = "") -> Object:
    """A pod that has a node pull a large image while other things are done."""
    pod = _pod(name, image, ["tests.e2e.pods.idle"], {})
    del pod["metadata"]["labels"]
    if node_selector:
        key, _, value = node_selector.partition("=")
        pod["spec"]["nodeSelector"] = {key: value}
        pod["spec"]["tolerations"] = [dict(toleration) for toleration in GPU_TOLERATIONS]
    return pod


def make_certificates(directory: Path, namespace: str) -> Path:
    """A certificate authority, ca.crt, and the registry's certificate by it, tls.crt and tls.key;
    returns the authority."""
    name = hosts(namespace)[1].partition(":")[0]
    _openssl(directory, "ca", "/CN=argotune-e2e")
    _openssl(
        directory, "tls", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}",
        "-CA", str(directory / "ca.crt"), "-CAkey", str(directory / "ca.key"),
    )  # fmt: skip
    return directory / "ca.crt"


def registry_login(namespace: str) -> Login:
    """Who may push to the registry pod."""
    return Login(host=hosts(namespace)[1], user=USER, password=PASSWORD)


def _openssl(directory: Path, name: str, subject: str, *arguments: str) -> None:
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", subject, *arguments]
    command += ["-keyout", str(directory / f"{name}.key"), "-out", str(directory / f"{name}.crt")]
    subprocess.run(command, check=True, capture_output=True, timeout=CALL_SECONDS)


def _code() -> Object:
    paths = [path for pattern in _PACKAGES for path in sorted(_REPOSITORY.glob(pattern))]
    data = {_key(path): path.read_text() for path in paths}
    assert data
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "e2e-code"},
        "data": data,
    }


def _code_items() -> list[Object]:
    paths = [path for pattern in _PACKAGES for path in sorted(_REPOSITORY.glob(pattern))]
    return [{"key": _key(path), "path": str(path.relative_to(_REPOSITORY))} for path in paths]


def _key(path: Path) -> str:
    return str(path.relative_to(_REPOSITORY)).replace("/", ".")


def _secret_of(name: str, **texts: str) -> Object:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": texts}


def _config_map(name: str, files: Sequence[Path]) -> Object:
    data = {file.name: base64.b64encode(file.read_bytes()).decode() for file in files}
    metadata = {"name": name}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "binaryData": data}


def _secret(name: str, files: Mapping[str, Path]) -> Object:
    return _secret_of(name, **{key: path.read_text() for key, path in files.items()})


def _login_secret(name: str, logins: Sequence[Login]) -> Object:
    auths: dict[str, Any] = {}
    for login in logins:
        config = docker_config(login.host, user=login.user, password=login.password)
        auths |= json.loads(config)["auths"]
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "type": "kubernetes.io/dockerconfigjson",
        "stringData": {".dockerconfigjson": json.dumps({"auths": auths})},
    }


def _service(name: str, port: int, target: int) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {_LABEL: name}, "ports": [{"port": port, "targetPort": target}]},
    }


def _pod(
    name: str,
    image: str,
    module: Sequence[str],
    mounts: Mapping[str, Object],
    *,
    port: int | None = None,
) -> Object:
    """A pod that the restricted Pod Security Standard lets in."""
    code = {"configMap": {"name": "e2e-code", "items": _code_items()}}
    volumes = {
        f"volume-{index}": item for index, item in enumerate({"/code": code, **mounts}.items())
    }
    container: Object = {
        "name": "main",
        "image": image,
        "command": ["python3", "-m", *module],
        "workingDir": "/code",
        "env": [{"name": "PYTHONDONTWRITEBYTECODE", "value": "1"}],
        "volumeMounts": [{"name": name, "mountPath": path} for name, (path, _) in volumes.items()],
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    }
    if port is not None:
        container["readinessProbe"] = {"tcpSocket": {"port": port}, "periodSeconds": 1}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {_LABEL: name}},
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 1,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": _USER_ID,
                "runAsGroup": _USER_ID,
                "fsGroup": _USER_ID,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
            "volumes": [{"name": name, **source} for name, (_, source) in volumes.items()],
        },
    }
