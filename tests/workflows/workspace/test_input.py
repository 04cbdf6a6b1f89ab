"""Where the dataset of a file is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from argotune.steps.common.errors import ParamsError
from argotune.steps.plan.planning import make_plan
from argotune.workflows.workspace.input import refused_urls
from argotune.workflows.workspace.read import plan_params
from argotune.workflows.workspace.workflow import to_parameters
from tests.workflows.workspace.helpers import BASE_DIR, CONFIG_MAP, changed, problems_of, read


def test_private_host_is_warned_of_with_what_permits_it() -> None:
    found = read(changed({"tuning/input/urls": ["http://mirror.svc:8080/x?sig=secret"]}))
    assert found.urls == ("http://mirror.svc:8080/x?sig=secret",)
    assert (*found.host_warnings, found.warnings[-1]) == (
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


def test_claim_for_a_copy_of_the_adapter_is_a_field_or_an_annotation() -> None:
    source = {"persistentVolumeClaim": {"claimName": "adapters"}}
    in_field = {"tuning/output/volumeSource": source}
    as_annotation = {"metadata/annotations": {"argotune.dev/output-claim": "adapters"}}
    for changes in (in_field, as_annotation):
        assert to_parameters(read(changed(changes)))["output-claim"] == "adapters"
    assert problems_of(changed({**in_field, **as_annotation})) == [
        "tuning.output.volumeSource and metadata.annotations.argotune.dev/output-claim: both are"
        " given; keep one"
    ]


def test_the_datas_claim_gets_no_adapter() -> None:
    source = {"persistentVolumeClaim": {"claimName": "rows"}}
    changes = {"tuning/input": {"volumeSource": source}, "tuning/output/volumeSource": source}
    assert problems_of(changed(changes)) == [
        "tuning.output.volumeSource: 'rows' is the data's claim too, where the next run would read"
        " the adapter's JSON files as data; name another one"
    ]


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
    assert "tuning.input.volumeSource" in refused_urls(found)[0]


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


def test_validation_files_come_from_the_field_or_the_annotation() -> None:
    urls = ["https://example.com/v.csv?sig=hunter2", "hf://datasets/me/rows/v"]
    of_field = read(changed({"tuning/input/validationUrls": urls}))
    annotation = {"argotune.dev/validation-urls": " ".join(urls)}
    of_annotation = read(changed({"metadata/annotations": annotation}))
    assert of_field.validation_urls == of_annotation.validation_urls == tuple(urls)
    assert json.loads(to_parameters(of_field)["validation-urls"]) == urls
    assert "validation-urls" not in of_annotation.options
    assert "hunter2" not in str(of_annotation.warnings)
    both = {"tuning/input/validationUrls": urls, "metadata/annotations": annotation}
    assert problems_of(changed(both)) == [
        "tuning.input.validationUrls and metadata.annotations.argotune.dev/validation-urls: both"
        " are given; keep one"
    ]


def test_problem_of_a_validation_file_is_told_once_by_its_place() -> None:
    wrong = ["http://169.254.169.254/x?sig=secret"]
    told = "[0]: 'http://169.254.169.254/x': a cloud's metadata service; accepted are public hosts"
    assert problems_of(changed({"tuning/input/validationUrls": wrong})) == [
        f"tuning.input.validationUrls{told}"
    ]
    annotations = {"argotune.dev/validation-urls": wrong[0]}
    assert problems_of(changed({"metadata/annotations": annotations})) == [
        f"metadata.annotations.argotune.dev/validation-urls{told}"
    ]


def test_validation_files_may_be_on_this_machine(tmp_path: Path) -> None:
    text = changed({"tuning/input/validationUrls": ["v.jsonl", str(tmp_path)]})
    found = read(text, on_this_machine=True)
    assert found.validation_urls == (f"file://{BASE_DIR}/v.jsonl", f"file://{tmp_path}")
    assert len(problems_of(text)) == 2
    missing = problems_of(text, on_this_machine=True, files_are_here=True)
    assert missing == [
        f"tuning.input.validationUrls[0]: {BASE_DIR}/v.jsonl: no such file or directory; a relative"
        " path begins where the command runs"
    ]


def test_validation_files_of_a_claim_are_on_the_one_of_the_run() -> None:
    urls = ["volume://rows/held-out.csv", "https://example.com/v.csv"]
    source = {"volumeSource": {"persistentVolumeClaim": {"claimName": "rows"}}}
    beside = read(changed({"tuning/input": {**source, "validationUrls": urls}}))
    assert (beside.urls, beside.validation_urls) == (("volume://rows/",), tuple(urls))
    alone = read(changed({"tuning/input/validationUrls": urls}))
    assert (alone.data_claim, alone.validation_urls) == ("rows", tuple(urls))
    other = ["volume://others/held-out.csv"]
    assert problems_of(changed({"tuning/input": {**source, "validationUrls": other}})) == [
        "tuning.input.validationUrls: 'volume://others/held-out.csv': accepted is"
        " volume://rows/FILE, with the one PersistentVolumeClaim of the run"
    ]


def test_share_to_hold_out_is_refused_beside_validation_files() -> None:
    config = CONFIG_MAP.replace("LoraConfig:", "DatasetConfig:").replace(
        "r: 8", "train_test_split: 0.8"
    )
    text = changed(
        {
            "tuning/input/validationUrls": ["https://example.com/v.csv"],
            "tuning/config": "my-config",
        }
    )
    found = read(text, config)
    with pytest.raises(ParamsError) as caught:
        make_plan(plan_params(found))
    assert caught.value.problems == [
        "training_config.DatasetConfig.train_test_split: 0.8; the held-out rows are those of"
        " tuning.input.validationUrls (validation-urls), and all others are trained on: leave one"
        " of the two out, or set 1"
    ]
    all_trained_on = read(text, config.replace("0.8", "1"))
    plan = make_plan(plan_params(all_trained_on))
    assert (plan.data.has_validation_files, plan.data.validation_share) == (True, 0)
    assert plan.training.early_stopping_patience is not None
    assert not any("held out" in warning for warning in plan.warnings)


def test_adapter_to_begin_with_comes_from_the_field_or_the_annotation() -> None:
    of_field = read(changed({"tuning/input/adapter": "registry.example.com/me/phi:v3"}))
    assert plan_params(of_field).start_from == "registry.example.com/me/phi:v3"
    annotation = {"metadata/annotations": {"argotune.dev/start-from": "live"}}
    plan = make_plan(plan_params(read(changed(annotation))))
    assert plan.lora.start_from == "live"
    assert read(changed({"tuning/input/adapter": "oci:out:1"})).options["start-from"] == (
        f"oci:{BASE_DIR}/out:1"
    )
    assert make_plan(plan_params(read(changed({})))).lora.start_from == "none"


def test_adapter_to_begin_with_is_refused_by_its_place() -> None:
    accepted = "accepted is none, live, or an image such as registry.example.com/me/adapter:v3"
    assert problems_of(changed({"tuning/input/adapter": "alive"})) == [
        f"tuning.input.adapter: 'alive'; {accepted}"
    ]
    both = {
        "tuning/input/adapter": "live",
        "metadata/annotations": {"argotune.dev/start-from": "live"},
    }
    assert problems_of(changed(both)) == [
        "tuning.input.adapter and metadata.annotations.argotune.dev/start-from: both are given;"
        " keep one"
    ]


def test_full_retrain_without_an_adapter_to_begin_with_is_warned_of() -> None:
    found = read(changed({"metadata/annotations": {"argotune.dev/full-retrain-every": "4"}}))
    assert "full-retrain-every: has no effect without" in found.warnings[0]
