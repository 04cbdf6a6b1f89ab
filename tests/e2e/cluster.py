"""The cluster that KUBECONFIG names: kubectl, the API behind `kubectl proxy`, and waiting."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

Object = dict[str, Any]
T = TypeVar("T")

GIVEN_UP = threading.Event()
"""Set at the end of the session: who waits need wait no longer."""
CALL_SECONDS = 300
"""Longest wait for a command: on a machine with many runs one takes minutes, and none hangs."""
_LOOK_SECONDS = 1.0
_DRY_RUN = {"dryRun": "All"}


class Cluster:
    """One namespace; every call has a timeout."""

    def __init__(self, namespace: str, api: httpx.Client) -> None:
        self.namespace = namespace
        self._api = api

    def kubectl(
        self, *arguments: str, text: str | None = None, seconds: float = CALL_SECONDS
    ) -> str:
        """What kubectl prints. Fails with what it complains of."""
        command = ("kubectl", f"--namespace={self.namespace}", *arguments)
        return run(*command, text=text, seconds=seconds)

    def read(self, api_version: str, plural: str, name: str) -> Object | None:
        """The object of the namespace, or None where there is none."""
        response = self._api.get(f"{self._path(api_version, plural)}/{name}")
        return None if response.status_code == 404 else _json(response)

    def items(self, api_version: str, plural: str, **query: str) -> list[Object]:
        """The namespace's objects of a kind; query is labelSelector or fieldSelector."""
        found = _json(self._api.get(self._path(api_version, plural), params=query))["items"]
        assert isinstance(found, list)
        return found

    def metadata(self, api_version: str, plural: str, **query: str) -> list[Object]:
        """The metadata of the namespace's objects of a kind; query as for `items`."""
        headers = {"Accept": "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"}
        path = self._path(api_version, plural)
        found = _json(self._api.get(path, params=query, headers=headers))["items"]
        return [item["metadata"] for item in found or []]

    def create(self, manifest: Object) -> Object:
        """Create a Workflow; every field of it is checked by the server."""
        path = self._path(manifest["apiVersion"], f"{manifest['kind'].lower()}s")
        return _json(self._api.post(path, params={"fieldValidation": "Strict"}, json=manifest))

    def try_create(self, manifest: Object, *, person: str | None) -> httpx.Response:
        """The answer to a creation by a person, or by who runs the tests; nothing is kept."""
        path = self._path(manifest["apiVersion"], f"{manifest['kind'].lower()}s")
        return self._api.post(path, params=_DRY_RUN, headers=_by(person), json=manifest)

    def try_patch(self, plural: str, name: str, patch: Object, *, person: str) -> httpx.Response:
        """The answer to a merge patch of an object of Argo's; nothing is kept."""
        path = f"{self._path('argoproj.io/v1alpha1', plural)}/{name}"
        headers = {**_by(person), "Content-Type": "application/merge-patch+json"}
        return self._api.patch(path, params=_DRY_RUN, headers=headers, json=patch)

    def try_delete(
        self, api_version: str, plural: str, name: str, *, person: str
    ) -> httpx.Response:
        """The answer to a deletion; nothing is deleted."""
        path = f"{self._path(api_version, plural)}/{name}"
        return self._api.delete(path, params=_DRY_RUN, headers=_by(person))

    def try_evict(self, pod: str) -> bool:
        """Evict a pod, as `kubectl drain` does; False while its disruption budget says no."""
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
        answer = self._api.post(f"{self._path('v1', 'pods')}/{pod}/eviction", json=body)
        if answer.status_code == 429:
            return False
        _json(answer)
        return True

    def workflows(self) -> list[Object]:
        return self.items("argoproj.io/v1alpha1", "workflows")

    def log(self, pod: str, container: str = "main", *, tail_lines: int = 10_000) -> str:
        """A container's log, or why there is none."""
        path = f"{self._path('v1', 'pods')}/{pod}/log"
        query: dict[str, str | int] = {"container": container, "tailLines": tail_lines}
        return self._api.get(path, params=query).text

    def _path(self, api_version: str, plural: str) -> str:
        root = "/api" if "/" not in api_version else "/apis"
        return f"{root}/{api_version}/namespaces/{self.namespace}/{plural}"


def _by(person: str | None) -> dict[str, str]:
    return {"Impersonate-User": person} if person else {}


def run(
    *command: str,
    text: str | None = None,
    seconds: float = CALL_SECONDS,
    variables: Mapping[str, str] | None = None,
) -> str:
    """A command's stdout. Fails with all that it printed."""
    done = subprocess.run(
        command,
        input=text,
        capture_output=True,
        text=True,
        timeout=seconds,
        env=variables,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}{done.stdout}"
    return done.stdout


def kubeconfig_of(cluster: Cluster, account: str, directory: Path) -> str:
    """A kubeconfig with nothing but a token of the account."""
    token = cluster.kubectl("create", "token", account).strip()
    config = json.loads(run("kubectl", "config", "view", "--raw", "--minify", "-o", "json"))
    config["users"][0]["user"] = {"token": token}
    path = directory / "kubeconfig"
    path.write_text(json.dumps(config))
    return str(path)


def wait_for(
    what: str,
    look: Callable[[], T | None],
    *,
    seconds: float,
    explain: Callable[[], str] = lambda: "",
) -> T:
    """Look until there is something. Fails at the deadline with what, and with the explanation."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"no {what} within {seconds:.0f} s\n{explain()}")
        assert not GIVEN_UP.wait(_LOOK_SECONDS), f"no {what}: the session has ended"
    return found


def argo(namespace: str, *arguments: str, **environment: str) -> str:
    """What the argo command prints; it talks to the API server, as kubectl does."""
    # With ARGO_SERVER it would want a token for the Argo server.
    variables = {name: text for name, text in os.environ.items() if name != "ARGO_SERVER"}
    variables |= environment
    return run("argo", f"--namespace={namespace}", *arguments, variables=variables)


def argo_server() -> httpx.Client:
    """The server that ARGO_SERVER names, as the argo command finds it."""
    address = os.environ.get("ARGO_SERVER")
    if not address:
        pytest.skip("ARGO_SERVER is not set: there is no Argo server to ask")
    scheme = "http" if os.environ.get("ARGO_SECURE") == "false" else "https"
    token = os.environ.get("ARGO_TOKEN")
    return httpx.Client(
        base_url=f"{scheme}://{address}",
        headers={"Authorization": token} if token else {},
        verify=os.environ.get("ARGO_INSECURE_SKIP_VERIFY") != "true",
        timeout=CALL_SECONDS,
        trust_env=False,
    )


@contextmanager
def api_proxy() -> Iterator[httpx.Client]:
    """The API server on loopback, whatever way of logging in the kubeconfig has."""
    process = subprocess.Popen(
        ["kubectl", "proxy", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        address = re.search(r"127\.0\.0\.1:\d+", line)
        assert address, f"kubectl proxy: {line}"
        with httpx.Client(
            base_url=f"http://{address[0]}", timeout=CALL_SECONDS, trust_env=False
        ) as client:
            yield client
    finally:
        process.terminate()
        process.communicate(timeout=10)


def _json(response: httpx.Response) -> Object:
    assert response.is_success, f"{response.request.url}: {response.text}"
    answer: Object = response.json()
    return answer
