"""Where the dataset of a file is."""

from __future__ import annotations

from pathlib import Path

from argotune.workflows.workspace.input import refused_urls
from argotune.workflows.workspace.workflow import to_parameters
from tests.workflows.workspace.helpers import BASE_DIR, changed, problems_of, read


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


def test_image_and_pull_secret_of_kaito_become_a_url_and_the_datas_secret() -> None:
    data = {"image": "registry.example.com/me/rows:1", "imagePullSecrets": ["pull"]}
    found = read(changed({"tuning/input": data}))
    assert found.urls == ("oci://registry.example.com/me/rows:1",)
    assert to_parameters(found)["data-secret"] == "pull"


def test_claim_of_kaito_becomes_a_url_and_the_datas_claim() -> None:
    source = {"persistentVolumeClaim": {"claimName": "rows"}}
    found = read(changed({"tuning/input": {"volumeSource": source}}))
    assert found.urls == ("volume://rows/",)
    assert to_parameters(found)["data-claim"] == "rows"


def test_the_annotation_names_the_datas_secret() -> None:
    found = read(changed({"metadata/annotations": {"argotune.dev/data-secret": "hub"}}))
    assert to_parameters(found)["data-secret"] == "hub"


def test_a_path_is_a_file_of_this_machine_and_refused_for_a_cluster() -> None:
    text = changed({"tuning/input/urls": ["rows/*.jsonl", "/data/with space.csv", "rows/"]})
    found = read(text, on_this_machine=True)
    assert found.urls == (
        f"file://{BASE_DIR}/rows/*.jsonl",
        "file:///data/with%20space.csv",
        f"file://{BASE_DIR}/rows/",
    )
    problems = problems_of(text)
    assert len(problems) == 3
    assert "which `argotune run` reads and a cluster's pods do not" in problems[0]
    assert "tuning.input.volumeSource" in refused_urls(found.urls)[0]


def test_files_that_are_not_there_are_refused_with_all_other_problems(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").touch()
    there = [f"file://{tmp_path}/rows.csv#sha256={'0' * 64}", f"{tmp_path}", f"{tmp_path}/*.csv"]
    missing = [f"file://{tmp_path}/nope.csv", f"{tmp_path}/no/*.csv", "file://data/rows.csv"]
    found = problems_of(
        changed({"tuning/input/urls": [*there, *missing], "tuning/method": "none"}),
        on_this_machine=True,
        files_are_here=True,
    )
    (of_method,) = (problem for problem in found if problem.startswith("tuning.method"))
    found.remove(of_method)
    nothing = "no such file or directory; a relative path begins where the command runs"
    assert found == [
        "tuning.input.urls[5]: 'file://data/rows.csv': 'data' would be a host; accepted is"
        " file:///DIRECTORY/FILE, with three slashes, or a path without file:",
        f"tuning.input.urls[3]: {tmp_path}/nope.csv: {nothing}",
        f"tuning.input.urls[4]: {tmp_path}/no/*.csv: {nothing}",
    ]


def test_other_schemes_are_read_and_their_form_is_checked() -> None:
    urls = ["hf://datasets/me/rows/data", "s3://rows/a.csv", "abfss://c@a.dfs.core.windows.net/x"]
    assert read(changed({"tuning/input/urls": urls})).urls == tuple(urls)
    wrong = ["hf://me/rows", "ftp://example.com/x", "volume://rows/", "s3://rows/?list"]
    found = problems_of(changed({"tuning/input/urls": wrong}))
    assert [problem.split(": ", 2)[2][:40] for problem in found] == [
        "accepted is hf://datasets/OWNER/NAME/FIL",
        "accepted are https, http, hf, s3, gs, ab",
        "a claim is named by tuning.input.volumeS",
        "accepted is s3://BUCKET/FILE, without a ",
    ]
