"""One namespace of a cluster, with the operations of the commands.

Objects are dictionaries with the YAML's names; every call raises ClusterError.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from argotune.steps.cluster.errors import ApiRefusal
from argotune.steps.cluster.kube import (
    Collection,
    Kube,
    Object,
    Objects,
    cluster_of_kubeconfig,
    namespace_of_kubeconfig,
)
from argotune.steps.common.values import is_dns_subdomain
from argotune.workflows.cli import options
from argotune.workflows.cli.errors import CliError
from argotune.workflows.cli.remote.api_errors import ClusterRefusal, explain_errors
from argotune.workflows.workspace import manifests
from argotune.workflows.workspace.own_presets import INSTALLED_PRESETS
from argotune.workflows.workspace.planned import print_as_warnings

Warn = Callable[[Iterable[str]], None]
"""Called with warnings for the user, a sentence each."""


class Cluster:
    """One namespace of the kubeconfig's cluster, or of that which is given as `kube`.

    The first call reads the kubeconfig. Raises InputError for an empty name of namespace or
    context.
    """

    warn: Warn
    """Where the warnings of a command go: to stderr, unless somebody else asks."""

    def __init__(
        self,
        *,
        context: str | None = None,
        namespace: str | None = None,
        kube: Kube | None = None,
        warn: Warn = print_as_warnings,
    ) -> None:
        # The text of a shell's variable that is not set names no place to act in.
        options.refuse(
            {"--namespace": namespace == "", "--context": context == ""},
            "is empty; name one, or leave it out for the current one",
        )
        self._context = context
        self._given_namespace = namespace
        self._file_namespace: str | None = None
        self._context_namespace: str | None = None
        self._kube = kube
        self.warn = warn

    @property
    def namespace(self) -> str:
        """The given namespace, else that of the file, else the context's."""
        return self._given_namespace or self._file_namespace or self._current_namespace

    @property
    def flags(self) -> str:
        """The flags of argotune, argo and kubectl for this namespace."""
        context = f" --context {self._context}" if self._context else ""
        return f"-n {self.namespace}{context}"

    @property
    def kube(self) -> Kube:
        """The API server, with its own errors.

        Raises ClusterError when the kubeconfig names none.
        """
        if self._kube is None:
            with explain_errors("the kubeconfig"):
                # A person waits, so an unreachable cluster should not be asked three more times.
                self._kube = cluster_of_kubeconfig(
                    self._context, retries=False, on_silence=Silence().tell
                )
        return self._kube

    def within(self, namespace: str | None) -> Cluster:
        """Return the same cluster, in a file's namespace where no other was given."""
        other = copy.copy(self)
        other._file_namespace = namespace
        return other

    def get(self, kind: str, name: str) -> Object | None:
        """Read an object; None where it is missing. A missing kind is an error."""
        with explain_errors(f"{kind} {name}"):
            try:
                return self.kube.read(kind, self.namespace, name)
            except ApiRefusal as error:
                if error.is_of_object:
                    return None
                raise

    def metadata(self, kind: str, name: str) -> Object | None:
        """Read an object's metadata and not what it holds; None where it is missing."""
        with explain_errors(f"{kind} {name}"):
            return self.kube.metadata(kind, self.namespace, name)

    def check_namespace(self) -> None:
        """Raise CliError where the namespace is missing, as far as the person may see it."""
        try:
            is_missing = self.get("Namespace", self.namespace) is None
        except ClusterRefusal:
            return
        if is_missing:
            raise CliError(
                f"namespace {self.namespace} does not exist: name another by -n, or let an"
                f" administrator make it by `argotune install {self.flags} --create-namespace"
                " --images-registry REGISTRY`"
            )

    def events_about(self, uid: str) -> Objects:
        """List the events about one object of the namespace."""
        with explain_errors("events"):
            return self.kube.list("Event", self.namespace, fields=f"involvedObject.uid={uid}")

    def list(self, kind: str, label_selector: str) -> Objects:
        """List the objects of the namespace with these labels."""
        with explain_errors(f"{kind}s"):
            return self.kube.list(kind, self.namespace, labels=label_selector)

    def collection(
        self, kind: str, label_selector: str, *, metadata_only: bool = False
    ) -> Collection:
        """List the objects with these labels, whole or their metadata, to watch them from there."""
        with explain_errors(f"{kind}s"):
            return self.kube.collection(
                kind, self.namespace, labels=label_selector, metadata_only=metadata_only
            )

    def create(self, manifest: Mapping[str, Any]) -> Object:
        """Create the object; the server checks every field of it."""
        with explain_errors(f"{manifest['kind']} {manifest['metadata'].get('name', '')}".strip()):
            return self.kube.create(manifest, self.namespace)

    def patch(self, kind: str, name: str, change: Mapping[str, Any]) -> Object:
        """Merge the change into the object."""
        with explain_errors(f"{kind} {name}"):
            return self.kube.patch(kind, self.namespace, name, change)

    def delete(self, kind: str, name: str) -> None:
        """Delete the object and what it owns."""
        with explain_errors(f"{kind} {name}"):
            self.kube.delete(kind, self.namespace, name)

    def watch(
        self, kind: str, name: str, resource_version: str, timeout_seconds: int
    ) -> Iterator[Object]:
        """Read the object's events since that version: type and object, and sometimes a bookmark.

        Ends after the timeout, or when the server ends the watch.
        """
        with explain_errors(f"{kind} {name}"):
            yield from self.kube.watch(
                kind,
                self.namespace,
                name,
                resource_version=resource_version,
                timeout_seconds=timeout_seconds,
            )

    def watch_all(
        self,
        kind: str,
        label_selector: str,
        resource_version: str,
        timeout_seconds: int,
        *,
        metadata_only: bool = False,
    ) -> Iterator[Object]:
        """Read the events of all objects with these labels, as `watch` does of one."""
        with explain_errors(f"{kind}s"):
            yield from self.kube.watch(
                kind,
                self.namespace,
                labels=label_selector,
                metadata_only=metadata_only,
                resource_version=resource_version,
                timeout_seconds=timeout_seconds,
            )

    def pod_log(self, pod: str, *, follow: bool) -> Iterator[str]:
        """Read the lines of the container main, each after its time and a space."""
        with explain_errors(f"log of pod {pod}"):
            yield from self.kube.pod_log_lines(self.namespace, pod, container="main", follow=follow)

    def find_config_map(self, namespace: str | None, name: str, key: str) -> str | None:
        """Read a text of a ConfigMap; None where it is missing, or no object has such a name.

        Raises CliError, and LookupError for the presets of the installation: whether a name is one
        of them is asked of every unknown name, and what is wrong with it is told without a cluster.
        """
        if not is_dns_subdomain(name):
            return None
        try:
            found = self.within(namespace).get("ConfigMap", name)
        except CliError as error:
            if name == INSTALLED_PRESETS:
                raise LookupError(str(error)) from error
            raise
        text = ((found or {}).get("data") or {}).get(key)
        return None if text is None else str(text)

    @property
    def _current_namespace(self) -> str:
        """The context's namespace, read once, as the connection is, because each call needs it."""
        if self._context_namespace is None:
            self.kube  # noqa: B018  says what is wrong with the kubeconfig, if anything is
            self._context_namespace = namespace_of_kubeconfig(self._context)
        return self._context_namespace


class Silence:
    """Says once on stderr that the cluster takes its time."""

    def __init__(self) -> None:
        self._is_told = False

    def tell(self, host: str) -> None:
        """Say it, the first time."""
        if not self._is_told:
            self._is_told = True
            print(f"waiting for an answer of the cluster {host}", file=sys.stderr, flush=True)


def installed_setting(cluster: Cluster, name: str) -> str:
    """Return the installation's setting for all runs; empty where there is none."""
    template = cluster.get("WorkflowTemplate", manifests.NAME)
    return manifests.installed_values(template).get(name, "") if template else ""
