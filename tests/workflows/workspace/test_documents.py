"""Files of several documents: which may stand there, and where an error is."""

from __future__ import annotations

import pytest

from tests.workflows.workspace.helpers import CONFIG_MAP, WORKSPACE, problems_of

KINDS = "accepted are Workspace, ConfigMap, Secret and List"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "one.yaml: no Workspace; one is expected"),
        (CONFIG_MAP, "one.yaml: no Workspace; one is expected"),
        (
            "apiVersion: kaito.sh/v1beta1\n",
            f"one.yaml: line 1: kind: missing; {KINDS}",
        ),
        ("- a\n", f"one.yaml: line 1: not a mapping; {KINDS}"),
        (
            WORKSPACE + "---\nkind: Deployment\n",
            f"one.yaml: line 22: kind: 'Deployment'; {KINDS}",
        ),
        (
            WORKSPACE.replace("v1beta1", "v1"),
            "one.yaml: line 1: apiVersion: 'kaito.sh/v1'; accepted are kaito.sh/v1beta1 and "
            "kaito.sh/v1alpha1",
        ),
        (
            WORKSPACE.replace("apiVersion: kaito.sh/v1beta1\n", ""),
            "one.yaml: line 1: apiVersion: missing; accepted are kaito.sh/v1beta1 and "
            "kaito.sh/v1alpha1",
        ),
        (
            WORKSPACE + "---\n" + WORKSPACE,
            "one.yaml: line 22: a second Workspace, the first is at one.yaml: line 1; put each "
            "into a file of its own",
        ),
        (
            WORKSPACE + "---\nkind: ConfigMap\n",
            "one.yaml: line 22: metadata.name: missing; accepted is a text",
        ),
        (
            WORKSPACE.replace("  method: lora\n", "  method: lora\n  method: qlora\n"),
            "one.yaml: line 15, column 3: duplicate key method",
        ),
        (
            WORKSPACE.replace("  method: lora\n", "\tmethod: lora\n"),
            "one.yaml: line 14, column 1: while scanning a plain scalar, found a tab character "
            "that violates indentation",
        ),
    ],
)
def test_problem_of_a_file_names_file_and_line(text: str, problem: str) -> None:
    assert problems_of(text) == [problem]


def test_errors_of_all_files_come_at_once() -> None:
    found = problems_of("a: ]\n", WORKSPACE, "kind: Pod\n")
    assert len(found) == 2
    assert found[0].startswith("one.yaml: line 1, column 4: ")
    assert found[1] == f"three.yaml: line 1: kind: 'Pod'; {KINDS}"


def test_second_workspace_in_another_file_is_refused() -> None:
    assert problems_of(WORKSPACE, WORKSPACE) == [
        "two.yaml: line 1: a second Workspace, the first is at one.yaml: line 1; put each into a "
        "file of its own"
    ]
