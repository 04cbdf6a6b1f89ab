"""The one client of the API server: its requests, its errors, and what it costs to import."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.client import ApiClient, Configuration

from argotune.steps.cluster import errors
from argotune.steps.cluster.connection import Connection
from argotune.steps.cluster.kinds import Kind
from argotune.steps.cluster.kube import (
    Kube,
    cluster_of_kubeconfig,
    connect,
    namespace_of_kubeconfig,
)
from argotune.steps.common.errors import PermanentError, TransientError
from tests.fakes.kube import Cluster, Fault, Object, serving
from tests.fakes.listening import listening

RIGHT = 'pods is forbidden: User "me" cannot list resource "pods" in API group ""'


@pytest.mark.parametrize(
    ("status", "kind", "exit_code"),
    [
        (400, errors.PermanentRefusal, 3),
        (403, errors.PermanentRefusal, 3),
        (404, errors.PermanentRefusal, 3),
        (422, errors.PermanentRefusal, 3),
        (409, errors.TransientRefusal, 75),
        (429, errors.TransientRefusal, 75),
        (500, errors.TransientRefusal, 75),
        (503, errors.TransientRefusal, 75),
    ],
)
def test_a_refusal_has_the_servers_status_and_words(
    status: int, kind: type[errors.ApiRefusal], exit_code: int
) -> None:
    error = error_of(lambda kube: kube.pods("team", ""), Fault("GET", "/pods", status, "no"))
    assert isinstance(error, kind)
    assert (error.status, error.message, error.exit_code) == (status, "no", exit_code)
    assert str(error) == "cannot list pods in team: no"


def test_a_field_that_a_server_does_not_know_is_not_retried_although_it_answers_500() -> None:
    words = "failed to create typed patch object: .spec.x: field not declared in schema"
    error = error_of(lambda kube: kube.pods("team", ""), Fault("GET", "/pods", 500, words))
    assert isinstance(error, errors.PermanentRefusal)


@pytest.mark.parametrize(
    ("words", "right"),
    [
        (f'{RIGHT} in the namespace "team"', "list pods in namespace team"),
        (f"{RIGHT} at the cluster scope", "list pods in the whole cluster"),
    ],
)
def test_a_missing_right_is_named(words: str, right: str) -> None:
    error = error_of(lambda kube: kube.pods_on_nodes(), Fault("GET", "/pods", 403, words))
    assert isinstance(error, errors.MissingRight)
    assert error.right == right


def test_a_missing_object_is_told_from_a_missing_kind() -> None:
    missing = error_of(lambda kube: kube.read("Pod", "team", "x"))
    assert isinstance(missing, errors.ApiRefusal)
    assert (missing.status, missing.is_of_object) == (404, True)
    without = error_of(lambda kube: kube.read("NodeClaim", None, "x"), has_karpenter=False)
    assert isinstance(without, errors.ApiRefusal)
    assert (without.status, without.is_of_object) == (404, False)


def test_a_server_that_is_away_is_transient_and_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    use_kubeconfig(monkeypatch, tmp_path, "http://127.0.0.1:9")
    with pytest.raises(errors.Unreachable) as caught:
        cluster_of_kubeconfig().nodes("")
    assert isinstance(caught.value, TransientError)
    said = "cannot list nodes: the API server http://127.0.0.1:9 does not answer: "
    assert str(caught.value).startswith(f"{said}Failed to establish a new connection")


def test_a_server_without_tls_is_no_connection_and_not_retried(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with listening(BaseHTTPRequestHandler) as port:
        use_kubeconfig(monkeypatch, tmp_path, f"https://127.0.0.1:{port}")
        with pytest.raises(errors.NoConnection, match="SSLError") as caught:
            cluster_of_kubeconfig(retries=False).nodes("")
    assert isinstance(caught.value, PermanentError)


def test_without_any_configuration_the_error_says_where_it_was_looked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "missing"))
    with pytest.raises(errors.NoCluster) as caught:
        connect()
    said = "no cluster: this is no pod with a service account, and kubeconfig says: "
    assert str(caught.value).startswith(f"{said}Invalid kube-config file")


def test_a_context_chooses_server_and_namespace(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    use_kubeconfig(monkeypatch, tmp_path, "http://127.0.0.1:9")
    assert cluster_of_kubeconfig("other").host == "http://127.0.0.1:9/other"
    assert namespace_of_kubeconfig("other") == "team-b"
    assert namespace_of_kubeconfig() == "default"


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        (Kind("Pod", "pods"), "/api/v1/namespaces/team/pods/x"),
        (Kind("Role", "roles", "rbac"), "/apis/rbac/v1/namespaces/team/roles/x"),
        (Kind("Node", "nodes", is_namespaced=False), "/api/v1/nodes/x"),
    ],
)
def test_a_kind_has_its_path(kind: Kind, path: str) -> None:
    assert kind.path("team", "x") == path


def test_a_name_cannot_leave_its_path() -> None:
    assert Kind("Pod", "pods").path("team", "../x?y") == "/api/v1/namespaces/team/pods/..%2Fx%3Fy"


def test_the_client_is_imported_with_the_first_connection_only() -> None:
    script = (
        "import sys\n"
        "from argotune.steps.cluster import errors, kinds, kube, run_events\n"
        "assert not {'kubernetes', 'urllib3'} & set(sys.modules)\n"
        "kube.cluster_of_pod()\n"
        "assert 'kubernetes' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_a_list_is_read_page_by_page() -> None:
    cluster = Cluster(nodes=[_node(number) for number in range(1001)])
    with serving(cluster) as kube:
        assert len(kube.list("Node")) == 1001
    assert [request.partition("?")[2] for request in cluster.requests] == [
        "limit=500",
        "limit=500&continue=500",
        "limit=500&continue=1000",
    ]


def test_a_server_without_an_answer_yet_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Connection, "SILENT_SECONDS", 0.01)
    told = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        host = f"http://127.0.0.1:{server.getsockname()[1]}"

        def hang_up_when_told() -> None:
            connection, _ = server.accept()
            told.wait()
            connection.close()

        thread = threading.Thread(target=hang_up_when_told)
        thread.start()
        use_kubeconfig(monkeypatch, tmp_path, host)
        hosts: list[str] = []

        def tell(host: str) -> None:
            hosts.append(host)
            told.set()

        kube = cluster_of_kubeconfig(retries=False, on_silence=tell)
        with pytest.raises(errors.Unreachable) as caught:
            kube.list("Node")
        thread.join()
    assert hosts == [host]
    assert not caught.value.is_refused


def test_a_list_whose_first_page_has_expired_is_read_anew_and_whole() -> None:
    cluster = Cluster(nodes=[_node(number) for number in range(501)])
    cluster.faults.append(Fault("GET", "continue=", 410, "The provided continue parameter is old"))
    with serving(cluster) as kube:
        names = [node["metadata"]["name"] for node in kube.list("Node")]
    assert names == [f"node-{number}" for number in range(501)]


def test_metadata_alone_are_asked_for_and_have_nothing_else() -> None:
    cluster = Cluster(nodes=[_node(0)])
    with serving(cluster) as kube:
        found = kube.collection("Node", metadata_only=True)
    assert found.items == [
        {
            "apiVersion": "meta.k8s.io/v1",
            "kind": "PartialObjectMetadata",
            "metadata": {"name": "node-0"},
        }
    ]


def _node(number: int) -> Object:
    return {"kind": "Node", "metadata": {"name": f"node-{number}"}, "spec": {"podCIDR": "x"}}


def error_of(
    call: Callable[[Kube], Any], *faults: Fault, has_karpenter: bool = True
) -> errors.ApiError:
    """What a call raises."""
    cluster = Cluster(faults=list(faults), has_karpenter=has_karpenter)
    with serving(cluster) as kube, pytest.raises(errors.ApiError) as caught:
        call(kube)
    return caught.value


def use_kubeconfig(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server: str) -> None:
    """Two contexts; the one that is not current has a path and a namespace of its own."""
    config = {
        "current-context": "current",
        "clusters": [
            {"name": "current", "cluster": {"server": server}},
            {"name": "other", "cluster": {"server": f"{server}/other"}},
        ],
        "users": [{"name": "user", "user": {}}],
        "contexts": [
            {"name": "current", "context": {"cluster": "current", "user": "user"}},
            {
                "name": "other",
                "context": {"cluster": "other", "user": "user", "namespace": "team-b"},
            },
        ],
    }
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    monkeypatch.setenv("KUBECONFIG", str(path))


class _Deep(BaseHTTPRequestHandler):
    """Answers as an API server to which somebody has applied a Workspace of 60 kB."""

    def do_GET(self) -> None:
        levels = 9_000
        body = b'{"spec": ' + b'{"a":' * levels + b"1" + b"}" * (levels + 1)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def test_an_object_of_any_depth_is_read() -> None:
    with listening(_Deep) as port:
        url = f"http://127.0.0.1:{port}"
        with ApiClient(Configuration(host=url)) as client:
            limit = sys.getrecursionlimit()
            assert Kube(Connection(client)).read("Workspace", "team", "deep").keys() == {"spec"}
            assert sys.getrecursionlimit() == limit
