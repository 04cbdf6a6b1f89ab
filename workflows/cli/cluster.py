"""The few calls of the command line to a cluster."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

import urllib3
import yaml
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException

from workflows.cli.errors import CliError

_TIMEOUT_SECONDS = 30
_GROUP, _VERSION = "argoproj.io", "v1alpha1"


@dataclass(frozen=True, kw_only=True)
class Created:
    """What the cluster made."""

    name: str
    namespace: str


class Cluster:
    """The cluster of the kubeconfig; nothing is read before the first call."""

    def __init__(self, *, context: str | None = None, namespace: str | None = None) -> None:
        self._context = context
        self._namespace = namespace
        self._client: client.ApiClient | None = None

    def find_config_map(self, namespace: str | None, name: str) -> str | None:
        """The training config of a ConfigMap, or None where there is none."""
        api = client.CoreV1Api(self._connect())
        try:
            found = api.read_namespaced_config_map(
                name, self._in(namespace), _request_timeout=_TIMEOUT_SECONDS
            )
        except ApiException as error:
            if error.status == 404:
                return None
            raise _explained(error, f"ConfigMap {name}") from error
        except urllib3.exceptions.HTTPError as error:
            raise self._unreachable(error) from error
        text = (found.data or {}).get("training_config.yaml")
        return None if text is None else str(text)

    def create_secret(self, secret: dict[str, Any], namespace: str | None) -> None:
        """Create the Secret; one of its name is there already when a run used it before."""
        api = client.CoreV1Api(self._connect())
        body: Any = secret  # The client takes manifests too, its types do not say so.
        try:
            api.create_namespaced_secret(
                self._in(namespace), body, _request_timeout=_TIMEOUT_SECONDS
            )
        except ApiException as error:
            if error.status != 409:
                raise _explained(error, f"Secret {secret['metadata']['name']}") from error
        except urllib3.exceptions.HTTPError as error:
            raise self._unreachable(error) from error

    def create_workflow(self, workflow: dict[str, Any], namespace: str | None) -> Created:
        """Create the Workflow, every field of it checked by the server."""
        api = client.CustomObjectsApi(self._connect())
        try:
            made: Any = api.create_namespaced_custom_object(
                _GROUP,
                _VERSION,
                self._in(namespace),
                "workflows",
                workflow,
                field_validation="Strict",
                _request_timeout=_TIMEOUT_SECONDS,
            )
        except ApiException as error:
            raise _explained(error, "the Workflow") from error
        except urllib3.exceptions.HTTPError as error:
            raise self._unreachable(error) from error
        metadata = made["metadata"]
        return Created(name=metadata["name"], namespace=metadata["namespace"])

    def _connect(self) -> client.ApiClient:
        if self._client is None:
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
                raise CliError(
                    f"no cluster: {what}; set KUBECONFIG or make ~/.kube/config"
                ) from error
            self._client = client.ApiClient(configuration)
        return self._client

    def _in(self, namespace: str | None) -> str:
        return self._namespace or namespace or self._current_namespace()

    def _current_namespace(self) -> str:
        contexts, active = config.list_kube_config_contexts(_kubeconfig())  # type: ignore[no-untyped-call]
        named = [item for item in contexts if item["name"] == self._context]
        context = (named[0] if named else active)["context"]
        return str(context.get("namespace", "default"))

    def _unreachable(self, error: Exception) -> CliError:
        # urllib3 begins with its own objects: HTTPConnection(host='...', port=...): ...
        reason = str(error).rpartition("): ")[2]
        return CliError(f"cluster {self._connect().configuration.host} does not answer: {reason}")


def _kubeconfig() -> str:
    """The file, or several with ':' between."""
    return os.environ.get("KUBECONFIG") or "~/.kube/config"


def _explained(error: ApiException, what: str) -> CliError:
    if not error.status:
        # So the client tells of TLS.
        return CliError(f"{what}: no connection to the cluster: {_message(error)}")
    advice = {
        401: "log in again",
        403: "ask for the permission",
        404: "is Argo Workflows installed, and the namespace there?",
    }.get(error.status, "")
    message = f"{what}: the cluster answers {error.status}: {_message(error)}"
    return CliError(f"{message}; {advice}" if advice else message)


def _message(error: ApiException) -> str:
    try:
        return str(json.loads(error.body or "")["message"])
    except (TypeError, ValueError, KeyError):
        return " ".join(str(error.reason).split())
