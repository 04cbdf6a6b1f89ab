"""Which servers the registries of a run may be, and the addresses that they may have.

Who submits a run names registries, and its pods reach what is inside the network. So the rule is
that of dataset URLs: public addresses, and of others the hosts that the installation allows. On a
person's own machine private addresses are permitted, because the network is that person's.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from argotune.steps.common.addresses import (
    Resolve,
    address_of,
    embedded_ipv4,
    is_allowed,
    is_public,
    never_problem,
    resolve,
)
from argotune.steps.common.errors import PermanentError, TransientError
from argotune.steps.common.urls import internal_host
from argotune.steps.registry.oci import ImageReference, parse_reference

_API_SERVER = "KUBERNETES_SERVICE_HOST"
"""Set by the kubelet in every pod."""
_TLS_PORT = 443
_DOCKER_HUB = {"docker.io": "registry-1.docker.io", "index.docker.io": "registry-1.docker.io"}


@dataclass(frozen=True, kw_only=True)
class RegistryPolicy:
    """The addresses that registries, their servers of tokens and their redirects may have."""

    allowed_hosts: Collection[str] = ()
    """HOST or HOST:PORT in lower case that may have private addresses."""
    api_server: str | None = None
    """Address of the cluster's API server; None: this machine is no pod."""
    resolve: Resolve = resolve
    what: str = "registry"
    """What the servers are, in messages."""

    @property
    def is_pod(self) -> bool:
        """Whether this machine is a pod of a cluster."""
        return self.api_server is not None

    def addresses(self, host: str, port: int) -> Sequence[str]:
        """Look up a name and check all of its addresses.

        Raises PermanentError for a name without an address or with a refused one, TransientError
        when the name server does not answer.
        """
        name = host.lower().removesuffix(".")
        found = self._lookup(name, port)
        for text in found:
            problem = self._problem(name, port, text)
            if problem is not None:
                raise PermanentError(f"{self.what} {name}:{port}: {problem}")
        return found

    def check(self, image: ImageReference) -> None:
        """Raise as `addresses` does unless a pod may reach the image's registry.

        On a machine that is no pod nothing is looked up.
        """
        self.refuse_this_pod(image)
        if self.is_pod:
            self.addresses(*host_and_port(image.registry))

    def refuse_this_pod(self, image: ImageReference) -> None:
        """Raise PermanentError for a registry at this machine's address, if that is a pod."""
        if self.is_pod and is_loopback(image.registry):
            raise PermanentError(
                f"registry {image.registry} is this pod itself; name one that the cluster's pods"
                " reach"
            )

    def _lookup(self, host: str, port: int) -> Sequence[str]:
        try:
            return self.resolve(host, port)
        except socket.gaierror as error:
            if error.errno == socket.EAI_AGAIN:
                raise TransientError(f"the name server did not answer for {host}") from error
            raise PermanentError(f"{self.what} {host}: no such host; is the name right?") from error

    def _problem(self, host: str, port: int, text: str) -> str | None:
        address = address_of(text)
        if embedded_ipv4(address).is_loopback:
            return f"{text} is an address of this machine, where no {self.what} of others is"
        if text == self.api_server:
            return f"{text} is the address of the cluster's API server, which is no {self.what}"
        never = never_problem(address)
        if never is not None or not self.is_pod or is_public(address):
            return never
        if is_allowed(host, port, self.allowed_hosts):
            return None
        return (
            f"{text} is inside a private network; `argotune install --allow-host {host}:{port}`"
            " permits it to all runs of the namespace"
        )


def policy_of(
    allowed_hosts: Collection[str] = (), environment: Mapping[str, str] = os.environ
) -> RegistryPolicy:
    """Build the policy of this machine, which the environment says to be a pod or not."""
    return RegistryPolicy(
        allowed_hosts=frozenset(host.lower() for host in allowed_hosts),
        api_server=environment.get(_API_SERVER),
    )


def host_and_port(registry: str) -> tuple[str, int]:
    """Split HOST[:PORT] of an image reference into the host that is connected to, and its port."""
    found = re.fullmatch(r"(?P<host>.+):(?P<port>\d+)", registry)
    host = found["host"] if found else registry
    port = int(found["port"]) if found else _TLS_PORT
    return _DOCKER_HUB.get(host, host).strip("[]").lower(), port


def internal_registry(image: str) -> str | None:
    """HOST or HOST:PORT of an image whose registry's text is in a private network.

    None for other images, and for what is no image of a registry.
    """
    try:
        reference = parse_reference(image)
    except ValueError:
        return None
    if not isinstance(reference, ImageReference):
        return None
    return internal_host(f"https://{reference.registry}")


def is_loopback(registry: str) -> bool:
    """Whether HOST[:PORT] is this machine."""
    host, _ = host_and_port(registry)
    if host == "localhost":
        return True
    try:
        return address_of(host).is_loopback
    except ValueError:
        return False
