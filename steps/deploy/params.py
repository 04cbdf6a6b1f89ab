"""Parameters and results of the deploy step."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from argotune.steps.common.errors import ParamsError
from argotune.steps.common.fs import sha256_file
from argotune.steps.common.values import (
    is_bytes,
    is_dns_label,
    is_dns_subdomain,
    origin_problems,
)
from argotune.steps.contracts.in_service import NOT_DEPLOYED, DeployTo
from argotune.steps.contracts.served import SERVER_MEMORY
from argotune.steps.contracts.service_note import DuringTuning
from argotune.steps.contracts.versions import version_of
from argotune.steps.contracts.vllm import AskedEngine, Engine, engine_of
from argotune.steps.nodes.labels import INSTANCE_TYPE, NODE_LABEL, labels_in
from argotune.steps.registry.oci import ImageReference, LayoutReference, parse_reference


@dataclass(frozen=True, kw_only=True)
class Params:
    """Start the inference service, wait until it is ready, and ask it one question."""

    target: DeployTo = "kubernetes"
    """process: a server on this machine; kubernetes: a Deployment and a Service; none: no service,
    the adapter only gets a version."""
    name: str
    """Name of the service and of the served adapter."""
    reference: str = ""
    """The push step's reference of the adapter image, by digest; without a plan file also by the
    tag of a version, such as v3. Empty, with a service plan: the service has no adapter of its
    own."""
    service_plan: Path | None = None
    """Plan of a service without training (steps/contracts/service_plan.py), with its adapters
    beside it; in place of reference and plan-file."""
    plan_file: Path | None = None
    """The plan step's file; empty: the run has made no adapter but serves one that is there, whose
    image says of which workspace, model and data it is."""
    model_dir: str | None = None
    """Directory of the base model below the model cache; empty, without a plan file: what the
    adapter's image says."""
    cache_dir: Path
    """Model cache."""
    work_dir: Path | None = None
    """Volume of the run; reads work-dir/live-adapter.json, so that no adapter is replaced that the
    new one was not compared with. Empty: not looked at, as in a rollback."""
    layout_dir: Path | None = None
    """OCI layout that may already have the image, work-dir/image of the push step; if it does not,
    the image is pulled."""
    auth_file: Path | None = None
    """Docker config.json for pulling the image; may not exist."""
    ca_file: Path | None = None
    """Certificate authority of the registry, PEM, trusted in addition to the system's; may not
    exist."""
    allowed_hosts: tuple[str, ...] = ()
    """HOST or HOST:PORT of registries that may have private addresses, as a JSON list; outside a
    cluster all may."""
    services_dir: Path | None = None
    """Directory for the record and log of a server process; required for target process."""
    serve_with: str = ""
    """Name of a service of the same base that takes the adapter beside its own; empty: the adapter
    has a service of its own."""
    leave: bool = False
    """Take the adapter out of that service instead; for target kubernetes."""
    port: int = 0
    """Port of a server process; 0: the one that the service had, or else any that is free. For
    target process."""
    namespace: str = "default"
    """Namespace of the service; for target kubernetes."""
    run_name: str | None = None
    """Name of the Workflow that runs this step. It owns newly created objects, which are deleted
    with it, until the service has answered; empty: no owner. For target kubernetes."""
    run_uid: str | None = None
    """UID of that Workflow."""
    run_record: Path | None = None
    """File with the Workflow of a run on one machine, for who approved the adapter; empty: the API
    server has it."""
    image: str | None = None
    """Image of the server on transformers; required for target kubernetes."""
    vllm_image: str | None = None
    """Image of the server on vLLM; required for target kubernetes."""
    engine: AskedEngine = "auto"
    """What the server computes with, as the run was planned; with a service plan: what that says.
    auto: vLLM on a GPU, unless it may have to answer on its CPU, or has the base in 4 bits. For
    target kubernetes; a server on this machine is on transformers."""
    model_cache_claim: str | None = None
    """PersistentVolumeClaim of the model cache; required for target kubernetes."""
    image_pull_secret: str | None = None
    """Secret for pulling the server's image; empty: the node's own login. For target kubernetes."""
    adapter_pull_secret: str | None = None
    """Secret for pulling the adapter image; for target kubernetes."""
    adapter_from: Literal["auto", "cache"] = "auto"
    """auto: an image volume if the API server supports it, else as cache; cache: files that deploy
    writes into the model cache, for nodes with containerd before 2.1. For target kubernetes."""
    node_selector: str = "{}"
    """Labels of the node that ran tuning, a JSON object. The server is scheduled to such a node,
    unless it needs no GPU or the node was created for the run and is deleted with it. For target
    kubernetes."""
    api_keys_secret: str | None = None
    """Secret with the keys of the service's clients (steps/contracts/client_keys.py); empty:
    everybody who can connect may ask."""
    requests_per_minute: int = 0
    """Most questions of one client in a minute; 0: any number."""
    cors_origins: tuple[str, ...] = ()
    """Origins of the pages of other hosts that may ask from a browser, as a JSON list, such as
    ["https://app.example.com"], or ["*"] for all; empty: none."""
    api_keys_file: Path | None = None
    """The keys in that Secret, with one of which deploy asks; may not exist without a Secret."""
    own_node: bool = False
    """Whether a node that was made for the run is the service's from now on, as long as the service
    is there; otherwise the server is put elsewhere. For target kubernetes."""
    machine: str = ""
    """SKU, spot or regular, and zone of such a node, which is noted at the Deployment."""
    node_since: str = ""
    """When it was asked for, RFC 3339."""
    price_usd_per_hour: float | None = None
    """Its price; empty: not known."""
    label_selector: str = ""
    """Labels of another node to serve on, KEY=VALUE,KEY=VALUE. For target kubernetes."""
    instance_type: str = ""
    """Cloud SKU of such a node. For target kubernetes."""
    gpus: int = 0
    """Number of GPUs that the plan gives each server; for target kubernetes."""
    service_gpus: int | None = None
    """Number of GPUs of each server, in place of the plan's, of which it gets one; 0: it runs on a
    CPU, on any node. For target kubernetes."""
    max_length: int | None = None
    """Longest question and answer together, tokens, where less fits the server's GPU than the
    adapter was trained for; empty: that."""
    load_in_4bit: bool = False
    """Whether the server has the base in 4 bits: a quarter of the memory, but slower answers."""
    replicas: int | None = None
    """Number of servers; empty: one, or as many as somebody scaled the service to. With
    max-replicas it is the least number. For target kubernetes."""
    max_replicas: int | None = None
    """Largest number of servers, to which a HorizontalPodAutoscaler goes by the requests that wait;
    empty: no autoscaler. For target kubernetes."""
    service_during_tuning: DuringTuning = "wait"
    """Whether the old server may end before the new one is ready, where there is no second GPU for
    that one: with wait it may not. For target kubernetes."""
    start: bool = False
    """Start a service that somebody scaled to none; otherwise it stays so. For target
    kubernetes."""
    host: str = ""
    """Name of the host by which the service is reached from outside the cluster; empty: it is not.
    For target kubernetes."""
    domain: str = ""
    """Domain of the installation, in which the host must be."""
    ingress_class: str = ""
    """IngressClass by which the host is reached; empty: none."""
    tls_secret: str = ""
    """Secret of type kubernetes.io/tls for the Ingress of the host; empty: no TLS there."""
    gateway: str = ""
    """NAMESPACE/NAME of the Gateway by which the host is reached; empty: none."""
    monitor: Literal["auto", "none"] = "auto"
    """auto: a ServiceMonitor where the cluster knows them. For target kubernetes."""
    monitor_labels: str = ""
    """Labels of the ServiceMonitor, KEY=VALUE,KEY=VALUE, by which a Prometheus selects it."""
    allow_cpu: bool = False
    """Let the server answer on its CPU where it can use none of its GPUs; for target
    kubernetes."""
    memory: str | None = None
    """Memory request of the server, a quantity such as 16Gi; empty: 2Gi, on vLLM 8Gi. For target
    kubernetes."""
    limits: bool = False
    """Whether the server has limits of CPUs and memory, as a ResourceQuota on limits demands; of
    memory it gets no more than it requests. For target kubernetes."""
    require_signature: bool = False
    """Deploy only an adapter whose image and statement a verification key has signed."""
    verification_key: str = ""
    """Public keys, ECDSA P-256 or Ed25519, the base64 of the DER of each, with commas between them;
    for require-signature."""
    question: str = "Hello! Who are you?"
    """Question to ask once the service is ready; deploy succeeds only with an answer."""
    timeout_seconds: float = 900.0
    """Longest wait until the service is ready."""
    dataset_digest: str | None = None
    """Digest of the data, for the history file and the annotations; empty, without a plan file:
    what the adapter's image says."""
    history_file: Path | None = None
    """Records for schedules (steps/contracts/history.py), written when the service has answered:
    what is in service and, with a plan file, what it was tuned on. A rollback has no plan file, so
    that a schedule does not tune again on unchanged data. Empty: none."""

    def __post_init__(self) -> None:
        problems = [*_name_problems(self.name), *self._adapter_problems()]
        problems += self._joining_problems()
        if self.target == "process" and self.services_dir is None:
            problems.append("--services-dir: missing; --target process needs it")
        if self.require_signature and not self.verification_key:
            problems.append("--verification-key: missing; --require-signature needs it")
        if not 0 <= self.port <= 65535:
            problems.append(f"--port: {self.port} is not between 0 and 65535")
        if self.requests_per_minute < 0:
            problems.append(f"--requests-per-minute: {self.requests_per_minute} is less than 0")
        problems += origin_problems(self.cors_origins)
        if self.target == "kubernetes":
            problems += self._kubernetes_problems()
        if not self.timeout_seconds > 0:
            problems.append(f"--timeout-seconds: {self.timeout_seconds} is not above 0")
        if problems:
            raise ParamsError(problems)

    def _adapter_problems(self) -> list[str]:
        if self.service_plan is not None:
            return self._service_problems()
        problems = _reference_problems(self.reference, may_be_version=self.plan_file is None)
        if self.plan_file is not None and not self.model_dir:
            problems.append("--model-dir: missing; --plan-file needs it")
        model_dir = Path(self.model_dir or "later")
        if model_dir.is_absolute() or ".." in model_dir.parts or not model_dir.parts:
            problems.append(f"--model-dir: {self.model_dir!r} is not a directory below the cache")
        return problems

    def _joining_problems(self) -> Iterator[str]:
        if self.leave and not (self.serve_with and self.target == "kubernetes"):
            yield "--leave: is for --target kubernetes with --serve-with"
        if not self.serve_with:
            return
        if not is_dns_label(self.serve_with):
            yield f"--serve-with: {self.serve_with!r} is not a service's name"
        if self.serve_with == self.name:
            yield f"--serve-with: {self.serve_with!r} is the adapter's own service; leave it out"
        if self.target == NOT_DEPLOYED:
            yield f"--serve-with: {self.serve_with!r} is a service, and --target is {self.target}"

    def _service_problems(self) -> list[str]:
        problems = [
            f"--{flag}: {value} with --service-plan, which says what is served; leave it out"
            for flag, value in (("reference", self.reference), ("plan-file", self.plan_file))
            if value
        ]
        if not self.model_dir:
            problems.append("--model-dir: missing; --service-plan needs it")
        if self.target == NOT_DEPLOYED:
            problems.append(f"--target: {self.target} with --service-plan, whose service it is")
        return problems

    def _kubernetes_problems(self) -> list[str]:
        problems = []
        if self.port:
            problems.append(
                f"--port: {self.port} is for a server on this machine; a Service has port 80"
            )
        if not self.image:
            problems.append("--image: missing; --target kubernetes needs it")
        if not self.vllm_image:
            problems.append("--vllm-image: missing; --target kubernetes needs it")
        if self.engine == "vllm":
            problems += self._vllm_problems()
        if bool(self.run_name) != bool(self.run_uid):
            problems.append("--run-name, --run-uid: only one is set; set both or none")
        if not self.model_cache_claim:
            problems.append("--model-cache-claim: missing; --target kubernetes needs it")
        if self.gpus < 0:
            problems.append(f"--gpus: {self.gpus} is less than 0")
        if self.service_gpus is not None and self.service_gpus < 0:
            problems.append(f"--service-gpus: {self.service_gpus} is less than 0")
        problems += [*self._scale_problems(), *self._host_problems()]
        if self.memory is not None and not is_bytes(self.memory):
            problems.append(f"--memory: {self.memory!r} is not a quantity such as 16Gi")
        try:
            self.node_labels()
        except ValueError as error:
            problems.append(f"--node-selector: {error}")
        try:
            labels_in(self.label_selector)
        except ValueError as error:
            problems.append(f"--label-selector: {error}")
        try:
            labels_in(self.monitor_labels)
        except ValueError as error:
            problems.append(f"--monitor-labels: {error}")
        return problems

    def _vllm_problems(self) -> Iterator[str]:
        """Why the server cannot be on vLLM, which was asked for."""
        otherwise = "; take transformers, or auto"
        if self.service_gpus == 0:
            yield f"--engine: 'vllm' needs a GPU, and --service-gpus is 0{otherwise}"
        if self.allow_cpu:
            yield f"--engine: 'vllm' cannot answer on the CPU, which allow-cpu permits{otherwise}"
        if self.load_in_4bit:
            yield f"--engine: 'vllm' has no 4 bits of bitsandbytes{otherwise}"

    def _scale_problems(self) -> Iterator[str]:
        for flag, number in (("replicas", self.replicas), ("max-replicas", self.max_replicas)):
            if number is not None and number < 1:
                yield (
                    f"--{flag}: {number} is less than 1; `kubectl scale deployment/{self.name}"
                    " --replicas=0` stops a service"
                )
        least = self.replicas or 1
        if self.max_replicas is not None and self.max_replicas < least:
            yield f"--max-replicas: {self.max_replicas} is less than the {least} of --replicas"

    def _host_problems(self) -> Iterator[str]:
        if self.ingress_class and self.gateway:
            yield "--ingress-class, --gateway: both are set; a host is reached by one of them"
        if self.tls_secret and not self.ingress_class:
            yield (
                f"--tls-secret: {self.tls_secret!r} is for an Ingress, and --ingress-class is not"
                " set; a Gateway has its own"
            )
        if not self.host:
            return
        if not is_dns_subdomain(self.host):
            yield f"--host: {self.host!r} is no name of a host such as chat.example.com"
        # Said of the installation's settings: a file that is read for an unknown one is no worse.
        if not self.domain or not (self.ingress_class or self.gateway):
            missing = "--ingress-class" if self.domain else "--domain"
            yield (
                f"{missing}: none, but the service is to have the host {self.host!r}; an"
                " administrator permits it by `argotune install --service-domain DOMAIN"
                " --ingress-class CLASS`, or `--service-gateway NAMESPACE/NAME`"
            )
        elif not self.host.endswith(f".{self.domain}"):
            yield f"--host: {self.host!r} is not in the installation's domain {self.domain}"

    def server_gpus(self) -> int:
        """Number of GPUs that the server requests."""
        return min(1, self.gpus) if self.service_gpus is None else self.service_gpus

    def server_engine(self) -> Engine:
        """What the server computes with."""
        if self.target == "process":
            return "transformers"
        return engine_of(
            self.engine,
            has_gpu=self.server_gpus() > 0,
            allow_cpu=self.allow_cpu,
            load_in_4bit=self.load_in_4bit,
        )

    def server_memory(self) -> str:
        """Memory that the server requests."""
        return self.memory or SERVER_MEMORY[self.server_engine()]

    def server_labels(self) -> dict[str, str]:
        """Labels of the node to serve on.

        Empty if the server is to need no GPU, or if the tuning node is deleted with the run.
        """
        if self.label_selector or self.instance_type:
            sku = {INSTANCE_TYPE: self.instance_type} if self.instance_type else {}
            return {**labels_in(self.label_selector), **sku}
        labels = self.node_labels()
        if NODE_LABEL in labels:
            return labels if self.own_node else {}
        return {} if self.service_gpus == 0 else labels

    @property
    def takes_node(self) -> bool:
        """Whether the service takes over the node that was made for the run."""
        return self.own_node and not self.label_selector and NODE_LABEL in self.node_labels()

    def node_labels(self) -> dict[str, str]:
        """The parsed node selector. Raises ValueError unless it is a JSON object of strings."""
        try:
            labels = json.loads(self.node_selector or "{}")
        except RecursionError:
            labels = None
        if not isinstance(labels, dict) or not all(isinstance(v, str) for v in labels.values()):
            raise ValueError(f"{self.node_selector!r} is not a JSON object of strings")
        return labels

    def adapter_image(self) -> ImageReference | LayoutReference:
        """The parsed reference of the adapter image."""
        return parse_reference(self.reference)

    def served_digest(self) -> str:
        """sha256:HEX of what is served: of the adapter image, or of the service's plan."""
        if self.service_plan is not None:
            return f"sha256:{sha256_file(self.service_plan)}"
        return self.adapter_digest()

    @property
    def served(self) -> str:
        """Reference of the adapter image, or digest of the service's plan."""
        return self.reference or self.served_digest()

    def adapter_digest(self) -> str:
        """sha256:HEX of the adapter image."""
        digest = self.adapter_image().digest
        if digest is None:
            raise ParamsError(_reference_problems(self.reference))
        return digest


NOT_ASKED = "none: "
"""Before the reason in the output `answer`, where no server was asked."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """Outputs of the deploy step."""

    endpoint: str
    """URL of the service, e.g. http://127.0.0.1:8080 or http://NAME.NAMESPACE.svc; empty: the
    adapter was only to be pushed."""
    answer: str
    """The answer to the question, truncated to 500 characters; `none: REASON` where nothing was
    asked."""
    version: str = ""
    """Tag vN of the adapter in its repository, where live and previous moved with it if it is in
    service; `none: REASON` where the registry took no tags."""


def _name_problems(name: str) -> list[str]:
    # A Service's name is a DNS label, which must not begin with a digit.
    if is_dns_label(name):
        return []
    return [
        f"--name: {name!r} is not a service's name; use up to 63 lower-case letters, digits and "
        "'-', with a letter first and no '-' last"
    ]


def _reference_problems(reference: str, *, may_be_version: bool = False) -> list[str]:
    try:
        parsed = parse_reference(reference)
    except ValueError as error:
        return [f"--reference: {error}"]
    if parsed.digest is not None:
        return []
    if not may_be_version:
        return [f"--reference: {reference!r} has no digest; give NAME@sha256:HEX"]
    if version_of(parsed.tag or "") is None:
        return [
            f"--reference: {reference!r} names no version; give NAME:vN, such as NAME:v3, or"
            " NAME@sha256:HEX"
        ]
    return []
