"""The connection to an API server, on the official Kubernetes client.

It imports the client, which takes most of a second: only `kube` imports this module, and only when
a connection is made. It sends requests by path, without the client's models, which would refuse
what a newer API server adds.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import urllib3
import yaml
from kubernetes import client, config, stream
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic import DynamicClient

from argotune.steps.cluster.errors import (
    ApiRefusal,
    NoCluster,
    NoConnection,
    Unreachable,
    refusal,
)

Object = dict[str, Any]
DEEPEST_JSON = 10_000
"""Levels of an object that the API server takes, where Python reads a thousand: one Workspace of
20 kB would break each list of them. Reading so many takes 2 MiB of the C stack."""
OnSilence = Callable[[str], None]
"""Called with the server's URL, from another thread, while a request has had no answer for
SILENT_SECONDS."""

# How the client reports a refused WebSocket: status, headers and body.
_HANDSHAKE = re.compile(r"Handshake status (\d+) .*-\+-\+- (.*)$", re.DOTALL)


def connection_of_pod() -> Connection | None:
    """Connect with this pod's service account.

    Returns None where this process is in no pod, or the pod has no service account.
    """
    configuration = client.Configuration()
    try:
        config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    except config.ConfigException:
        return None
    return Connection(client.ApiClient(configuration))


def connection_of_kubeconfig(
    context: str | None, *, retries: bool, on_silence: OnSilence | None = None
) -> Connection:
    """Connect with a context of the kubeconfig, by default the current one.

    With `retries` a request that reaches no server is sent three more times at once. `on_silence`
    hears of a server that takes its time. Raises NoCluster where the kubeconfig names no cluster.
    """
    configuration = client.Configuration()
    if not retries:
        configuration.retries = False
    try:
        config.load_kube_config(  # type: ignore[no-untyped-call]
            config_file=_kubeconfig(), context=context, client_configuration=configuration
        )
    except (config.ConfigException, yaml.YAMLError, ValueError) as error:
        raise NoCluster(" ".join(str(error).split()).rstrip(".")) from error
    return Connection(client.ApiClient(configuration), on_silence)


def namespace_of_kubeconfig(context: str | None) -> str:
    """Read the namespace of a context of the kubeconfig, by default of the current one."""
    contexts, active = config.list_kube_config_contexts(_kubeconfig())  # type: ignore[no-untyped-call]
    named = [item for item in contexts if item["name"] == context]
    return str((named[0] if named else active)["context"].get("namespace", "default"))


def _kubeconfig() -> str:
    """Return the path of the kubeconfig, or several paths with ':' between them."""
    return os.environ.get("KUBECONFIG") or "~/.kube/config"


class Connection:
    """Requests to one API server.

    Each raises an ApiError whose message begins with "cannot" and the `task` of the request.
    """

    CONNECT_SECONDS: ClassVar = 10.0
    """Time limit of the connection: enough for three retransmissions of a lost SYN."""
    READ_SECONDS: ClassVar = 30.0
    """Time limit between two reads of an answer."""
    SILENT_SECONDS: ClassVar = 2.0
    """After so long without an answer a person wonders what is waited for."""
    LOG_READ_SECONDS: ClassVar = 3600.0
    """Time limit between two reads of a log that is followed; a step may write nothing for so
    long."""

    def __init__(self, api_client: client.ApiClient, on_silence: OnSilence | None = None) -> None:
        self._api_client = api_client
        self._on_silence = on_silence
        # Without its discovery, which sends a dozen requests.
        self._client: Any = DynamicClient(  # type: ignore[no-untyped-call]
            api_client, discoverer=lambda client, cache_file: None
        )
        self.host = str(api_client.configuration.host)
        """URL of the API server."""
        self.requests = 0
        """How many were sent."""

    def request(
        self,
        task: str,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Object:
        """Send a request and return the object, or the list, of the answer."""
        with self._errors(task):
            response = self._send(method, path, query, body, content_type, accept=accept)
            found: Object = _parsed(response.data)
            return found

    def text(self, task: str, path: str, query: Mapping[str, str]) -> str:
        """Read the text of an answer."""
        with self._errors(task):
            return bytes(self._send("get", path, query).data).decode(errors="replace")

    def lines(
        self,
        task: str,
        path: str,
        query: Mapping[str, str],
        *,
        read_seconds: float,
        accept: str = "application/json",
    ) -> Iterator[bytes]:
        """Read the lines of an answer as they arrive.

        Closing the iterator closes the connection.
        """
        with self._errors(task):
            response = self._send("get", path, query, read_seconds=read_seconds, accept=accept)
        return self._lines(task, response)

    def port_forward(self, task: str, namespace: str, pod: str, port: int) -> Any:
        """Open a port-forward as kubectl does; its `socket(port)` is the connection."""
        with self._errors(task):
            return stream.portforward(
                client.CoreV1Api(self._api_client).connect_get_namespaced_pod_portforward,
                pod,
                namespace,
                ports=str(port),
            )

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
        read_seconds: float = READ_SECONDS,
        accept: str = "application/json",
    ) -> urllib3.BaseHTTPResponse:
        self.requests += 1
        with self._silence():
            response: urllib3.BaseHTTPResponse = self._client.request(
                method,
                path,
                body=None if body is None else dict(body),
                query_params=list((query or {}).items()),
                content_type=content_type,
                header_params={"Accept": accept},
                serialize=False,
                _request_timeout=(self.CONNECT_SECONDS, read_seconds),
            )
        return response

    @contextlib.contextmanager
    def _silence(self) -> Iterator[None]:
        """Tell who asked for it that the server has not answered yet."""
        if self._on_silence is None:
            yield
            return
        timer = threading.Timer(self.SILENT_SECONDS, self._on_silence, [self.host])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _lines(self, task: str, response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
        rest = b""
        try:
            with self._errors(task):
                for chunk in response.stream(decode_content=True):
                    *lines, rest = (rest + chunk).split(b"\n")
                    yield from lines
        finally:
            response.close()
        if rest:
            yield rest

    @contextlib.contextmanager
    def _errors(self, task: str) -> Iterator[None]:
        """Turn the client's errors into ours."""
        try:
            yield
        except ApiException as error:
            raise self._error(task, error) from error
        except (urllib3.exceptions.HTTPError, OSError, json.JSONDecodeError) as error:
            cause = _cause(error)
            raise Unreachable(
                task,
                host=self.host,
                reason=_reason(cause),
                is_refused=isinstance(cause.__cause__, ConnectionRefusedError),
            ) from error

    def _error(self, task: str, error: ApiException) -> ApiRefusal | NoConnection:
        status, reason = int(error.status or 0), " ".join(str(error.reason).split())
        answer = _status_object(error.body)
        handshake = _HANDSHAKE.match(str(error.reason))
        if handshake:
            status, answer = int(handshake[1]), _status_object(handshake[2])
        if not status:
            return NoConnection(task, host=self.host, reason=reason)
        words = " ".join(str(answer.get("message") or reason).split())
        return refusal(task, status=status, message=words, details=answer.get("details"))


def _parsed(text: bytes) -> Any:
    """Parse JSON of any depth that the API server takes."""
    try:
        return json.loads(text)
    except RecursionError:
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(DEEPEST_JSON + limit)
        try:
            return json.loads(text)
        finally:
            sys.setrecursionlimit(limit)


def _status_object(body: object) -> Object:
    """Parse the server's Status, which names user, verb and resource of a missing right.

    Returns an empty object where the body is another text.
    """
    text = body.decode(errors="replace") if isinstance(body, bytes) else str(body or "")
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _cause(error: BaseException) -> BaseException:
    """Return the error within those that urllib3 wraps around it."""
    while isinstance(cause := getattr(error, "reason", None), BaseException):
        error = cause
    return error


def _reason(error: BaseException) -> str:
    """Return what the socket reports, without the objects of urllib3 around it."""
    # urllib3 begins with its own objects: HTTPConnection(host='...', port=...): ...
    return str(error).rpartition("): ")[2] or type(error).__name__
