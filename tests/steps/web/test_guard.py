from __future__ import annotations

import ipaddress
import socket
import ssl
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import pytest

from argotune.steps.common.errors import ParamsError, PermanentError
from argotune.steps.web.guard import (
    ForbiddenAddress,
    GuardedTransport,
    UrlPolicy,
    address_problem,
    check_urls,
    tls_context,
    url_problem,
)
from tests.fakes.http import FileServer, Status, file_server

PUBLIC = UrlPolicy()
LOOPBACK = UrlPolicy(allow_loopback=True)


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server() as files:
        yield files


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/data.parquet",
        "http://example.org/data.parquet",
        "https://example.org:443/data.parquet?sv=1&sig=abc",
        "https://example.org./data.parquet",
        "https://bücher.example/data.parquet",
        "https://93.184.216.34/data.parquet",
        "https://[2606:2800:220:1:248:1893:25c8:1946]/data.parquet",
        f"https://example.org/data.parquet#sha256={'0' * 64}",
    ],
)
def test_public_urls_pass(url: str) -> None:
    assert url_problem(url, PUBLIC) is None


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("ftp://example.org/x", "scheme 'ftp' is not accepted; accepted are https, http, hf, s3"),
        ("s3://Bucket_/x", "accepted is s3://BUCKET/FILE"),
        ("s3://bucket/x?list", "the signs of a pattern are * and [...]"),
        ("gs://bucket", "accepted is gs://BUCKET/FILE"),
        ("abfss://container@10.0.0.5/x", "CONTAINER@ACCOUNT.dfs.core.windows.net"),
        ("abfss://me:key@a.dfs.core.windows.net/x", "CONTAINER@ACCOUNT.dfs.core.windows.net"),
        ("hf://datasets/name/x.csv", "hf://datasets/OWNER/NAME/FILE"),
        ("hf://models/owner/name/x.csv", "hf://datasets/OWNER/NAME/FILE"),
        ("oci:///etc/layout", "oci://REGISTRY/REPOSITORY:TAG"),
        ("example.org/x", "not a URL"),
        ("https:///x", "the host is missing"),
        ("https://user:secret@example.org/x", "user and password in a URL"),
        ("https://example.org@127.0.0.1/x", "user and password in a URL"),
        ("https://example.org\\@127.0.0.1/x", "backslashes"),
        ("https://example.org/a b", "spaces"),
        ("https://example.org/a\nb", "control characters"),
        ("https://example.org:8443/x", "port 8443 is not accepted; use 443 or 80"),
        ("https://exa%6dple.org/x", "not a host name or address"),
        ("https://example.org/x#part", "the fragment is not sha256="),
        ("https://[fe80::1%25eth0]/x", "is an internal or special address"),
        ("https://0177.0.0.1/x", "not a URL: Invalid IPv4 address"),
        ("https://127.0.0.01/x", "not a URL: Invalid IPv4 address"),
        ("file:///etc/passwd", "file URLs are accepted only with --allow-loopback"),
    ],
)
def test_urls_of_the_wrong_form_are_refused(url: str, part: str) -> None:
    assert part in (url_problem(url, PUBLIC) or "")


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST",
        "localhost.",
        "a.localhost",
        "printer.local",
        "metadata.google.internal",
        "instance-data",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "minio.storage.svc",
        "minio.storage.svc.cluster.local",
        "minio.storage.svc.example.org",
    ],
)
def test_names_of_machine_and_cluster_are_refused(host: str) -> None:
    assert "is a name of this machine or its cluster" in (
        url_problem(f"https://{host}/x", PUBLIC) or ""
    )


@pytest.mark.parametrize(
    "host", ["127.1", "0x7f000001", "0x7f.0.0.1", "2130706433", "017700000001", "0"]
)
def test_odd_spellings_of_addresses_are_refused(host: str) -> None:
    problem = url_problem(f"http://{host}/x", LOOPBACK)
    assert problem == "the address has an unusual notation; write it as four decimal numbers"


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "127.0.0.1",
        "168.63.129.16",
        "169.254.169.254",
        "172.16.0.1",
        "192.0.0.192",
        "192.168.1.1",
        "192.88.99.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:8.8.8.8",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "2001::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ],
)
def test_addresses_that_are_not_public_are_refused(address: str) -> None:
    host = f"[{address}]" if ":" in address else address
    assert "is an internal or special address" in (url_problem(f"https://{host}/x", PUBLIC) or "")


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.10", "::1"])
def test_loopback_passes_only_when_asked_for(address: str) -> None:
    parsed = ipaddress.ip_address(address)
    assert address_problem(parsed, LOOPBACK) is None
    assert address_problem(parsed, PUBLIC) == (
        f"{address} is an internal or special address; --allow-loopback allows this machine's "
        "addresses"
    )


def test_loopback_does_not_permit_other_internal_addresses() -> None:
    assert url_problem("http://169.254.169.254/latest", LOOPBACK) is not None
    assert url_problem("http://10.0.0.1/x", LOOPBACK) is not None
    assert url_problem("http://minio.storage.svc/x", LOOPBACK) is not None


def test_loopback_may_use_any_port_and_files() -> None:
    assert url_problem("http://127.0.0.1:12345/x", LOOPBACK) is None
    assert url_problem("http://localhost:12345/x", LOOPBACK) is None
    assert url_problem("file:///data/x.parquet", LOOPBACK) is None
    assert url_problem("file://server/x.parquet", LOOPBACK) is not None
    assert url_problem("https://example.org:8443/x", LOOPBACK) is not None


def test_http_can_be_forbidden() -> None:
    policy = UrlPolicy(allow_http=False)
    assert url_problem("http://example.org/x", policy) == "http is not accepted here; use https"


def test_trusted_mirror_passes_by_name_and_port() -> None:
    policy = UrlPolicy(allowed_hosts=frozenset({"minio.storage.svc:9000", "mirror.internal"}))
    assert url_problem("http://minio.storage.svc:9000/x", policy) is None
    assert url_problem("http://mirror.internal:8080/x", policy) is None
    assert url_problem("http://minio.storage.svc:9001/x", policy) is not None


@pytest.mark.parametrize(
    "host",
    ["169.254.169.254", "168.63.129.16", "[fd00:ec2::254]", "[::ffff:169.254.169.254]", "0.0.0.0"],
)
def test_no_mirror_has_an_address_of_metadata_or_of_the_link(host: str) -> None:
    policy = UrlPolicy(allowed_hosts=frozenset({host.strip("[]"), f"{host.strip('[]')}:80"}))
    problem = url_problem(f"http://{host}/x", policy)
    assert str(problem).endswith(" is a link-local or metadata address, which is never allowed")


def test_all_urls_are_checked_and_their_secrets_left_out() -> None:
    urls = ["https://10.0.0.1/a?sig=SECRET", "https://example.org/fine", "ftp://u:SECRET@h/b"]
    with pytest.raises(ParamsError) as caught:
        check_urls({"urls": urls}, PUBLIC)
    assert caught.value.problems == [
        "--urls[0]: https://10.0.0.1/a: 10.0.0.1 is an internal or special address; use a public "
        "address, or --allowed-hosts for a mirror that you trust",
        "--urls[2]: ftp://h/b: scheme 'ftp' is not accepted; accepted are https, http, hf, s3, gs,"
        " abfs, abfss and oci URLs, and, where the run is on this machine, file URLs and paths",
    ]


def get(
    url: str, policy: UrlPolicy, *addresses: str, tls: ssl.SSLContext | bool = True
) -> httpx.Response:
    transport = GuardedTransport(policy, resolve=lambda host, port: addresses, tls=tls)
    with httpx.Client(transport=transport, trust_env=False) as client:
        return client.get(url)


def test_name_that_resolves_to_an_internal_address_is_refused() -> None:
    with pytest.raises(ForbiddenAddress) as caught:
        get("https://example.org/x?sig=SECRET", PUBLIC, "169.254.169.254")
    assert str(caught.value) == (
        "https://example.org/x: example.org resolves to 169.254.169.254; 169.254.169.254 is an "
        "internal or special address; use a public address, or --allowed-hosts for a mirror "
        "that you trust"
    )


@pytest.mark.parametrize("bad", ["10.0.0.1", "fe80::1%eth0", "::ffff:10.0.0.1", "127.0.0.1"])
def test_one_internal_address_among_public_ones_is_enough(bad: str) -> None:
    with pytest.raises(ForbiddenAddress):
        get("https://example.org/x", PUBLIC, "93.184.216.34", bad)


@pytest.mark.parametrize("bad", ["169.254.169.254", "fe80::1%eth0", "fd00:ec2::254"])
def test_a_mirrors_name_that_resolves_to_metadata_is_refused(bad: str) -> None:
    policy = UrlPolicy(allowed_hosts=frozenset({"minio.storage.svc"}))
    with pytest.raises(ForbiddenAddress, match=r"link-local or metadata address, which is never"):
        get("http://minio.storage.svc/x", policy, "10.0.0.7", bad)


def test_connection_goes_to_the_checked_address(server: FileServer) -> None:
    server.add("/x", b"content")
    policy = UrlPolicy(allow_loopback=True, allowed_hosts=frozenset({"data.example"}))
    answer = get(server.url("/x", "data.example"), policy, "127.0.0.1")
    assert answer.content == b"content"
    assert server.requests[0].headers["Host"] == f"data.example:{server.address[1]}"


def test_name_is_resolved_once_for_check_and_connection(server: FileServer) -> None:
    """A name that answers with another address the second time gains nothing."""
    server.add("/x", b"content")
    answers = iter([["127.0.0.1"], ["169.254.169.254"]])
    transport = GuardedTransport(LOOPBACK, resolve=lambda host, port: next(answers))
    with httpx.Client(transport=transport, trust_env=False) as client:
        assert client.get(server.url("/x", "localhost")).content == b"content"
    assert next(answers) == ["169.254.169.254"]


def test_next_address_is_tried_when_one_does_not_answer(server: FileServer) -> None:
    server.add("/x", b"content")
    answer = get(server.url("/x", "localhost"), LOOPBACK, "127.0.0.2", "127.0.0.1")
    assert answer.content == b"content"


def test_redirect_to_an_internal_address_is_refused(server: FileServer) -> None:
    server.add("/x", b"", Status(code=302, headers={"Location": "http://169.254.169.254/latest"}))
    transport = GuardedTransport(LOOPBACK)
    client = httpx.Client(transport=transport, trust_env=False, follow_redirects=True)
    with client, pytest.raises(ForbiddenAddress) as caught:
        client.get(server.url("/x"))
    assert str(caught.value).startswith("http://169.254.169.254/latest: 169.254.169.254 is an")


def test_proxies_of_the_environment_are_not_used(
    server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.add("/x", b"content")
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.2:1")
    assert get(server.url("/x"), LOOPBACK).content == b"content"


def test_unknown_name_is_permanent_and_a_silent_name_server_is_not() -> None:
    def unknown(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    def silent(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    with pytest.raises(PermanentError) as caught:
        httpx.Client(transport=GuardedTransport(PUBLIC, resolve=unknown)).get("https://a.example/x")
    assert str(caught.value) == (
        "https://a.example/x: a.example cannot be resolved (Name or service not known); check the "
        "spelling"
    )
    with pytest.raises(httpx.ConnectError):
        httpx.Client(transport=GuardedTransport(PUBLIC, resolve=silent)).get("https://a.example/x")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for data.example, with its key, in one file."""
    directory = tmp_path_factory.mktemp("tls")
    key, certificate = directory / "key.pem", directory / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=data.example", "-addext", "subjectAltName=DNS:data.example"]
    command += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    both = directory / "both.pem"
    both.write_text(key.read_text() + certificate.read_text())
    return both


@pytest.fixture
def tls_server(certificate: Path) -> Iterator[FileServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with file_server(context) as files:
        yield files


def test_own_authority_is_trusted_beside_the_public_ones(
    tls_server: FileServer, certificate: Path, tmp_path: Path
) -> None:
    tls_server.add("/x", b"content")
    policy = UrlPolicy(allowed_hosts=frozenset({"data.example"}))
    url = tls_server.url("/x", "data.example")
    tls = tls_context(certificate)
    assert get(url, policy, "127.0.0.1", tls=tls).content == b"content"
    missing = tls_context(tmp_path / "ca.crt")
    assert len(tls.get_ca_certs()) == len(missing.get_ca_certs()) + 1
    with pytest.raises(httpx.ConnectError, match="self-signed certificate"):
        get(url, policy, "127.0.0.1", tls=missing)


def test_authority_that_is_no_certificate_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ca.crt"
    path.write_text("nothing")
    with pytest.raises(PermanentError) as caught:
        tls_context(path)
    assert str(caught.value) == (
        f"{path}: not a certificate in PEM; put the server's certificate authority into "
        "ConfigMap argotune-ca, key ca.crt (--ca-file)"
    )


def test_certificate_is_checked_for_the_name_and_not_the_address(
    tls_server: FileServer, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls_server.add("/x", b"content")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    policy = UrlPolicy(allowed_hosts=frozenset({"data.example", "other.example"}))
    assert get(tls_server.url("/x", "data.example"), policy, "127.0.0.1").content == b"content"
    with pytest.raises(httpx.ConnectError, match="Hostname mismatch"):
        get(tls_server.url("/x", "other.example"), policy, "127.0.0.1")
