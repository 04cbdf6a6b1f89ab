"""The dataset URLs of a file."""

from __future__ import annotations

from tests.workflows.workspace.helpers import changed, problems_of, read


def test_private_host_is_warned_of_with_what_permits_it() -> None:
    found = read(changed({"tuning/input/urls": ["http://mirror.svc:8080/x?sig=secret"]}))
    assert found.urls == ("http://mirror.svc:8080/x?sig=secret",)
    assert found.warnings[-2:] == (
        "tuning.input.urls[0]: mirror.svc:8080 is inside a private network; it is fetched from "
        "only where `argotune install --allow-host mirror.svc:8080` permits it",
        "tuning.input.urls[0]: the query of http://mirror.svc:8080/x may hold a token: it goes "
        "into a Secret and is in no argument, log, name or image",
    )


def test_problem_of_a_url_shows_no_query_and_no_password() -> None:
    urls = [
        "https://user:hunter2@example.com/x?sig=secret",
        "http://169.254.169.254/x?sig=secret",
        "https://user:hunter2@[::1/x?sig=secret",
    ]
    found = problems_of(changed({"tuning/input/urls": urls}))
    assert found == [
        "tuning.input.urls[0]: 'https://example.com/x': accepted is a URL without user and "
        "password",
        "tuning.input.urls[1]: 'http://169.254.169.254/x': a cloud's metadata service; accepted "
        "are public hosts",
        "tuning.input.urls[2]: '[::1/x': accepted is a URL such as https://HOST/FILE; its host or "
        "port is wrong",
    ]


def test_loopback_is_read_where_it_is_permitted() -> None:
    text = changed({"tuning/input/urls": ["http://127.0.0.1:8765/a.parquet", "file:///b.jsonl"]})
    assert read(text, allow_loopback=True).urls == (
        "http://127.0.0.1:8765/a.parquet",
        "file:///b.jsonl",
    )
