"""Block URLs of a run that lead to this machine or its internal network (SSRF).

A URL is checked as text, and then every address that its name resolves to. The connection goes to
the checked addresses, so a name that resolves differently the second time (DNS rebinding) has no
effect. Redirects pass the same checks.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import ssl
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from argotune.steps.common import certificates
from argotune.steps.common.addresses import (
    Address,
    Resolve,
    address_of,
    is_allowed,
    is_public,
    never_problem,
    resolve,
)
from argotune.steps.common.errors import ParamsError, PermanentError, TransientError
from argotune.steps.common.urls import (
    ACCEPTED,
    STORE_SCHEMES,
    VOLUME_SCHEME,
    is_url,
    place_problem,
    redact,
)

_WEB_PORTS = {"http": 80, "https": 443}
_SHA256 = re.compile(r"sha256=[0-9a-fA-F]{64}")
_ODD_ADDRESS = re.compile(r"(0x[0-9a-f]*|[0-9]+)(\.(0x[0-9a-f]*|[0-9]+))*")
_HOST = re.compile(r"[a-z0-9._-]+")
_UNSAFE_TEXT = re.compile(r"[\x00-\x20\x7f\\]")
_INTERNAL_NAMES = re.compile(
    r"(.*\.)?(localhost|local|internal|svc|cluster|kubernetes\.default|instance-data)"
    r"|.*\.svc\..*"
)


@dataclass(frozen=True, kw_only=True)
class UrlPolicy:
    """Which URLs are allowed in addition to those of public https servers."""

    allow_loopback: bool = False
    """Allow this machine's addresses, on any port, and file URLs."""
    allow_files: bool = False
    """Allow file URLs."""
    allow_http: bool = True
    """Allow http."""
    allowed_hosts: frozenset[str] = frozenset()
    """HOST or HOST:PORT of mirrors inside the network, with any port and any address except those
    that are never allowed
    (argotune.steps.common.addresses)."""

    def trusts(self, host: str, port: int) -> bool:
        """Whether the server is one of the allowed hosts."""
        return is_allowed(host, port, self.allowed_hosts)

    def address_problem(self, host: str, port: int, text: str) -> str | None:
        """Why a name may not have an address, or None if it may."""
        address = address_of(text)
        if self.trusts(host, port):
            return never_problem(address)
        return address_problem(address, self)


class ForbiddenAddress(PermanentError):
    """A URL leads to an address that URLs of a run must not have."""


def check_urls(lists: Mapping[str, Iterable[str]], policy: UrlPolicy) -> None:
    """Check the URLs of each flag as text. Raises ParamsError with the problems of all URLs."""
    problems = [
        f"--{flag}[{index}]: {redact(url)}: {found}"
        for flag, urls in lists.items()
        for index, url in enumerate(urls)
        if (found := url_problem(url, policy))
    ]
    if problems:
        raise ParamsError(problems)


def url_problem(url: str, policy: UrlPolicy) -> str | None:
    """The problem in a URL's text and the remedy, or None."""
    if _UNSAFE_TEXT.search(url):
        return "spaces, backslashes and control characters are not accepted; percent-encode them"
    if not is_url(url):
        return f"not a URL; {ACCEPTED}"
    scheme = url.partition(":")[0].lower()
    if scheme in ("hf", "oci", *STORE_SCHEMES):
        return _fragment_problem(url.partition("#")[2]) or place_problem(url)
    if scheme == VOLUME_SCHEME:
        return None
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        return f"not a URL: {error}"
    problem = _fragment_problem(parsed.fragment)
    if problem is not None:
        return problem
    if parsed.scheme == "file":
        return _file_problem(parsed, policy)
    return _server_problem(parsed, policy)


def _fragment_problem(fragment: str) -> str | None:
    if fragment and not _SHA256.fullmatch(fragment):
        return "the fragment is not sha256= and 64 hexadecimal digits"
    return None


def _file_problem(url: httpx.URL, policy: UrlPolicy) -> str | None:
    if not policy.allow_loopback and not policy.allow_files:
        return "file URLs are accepted only with --allow-loopback"
    if url.host not in ("", "localhost"):
        return "a file URL has three slashes: file:///DIRECTORY/FILE"
    return None


def _server_problem(url: httpx.URL, policy: UrlPolicy) -> str | None:
    if url.scheme not in _WEB_PORTS:
        return f"scheme {url.scheme!r} is not accepted; {ACCEPTED}"
    if url.scheme == "http" and not policy.allow_http:
        return "http is not accepted here; use https"
    if url.userinfo:
        return "user and password in a URL would appear in logs; use a signed URL"
    host = host_of(url)
    if not host:
        return "the host is missing"
    port = port_of(url)
    if policy.trusts(host, port):
        literal = _address(host)
        return None if literal is None else never_problem(literal)
    problem = _host_problem(host, policy)
    if problem is not None:
        return problem
    if port not in _WEB_PORTS.values() and not (policy.allow_loopback and _is_this_machine(host)):
        return f"port {port} is not accepted; use 443 or 80, or --allowed-hosts {host}:{port}"
    return None


def _host_problem(host: str, policy: UrlPolicy) -> str | None:
    address = _address(host)
    if address is not None:
        return address_problem(address, policy)
    if not _HOST.fullmatch(host):
        return f"{host!r} is not a host name or address"
    if _ODD_ADDRESS.fullmatch(host):
        return "the address has an unusual notation; write it as four decimal numbers"
    if policy.allow_loopback and _is_this_machine(host):
        return None
    if _INTERNAL_NAMES.fullmatch(host) or "." not in host:
        return (
            f"{host} is a name of this machine or its cluster; use a public name, "
            "or --allowed-hosts for a mirror that you trust"
        )
    return None


def address_problem(address: Address, policy: UrlPolicy) -> str | None:
    """Why URLs of a run must not lead to an address, or None if they may."""
    if policy.allow_loopback and address.is_loopback:
        return None
    if is_public(address):
        return None
    advice = "use a public address, or --allowed-hosts for a mirror that you trust"
    if address.is_loopback:
        advice = "--allow-loopback allows this machine's addresses"
    return f"{address} is an internal or special address; {advice}"


def host_of(url: httpx.URL) -> str:
    """The host name to resolve: lower case, IDNA-encoded, without a trailing dot."""
    return url.raw_host.decode("ascii").lower().removesuffix(".")


def port_of(url: httpx.URL) -> int:
    """The port that is asked: that of the scheme, http or https, unless the URL has one."""
    return url.port or _WEB_PORTS[url.scheme]


def _is_this_machine(host: str) -> bool:
    address = _address(host)
    if address is not None:
        return address.is_loopback
    return host == "localhost" or host.endswith(".localhost")


def _address(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """A TLS context with the public authorities (or those of $SSL_CERT_FILE) and the given one.

    Raises PermanentError if the file is not a certificate.
    """
    return certificates.trust(httpx.create_ssl_context(), ca_file)


class GuardedTransport(httpx.BaseTransport):
    """Connects only to checked addresses, but uses the name for the Host header and TLS."""

    def __init__(
        self,
        policy: UrlPolicy,
        *,
        resolve: Resolve = resolve,
        tls: ssl.SSLContext | bool = True,
    ) -> None:
        self._policy = policy
        self._resolve = resolve
        # Connections are pooled by address here: a second name with the same address must not
        # reuse a connection whose certificate was checked for the first name.
        limits = httpx.Limits(max_keepalive_connections=0)
        self._transport = httpx.HTTPTransport(verify=tls, limits=limits)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request to the first checked address that accepts the connection."""
        problem = url_problem(str(request.url), self._policy)
        if problem:
            raise ForbiddenAddress(f"{redact(str(request.url))}: {problem}")
        failure: httpx.TransportError | None = None
        for address in self._addresses(request.url):
            try:
                return self._transport.handle_request(_pin(request, address))
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failure = error
        raise failure or httpx.ConnectError("the name has no address", request=request)

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()

    def _addresses(self, url: httpx.URL) -> Sequence[str]:
        host, port = host_of(url), port_of(url)
        if _address(host) is not None:
            return [host]
        addresses = self._lookup(url, host, port)
        for text in addresses:
            problem = self._policy.address_problem(host, port, text)
            if problem:
                raise ForbiddenAddress(f"{redact(str(url))}: {host} resolves to {text}; {problem}")
        return addresses

    def _lookup(self, url: httpx.URL, host: str, port: int) -> Sequence[str]:
        try:
            return self._resolve(host, port)
        except socket.gaierror as error:
            if error.errno == socket.EAI_AGAIN:
                raise httpx.ConnectError(f"the name server did not answer for {host}") from error
            raise PermanentError(
                f"{redact(str(url))}: {host} cannot be resolved ({error.strerror}); "
                "check the spelling"
            ) from error


@dataclass(frozen=True, kw_only=True)
class CheckedAddresses:
    """The policy's answers about names that a library asks for through a proxy."""

    policy: UrlPolicy
    resolve: Resolve = resolve

    def addresses(self, host: str, port: int, *, scheme: str = "https") -> Sequence[str]:
        """Look up a name and check its text and all of its addresses.

        Raises PermanentError for a refused one, TransientError without an answer.
        """
        name = host.lower().removesuffix(".")
        url = f"{scheme}://{f'[{name}]' if ':' in name else name}:{port}/"
        problem = url_problem(url, self.policy)
        if problem is not None:
            raise ForbiddenAddress(f"{name}:{port}: {problem}")
        if _address(name) is not None:
            return [name]
        try:
            found = self.resolve(name, port)
        except socket.gaierror as error:
            if error.errno == socket.EAI_AGAIN:
                raise TransientError(f"the name server did not answer for {name}") from error
            raise PermanentError(
                f"{name} cannot be resolved ({error.strerror}); check the spelling"
            ) from error
        for text in found:
            problem = self.policy.address_problem(name, port, text)
            if problem is not None:
                raise ForbiddenAddress(f"{name} resolves to {text}; {problem}")
        return found


def _pin(request: httpx.Request, address: str) -> httpx.Request:
    """The request with the URL's host replaced by the address; the Host header has the name."""
    extensions = dict(request.extensions)
    host = host_of(request.url)
    if host != address:
        extensions["sni_hostname"] = host
    return httpx.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,
        stream=request.stream,
        extensions=extensions,
    )
