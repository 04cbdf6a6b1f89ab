"""The graph of the template in the README, as Mermaid."""

from __future__ import annotations

import pytest

from argotune.workflows.templates.golden import mermaid, page_with_graph

TEMPLATE = {
    "spec": {
        "entrypoint": "main",
        "onExit": "end",
        "templates": [
            *({"name": name, "container": {}} for name in ("a", "b-2", "c")),
            {"name": "wait", "suspend": {}},
            {
                "name": "end",
                "steps": [[{"name": "clean-up"}, {"name": "tell", "when": "1 == 2"}]],
            },
            {
                "name": "main",
                "dag": {
                    "tasks": [
                        {"name": "a"},
                        {"name": "b-2", "depends": "a"},
                        {"name": "c", "depends": "a.Succeeded && (b-2.Failed || wait)"},
                        {"name": "wait", "depends": "b-2"},
                    ]
                },
            },
        ],
    }
}


def test_a_step_hangs_on_what_it_waits_for_whatever_the_state() -> None:
    assert mermaid(TEMPLATE).splitlines() == [
        "flowchart LR",
        "  subgraph main",
        "    a --> b-2",
        "    a --> c",
        "    b-2 --> c",
        "  end",
        "  main -. always .-> clean-up",
    ]


def test_a_page_without_a_place_for_it_is_an_error() -> None:
    with pytest.raises(SystemExit, match="no Mermaid block"):
        page_with_graph("# argotune\n")
