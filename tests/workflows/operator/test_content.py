"""What makes another run, and what the runs are called."""

from __future__ import annotations

import re

import pytest
import yaml

from argotune.steps.common.yaml_limits import MAX_DEPTH
from argotune.workflows.operator.content import (
    MOST_BYTES,
    as_texts,
    content_digest,
    kept,
    run_name,
    unread_problem,
)
from argotune.workflows.workspace.read import is_about_inference
from tests.workflows.workspace.helpers import WORKSPACE, changed


def applied(changes: dict[str, object] | None = None) -> dict[str, object]:
    workspace: dict[str, object] = yaml.safe_load(changed(changes or {}))
    metadata = workspace["metadata"]
    assert isinstance(metadata, dict)
    metadata |= {"namespace": "team-a", "uid": "uid-1", "generation": 3}
    return workspace


def test_a_digest_is_that_of_earlier_versions() -> None:
    """Another one would have every Workspace of every installation run again, on GPUs."""
    assert content_digest(applied(), None) == (
        "4d55c898cf488e00a215eec356567568d103ce4e189a56d1723def431d39b30c"
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"metadata/labels": {"release": "7"}},
        {"status": {"conditions": []}},
        {"apiVersion": "kaito.sh/v1alpha1"},
        {
            "metadata/annotations": {
                "argotune.dev/provider": "existing",
                "argotune.dev/suspend": "true",
                "operator.argotune.dev/run": "my-model-1",
                "helm.sh/chart": "models-2",
            }
        },
    ],
    ids=["labels", "status", "version", "annotations"],
)
def test_what_no_run_is_made_of_does_not_change_it(changes: dict[str, object]) -> None:
    assert content_digest(applied(changes), None) == content_digest(applied(), None)


def test_its_config_map_changes_it() -> None:
    digests = {content_digest(applied(), config) for config in (None, "", "a: 1")}
    assert len(digests) == 3


def test_a_name_follows_from_workspace_content_and_the_run_before() -> None:
    workspace = applied()
    name = run_name(workspace, "digest", "")
    assert name == run_name(applied(), "digest", "")
    others = {
        run_name(workspace, "digest-2", ""),
        run_name(workspace, "digest", name),
        run_name(workspace, "digest", "", what="rollback"),
        run_name({**workspace, "metadata": {**applied()["metadata"], "uid": "2"}}, "digest", ""),  # type: ignore[dict-item]
    }
    assert len(others | {name}) == 5


def test_a_name_is_a_label_whatever_the_workspace_is_called() -> None:
    workspace = applied({"metadata/name": 63 * "a"})
    name = run_name(workspace, "digest", "", what="rollback")
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", name)


def test_the_text_is_what_a_person_would_submit() -> None:
    workspace = applied({"status": {}, "metadata/annotations": {"argotune.dev/managed": "true"}})
    ((source, text),) = as_texts(workspace)
    assert source == "Workspace team-a/my-model"
    document = yaml.safe_load(text)
    assert document["metadata"] == {
        "name": "my-model",
        "namespace": "team-a",
        "labels": {},
        "annotations": {},
    }
    assert "status" not in document
    assert document["tuning"] == yaml.safe_load(WORKSPACE)["tuning"]
    assert not is_about_inference([(source, text)])


def nested(levels: int) -> object:
    found: object = 1
    for _ in range(levels):
        found = {"a": found}
    return found


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (nested(MAX_DEPTH), "nested over 100 deep"),
        (nested(9_000), "nested over 100 deep"),
        ("a" * MOST_BYTES, "over 256 KiB"),
        (dict.fromkeys(map(str, range(MOST_BYTES // 7)), 0), "over 256 KiB"),
        ([{}] * (MOST_BYTES // 3), "over 256 KiB"),
    ],
    ids=["deep", "deeper", "long", "wide", "many"],
)
def test_what_is_too_large_to_be_read_is_not_remembered(part: object, said: str) -> None:
    """Every replica would remember it, and judge it at every look."""
    workspace = applied()
    workspace["tuning"] = {**workspace["tuning"], "x": part}  # type: ignore[dict-item]
    found = kept(workspace)
    assert found.keys() == {"apiVersion", "kind", "metadata"}
    assert unread_problem(found) == f"the Workspace is {said}, and is not read; accepted is less"
    assert kept(found) == found


def test_what_nobody_reads_is_not_remembered() -> None:
    last = "kubectl.kubernetes.io/last-applied-configuration"
    workspace = applied(
        {"metadata/annotations": {last: "{}" * MOST_BYTES, "argotune.dev/gate": "off"}}
    )
    metadata = {**workspace["metadata"], "managedFields": [nested(9_000)]}  # type: ignore[dict-item]
    found = kept({**workspace, "metadata": metadata})
    assert unread_problem(found) == ""
    assert found["tuning"] == workspace["tuning"]
    assert found["metadata"]["annotations"] == {"argotune.dev/gate": "off"}
    assert "managedFields" not in found["metadata"]
    assert content_digest(found, None) == content_digest(workspace, None)
