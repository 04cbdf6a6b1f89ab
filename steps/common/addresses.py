"""Addresses that no URL and no image reference of a run may lead to, and the lookup of names."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Container, Sequence

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Sequence[str]]
"""Host name and port -> every address of the name. Raises socket.gaierror."""

# Link-local addresses, metadata services that return a machine's credentials, and what is no
# address of a server.
_NEVER = [
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8",
        "100.100.100.200/32",
        "168.63.129.16/32",
        "169.254.0.0/16",
        "224.0.0.0/3",
        "::/128",
        "fd00:ec2::254/128",
        "fe80::/10",
        "ff00::/8",
    )
]
# Networks that Python counts as global, or did before 3.11.10: carrier-grade NAT, Azure's platform
# address, protocol assignments, and IPv6 networks that embed IPv4 addresses.
_NOT_PUBLIC = [
    ipaddress.ip_network(network)
    for network in (
        "100.64.0.0/10",
        "168.63.129.16/32",
        "192.0.0.0/24",
        "192.88.99.0/24",
        "::ffff:0:0/96",
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "2001::/32",
        "2002::/16",
        "fec0::/10",
    )
]
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def resolve(host: str, port: int) -> list[str]:
    """All IPv4 and IPv6 addresses of a name, in the system's order. Raises socket.gaierror."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def address_of(text: str) -> Address:
    """The address of a text, without the zone that link-local ones may have (fe80::1%eth0).

    Raises ValueError.
    """
    return ipaddress.ip_address(text.partition("%")[0])


def embedded_ipv4(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for (mapped, 6to4, NAT64), else the address."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def never_problem(address: Address) -> str | None:
    """Why an address is refused whatever the installation permits, or None if it is not."""
    inner = embedded_ipv4(address)
    if any(inner in network for network in _NEVER if network.version == inner.version):
        return f"{address} is a link-local or metadata address, which is never allowed"
    return None


def is_public(address: Address) -> bool:
    """Whether the address is one of the internet, which no permission is needed for."""
    if address.is_multicast or address.is_reserved or address.is_unspecified:
        return False
    return address.is_global and not any(
        address in network for network in _NOT_PUBLIC if network.version == address.version
    )


def is_allowed(host: str, port: int, allowed_hosts: Container[str]) -> bool:
    """Whether HOST or HOST:PORT is among the hosts that the installation allows."""
    return host in allowed_hosts or f"{host}:{port}" in allowed_hosts
