"""The text of a dataset's URL: what it leads to, and what of it may be shown."""

from __future__ import annotations

import pytest

from argotune.steps.common.urls import host_problem, internal_host, redact, url_problem

METADATA = "a cloud's metadata service; accepted are public hosts"
NO_SERVER = "no address of a server; accepted are public hosts"
THIS_MACHINE = "this machine; --allow-loopback permits it"


@pytest.mark.parametrize(
    ("url", "redacted"),
    [
        ("https://h.example/d/x.parquet?sig=SECRET", "https://h.example/d/x.parquet"),
        ("https://user:pass@h.example:8443/x#sha256=ab", "https://h.example:8443/x"),
        ("file:///data/x.csv", "file:///data/x.csv"),
        ("https://user:pass@[::1/x?sig=SECRET", "[::1/x"),
    ],
)
def test_what_may_hold_a_token_is_left_out(url: str, redacted: str) -> None:
    assert redact(url) == redacted


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/data.parquet",
        "http://example.com:8080/a/b.jsonl.gz?token=x#sha256=" + 64 * "0",
        "https://93.184.216.34/x",
        "https://[2606:2800:220:1:248:1893:25c8:1946]/x",
        "https://bücher.example/x",
    ],
)
def test_public_url_is_accepted(url: str) -> None:
    assert url_problem(url, allow_loopback=False) is None


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("ftp://example.com/x", "accepted are https, http, hf, s3,"),
        ("example.com/x", "no URL; accepted are https, http, hf, s3,"),
        ("https://", "accepted are https, http, hf, s3,"),
        ("https://user:pass@example.com/x", "accepted is a URL without user and password"),
        (
            "https://example.com:99999/x",
            "accepted is a URL such as https://HOST/FILE; its host or ",
        ),
        ("https://example.com:0/x", "accepted are ports from 1 to 65535"),
        ("https://[::1/x", "accepted is a URL such as https://HOST/FILE; its host or port is "),
        ("https://169.254.169.254/latest", METADATA),
        ("https://168.63.129.16/x", METADATA),
        ("https://[fd00:ec2::254]/x", METADATA),
        ("https://[fe80::1%25eth0]/x", METADATA),
        ("https://[::ffff:169.254.169.254]/x", METADATA),
        ("http://metadata.google.internal/x", METADATA),
        ("https://224.0.0.1/x", NO_SERVER),
        ("https://0.0.0.0/x", NO_SERVER),
        (
            "https://kubernetes.default.svc/x",
            "the cluster's API server; accepted are public hosts",
        ),
    ],
)
@pytest.mark.parametrize("allow_loopback", [True, False])
def test_url_that_leads_elsewhere_is_refused(url: str, problem: str, allow_loopback: bool) -> None:
    found = url_problem(url, allow_loopback=allow_loopback)
    assert found is not None
    assert found.startswith(problem)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://10.1.2.3/x", "10.1.2.3"),
        ("https://192.168.0.1:8443/x", "192.168.0.1:8443"),
        ("https://100.64.0.1/x", "100.64.0.1"),
        ("https://[fd00::1]/x", "fd00::1"),
        ("https://[::ffff:10.0.0.1]/x", "::ffff:10.0.0.1"),
        ("https://api.team.svc/x", "api.team.svc"),
        ("https://API.team.svc.cluster.local./x", "api.team.svc.cluster.local"),
        ("http://mirror.corp.internal:8080/x", "mirror.corp.internal:8080"),
        # A Service of the namespace.
        ("http://judge:8000/v1", "judge:8000"),
    ],
)
def test_private_host_is_left_to_the_installation(url: str, host: str) -> None:
    assert url_problem(url, allow_loopback=False) is None
    assert internal_host(url) == host


@pytest.mark.parametrize(
    "url",
    ["https://example.com/x", "http://127.0.0.1/x", "http://localhost:1/x", "file:///x"],
)
def test_public_host_and_this_machine_are_not_private(url: str) -> None:
    assert internal_host(url) is None


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://127.0.0.1:8000/x", THIS_MACHINE),
        ("http://127.9.9.9/x", THIS_MACHINE),
        ("http://[::1]:8000/x", THIS_MACHINE),
        ("http://[::ffff:127.0.0.1]/x", THIS_MACHINE),
        ("http://localhost:8000/x", THIS_MACHINE),
        ("http://LOCALHOST./x", THIS_MACHINE),
        ("http://a.localhost/x", THIS_MACHINE),
        ("file:///data/x.jsonl", "a file of this machine; --allow-loopback permits it"),
    ],
)
def test_this_machine_is_permitted_only_where_the_run_says_so(url: str, problem: str) -> None:
    assert url_problem(url, allow_loopback=False) == problem
    assert url_problem(url, allow_loopback=True) is None


def test_a_server_is_refused_by_what_the_installation_allows() -> None:
    def problem(url: str, *allowed: str, allow_loopback: bool = False) -> str | None:
        return host_problem(url, allowed_hosts=allowed, allow_loopback=allow_loopback)

    assert problem("https://example.com/x") is None
    assert problem("http://judge:8000/v1") == (
        "judge:8000 is inside a private network; `argotune install --allow-host judge:8000` permits"
        " it to all runs of the namespace"
    )
    assert problem("http://judge:8000/v1", "judge:8000") is None
    assert problem("http://Judge:8000/v1", "judge") is None
    assert problem("https://example.com:8443/x") == (
        "port 8443 is neither 443 nor 80; `argotune install --allow-host example.com:8443` permits"
        " it to all runs of the namespace"
    )
    assert problem("http://127.0.0.1:9/x") == "this machine; --allow-loopback permits it"
    assert problem("http://127.0.0.1:9/x", allow_loopback=True) is None
    assert problem("hf://datasets/a/b/c.parquet") is None
