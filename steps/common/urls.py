"""URLs of datasets: what their text tells, and the text without secrets, for logs and messages."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Container
from urllib.parse import SplitResult, urlsplit, urlunsplit

from argotune.steps.common.addresses import is_allowed

# The names of Kaito's webhook for v1beta1, of this machine, and of the cluster.
_METADATA_HOSTS = ("metadata.google.internal", "metadata.goog", "metadata.azure.com")
_LOCAL_NAMES = ("localhost", "localhost.localdomain", "ip6-localhost")
_WEB_PORTS = {"http": 80, "https": 443}
_CLUSTER_SUFFIXES = (".svc", ".cluster.local", ".internal")
_PLACES = {
    "hf": (
        re.compile(r"hf://datasets/[\w.-]+/[\w.-]+(@[^/@\s]+)?/[^\s]+", re.ASCII),
        "hf://datasets/OWNER/NAME/FILE or hf://datasets/OWNER/NAME@REVISION/FILE",
    ),
    "s3": (re.compile(r"s3://[a-z0-9][a-z0-9.-]+/.+"), "s3://BUCKET/FILE"),
    "gs": (re.compile(r"gs://[a-z0-9][a-z0-9._-]+/.+"), "gs://BUCKET/FILE"),
    "abfs": (
        re.compile(r"abfss?://[a-z0-9$-]+@[a-z0-9]+\.(?:dfs|blob)\.core\.[a-z]+(\.[a-z]+)+/.+"),
        "abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/FILE",
    ),
    "oci": (re.compile(r"oci://\w.+"), "oci://REGISTRY/REPOSITORY:TAG"),
}
_PLACES["abfss"] = _PLACES["abfs"]
STORE_SCHEMES = ("s3", "gs", "abfs", "abfss")
"""Schemes of object stores."""
VOLUME_SCHEME = "volume"
"""Scheme of a claim's files, volume://CLAIM/, which a run has of tuning.input.volumeSource."""
ACCEPTED = (
    "accepted are https, http, hf, s3, gs, abfs, abfss and oci URLs, and, where the run is on this"
    " machine, file URLs and paths"
)
_AZURE_PLATFORM = ipaddress.ip_address("168.63.129.16")


def redact(url: str) -> str:
    """The URL without user, password, query and fragment, which may hold tokens."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url.partition("?")[0].partition("#")[0].rpartition("@")[2]
    user, _, host = parts.netloc.rpartition("@")
    # Azure's container stands there.
    if parts.scheme in ("abfs", "abfss") and ":" not in user:
        host = parts.netloc
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def is_url(text: str) -> bool:
    """Whether a text is a URL with a scheme, and not the path of a file."""
    return re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*://", text) is not None


def url_problem(url: str, *, allow_loopback: bool, allow_files: bool = False) -> str | None:
    """Why the text of a dataset URL is refused; None if it may be fetched.

    The dataset step checks more, and every address of the host (steps/web/guard.py).
    """
    if not is_url(url):
        return f"no URL; {ACCEPTED}"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "accepted is a URL such as https://HOST/FILE; its host or port is wrong"
    if parts.scheme == "file":
        is_accepted = allow_loopback or allow_files
        if is_accepted and parts.netloc not in ("", "localhost"):
            return (
                f"{parts.netloc!r} would be a host; accepted is file:///DIRECTORY/FILE, with three"
                " slashes, or a path without file:"
            )
        return None if is_accepted else "a file of this machine; --allow-loopback permits it"
    if parts.scheme in _PLACES:
        return place_problem(url)
    if parts.scheme == VOLUME_SCHEME:
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return ACCEPTED
    if port == 0:
        return "accepted are ports from 1 to 65535"
    return _authority_problem(parts, allow_loopback=allow_loopback)


def place_problem(url: str) -> str | None:
    """Why the text of a URL of the Hub, of an object store or of an image is refused, or None."""
    address, _, fragment = url.partition("#")
    pattern, accepted = _PLACES[urlsplit(url).scheme]
    if "?" in address:
        return f"accepted is {accepted}, without a query; the signs of a pattern are * and [...]"
    if not pattern.fullmatch(address):
        return f"accepted is {accepted}"
    if fragment and address.startswith("oci://"):
        return f"accepted is {accepted}, with @sha256:HEX where its content is to be fixed"
    return None


def _authority_problem(parts: SplitResult, *, allow_loopback: bool) -> str | None:
    if parts.username is not None or parts.password is not None:
        return "accepted is a URL without user and password"
    host = (parts.hostname or "").rstrip(".").lower()
    if host in _LOCAL_NAMES or host.endswith(".localhost"):
        return None if allow_loopback else "this machine; --allow-loopback permits it"
    if host in _METADATA_HOSTS:
        return "a cloud's metadata service; accepted are public hosts"
    if host.startswith("kubernetes.default"):
        return "the cluster's API server; accepted are public hosts"
    return _address_problem(host, allow_loopback=allow_loopback)


def _address_problem(host: str, *, allow_loopback: bool) -> str | None:
    address = _address(host)
    if address is None:
        return None
    if address.is_loopback:
        return None if allow_loopback else "this machine; --allow-loopback permits it"
    if address.is_link_local or address == _AZURE_PLATFORM or str(address) == "fd00:ec2::254":
        return "a cloud's metadata service; accepted are public hosts"
    if address.is_multicast or address.is_unspecified or address.is_reserved:
        return "no address of a server; accepted are public hosts"
    return None


def internal_host(url: str) -> str | None:
    """HOST or HOST:PORT of a URL whose text is in a private network; None for others.

    The dataset step fetches from such a host only where the installation permits it.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        return None
    host = (parts.hostname or "").rstrip(".").lower()
    address = _address(host)
    if address is None:
        is_local = host in _LOCAL_NAMES or host.endswith(".localhost")
        # A name without a dot is looked up in the namespace first.
        internal = host.endswith(_CLUSTER_SUFFIXES) or ("." not in host and not is_local)
    else:
        internal = not address.is_global and not address.is_loopback
    if not internal:
        return None
    return host if parts.port is None else f"{host}:{parts.port}"


def host_problem(
    url: str, *, allowed_hosts: Container[str], allow_loopback: bool = False
) -> str | None:
    """Why the pods of a run refuse the server of a URL that `url_problem` takes; None: they do not.

    `allowed_hosts` are HOST or HOST:PORT in lower case. The pods check every address of the host,
    too (steps/web/guard.py).
    """
    parts = urlsplit(url)
    if parts.scheme not in _WEB_PORTS:
        return None
    host, port = (parts.hostname or "").rstrip(".").lower(), url_port(url)
    if is_allowed(host, port, allowed_hosts):
        return None
    this_machine = url_problem(url, allow_loopback=allow_loopback)
    if this_machine is not None:
        return this_machine
    is_here = url_problem(url, allow_loopback=False) is not None
    inside = internal_host(url)
    if inside is not None:
        return f"{inside} is inside a private network; {_permission(inside)}"
    if port not in _WEB_PORTS.values() and not is_here:
        named = f"{host}:{port}"
        return f"port {port} is neither 443 nor 80; {_permission(named)}"
    return None


def _permission(host: str) -> str:
    return f"`argotune install --allow-host {host}` permits it to all runs of the namespace"


def url_port(url: str) -> int:
    """The port of a URL, which may be that of its scheme."""
    parts = urlsplit(url)
    return parts.port or _WEB_PORTS.get(parts.scheme, 443)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
