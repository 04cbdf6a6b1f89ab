"""The operator in a cluster with Kaito's definition of Workspaces: that stays as it is, and so do
all Workspaces that do not ask for argotune. No run, a minute.

Kaito itself is not there: it would work on all of them too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import pytest

from argotune.workflows.cli.installation.objects import MANAGED_BY, MANAGER
from tests.e2e import kaito
from tests.e2e.cluster import Cluster, Object, run, wait_for
from tests.e2e.conftest import namespace_of_its_own
from tests.e2e.operator import API, WORKSPACES, apply, define_workspaces, established, workspace
from tests.e2e.site import argotune, images, tag

pytestmark = [pytest.mark.cluster, pytest.mark.shard5, pytest.mark.timeout(900)]

_SECONDS = 180
"""Longest wait: the operator's pods begin meanwhile."""


@dataclass(frozen=True, kw_only=True)
class Beside:
    """What was seen."""

    definitions: list[Object]
    """Kaito's, as the API server has it: at first, with an operator at work, after its end."""
    said: str
    """By `argotune install`."""
    managed: Object
    """The Workspace with the annotation, which cannot be run."""
    unmanaged: Object
    events: list[Object]
    """About the latter."""
    left: Object
    """The Workspace with the annotation after `argotune uninstall`."""


@pytest.fixture(scope="module")
def beside(api: httpx.Client, stories_told: None) -> Iterator[Beside]:
    """One life of an operator; other tests and stories of the session need Workspaces no more."""
    with kaitos_definition(), namespace_of_its_own(api) as place:
        definitions = [definition()]
        flags = ("--models-size=1Gi", "--volume-size=1Gi", "--no-digests", "--operator")
        said = argotune(
            "install",
            f"--namespace={place.namespace}",
            f"--images-registry={images()}",
            f"--images-tag={tag()}",
            *flags,
            seconds=_SECONDS,
        )
        try:
            for preset in ("tinny", "tinnier"):
                apply(place, bad("unmanaged", preset), bad("managed", preset, managed="true"))
                managed = refused(place, preset)
            definitions.append(definition())
            unmanaged = found(place, "unmanaged")
            events = place.items("v1", "events", fieldSelector="involvedObject.name=unmanaged")
        finally:
            argotune("uninstall", f"--namespace={place.namespace}", seconds=_SECONDS)
        definitions.append(definition())
        yield Beside(
            definitions=definitions,
            said=said,
            managed=managed,
            unmanaged=unmanaged,
            events=events,
            left=found(place, "managed"),
        )


@contextmanager
def kaitos_definition() -> Iterator[None]:
    """Have Kaito's definition in the cluster until the block ends; then that of before."""
    before = run("kubectl", "get", "crd", WORKSPACES, "--ignore-not-found", "-o", "json")
    if before:
        labels = json.loads(before)["metadata"].get("labels") or {}
        if labels.get(MANAGED_BY) != MANAGER:
            pytest.skip(f"the cluster has another {WORKSPACES}, which is not the tests' to delete")
        everywhere = ("get", WORKSPACES, "--all-namespaces", "-o", "name")
        wait_for(
            "end of all Workspaces",
            lambda: not run("kubectl", *everywhere).strip(),
            seconds=_SECONDS,
            explain=lambda: run("kubectl", *everywhere),
        )
        run("kubectl", "delete", "crd", WORKSPACES)
    try:
        text = json.dumps(kaito.definition())
        run("kubectl", "create", "--field-manager=helm", "-f", "-", text=text)
        established()
        yield
    finally:
        run("kubectl", "delete", "crd", WORKSPACES)
        if before:
            define_workspaces()


def definition() -> Object:
    found: Object = json.loads(
        run("kubectl", "get", "crd", WORKSPACES, "--show-managed-fields", "-o", "json")
    )
    return found


def bad(name: str, preset: str, **annotations: str) -> Object:
    """A Workspace of a preset that there is not."""
    manifest = workspace(name, **annotations)
    return {**manifest, "tuning": {**manifest["tuning"], "preset": {"name": preset}}}


def found(place: Cluster, name: str) -> Object:
    item = place.read(API, "workspaces", name)
    assert item is not None
    return item


def refused(place: Cluster, preset: str) -> Object:
    """The managed Workspace once its conditions say what is wrong with it."""

    def look() -> Object | None:
        item = found(place, "managed")
        told = [each["message"] for each in item.get("status", {}).get("conditions", [])]
        return item if any(f"'{preset}'" in text for text in told) else None

    return wait_for(
        f"refusal of {preset}",
        look,
        seconds=_SECONDS,
        explain=lambda: place.kubectl("get", "pods,events"),
    )


def test_the_definition_stays_as_kaito_brought_it(beside: Beside) -> None:
    at_first, with_operator, after_its_end = beside.definitions
    assert [each["manager"] for each in at_first["metadata"]["managedFields"]][:1] == ["helm"]
    assert with_operator == at_first
    assert after_its_end == at_first
    assert 'argotune.dev/managed: "true" alone' in beside.said


def test_a_workspace_without_the_annotation_is_not_touched(beside: Beside) -> None:
    metadata = beside.unmanaged["metadata"]
    assert "finalizers" not in metadata
    assert [name for name in metadata["annotations"] if "argotune" in name] == []
    assert {each["manager"] for each in metadata["managedFields"]} == {"kubectl-client-side-apply"}
    assert "status" not in beside.unmanaged
    assert beside.events == []


def test_one_with_it_gets_its_conditions_and_is_let_go_in_the_end(beside: Beside) -> None:
    conditions = {each["type"]: each["status"] for each in beside.managed["status"]["conditions"]}
    assert conditions["Planned"] == conditions["WorkspaceSucceeded"] == "False"
    # Kaito's definition has no such field.
    assert "argotune" not in beside.managed["status"]
    assert beside.managed["metadata"]["finalizers"] == ["argotune.dev/operator"]
    assert "finalizers" not in beside.left["metadata"]
