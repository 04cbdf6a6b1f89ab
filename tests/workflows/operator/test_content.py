"""What makes another run, and what the runs are called."""

from __future__ import annotations

import re

import pytest
import yaml

from argotune.workflows.operator.content import as_texts, content_digest, run_name
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
