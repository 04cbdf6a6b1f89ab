"""What doctor says of the images' digests, with a registry on loopback and skopeo itself."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from argotune.workflows.cli.checks.digests import digests
from tests.fakes import registry as fake
from tests.workflows.cli.checks.cluster import REGISTRY, SPACE, healthy, look, messages
from tests.workflows.cli.step_images import STEPS, TAG, push
from tests.workflows.installed import decide

TEMPLATE = f"/apis/argoproj.io/v1alpha1/namespaces/{SPACE}/workflowtemplates/finetune"


@pytest.fixture
def registry() -> Iterator[fake.Registry]:
    with fake.serving() as server:
        yield server


def said(registry: fake.Registry, installed: dict[str, str]) -> list[str]:
    """The findings on an installation with these digests."""
    cluster = healthy()
    decide(
        cluster.objects[TEMPLATE],
        images_registry=f"{registry.host}/argotune",
        images_digests=json.dumps(installed),
    )
    return messages(look(cluster, digests))


def listed(found: dict[str, str]) -> str:
    return ", ".join(f"{step} {digest[:19]}" for step, digest in found.items())


def test_the_digests_are_shown_and_those_that_moved(registry: fake.Registry) -> None:
    installed = push(registry, "first")
    shown = f"ok: images of {registry.host}/argotune by digest: {listed(installed)}"
    assert said(registry, installed) == [shown]
    moved = push(registry, "second", ["plan", "serve"])
    assert said(registry, installed) == [
        shown,
        f"warning: tag {TAG} points elsewhere now: {listed(moved)}; runs keep to what is installed",
    ]


def test_what_cannot_be_compared_is_told(registry: fake.Registry) -> None:
    installed = push(registry, "first", ["plan"])
    registry.manifests.clear()
    by_tag, shown, unknown = said(registry, installed)
    assert by_tag.startswith(f"warning: images by tag {TAG} alone: {', '.join(STEPS[1:])}; ")
    assert shown == f"ok: images of {registry.host}/argotune by digest: {listed(installed)}"
    assert unknown.startswith(f"unknown: whether tag {TAG} still points to them: {registry.host}/")


def test_an_image_that_nobody_pushed_is_told_with_the_registrys_reason(
    registry: fake.Registry,
) -> None:
    installed = push(registry, "first", [step for step in STEPS if step != "vllm"])
    missing, _ = said(registry, installed)
    assert missing.startswith(
        f"warning: images by tag {TAG} alone: vllm; steps and services that need them fail: "
        f"{registry.host}/argotune/argotune-vllm:{TAG}: "
    )
    assert "manifest unknown" in missing
    push(registry, "first", ["vllm"])
    found, _ = said(registry, installed)
    assert found == f"info: images by tag {TAG} alone: vllm; the registry has them now"


def test_images_by_tag_alone_are_told() -> None:
    (found,) = look(healthy(), digests)
    assert found.message == (
        f"images by tag {TAG} alone: {', '.join(STEPS)}; they change when somebody pushes to "
        f"{REGISTRY}"
    )
    assert found.command == f"argotune install -n {SPACE} --digests"
