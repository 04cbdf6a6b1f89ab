from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from argotune.steps.common.errors import ParamsError, PermanentError, TransientError
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.dataset_rows import FIELDS, Conversation, read_batch
from argotune.steps.contracts.history import (
    Deployed,
    Rejected,
    digest_of_plan,
    record_deployed,
    record_live,
    record_rejected,
)
from argotune.steps.contracts.model_source import version_of
from argotune.steps.contracts.training_plan import read_plan, write_plan
from argotune.steps.dataset.download import Downloader
from argotune.steps.dataset.params import Params, Result
from argotune.steps.dataset.run import new_downloader, run
from tests.fakes.http import FileServer, Serve, Status
from tests.fakes.plans import small_plan

NewParams = Callable[..., Params]


def chat(question: str, answer: str) -> dict[str, Any]:
    return {
        "messages": [
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer},
        ]
    }


def rows(count: int, start: int = 0) -> list[dict[str, Any]]:
    return [chat(f"Question {n}?", f"Answer {n}.") for n in range(start, start + count)]


def parquet(values: list[dict[str, Any]]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(values), buffer)
    return buffer.getvalue()


def jsonl(values: list[Any]) -> bytes:
    return "\n".join(map(json.dumps, values)).encode()


@pytest.fixture
def new_params(tmp_path: Path) -> NewParams:
    def make(*urls: str, work: str = "work", **settings: Any) -> Params:
        data = {key: settings.pop(key) for key in list(settings) if key in DATA}
        plan = small_plan()
        section = msgspec.structs.replace(plan.data, **data)
        write_plan(tmp_path / "plan.yaml", msgspec.structs.replace(plan, data=section))
        defaults = {"allow_loopback": True, "timeout_seconds": 5.0, "attempts": 3}
        return Params(
            urls=urls,
            plan_file=tmp_path / "plan.yaml",
            work_dir=tmp_path / work,
            **(defaults | settings),
        )

    return make


DATA = {field.name for field in msgspec.structs.fields(type(small_plan().data))}


def patient(params: Params, client: httpx.Client) -> Downloader:
    """The real downloader, which does not wait."""
    return new_downloader(params, client, sleep=lambda seconds: None)


def make(params: Params) -> Result:
    return run(params, progress=Progress(), downloader=patient)


def read(params: Params, name: str) -> list[dict[str, Any]]:
    """The rows with what all readers of messages know."""
    found: list[dict[str, Any]] = pq.read_table(params.work_dir / "dataset" / name).to_pylist()
    for row in found:
        assert row.pop("tools") is None
        for message in row["messages"]:
            assert message.pop("learned") == (message["role"] == "assistant")
            assert {message.pop(name) for name in FIELDS} == {None}
    return found


def both(params: Params) -> list[dict[str, Any]]:
    return read(params, "train.parquet") + read(params, "validation.parquet")


def questions(values: list[dict[str, Any]]) -> set[str]:
    return {row["messages"][0]["content"] for row in values}


def hashes(directory: Path) -> dict[str, str]:
    found = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.iterdir()
    }
    assert set(found) == {
        "train.parquet",
        "validation.parquet",
        "train.origins.parquet",
        "validation.origins.parquet",
        "rejected.jsonl",
        "dataset.json",
        "data.json",
        "data.html",
    }
    return found


def test_all_urls_become_one_dataset(server: FileServer, new_params: NewParams) -> None:
    params = new_params(
        server.add("/a.parquet", parquet(rows(60))),
        server.add("/b.jsonl", jsonl(rows(40, start=60))),
    )
    result = make(params)
    assert (result.rows, result.rejected_rows, result.duplicate_rows) == (100, 0, 0)
    assert result.train_rows + result.validation_rows == 100
    assert 0 < result.validation_rows < 30
    assert result.changed
    assert len(read(params, "train.parquet")) == result.train_rows
    assert len(read(params, "validation.parquet")) == result.validation_rows
    assert questions(both(params)) == {f"Question {n}?" for n in range(100)}
    assert read(params, "train.parquet") == [
        row for row in rows(100) if row in read(params, "train.parquet")
    ]


def test_record_says_what_the_dataset_is_made_of(server: FileServer, new_params: NewParams) -> None:
    content = parquet(rows(20))
    params = new_params(server.add("/a.parquet?sig=SECRET", content))
    result = make(params)
    text = (params.work_dir / "dataset" / "dataset.json").read_text()
    record = json.loads(text)
    assert "SECRET" not in text
    assert record["digest"] == result.digest
    assert record["files"] == [
        {
            "url": server.url("/a.parquet"),
            "size": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            "format": "parquet",
            "columns": ["messages"],
            "unused_columns": [],
            "unused_fields": [],
            "rows": 20,
            "is_held_out": False,
        }
    ]


def test_file_that_fails_half_way_and_comes_back(server: FileServer, new_params: NewParams) -> None:
    body = parquet([chat(f"Question {n}?", os.urandom(500).hex()) for n in range(500)])
    params = new_params(
        server.add("/a.parquet", parquet(rows(10, start=1000))),
        server.add(
            "/b.parquet",
            body,
            Status(code=503),
            Serve(),
            Serve(cut_after=100_000),
            Status(code=502),
            Serve(cut_after=50_000),
        ),
    )
    assert make(params).rows == 510
    assert [seen.headers.get("Range") for seen in server.requests if seen.path == "/b.parquet"] == [
        "bytes=0-0",
        "bytes=0-0",
        None,
        "bytes=100000-",
        "bytes=100000-",
        "bytes=150000-",
    ]


def test_next_run_goes_on_where_this_one_gave_up(server: FileServer, new_params: NewParams) -> None:
    body = parquet([chat(f"Question {n}?", os.urandom(500).hex()) for n in range(500)])
    url = server.add("/a.parquet", body, Serve(), Serve(cut_after=100_000))
    params = new_params(url, attempts=1)
    with pytest.raises(TransientError):
        make(params)
    assert not (params.work_dir / "dataset" / "dataset.json").exists()
    make(params)
    assert server.requests[-1].headers["Range"] == "bytes=100000-"


def test_same_input_gives_the_same_bytes(server: FileServer, new_params: NewParams) -> None:
    url = server.add("/a.jsonl", jsonl([*rows(300), {"messages": []}]))
    first, second = new_params(url, work="one"), new_params(url, work="two")
    assert make(first) == make(second)
    assert hashes(first.work_dir / "dataset") == hashes(second.work_dir / "dataset")


def test_format_of_the_input_does_not_show_in_the_dataset(
    server: FileServer, new_params: NewParams
) -> None:
    urls = [server.add("/a", jsonl(rows(300))), server.add("/b", parquet(rows(300)))]
    results = [make(new_params(url, work=url[-1])) for url in urls]
    assert results[0].digest == results[1].digest
    assert results[0] == results[1]


def test_other_order_keeps_the_split_but_has_another_digest(
    server: FileServer, new_params: NewParams
) -> None:
    values = rows(300)
    first = new_params(server.add("/a", jsonl(values)), work="one")
    second = new_params(server.add("/b", jsonl(values[::-1])), work="two")
    assert make(first).digest != make(second).digest
    assert questions(read(first, "validation.parquet")) == questions(
        read(second, "validation.parquet")
    )


def test_seed_changes_the_split(server: FileServer, new_params: NewParams) -> None:
    url = server.add("/a", jsonl(rows(300)))
    first, second = new_params(url, work="one"), new_params(url, work="two", split_seed=1)
    make(new_params(url, work="one"))
    make(new_params(url, work="two", split_seed=1))
    assert questions(read(first, "validation.parquet")) != questions(
        read(second, "validation.parquet")
    )


def test_duplicates_are_kept_once_and_on_one_side(
    server: FileServer, new_params: NewParams
) -> None:
    params = new_params(
        server.add("/a", jsonl(rows(200) + rows(50))),
        server.add("/b", parquet(rows(200))),
        validation_share=0.5,
    )
    result = make(params)
    assert (result.rows, result.duplicate_rows) == (450, 250)
    train, validation = read(params, "train.parquet"), read(params, "validation.parquet")
    assert len(train) + len(validation) == 200
    assert not questions(train) & questions(validation)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("share", [0.001, 0.5])
def test_neither_side_of_a_small_dataset_is_empty(
    server: FileServer, new_params: NewParams, count: int, share: float, seed: int
) -> None:
    url = server.add("/a", jsonl(rows(count)))
    params = new_params(url, validation_share=share, split_seed=seed)
    result = make(params)
    assert result.validation_rows >= 1
    assert result.train_rows >= 1
    assert len(both(params)) == count


def test_one_row_is_trained_on_whatever_the_share(
    server: FileServer, new_params: NewParams
) -> None:
    for number in range(8):
        url = server.add(f"/{number}", jsonl(rows(1, start=number)))
        result = make(new_params(url, work=f"w{number}", validation_share=0.5))
        assert (result.train_rows, result.validation_rows) == (1, 0)


def test_share_of_zero_holds_nothing_out(server: FileServer, new_params: NewParams) -> None:
    params = new_params(server.add("/a", jsonl(rows(50))), validation_share=0.0)
    assert make(params).validation_rows == 0
    assert read(params, "validation.parquet") == []


def test_unusable_rows_are_counted_and_named(
    server: FileServer, new_params: NewParams, caplog: pytest.LogCaptureFixture
) -> None:
    bad = [
        {"messages": []},
        chat("A question without", " "),
        {"messages": [{"role": "robot", "content": "PRIVATE"}]},
        {"messages": [{"role": "user", "content": "PRIVATE"}]},
        ["no object"],
    ]
    params = new_params(
        server.add("/good.jsonl", jsonl(rows(100))), server.add("/bad.jsonl", jsonl(bad + rows(3)))
    )
    with caplog.at_level(logging.INFO, logger="argotune"):
        result = make(params)
    assert (result.rejected_rows, result.rows, result.duplicate_rows) == (5, 103, 3)
    assert result.summary == (
        f"108 rows: {result.train_rows} to train, {result.validation_rows} held out, 3 duplicates, "
        "5 refused"
    )
    assert result.train_rows + result.validation_rows == 100
    url = server.url("/bad.jsonl")
    lines = (params.work_dir / "dataset" / "rejected.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"file": url, "row": 1, "reason": "empty"},
        {"file": url, "row": 2, "reason": "empty"},
        {"file": url, "row": 3, "reason": "unknown_role"},
        {"file": url, "row": 4, "reason": "no_assistant"},
        {"file": url, "row": 5, "reason": "not_parsed"},
    ]
    assert f"rows-rejected reason=empty file={url} count=2 first_rows=1,2" in caplog.text
    assert "PRIVATE" not in caplog.text
    record = json.loads((params.work_dir / "dataset" / "dataset.json").read_text())
    assert record["rejected"] == {
        "empty": 2,
        "unknown_role": 1,
        "no_assistant": 1,
        "not_parsed": 1,
    }


def test_too_many_unusable_rows_fail_the_step(server: FileServer, new_params: NewParams) -> None:
    values = rows(90) + [{"messages": []}] * 9 + [{"messages": [{"role": "x", "content": "y"}]}]
    params = new_params(server.add("/a.jsonl", jsonl(values)))
    with pytest.raises(PermanentError) as caught:
        make(params)
    assert str(caught.value) == (
        "10 of 100 rows are unusable (10.0%), at most 5.0% are accepted (max_rejected_share): 9 "
        "empty (a.jsonl row 91, 92, 93), 1 unknown_role (a.jsonl row 100); dataset/rejected.jsonl "
        "lists all of them"
    )
    rejected = params.work_dir / "dataset" / "rejected.jsonl"
    assert len(rejected.read_text().splitlines()) == 10
    assert not (params.work_dir / "dataset" / "dataset.json").exists()


def test_dataset_without_a_usable_row_fails(server: FileServer, new_params: NewParams) -> None:
    params = new_params(server.add("/a.jsonl", jsonl([{"messages": []}])), max_rejected_share=1.0)
    with pytest.raises(PermanentError) as caught:
        make(params)
    assert str(caught.value) == "no row is usable for training: 1 empty (a.jsonl row 1)"


def test_empty_tables_are_refused(server: FileServer, new_params: NewParams) -> None:
    with pytest.raises(PermanentError, match=r"none of the files has rows: .*/a\.csv"):
        make(new_params(server.add("/a.csv", b"prompt,completion\n")))
    buffer = io.BytesIO()
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), buffer)
    with pytest.raises(PermanentError, match="none of the files has rows"):
        make(new_params(server.add("/a.parquet", buffer.getvalue())))


def test_one_of_several_files_may_have_no_rows(server: FileServer, new_params: NewParams) -> None:
    empty = [server.add("/a.csv", b"prompt,completion\n"), server.add("/b.jsonl", b"")]
    params = new_params(*empty, server.add("/c.jsonl", jsonl(rows(5))))
    assert make(params).rows == 5
    record = json.loads((params.work_dir / "dataset" / "dataset.json").read_text())
    assert [file["rows"] for file in record["files"]] == [0, 0, 5]


def test_a_column_that_only_later_rows_have_is_read(
    server: FileServer, new_params: NewParams
) -> None:
    early = [{"instruction": f"I{n}", "output": f"O{n}"} for n in range(300)]
    late = {"instruction": "I300", "input": "Land300", "output": "O300"}
    params = new_params(server.add("/a.jsonl", jsonl([*early, late])))
    make(params)
    assert "I300\n\nLand300" in questions(both(params))


def test_a_later_column_that_matters_is_not_left_out(
    server: FileServer, new_params: NewParams
) -> None:
    early = [{"prompt": f"I{n}", "completion": f"O{n}"} for n in range(300)]
    url = server.add("/a.jsonl", jsonl([*early, early[0] | {"images": ["x"]}]))
    with pytest.raises(PermanentError, match="columns 'images' would be left out"):
        make(new_params(url))


def test_columns_that_were_not_read_are_in_the_record(
    server: FileServer, new_params: NewParams, caplog: pytest.LogCaptureFixture
) -> None:
    url = server.add("/a.jsonl", jsonl([row | {"id": 1, "source": "x"} for row in rows(5)]))
    params = new_params(url)
    make(params)
    record = json.loads((params.work_dir / "dataset" / "dataset.json").read_text())
    assert record["files"][0]["unused_columns"] == ["id", "source"]
    assert f"columns-unused file={url} columns=id,source" in caplog.text


def test_answers_that_are_not_learned_are_counted_and_marked(
    server: FileServer, new_params: NewParams
) -> None:
    row = chat("q", "a")["messages"]
    twice = [*row[:1], row[1] | {"weight": 0}, *chat("q2", "a2")["messages"]]
    both_learned = [*row, *chat("q2", "a2")["messages"]]
    url = server.add("/a.jsonl", jsonl([{"messages": twice}, {"messages": both_learned}]))
    params = new_params(url, validation_share=0.0)
    # The same texts, of which another part is learned, are another row.
    assert make(params).duplicate_rows == 0
    table = pq.read_table(params.work_dir / "dataset" / "train.parquet").to_pylist()
    assert [[message["learned"] for message in row["messages"]] for row in table] == [
        [False, False, False, True],
        [False, True, False, True],
    ]
    record = json.loads((params.work_dir / "dataset" / "dataset.json").read_text())
    assert record["unlearned_answers"] == 1


def test_lines_that_are_no_rows_are_said_with_the_reason(
    server: FileServer, new_params: NewParams
) -> None:
    url = server.add("/a.jsonl", b"{'prompt': 'x'}\n" * 20)
    with pytest.raises(PermanentError, match=r"20 not_parsed \(a.jsonl row 1, 2, 3; the first: it"):
        make(new_params(url))


def test_fields_of_messages_that_were_not_read_are_in_the_record(
    server: FileServer, new_params: NewParams, caplog: pytest.LogCaptureFixture
) -> None:
    found = [chat(f"Question {n}?", "a") for n in range(20)]
    for n, row in enumerate(found):
        row["messages"][n % 2][["id", "timestamp"][n % 2]] = n
    for content in (jsonl(found), parquet(found)):
        url = server.add("/a", content)
        params = new_params(url)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert make(params).rows == 20
        record = json.loads((params.work_dir / "dataset" / "dataset.json").read_text())
        assert record["files"][0]["unused_fields"] == ["id", "timestamp"]
        lines = [line for line in caplog.messages if "message-fields-unused" in line]
        assert lines == [f"message-fields-unused file={url} fields=id,timestamp"]
        (params.work_dir / "dataset" / "dataset.json").unlink()


def test_calls_of_tools_reach_the_dataset(server: FileServer, new_params: NewParams) -> None:
    def row(n: int) -> dict[str, Any]:
        call = {"name": "f", "arguments": json.dumps({"n": n})}
        return {
            "messages": [
                {"role": "user", "content": "q", "name": "Ada"},
                {"role": "assistant", "content": None, "tool_calls": [{"function": call}]},
                {"role": "tool", "content": "3", "tool_call_id": "1"},
                {"role": "assistant", "content": "a", "reasoning": "Hm."},
            ],
            "tools": json.dumps([{"name": "f"}]),
        }

    digests = []
    for content in (jsonl([row(n) for n in range(4)]), parquet([row(n) for n in range(4)])):
        params = new_params(
            server.add("/a", content), work=f"work{len(content)}", validation_share=0.0
        )
        digests.append(make(params).digest)
        path = params.work_dir / "dataset" / "train.parquet"
        batch = pq.read_table(path).combine_chunks().to_batches()[0]
        call = {"type": "function", "function": {"name": "f", "arguments": {"n": 2}}}
        assert read_batch(batch)[2] == Conversation(
            messages=[
                {"role": "user", "content": "q", "name": "Ada"},
                {"role": "assistant", "content": "", "tool_calls": [call]},
                {"role": "tool", "content": "3", "tool_call_id": "1"},
                {"role": "assistant", "content": "a", "reasoning_content": "Hm."},
            ],
            learned=[False, True, False, True],
            tools=[{"type": "function", "function": {"name": "f"}}],
        )
    assert digests[0] == digests[1]


def test_rows_that_differ_in_their_calls_alone_are_no_duplicates(
    server: FileServer, new_params: NewParams
) -> None:
    def row(n: int, tool: str) -> dict[str, Any]:
        call = {"name": "f", "arguments": {"n": n}}
        turns = [
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": "", "tool_calls": [call]},
        ]
        return {"messages": turns, "tools": [{"name": tool}]}

    params = new_params(server.add("/a", jsonl([row(1, "f"), row(2, "f"), row(1, "g")] * 2)))
    result = make(params)
    assert (result.rows, result.duplicate_rows) == (6, 3)


def test_wrong_column_lists_those_that_are_there(server: FileServer, new_params: NewParams) -> None:
    url = server.add("/a.csv", b"Question,Answer\nq,a\n")
    with pytest.raises(PermanentError) as caught:
        make(new_params(url, context_column="question", response_column="Answer"))
    assert str(caught.value) == (
        f"{url}: context_column 'question' is not a column of the file; "
        "the file has 'Question' (text), 'Answer' (text)"
    )


def test_columns_of_the_plan_are_used(server: FileServer, new_params: NewParams) -> None:
    url = server.add("/a.csv", b"Question,Answer\nq1,a1\nq2,a2\n")
    params = new_params(url, context_column="Question", response_column="Answer")
    make(params)
    assert questions(both(params)) == {"q1", "q2"}


def test_truncated_parquet_is_said(server: FileServer, new_params: NewParams) -> None:
    content = parquet(rows(50))[:-20]
    url = server.add("/a.parquet", content)
    with pytest.raises(PermanentError) as caught:
        make(new_params(url))
    assert str(caught.value) == (
        f"{url}: it begins as parquet but is truncated after {len(content)} bytes; upload the "
        "file again"
    )


@pytest.mark.parametrize(
    "url", ["http://10.0.0.1/a", "http://169.254.169.254/a", "http://data.svc.cluster.local/a"]
)
def test_internal_address_is_refused_before_any_request(
    server: FileServer, new_params: NewParams, url: str
) -> None:
    good = server.add("/a", jsonl(rows(5)))
    with pytest.raises(ParamsError, match=r"^--urls\[1\]: "):
        make(new_params(good, url))
    assert server.requests == []


def test_loopback_is_refused_unless_asked_for(server: FileServer, new_params: NewParams) -> None:
    url = server.add("/a", jsonl(rows(5)))
    with pytest.raises(ParamsError, match="--allow-loopback allows this machine's addresses"):
        make(new_params(url, allow_loopback=False))
    assert server.requests == []


def test_mirror_of_the_network_can_be_allowed(server: FileServer, new_params: NewParams) -> None:
    url = server.add("/a", jsonl(rows(5)))
    host = f"127.0.0.1:{server.address[1]}"
    assert make(new_params(url, allow_loopback=False, allowed_hosts=(host,))).rows == 5


def test_no_url_is_refused(new_params: NewParams) -> None:
    with pytest.raises(ParamsError, match="--urls: empty"):
        make(new_params())


def test_finished_dataset_is_found_again(server: FileServer, new_params: NewParams) -> None:
    params = new_params(server.add("/a", jsonl(rows(50))))
    first = make(params)
    server.requests.clear()
    assert make(params) == first
    assert server.requests == []


def test_other_settings_make_the_dataset_anew_from_the_same_downloads(
    server: FileServer, new_params: NewParams
) -> None:
    url = server.add("/a", jsonl(rows(50)))
    make(new_params(url))
    server.requests.clear()
    assert make(new_params(url, validation_share=0.0)).validation_rows == 0
    assert server.requests == []


def test_damaged_dataset_is_made_anew(server: FileServer, new_params: NewParams) -> None:
    params = new_params(server.add("/a", jsonl(rows(50))))
    first = make(params)
    os.truncate(params.work_dir / "dataset" / "train.parquet", 10)
    assert make(params) == first
    assert len(both(params)) == 50


def test_changed_local_file_is_read_again(tmp_path: Path, new_params: NewParams) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(jsonl(rows(50)))
    assert make(new_params(path.as_uri())).rows == 50
    path.write_bytes(jsonl(rows(51)))
    assert make(new_params(path.as_uri())).rows == 51


def test_unchanged_data_and_plan_are_reported_when_asked_for(
    server: FileServer, new_params: NewParams, tmp_path: Path
) -> None:
    history = tmp_path / "history.json"
    url = server.add("/a", jsonl(rows(50)))
    settings: dict[str, Any] = {"history_file": history, "only_if_changed": True}
    params = new_params(url, **settings)
    first = make(params)
    assert first.changed
    record_deployed(
        history,
        Deployed(
            dataset_digest=first.digest,
            plan_digest=digest_of_plan(params.plan_file),
            reference="image",
        ),
    )
    assert not make(params).changed
    assert make(new_params(url, history_file=history)).changed
    assert make(new_params(url, **settings, split_seed=5)).changed
    more = server.add("/a?v=2", jsonl(rows(51)))
    assert make(new_params(more, **settings)).changed


def test_what_was_only_pushed_is_tuned_again_for_a_service(
    server: FileServer, new_params: NewParams, tmp_path: Path
) -> None:
    history = tmp_path / "history.json"
    settings: dict[str, Any] = {"history_file": history, "only_if_changed": True}
    params = new_params(server.add("/a", jsonl(rows(50))), **settings)
    record_deployed(history, dataclasses.replace(inputs_of(params), was_deployed=False))
    assert make(params).changed
    assert not make(dataclasses.replace(params, deploy_to="none")).changed


def test_data_whose_adapter_was_rejected_are_not_tuned_on_each_night(
    server: FileServer, new_params: NewParams, tmp_path: Path
) -> None:
    history = tmp_path / "history.json"
    settings: dict[str, Any] = {"history_file": history, "only_if_changed": True}
    deployed = new_params(server.add("/a", jsonl(rows(50))), **settings)
    record_deployed(history, inputs_of(deployed))
    rejected = new_params(server.add("/a?v=2", jsonl(rows(51))), **settings)
    record_rejected(history, Rejected(**vars(inputs_of(rejected))))
    assert not make(rejected).changed
    assert not make(deployed).changed
    assert make(new_params(server.add("/a?v=3", jsonl(rows(52))), **settings)).changed
    assert make(new_params(server.add("/a?v=2", jsonl(rows(51))), history_file=history)).changed


def test_what_was_rejected_is_tuned_on_again_where_it_would_be_judged_otherwise(
    server: FileServer, new_params: NewParams, tmp_path: Path
) -> None:
    history = tmp_path / "history.json"
    settings: dict[str, Any] = {"history_file": history, "only_if_changed": True}
    url = server.add("/a", jsonl(rows(50)))
    params = new_params(url, **settings, gate="strict")
    lost_to_v2 = Rejected(**vars(inputs_of(params)), gate="strict", live="sha256:2")
    record_rejected(history, lost_to_v2)
    assert not make(params).changed
    assert not make(new_params(url, **settings)).changed, "an earlier plan step says nothing"
    assert make(new_params(url, **settings, gate="mild")).changed
    record_live(history, "sha256:2")
    assert not make(params).changed
    record_live(history, "sha256:1")
    assert make(params).changed, "a rollback"
    # A person's no, and an adapter that is no better than the base model.
    record_rejected(history, dataclasses.replace(lost_to_v2, gate="", live=""))
    assert not make(new_params(url, **settings, gate="mild")).changed
    # What a rollback took out of service is not made again.
    record_deployed(history, inputs_of(params))
    assert not make(params).changed


def inputs_of(params: Params) -> Deployed:
    """What is recorded of an adapter of these data."""
    return Deployed(
        dataset_digest=make(params).digest, plan_digest=digest_of_plan(params.plan_file)
    )


def test_unchanged_data_are_tuned_on_again_where_the_weights_changed(
    server: FileServer, new_params: NewParams, tmp_path: Path
) -> None:
    """The plan names them, and stays the same."""
    history, weights = tmp_path / "history.json", tmp_path / "weights"
    weights.mkdir()
    (weights / "model.safetensors").write_bytes(b"1")
    params = new_params(
        server.add("/a", jsonl(rows(50))), history_file=history, only_if_changed=True
    )

    def made_from(source: str) -> Result:
        plan = read_plan(params.plan_file)
        model = msgspec.structs.replace(plan.model, source=source)
        plan = msgspec.structs.replace(plan, model=model)
        write_plan(params.plan_file, plan)
        first = make(params)
        deployed = Deployed(
            dataset_digest=first.digest,
            plan_digest=digest_of_plan(params.plan_file),
            reference="image",
            base_version=version_of(model) or "",
        )
        record_deployed(history, deployed)
        return make(params)

    assert not made_from(f"dir:{weights}").changed
    (weights / "model.safetensors").write_bytes(b"2")
    assert make(params).changed
    assert not made_from(f"oci:r.io/a@sha256:{64 * 'a'}").changed
    assert made_from("oci:r.io/a:latest").changed, "nobody asked the registry"


def test_progress_ends_at_its_total(
    server: FileServer, new_params: NewParams, tmp_path: Path
) -> None:
    path = tmp_path / "progress"
    urls = [server.add("/a", jsonl(rows(500))), server.add("/b", parquet(rows(50, start=1000)))]
    run(new_params(*urls), progress=Progress(path, interval_seconds=0.0))
    counts = [tuple(map(int, line.split("/"))) for line in path.read_text().splitlines()]
    assert counts == sorted(counts)
    assert counts[-1][0] == counts[-1][1] > 0


def test_step_as_a_process_says_what_is_wrong_in_its_last_line(
    server: FileServer, new_params: NewParams, tmp_path: Path
) -> None:
    params = new_params(server.add("/a.csv", b"a,b\n1,2\n"))
    command = [sys.executable, "-m", "argotune.steps.dataset", "--allow-loopback", "true"]
    command += ["--urls", json.dumps(params.urls), "--plan-file", str(params.plan_file)]
    command += ["--work-dir", str(params.work_dir), "--outputs-dir", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"error: {server.url('/a.csv')}: no known conversation columns")
    assert "Traceback" not in done.stderr


def test_plan_is_left_as_it_is(server: FileServer, new_params: NewParams) -> None:
    params = new_params(server.add("/a", jsonl(rows(5))))
    before = read_plan(params.plan_file)
    make(params)
    assert read_plan(params.plan_file) == before
