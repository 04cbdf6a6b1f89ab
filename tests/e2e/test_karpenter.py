"""Provider karpenter against a real API server with Karpenter's real definitions, from no GPU node
to no GPU node, with the rights that its step has. What Karpenter does is tests/fakes/karpenter."""

from __future__ import annotations

import json
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from kubernetes import config
from kubernetes.client import ApiClient, Configuration

from argotune.presets.loader import sku
from argotune.steps.cluster.connection import Connection
from argotune.steps.cluster.kube import Kube
from argotune.steps.common.clock import Clock
from argotune.steps.common.errors import PermanentError
from argotune.steps.common.progress import Progress
from argotune.steps.nodes.karpenter.claim import NODE_POOL, claim_name
from argotune.steps.nodes.karpenter.provider import KarpenterProvider
from argotune.steps.nodes.labels import NODE_LABEL
from argotune.steps.nodes.provider import KeptNode, Node, NodeRequest, ReleasedNode
from argotune.steps.nodes.providers import ProviderSettings
from tests.e2e.cluster import Object, run, wait_for
from tests.e2e.nodes import commands
from tests.fakes.karpenter.api import Api
from tests.fakes.karpenter.controller import Karpenter, running
from tests.fakes.karpenter.provisioner import Provisioner
from tests.fakes.karpenter.scripts import SCRIPTS

# The API server is asked by the official client, wherever it is.
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.shard4,
    pytest.mark.enable_socket,
    pytest.mark.timeout(300),
    pytest.mark.usefixtures("stories_told"),
]

CLAIM = ProviderSettings(karpenter_node_class="karpenter.test/TestNodeClass/default")
POOL = ProviderSettings(karpenter_mode="nodepool")
TYPE = "Standard_NC24ads_A100_v4"
_FASTER = 5
"""The provider's seconds are so much shorter, so that its looks are 2 s apart."""
_RULES = """
apiVersion: v1
kind: Namespace
metadata:
  name: {name}
  labels: {{pod-security.kubernetes.io/enforce: restricted}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {{name: provision, namespace: {name}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: {name}}}
rules:
  - {{apiGroups: [""], resources: [nodes, pods], verbs: [list]}}
  - {{apiGroups: [""], resources: [events], verbs: [list]}}
  - apiGroups: [karpenter.sh]
    resources: [nodeclaims]
    verbs: [get, list, create, patch, delete]
  - {{apiGroups: [karpenter.sh], resources: [nodepools], verbs: [list]}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: {name}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {name}}}
subjects: [{{kind: ServiceAccount, name: provision, namespace: {name}}}]
"""
_POOL = """
apiVersion: karpenter.sh/v1
kind: NodePool
metadata: {{name: {name}}}
spec:
  template:
    spec:
      nodeClassRef: {{group: karpenter.test, kind: TestNodeClass, name: default}}
      requirements:
        - {{key: karpenter.sh/capacity-type, operator: In, values: [on-demand]}}
        - {{key: argotune.dev/karpenter-e2e, operator: Exists}}
      taints: [{{key: sku, value: gpu, effect: NoSchedule}}]
      expireAfter: 1h
  limits: {{nvidia.com/gpu: 1}}
"""
_POD = """
apiVersion: v1
kind: Pod
metadata:
  name: tune
  annotations: {{karpenter.sh/do-not-disrupt: "{keep}"}}
spec:
  terminationGracePeriodSeconds: 1
  nodeSelector: {selector}
  tolerations: {tolerations}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65534
    seccompProfile: {{type: RuntimeDefault}}
  containers:
    - name: main
      image: cluster.local/pause:1
      resources: {{limits: {{nvidia.com/gpu: 1}}}}
      securityContext: {{allowPrivilegeEscalation: false, capabilities: {{drop: [ALL]}}}}
"""


class Run:
    """One run's provider and what is there of the run."""

    def __init__(self, kube: Kube, namespace: str, api: Api) -> None:
        self.uid = str(uuid.uuid4())
        self.namespace = namespace
        self.selector = f"{NODE_LABEL}={claim_name(self.uid)}"
        self._kube = kube
        self._api = api

    def karpenter(
        self, *scripts: str, pool: str | None = None
    ) -> AbstractContextManager[Karpenter]:
        """Karpenter for this run's claims only, or for those that it makes for a NodePool."""
        chosen = [SCRIPTS[name] for name in scripts]
        provisioner = Provisioner(self._api, pool) if pool else None
        selector = provisioner.selector if provisioner else self.selector
        return running(
            Karpenter(self._api, chosen, commands(), selector=selector, provisioner=provisioner)
        )

    def provision(
        self,
        on_sleep: Callable[[], None] = lambda: None,
        settings: ProviderSettings = CLAIM,
        **changes: Any,
    ) -> Node:
        values: dict[str, Any] = {
            "run": self.uid,
            "workflow": "karpenter-e2e",
            "namespace": self.namespace,
            "gpus": 1,
            "instance_types": (TYPE,),
            "timeout_seconds": 600.0,
            "launch_timeout_seconds": 300.0,
            "gpu_timeout_seconds": 150.0,
            "prices_usd_per_hour": {TYPE: 3.673},
            "deadline": datetime.now(UTC) + timedelta(days=8),
        }
        request = NodeRequest(**values | changes)
        return self.provider(on_sleep, settings).provision(request, Progress())

    def release(self) -> Sequence[ReleasedNode]:
        return self.provider().release(self.uid, timeout_seconds=600.0, progress=Progress())

    def claims(self) -> list[Object]:
        return self._api.claims(self.selector)

    def nodes(self) -> list[Object]:
        command = ("kubectl", "get", "nodes", f"--selector={self.selector}", "-o", "json")
        items: list[Object] = json.loads(run(*command))["items"]
        return items

    def kubectl(self, *arguments: str, text: str | None = None) -> str:
        return run("kubectl", f"--namespace={self.namespace}", *arguments, text=text)

    def start_pod(self, node: Node, *, keep: bool = False) -> None:
        """Do what the tune step does with the node."""
        manifest = _POD.format(
            keep=str(keep).lower(),
            selector=json.dumps(dict(node.selector)),
            tolerations=json.dumps([dict(each) for each in node.tolerations]),
        )
        self.kubectl("apply", "-f", "-", text=manifest)
        self.kubectl("wait", "--for=condition=Ready", "pod/tune", "--timeout=60s")

    def nothing_is_left(self) -> bool:
        return not (self.claims() or self.nodes())

    def keep(self, run: str, seconds: float) -> Sequence[KeptNode]:
        return self.provider().keep(run, seconds=seconds, progress=Progress())

    def provider(
        self,
        on_sleep: Callable[[], None] = lambda: None,
        settings: ProviderSettings = CLAIM,
        *,
        later: timedelta = timedelta(),
    ) -> KarpenterProvider:
        def sleep(seconds: float) -> None:
            time.sleep(seconds / _FASTER)
            on_sleep()

        clock = Clock(now=lambda: time.monotonic() * _FASTER, sleep=sleep)
        return KarpenterProvider(
            settings, lambda: self._kube, clock, now=lambda: datetime.now(UTC) + later
        )


@pytest.fixture(scope="module")
def account(kubeconfig: Path) -> Iterator[tuple[str, Kube]]:
    """A namespace, and the client of a service account that has just what the step has."""
    commands()
    namespace = f"karp-e2e-{uuid.uuid4().hex[:6]}"
    run("kubectl", "apply", "-f", "-", text=_RULES.format(name=namespace))
    try:
        with _client_of(namespace) as kube:
            yield namespace, kube
    finally:
        run("kubectl", "delete", "clusterrole,clusterrolebinding", namespace)
        run("kubectl", "delete", "namespace", namespace, "--wait=false")


@contextmanager
def _client_of(namespace: str) -> Iterator[Kube]:
    token = run("kubectl", f"--namespace={namespace}", "create", "token", "provision").strip()
    configuration = Configuration()
    config.load_kube_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    configuration.cert_file = configuration.key_file = None
    configuration.api_key = {"authorization": f"Bearer {token}"}
    with ApiClient(configuration) as client:
        yield Kube(Connection(client))


@pytest.fixture
def a_run(account: tuple[str, Kube]) -> Iterator[Run]:
    namespace, kube = account
    made = Run(kube, namespace, Api())
    yield made
    made.kubectl("delete", "pods", "--all", "--now")
    assert made.nothing_is_left(), "something was left behind"


def test_a_node_comes_the_pod_runs_there_and_the_node_goes(a_run: Run) -> None:
    with a_run.karpenter("happy") as karpenter:
        node = a_run.provision()
        assert (node.name, node.selector) == (
            f"karp-{claim_name(a_run.uid)}",
            {NODE_LABEL: claim_name(a_run.uid)},
        )
        assert re.fullmatch(rf"{TYPE} regular \(\d+ s\): node {node.name}", str(node.tried[0]))
        a_run.start_pod(node)
        gone = a_run.release()
        assert [each.what for each in gone] == [
            f"NodeClaim {claim_name(a_run.uid)} ({TYPE} regular)"
        ]
        assert gone[0].cost_usd is not None
        assert a_run.nothing_is_left()
        assert a_run.release() == []
    assert not karpenter.problems


def test_a_claim_of_aws_brings_its_machine_and_is_priced_as_aws_does(a_run: Run) -> None:
    machine = "g5.4xlarge"
    with a_run.karpenter("happy") as karpenter:
        node = a_run.provision(
            settings=ProviderSettings(karpenter_node_class="EC2NodeClass/gpu"),
            instance_types=(machine,),
            prices_usd_per_hour={machine: sku(machine).price_usd_per_hour},
        )
        assert (node.accelerator, node.price_usd_per_hour) == (f"1 x GPU ({machine})", 1.624)
        (claim,) = a_run.claims()
        assert claim["spec"]["nodeClassRef"] == {
            "group": "karpenter.k8s.aws",
            "kind": "EC2NodeClass",
            "name": "gpu",
        }
        (gone,) = a_run.release()
        assert gone.what == f"NodeClaim {claim_name(a_run.uid)} ({machine} regular)"
        assert a_run.nothing_is_left()
    assert not karpenter.problems


def test_a_drain_that_takes_long_says_what_it_waits_for(
    a_run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "argotune")
    with a_run.karpenter("slow-drain"):
        node = a_run.provision()
        a_run.start_pod(node, keep=True)
        end = threading.Timer(8, a_run.kubectl, ("delete", "pod", "tune", "--now"))
        end.start()
        a_run.release()
        end.join()
        assert (
            f"node {node.name} is being drained and waits for {a_run.namespace}/tune (deleted"
            in (caplog.text)
        )
        assert a_run.nothing_is_left()


def test_a_node_is_kept_taken_by_the_next_run_and_goes_when_its_time_is_over(a_run: Run) -> None:
    following = str(uuid.uuid4())
    with a_run.karpenter("happy"):
        first = a_run.provision(workspace="phi")
        (kept,) = a_run.keep(a_run.uid, seconds=3600.0)
        assert kept.used.what == f"NodeClaim {claim_name(a_run.uid)} ({TYPE} regular)"
        assert a_run.release() == []
        (before,) = a_run.claims()

        second = a_run.provision(run=following, workspace="phi")
        assert (second.name, second.selector) == (first.name, first.selector)
        a_run.start_pod(second)
        a_run.kubectl("delete", "pod", "tune", "--now")
        (after,) = a_run.claims()
        assert before["metadata"]["uid"] == after["metadata"]["uid"]

        (again,) = a_run.keep(following, seconds=600.0)
        assert again.used.hours is not None
        soon, later = a_run.provider(), a_run.provider(later=timedelta(seconds=700))
        assert soon.collect(lambda *run: True, dry_run=False) == []
        (stray,) = later.collect(lambda *run: True, dry_run=False)
        assert (stray.run, stray.gone) == (following, True)
        wait_for("end of the node", a_run.nothing_is_left, seconds=60)


def test_a_pod_that_waits_brings_the_node_of_a_node_pool(a_run: Run) -> None:
    pool = f"{a_run.namespace}-pool"
    labels = {"argotune.dev/karpenter-e2e": a_run.uid}

    def nodes() -> str:
        return run("kubectl", "get", "nodes", f"--selector={NODE_POOL}={pool}", "-o", "name")

    run("kubectl", "apply", "--validate=strict", "-f", "-", text=_POOL.format(name=pool))
    try:
        with a_run.karpenter("gpu-later", pool=pool):
            promised = a_run.provision(settings=POOL, labels=labels)
            assert promised.name == f"of NodePool {pool}"
            assert not nodes()
            a_run.start_pod(promised)
            assert nodes().startswith("node/karp-pod-")
            assert a_run.release() == []
            a_run.kubectl("delete", "pod", "tune", "--now")
            wait_for("end of the node", lambda: not nodes(), seconds=60)
            with pytest.raises(PermanentError) as caught:
                a_run.provision(settings=POOL, labels=labels, gpus=2)
            assert "its limit of 1 nvidia.com/gpu leaves no room" in str(caught.value)
    finally:
        run("kubectl", "delete", "nodepool", pool)
