"""A namespace in which argotune is installed as the README says, with a GPU node, a registry, a
server of datasets and the weights of preset tiny."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from argotune.presets.loader import model_preset
from argotune.steps.cluster.kinds import kind_of
from argotune.steps.contracts.model_cache import cache_path, is_complete
from argotune.steps.deploy.manifests.objects import KINDS as SERVICE_KINDS
from argotune.workflows.cli.home import home
from argotune.workflows.demo.dataset import write_dataset
from tests.e2e import doubles
from tests.e2e.cluster import CALL_SECONDS, Cluster, Object, run
from tests.e2e.doubles import DATASET_FILE, OTHER_DATASET_FILE, PUSH_SECRET, Doubles, Login
from tests.e2e.nodes import gpu_node
from tests.e2e.runs import ARGO, Run

QUESTION = "What does json.dumps do?"
AKS_CLUSTER_ID = (
    "/subscriptions/26fe00f8-9173-4872-9134-bb1d2e00343a/resourceGroups/team/providers/"
    "Microsoft.ContainerService/managedClusters/prod"
)
AZURE_CLIENT_ID = "66666666-7777-8888-9999-000000000000"
KARPENTER_NODE_CLASS = "karpenter.test/TestNodeClass/default"
SCORER = "length"
"""Name of the scorer in the installation."""
OUTPUT_CLAIM = "adapters"
"""PersistentVolumeClaim to which runs may copy their adapters."""
RUN_SECONDS = 900
"""Longest wait for a run beside many others."""
_INSTALL_SECONDS = 180
_ARGOTUNE = (sys.executable, "-m", "argotune.workflows.cli")
_ANNOTATIONS = (
    "question",
    "allow-cpu",
    "gate",
    "gate-answer-tokens",
    "service-gpus",
    "service-memory",
    "adapter-from",
    "tune-cpu",
    "tune-memory",
)


@dataclass(frozen=True, kw_only=True)
class Site:
    """What the tests of whole runs share; each run has names of its own."""

    cluster: Cluster
    directory: Path
    """For files of the tests."""
    doubles: Doubles
    node_selector: str
    """KEY=VALUE of the GPU node."""
    node: str
    """Name of the GPU node, where the tests brought it."""
    registry: str
    """HOST:PORT of the registry for whole runs."""
    adapter_from: str
    """Whether the nodes can pull from that registry (auto) or not (cache)."""

    @property
    def namespace(self) -> str:
        return self.cluster.namespace

    @property
    def dataset(self) -> str:
        """URL of the dataset."""
        return self._url(DATASET_FILE)

    @property
    def other_dataset(self) -> str:
        """URL of another dataset, with half of its rows."""
        return self._url(OTHER_DATASET_FILE)

    def image(self, name: str) -> str:
        """An output image in the registry for whole runs."""
        return f"{self.registry}/{self.namespace}/{name}:1"

    def arguments(
        self,
        name: str,
        *,
        steps: int = 2,
        save_steps: int | None = None,
        seed: int = 42,
        **changes: str,
    ) -> dict[str, str]:
        """Arguments of a small run of preset tiny; a change's name is in snake_case."""
        return {
            "name": name,
            "preset": "tiny",
            "urls": json.dumps([self.dataset]),
            "output-image": self.image(name),
            "push-secret": PUSH_SECRET,
            "config": training_config(
                steps, save_steps, seed, names_gpu="instance_type" not in changes
            ),
            "label-selector": self.node_selector,
            "question": QUESTION,
            # The tests' GPU nodes only say that they have one.
            "allow-cpu": "true",
            # Two steps make no adapter that is better than its base.
            "gate": "off",
            "gate-answer-tokens": "16",
            "service-gpus": "0",
            "service-memory": "512Mi",
            "adapter-from": self.adapter_from,
            "tune-cpu": "200m",
            "tune-memory": "2Gi",
            **{key.replace("_", "-"): value for key, value in changes.items()},
        }

    def submit(self, arguments: dict[str, str]) -> Run:
        """Create a Workflow that refers to the installed template."""
        made = self.cluster.create(workflow(arguments))
        return Run(self.cluster, made["metadata"]["name"])

    def workspace(
        self, name: str, *, steps: int = 2, gate: str = "off", url: str | None = None
    ) -> str:
        """The same as arguments, as a Kaito Workspace; the URL is the dataset's unless given."""
        arguments = self.arguments(name, gate=gate)
        annotations = {f"argotune.dev/{key}": arguments[key] for key in _ANNOTATIONS}
        key, _, value = self.node_selector.partition("=")
        workspace = {
            "apiVersion": "kaito.sh/v1beta1",
            "kind": "Workspace",
            "metadata": {"name": name, "annotations": annotations},
            "resource": {"labelSelector": {"matchLabels": {key: value}}},
            "tuning": {
                "preset": {"name": "tiny"},
                "method": "qlora",
                "config": f"{name}-config",
                "input": {"urls": [url or self.dataset]},
                "output": {"image": arguments["output-image"], "imagePushSecret": PUSH_SECRET},
            },
        }
        config = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": f"{name}-config"},
            "data": {"training_config.yaml": training_config(steps)},
        }
        return yaml.safe_dump_all([workspace, config])

    def completes(self, run: Run, name: str) -> Run:
        """Wait for the good end of a run whose service nobody needs."""
        run.ends("Succeeded", seconds=RUN_SECONDS)
        self.remove_service(name)
        return run

    def remove_service(self, name: str) -> None:
        """Give back the CPU that a service asks for: many of them are more than two cores."""
        self.argotune("stop", name, f"--namespace={self.namespace}", "--service")

    def served(self, name: str) -> str:
        """Reference of the adapter that a service serves."""
        deployment = self.cluster.read("apps/v1", "deployments", name)
        assert deployment is not None, f"no service {name}"
        annotations = deployment["spec"]["template"]["metadata"]["annotations"]
        return str(annotations["argotune.dev/adapter"])

    def service_objects(self, name: str) -> list[str]:
        """What of a service is there, as KIND/NAME."""
        kinds = map(kind_of, SERVICE_KINDS)
        return [
            f"{kind.plural}/{name}"
            for kind in kinds
            if self.cluster.read(f"{kind.group}/{kind.version}".strip("/"), kind.plural, name)
        ]

    def argotune(
        self, *arguments: str, text: str | None = None, seconds: float = CALL_SECONDS
    ) -> str:
        """What the command line prints. Fails with what it complains of."""
        return argotune(*arguments, text=text, seconds=seconds)

    def _url(self, file: str) -> str:
        host = doubles.hosts(self.namespace)[0].removesuffix(":80")
        return f"http://{host}/{file}"


def workflow(arguments: dict[str, str]) -> Object:
    """A Workflow with nothing but arguments."""
    parameters = [{"name": name, "value": value} for name, value in arguments.items()]
    return {
        "apiVersion": ARGO,
        "kind": "Workflow",
        "metadata": {"generateName": f"{arguments['name']}-"},
        "spec": {
            "workflowTemplateRef": {"name": "finetune"},
            "arguments": {"parameters": parameters},
        },
    }


def training_config(
    steps: int,
    save_steps: int | None = None,
    seed: int = 42,
    *,
    learning_rate: float = 5.0e-3,
    names_gpu: bool = True,
    checks: Sequence[Object] = (),
) -> str:
    """Kaito's training_config.yaml for so many optimizer steps; an instance type says itself which
    GPU it has."""
    training: dict[str, int | float] = {
        "max_steps": steps,
        "learning_rate": learning_rate,
        "seed": seed,
    }
    if save_steps is not None:
        training["save_steps"] = save_steps
    ours: Object = {
        "validation_share": 0.1,
        "micro_batch_tokens": 512,
        "tokens_per_step": 512,
    }
    if checks:
        ours["checks"] = [*checks]
    if names_gpu:
        # Of the node that says it has a GPU; tiny is tuned on its CPU.
        ours |= {"gpus": 1, "gpu_memory_gib": 16}
    return yaml.safe_dump(
        {
            "training_config": {
                "LoraConfig": {"r": 8, "lora_alpha": 16},
                "TrainingArguments": training,
                "Argotune": ours,
            }
        }
    )


def argotune(*arguments: str, text: str | None = None, seconds: float = CALL_SECONDS) -> str:
    """What `argotune` prints. Fails with what it complains of."""
    return run(*_ARGOTUNE, *arguments, text=text, seconds=seconds)


@contextmanager
def installed(cluster: Cluster, directory: Path) -> Iterator[Site]:
    """The site; at the end its node is gone and argotune is uninstalled."""
    suffix = cluster.namespace.rpartition("-")[2]
    node = f"e2e-gpu-{suffix}"
    with gpu_node(node, f"argotune-e2e={suffix}") as selector:
        logins = [doubles.registry_login(cluster.namespace)]
        private = private_registry()
        authority = doubles.make_certificates(directory, cluster.namespace)
        if private is not None:
            logins.append(private)
            own = Path(os.environ["CLUSTER_CA"]).read_text()
            authority.write_text(authority.read_text() + own)
        _install(cluster, authority, [login.host for login in logins])
        try:
            pods = _put_up(cluster, directory, logins, selector)
            pods.put_model(home().models_dir, _weights())
            yield Site(
                cluster=cluster,
                directory=directory,
                doubles=pods,
                node_selector=selector,
                node=node,
                registry=logins[-1].host,
                adapter_from="cache" if private is None else "auto",
            )
        finally:
            cluster.kubectl(
                "delete", "workflows,cronworkflows", "--all", f"--timeout={CALL_SECONDS - 10}s"
            )
            argotune("uninstall", f"--namespace={cluster.namespace}", "--delete-models")


def _put_up(
    cluster: Cluster, directory: Path, logins: Sequence[Login], node_selector: str
) -> Doubles:
    """The pods beside argotune; the large images are pulled meanwhile."""
    dataset, other = directory / DATASET_FILE, directory / OTHER_DATASET_FILE
    write_dataset(dataset)
    rows = pq.read_table(dataset)
    pq.write_table(rows.slice(0, rows.num_rows // 2), other)
    return doubles.put_up(
        cluster,
        os.environ.get("E2E_IMAGE") or f"{images()}/argotune-dataset:{tag()}",
        [dataset, other],
        directory,
        logins,
        [
            doubles.pull_ahead("tune-image", f"{images()}/argotune-tune:{tag()}", node_selector),
            doubles.pull_ahead("serve-image", f"{images()}/argotune-serve:{tag()}"),
        ],
    )


def images() -> str:
    """E2E_REGISTRY: where the cluster pulls the step images from."""
    registry = os.environ.get("E2E_REGISTRY")
    if not registry:
        pytest.fail("set E2E_REGISTRY (and E2E_TAG) to where `make push-images` put the images")
    return registry


def scorer_image() -> str | None:
    """E2E_SCORER: the image of tests/e2e/scorer, where somebody made it."""
    return os.environ.get("E2E_SCORER")


def tag() -> str:
    """E2E_TAG: the step images' tag."""
    return os.environ.get("E2E_TAG", "0.1.0")


def _install(cluster: Cluster, authority: Path, registries: Sequence[str]) -> None:
    internal_hosts = [
        doubles.hosts(cluster.namespace)[0],
        doubles.webhook_host(cluster.namespace),
        *registries,
    ]
    argotune(
        "install",
        f"--namespace={cluster.namespace}",
        "--create-namespace",
        f"--images-registry={images()}",
        f"--images-tag={tag()}",
        "--volume-size=1Gi",
        "--models-size=1Gi",
        f"--aks-cluster-id={AKS_CLUSTER_ID}",
        f"--azure-client-id={AZURE_CLIENT_ID}",
        f"--karpenter-node-class={KARPENTER_NODE_CLASS}",
        f"--allow-output-claim={OUTPUT_CLAIM}",
        *(f"--scorer-image={SCORER}={image}" for image in [scorer_image()] if image),
        *(f"--allow-host={host}" for host in internal_hosts),
        f"--ca-file={authority}",
        seconds=_INSTALL_SECONDS,
    )
    # An hour may begin while the tests run, and its pods find no cloud.
    suspended = json.dumps({"spec": {"suspend": True}})
    cluster.kubectl("patch", "cronworkflow", "gc", "--type=merge", f"--patch={suspended}")


def private_registry() -> Login | None:
    """The cluster's own registry, that its nodes pull from with a login, where it has one."""
    host = os.environ.get("CLUSTER_REGISTRY")
    if not host:
        return None
    password = Path(os.environ["CLUSTER_REGISTRY_PASSWORD_FILE"]).read_text().strip()
    return Login(host=host, user=os.environ["CLUSTER_REGISTRY_USER"], password=password)


def _weights() -> Path:
    """The directory of preset tiny in this machine's cache."""
    preset = model_preset("tiny")
    directory = cache_path(home().models_dir, preset.repository, preset.revision)
    if not is_complete(directory):
        pytest.fail(f"no weights in {directory}; `argotune tiny` makes them")
    return directory
