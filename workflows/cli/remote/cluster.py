"""The calls of the command line to a cluster. Objects are dictionaries with the YAML's names."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

import urllib3
import yaml
from kubernetes import client, config
from kubernetes.config.config_exception import ConfigException

from argotune.workflows.cli.errors import CliError
from argotune.workflows.cli.remote.api_errors import ApiRefusal, explained
from argotune.workflows.cli.remote.kinds import TIMEOUT_SECONDS, Object, json_of, request
from argotune.workflows.workspace import manifests


class Cluster:
    """One namespace of the cluster that the kubeconfig names; nothing is read before the first
    call."""

    def __init__(self, *, context: str | None = None, namespace: str | None = None) -> None:
        self._context = context
        self._given_namespace = namespace
        self._file_namespace: str | None = None
        self._context_namespace: str | None = None
        self._client: client.ApiClient | None = None

    @property
    def namespace(self) -> str:
        """The one that was given, else that of the file, else the context's."""
        return self._given_namespace or self._file_namespace or self._current_namespace

    @property
    def flags(self) -> str:
        """What to say to argotune, argo and kubectl to mean this namespace."""
        context = f" --context {self._context}" if self._context else ""
        return f"-n {self.namespace}{context}"

    @property
    def host(self) -> str:
        """URL of the API server."""
        return str(self.api_client.configuration.host)

    @property
    def api_client(self) -> client.ApiClient:
        """The connection. Raises CliError when the kubeconfig names none."""
        if self._client is None:
            self._client = self._connect()
        return self._client

    def within(self, namespace: str | None) -> Cluster:
        """The same cluster, in a file's namespace where no other was given."""
        other = copy.copy(self)
        other._file_namespace = namespace
        return other

    def get(self, kind: str, name: str) -> Object | None:
        """The object, or None where there is none."""
        try:
            return json_of(self._call("get", kind, f"{kind} {name}", name))
        except ApiRefusal as error:
            if error.status == 404 and str(error).endswith(" not found"):
                return None
            raise

    def events_about(self, uid: str) -> list[Object]:
        """The events about one object of the namespace."""
        about = f"involvedObject.uid={uid}"
        items: list[Object] = json_of(self._call("list", "Event", "events", field_selector=about))[
            "items"
        ]
        return items

    def list(self, kind: str, label_selector: str) -> list[Object]:
        """The objects of the namespace with these labels."""
        response = self._call("list", kind, f"{kind}s", label_selector=label_selector)
        items: list[Object] = json_of(response)["items"]
        return items

    def create(self, manifest: Mapping[str, Any]) -> Object:
        """Create the object, every field of it checked by the server."""
        kind = manifest["kind"]
        what = f"{kind} {manifest['metadata'].get('name', '')}".strip()
        return json_of(
            self._call("create", kind, what, body=dict(manifest), field_validation="Strict")
        )

    def patch(self, kind: str, name: str, change: Mapping[str, Any]) -> Object:
        """Merge the change into the object."""
        response = self._call(
            "patch",
            kind,
            f"{kind} {name}",
            name,
            body=dict(change),
            _content_type="application/merge-patch+json",
        )
        return json_of(response)

    def delete(self, kind: str, name: str) -> None:
        """Delete the object and what it owns."""
        self._call("delete", kind, f"{kind} {name}", name, propagation_policy="Background")

    def watch(
        self, kind: str, name: str, resource_version: str, timeout_seconds: int
    ) -> Iterator[Object]:
        """The object's events since that version: type and object, and a bookmark now and then.
        Ends after the timeout, or when the server has enough."""
        response = self._call(
            "list",
            kind,
            f"{kind} {name}",
            field_selector=f"metadata.name={name}",
            resource_version=resource_version,
            allow_watch_bookmarks=True,
            timeout_seconds=timeout_seconds,
            watch=True,
            _request_timeout=(TIMEOUT_SECONDS[0], timeout_seconds + TIMEOUT_SECONDS[1]),
        )
        for line in self._lines(response, f"{kind} {name}"):
            yield json.loads(line)

    def pod_log(self, pod: str, *, follow: bool) -> Iterator[str]:
        """The lines of the container main, each after its time and a space."""
        what = f"log of pod {pod}"
        with explained(what, self.host):
            response: Any = client.CoreV1Api(self.api_client).read_namespaced_pod_log(
                pod,
                self.namespace,
                container="main",
                follow=follow,
                timestamps=True,
                _preload_content=False,
                # A step may say nothing for hours.
                _request_timeout=(TIMEOUT_SECONDS[0], 3600) if follow else TIMEOUT_SECONDS,
            )
        for line in self._lines(response, what):
            yield line.decode(errors="replace")

    def find_config_map(self, namespace: str | None, name: str) -> str | None:
        """The training config of a ConfigMap, or None where there is none."""
        found = self.within(namespace).get("ConfigMap", name)
        text = ((found or {}).get("data") or {}).get("training_config.yaml")
        return None if text is None else str(text)

    def _call(
        self, verb: str, kind: str, what: str, name: str | None = None, **options: Any
    ) -> urllib3.BaseHTTPResponse:
        with explained(what, self.host):
            return request(self.api_client, verb, kind, self.namespace, name, **options)

    def _lines(self, response: urllib3.BaseHTTPResponse, what: str) -> Iterator[bytes]:
        """The lines as they come; the connection is closed with the iterator."""
        rest = b""
        try:
            with explained(what, self.host):
                for chunk in response.stream(decode_content=True):
                    *lines, rest = (rest + chunk).split(b"\n")
                    yield from lines
        finally:
            response.close()
        if rest:
            yield rest

    def _connect(self) -> client.ApiClient:
        configuration = client.Configuration()
        # A cluster that is not there should not be waited for three times.
        configuration.retries = False
        try:
            config.load_kube_config(  # type: ignore[no-untyped-call]
                config_file=_kubeconfig(),
                context=self._context,
                client_configuration=configuration,
            )
        except (ConfigException, yaml.YAMLError, ValueError) as error:
            what = " ".join(str(error).split()).rstrip(".")
            raise CliError(f"no cluster: {what}; set KUBECONFIG or make ~/.kube/config") from error
        return client.ApiClient(configuration)

    @property
    def _current_namespace(self) -> str:
        """The context's, read once, as the connection is: each call asks for it."""
        if self._context_namespace is None:
            self._context_namespace = self._read_namespace()
        return self._context_namespace

    def _read_namespace(self) -> str:
        self.api_client  # noqa: B018  says what is wrong with the kubeconfig, if anything is
        contexts, active = config.list_kube_config_contexts(_kubeconfig())  # type: ignore[no-untyped-call]
        named = [item for item in contexts if item["name"] == self._context]
        context = (named[0] if named else active)["context"]
        return str(context.get("namespace", "default"))


def installed_parameter(cluster: Cluster, name: str) -> str:
    """What the installation in the cluster's namespace says for all runs; empty where it does not,
    and where there is none."""
    template = cluster.get("WorkflowTemplate", manifests.NAME)
    parameter = manifests.parameters_of(template).get(name) if template else None
    return str(parameter.get("value", "")) if parameter else ""


def _kubeconfig() -> str:
    """The file, or several with ':' between."""
    return os.environ.get("KUBECONFIG") or "~/.kube/config"
