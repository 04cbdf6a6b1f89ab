import pytest

from argotune.workflows.engine.errors import EngineError
from argotune.workflows.engine.state.load import parse_documents


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


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: [", "x.yaml: not valid YAML: "),
        ("kind: 0x_", "x.yaml: not valid YAML: "),
        ("[" * 200_000, "x.yaml: not valid YAML: over 100 lists and mappings inside one another"),
        ("just words", "x.yaml: expected a Kubernetes object with a kind"),
        ("kind: A\n---\n[]", "x.yaml (document 2): expected a Kubernetes object with a kind"),
    ],
)
def test_what_is_no_object_is_refused(text: str, problem: str) -> None:
    with pytest.raises(EngineError) as caught:
        parse_documents(text, "x.yaml")
    assert [found.startswith(problem) for found in caught.value.problems] == [True]
