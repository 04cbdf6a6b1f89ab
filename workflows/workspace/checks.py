"""Checks of single values: names, labels, quantities, URLs, and what Argo would expand."""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from urllib.parse import SplitResult, urlsplit

_DNS_LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_DNS_SUBDOMAIN = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
)
_LABEL_NAME = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)")
_QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?")
_POSITIVE_NUMBER = re.compile(r"(?=.*[1-9])[0-9]{1,9}(\.[0-9]{1,6})?")
_LIST_OF_NAMES = re.compile(r"[\w.-]+( *, *[\w.-]+)*", re.ASCII)
_AZURE_ID = re.compile(r"/subscriptions/[\w.()/-]+", re.ASCII)
_WHOLE_NUMBER = re.compile(r"0|[1-9][0-9]{0,3}")

# Kaito's webhook for v1beta1, and the names that lead to the machine or the cluster itself.
_METADATA_HOSTS = ("metadata.google.internal", "metadata.goog", "metadata.azure.com")
_LOCAL_NAMES = ("localhost", "localhost.localdomain", "ip6-localhost")
_CLUSTER_SUFFIXES = (".svc", ".cluster.local", ".internal")
_AZURE_PLATFORM = ipaddress.ip_address("168.63.129.16")

# Characters that Argo's substitution of parameters turns into invalid JSON.
_NOT_JSON = "\U000e0001"


def is_dns_label(text: str) -> bool:
    """Whether Kubernetes takes it as the name of a Service: RFC 1035."""
    return _DNS_LABEL.fullmatch(text) is not None


def is_dns_subdomain(text: str) -> bool:
    """Whether Kubernetes takes it as a name: RFC 1123."""
    return _DNS_SUBDOMAIN.fullmatch(text) is not None


def is_label_key(text: str) -> bool:
    """Whether it is a label's key: NAME or PREFIX/NAME."""
    prefix, slash, name = text.rpartition("/")
    return _LABEL_NAME.fullmatch(name) is not None and (not slash or is_dns_subdomain(prefix))


def is_label_value(text: str) -> bool:
    """Whether it is a label's value, the empty one included."""
    return text == "" or _LABEL_NAME.fullmatch(text) is not None


def is_quantity(text: str) -> bool:
    """Whether it is an amount as Kubernetes writes it, such as 100Gi."""
    return _QUANTITY.fullmatch(text) is not None


def is_whole_number(text: str) -> bool:
    """Whether it counts something: 0, 1, 2, ..."""
    return _WHOLE_NUMBER.fullmatch(text) is not None


def is_positive_number(text: str) -> bool:
    """Whether it is a number above 0: 86400, 1.5."""
    return _POSITIVE_NUMBER.fullmatch(text) is not None


def is_number(text: str) -> bool:
    """Whether it is 0 or a number above it."""
    return text == "0" or is_positive_number(text)


def is_list_of_names(text: str) -> bool:
    """Whether it is a name or several with commas between: SKUs, zones."""
    return _LIST_OF_NAMES.fullmatch(text) is not None


def names_in(text: str) -> list[str]:
    """The names of such a list."""
    return [name.strip() for name in text.split(",")]


def skus_in(text: str) -> list[str]:
    """The SKUs of such a list; none for the word `none`."""
    return [] if text == "none" else names_in(text)


def is_azure_id(text: str) -> bool:
    """Whether it can be an Azure resource ID."""
    return _AZURE_ID.fullmatch(text) is not None


def unsafe(text: str, *, lines: bool = False) -> str | None:
    """Why a text cannot be a parameter of a workflow; None when it can."""
    if "{{" in text:
        return "accepted is a text without '{{', which Argo would expand"
    permitted = "\n\t" if lines else ""
    for character in text:
        control = unicodedata.category(character) == "Cc" and character not in permitted
        if control or character in _NOT_JSON:
            return f"accepted is a text without control characters, here U+{ord(character):04X}"
    return None


def url_problem(url: str, *, allow_loopback: bool) -> str | None:
    """Why a dataset URL is refused; None when it may be fetched.

    Only the text is looked at; the dataset step also checks every address that a name has.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "accepted is a URL such as https://HOST/FILE; its host or port is wrong"
    if parts.scheme == "file":
        return None if allow_loopback else "a file of this machine; --allow-loopback permits it"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "accepted are http and https URLs"
    if port == 0:
        return "accepted are ports from 1 to 65535"
    return _authority_problem(parts, allow_loopback=allow_loopback)


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
    """HOST or HOST:PORT of a URL that leads into a private network by its text; None for others.

    The dataset step fetches from such a host only where the installation permits it.
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".").lower()
    address = _address(host)
    if address is None:
        internal = host.endswith(_CLUSTER_SUFFIXES)
    else:
        internal = not address.is_global and not address.is_loopback
    if not internal:
        return None
    return host if parts.port is None else f"{host}:{parts.port}"


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
