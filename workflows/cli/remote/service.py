"""A connection to an inference service of a cluster, from outside of the cluster.

It is a port-forward to one of the service's pods, as kubectl makes it: the service is a ClusterIP,
and its NetworkPolicy admits its namespace but not the API server's proxy.
"""

from __future__ import annotations

import contextlib
import http.client
import time
from collections.abc import Iterator
from typing import Any

from argotune.steps.cluster.kube import Object
from argotune.steps.common.values import is_dns_label
from argotune.workflows.cli.chat_client import Served
from argotune.workflows.cli.errors import InputError
from argotune.workflows.cli.remote.api_errors import explain_errors
from argotune.workflows.cli.remote.cluster import Cluster
from argotune.workflows.cli.remote.runs import SERVICE_LABEL, cluster_runs, deployments, host_of
from argotune.workflows.cli.show.in_service import only_pushed_note
from argotune.workflows.cli.show.workflow_json import workspace_of

_PORT_NAME = "http"
_CLOSE_SECONDS = 5.0
_POLL_SECONDS = 0.01


def served_on(cluster: Cluster, name: str) -> Served:
    """Return the service of a workspace. Raises InputError when none of its servers is ready."""
    host = host_of(known[name]) if name in (known := deployments(cluster)) else name
    pods = [pod for pod in cluster.list("Pod", f"{SERVICE_LABEL}={host}") if _is_ready(pod)]
    if not pods:
        raise InputError(_none_ready(cluster, name))
    pod = pods[0]

    return Served(
        name=name,
        endpoint=f"http://{host}.{cluster.namespace}.svc",
        log=f"kubectl logs {pod['metadata']['name']} {cluster.flags}",
        connect=lambda timeout_seconds: _connection(cluster, pod, timeout_seconds),
    )


def _none_ready(cluster: Cluster, name: str) -> str:
    known = deployments(cluster)
    where = f"in namespace {cluster.namespace}"
    if name in known:
        return (
            f"{name!r}: no server of this service is ready {where}; look with"
            f" `kubectl get pods -l {SERVICE_LABEL}={host_of(known[name])} {cluster.flags}`"
        )
    run = cluster.get("Workflow", name)
    if run is not None:
        return (
            f"{name!r}: is a run {where}; a service has its workspace's name: argotune chat"
            f" {workspace_of(run)} {cluster.flags}"
        )
    there = f"there are {', '.join(sorted(known))}" if known else "there is none"
    note = only_pushed_note(cluster_runs(cluster, name)) if is_dns_label(name) else ""
    return f"{name!r}: no service of this name {where}; {there}{note}"


def _is_ready(pod: Object) -> bool:
    conditions = pod.get("status", {}).get("conditions") or []
    going = "deletionTimestamp" in pod["metadata"]
    return not going and any(
        condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions
    )


@contextlib.contextmanager
def _connection(
    cluster: Cluster, pod: Object, timeout_seconds: float
) -> Iterator[http.client.HTTPConnection]:
    name, port = pod["metadata"]["name"], _port(pod)
    with explain_errors(f"port {port} of pod {name}"):
        forward = cluster.kube.port_forward(cluster.namespace, name, port)
    connection = http.client.HTTPConnection(name, port, timeout=timeout_seconds)
    connection.sock = forward.socket(port)
    connection.sock.settimeout(timeout_seconds)
    try:
        yield connection
    finally:
        connection.close()
        _close(forward)


def _close(forward: Any) -> None:
    """Close the WebSocket, which the client's thread leaves open when the server ends first."""
    deadline = time.monotonic() + _CLOSE_SECONDS
    while forward.connected and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    forward.websocket.shutdown()


def _port(pod: Object) -> int:
    ports = [port for container in pod["spec"]["containers"] for port in container.get("ports", [])]
    named = [port for port in ports if port.get("name") == _PORT_NAME]
    return int((named or ports)[0]["containerPort"])
