from pathlib import Path

import pytest

from workflows.engine.errors import EngineError
from workflows.engine.load import load_documents, parse_documents


def test_scalars_are_read_as_argo_reads_them() -> None:
    text = "kind: K\nv: [yes, n, 010, 1_000, 0x1f, 1e3, 1:30, 2024-01-02, ~, '5', .5, 0o17]"
    assert parse_documents(text, "x")[0]["v"] == [
        True, False, 8, 1000, 31, 1000.0, "1:30", "2024-01-02", None, "5", 0.5, 15,
    ]  # fmt: skip


def test_keys_stay_strings() -> None:
    assert parse_documents("kind: K\ndata: {1: a, yes: b}", "x")[0]["data"] == {
        "1": "a",
        "yes": "b",
    }


def test_lists_are_opened_and_empty_documents_left_out() -> None:
    text = "---\n---\nkind: List\nitems: [{kind: A}, {kind: B}]\n---\nkind: C\n"
    assert [document["kind"] for document in parse_documents(text, "x")] == ["A", "B", "C"]


def test_a_key_that_occurs_twice_is_refused() -> None:
    with pytest.raises(EngineError, match="key 'kind' occurs twice"):
        parse_documents("kind: A\nkind: B", "x.yaml")


def test_every_unreadable_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("a: [")
    (tmp_path / "text.yaml").write_text("just words")
    paths = [tmp_path / "broken.yaml", tmp_path / "text.yaml", tmp_path / "absent.yaml"]
    with pytest.raises(EngineError) as caught:
        load_documents(paths)
    assert [problem.split(": ")[0] for problem in caught.value.problems] == [
        str(path) for path in paths
    ]
    assert caught.value.problems[1].endswith("expected a Kubernetes object with a kind")
