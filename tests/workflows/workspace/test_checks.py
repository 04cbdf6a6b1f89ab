"""Single values: URLs, names, quantities, texts."""

from __future__ import annotations

import pytest

from tests.workflows.workspace.helpers import changed, problems_of, read
from workflows.workspace.checks import (
    is_dns_label,
    is_dns_subdomain,
    is_label_key,
    is_label_value,
    is_quantity,
    unsafe,
    url_problem,
)

INTERNAL = "an internal address; accepted are public hosts"
THIS_MACHINE = "this machine; --allow-loopback permits it"


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
        ("ftp://example.com/x", "accepted are http and https URLs"),
        ("example.com/x", "accepted are http and https URLs"),
        ("https://", "accepted are http and https URLs"),
        ("https://user:pass@example.com/x", "accepted is a URL without user and password"),
        (
            "https://example.com:99999/x",
            "accepted is a URL such as https://HOST/FILE; its host or ",
        ),
        ("https://example.com:0/x", "accepted are ports from 1 to 65535"),
        ("https://[::1/x", "accepted is a URL such as https://HOST/FILE; its host or port is "),
        ("https://169.254.169.254/latest", INTERNAL),
        ("https://168.63.129.16/x", INTERNAL),
        ("https://10.1.2.3/x", INTERNAL),
        ("https://192.168.0.1/x", INTERNAL),
        ("https://100.64.0.1/x", INTERNAL),
        ("https://[fd00::1]/x", INTERNAL),
        ("https://[fe80::1%25eth0]/x", INTERNAL),
        ("https://[::ffff:10.0.0.1]/x", INTERNAL),
        ("https://224.0.0.1/x", INTERNAL),
        ("https://0.0.0.0/x", INTERNAL),
        (
            "http://metadata.google.internal/x",
            "a cloud's metadata service; accepted are public hosts",
        ),
        ("https://api.team.svc/x", "a name inside the cluster; accepted are public hosts"),
        (
            "https://api.team.svc.cluster.local./x",
            "a name inside the cluster; accepted are public hosts",
        ),
    ],
)
@pytest.mark.parametrize("allow_loopback", [True, False])
def test_url_that_leads_elsewhere_is_refused(url: str, problem: str, allow_loopback: bool) -> None:
    found = url_problem(url, allow_loopback=allow_loopback)
    assert found is not None
    assert found.startswith(problem)


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


def test_problem_of_a_url_shows_no_query_and_no_password() -> None:
    urls = [
        "https://user:hunter2@example.com/x?sig=secret",
        "http://10.0.0.1/x?sig=secret",
        "https://user:hunter2@[::1/x?sig=secret",
    ]
    found = problems_of(changed({"tuning/input/urls": urls}))
    assert found == [
        "tuning.input.urls[0]: 'https://example.com/x': accepted is a URL without user and "
        "password",
        "tuning.input.urls[1]: 'http://10.0.0.1/x': an internal address; accepted are public hosts",
        "tuning.input.urls[2]: '[::1/x': accepted is a URL such as https://HOST/FILE; its host or "
        "port is wrong",
    ]


def test_loopback_is_read_where_it_is_permitted() -> None:
    text = changed({"tuning/input/urls": ["http://127.0.0.1:8765/a.parquet", "file:///b.jsonl"]})
    assert read(text, allow_loopback=True).urls == (
        "http://127.0.0.1:8765/a.parquet",
        "file:///b.jsonl",
    )


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (is_dns_label, ["a", "a-1", "a" * 63], ["", "1a", "-a", "a-", "A", "a.b", "a" * 64]),
        (is_dns_subdomain, ["a", "1.b-2", "a" * 253], ["", "a..b", "A", "a_b", ".a", "a" * 254]),
        (is_label_key, ["app", "a.b/C_d", "A" * 63], ["", "a/", "/a", "a/b/c", "a b", "A" * 64]),
        (is_label_value, ["", "1", "A_b.c-d"], ["-a", "a,b", "a=b", "a" * 64]),
        (is_quantity, ["1", "0.5", "100Gi", "500m"], ["", "Gi", "1 Gi", "1GiB", "-1", "1e3"]),
    ],
)
def test_names_and_quantities(check: object, good: list[str], bad: list[str]) -> None:
    assert callable(check)
    assert [text for text in good if not check(text)] == []
    assert [text for text in bad if check(text)] == []


@pytest.mark.parametrize("character", ["\x00", "\x07", "\x1b", "\x7f", "\x85", "\n", "\U000e0001"])
def test_control_characters_are_refused(character: str) -> None:
    problem = unsafe(f"a{character}b")
    assert problem == (
        f"accepted is a text without control characters, here U+{ord(character):04X}"
    )


@pytest.mark.parametrize("text", ["", "plain", "Grüße, 世界 {x} }}", "a'b\"c"])
def test_ordinary_texts_pass(text: str) -> None:
    assert unsafe(text) is None


def test_a_config_may_have_lines() -> None:
    assert unsafe("a:\n\tb\n", lines=True) is None
    assert unsafe("a:\r\n", lines=True) is not None
