"""argotune install against a registry and an API server on loopback, with skopeo itself."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from argotune.steps.common.yaml_limits import SafeLoader
from tests.fakes import registry as fake
from tests.fakes.apply import ApiServer
from tests.fakes.tls import self_signed, server_context
from tests.workflows.cli.command import Argotune
from tests.workflows.cli.step_images import STEPS, TAG, push

ANNOTATION = "argotune.dev/installed"


@pytest.fixture
def registry() -> Iterator[fake.Registry]:
    with fake.serving() as server:
        yield server


def images_in(template: dict[str, Any]) -> dict[str, str]:
    """Every image of the steps that the template names, by step; one step has one image."""
    # push states them all, in a list within an argument.
    text = json.dumps(template["spec"]).replace("\\", "")
    found = set(re.findall(r'([^\s"=]+/argotune-([a-z]+):[^"]+)"', text))
    images = {step: image for image, step in found}
    assert len(images) == len(found)
    return images


def decided(api: ApiServer) -> dict[str, str]:
    """The settings that the installed template keeps."""
    template = api.named("workflowtemplates/finetune")
    found: dict[str, str] = json.loads(template["metadata"]["annotations"][ANNOTATION])
    return found


def by_digest(registry: fake.Registry, digests: dict[str, str]) -> dict[str, str]:
    """The images as they stand in a template; those without a digest by their tag."""
    return {
        step: f"{registry.host}/argotune/argotune-{step}:{TAG}"
        + (f"@{digests[step]}" if step in digests else "")
        for step in STEPS
    }


def test_templates_name_the_digests_that_the_tag_points_to(
    argotune: Argotune, api: ApiServer, registry: fake.Registry
) -> None:
    digests = push(registry, "first")
    answer = argotune("install", f"--images-registry={registry.host}/argotune")
    assert (answer.code, answer.err) == (0, "")
    template = api.named("workflowtemplates/finetune")
    assert images_in(template) == by_digest(registry, digests)
    assert json.loads(decided(api)["images-digests"])
    release = {"release": by_digest(registry, digests)["release"]}
    assert images_in(api.named("workflowtemplates/gc")) == release
    moved = push(registry, "second")
    assert argotune("install").code == 0
    assert images_in(api.named("workflowtemplates/finetune")) == by_digest(registry, moved)


def test_without_digests_the_registry_is_not_asked_until_they_are_wanted_again(
    argotune: Argotune, api: ApiServer, registry: fake.Registry
) -> None:
    digests = push(registry, "first")
    argotune("install", f"--images-registry={registry.host}/argotune", "--no-digests")
    answer = argotune("install")
    assert (answer.code, answer.err, registry.requests) == (0, "", [])
    assert images_in(api.named("workflowtemplates/finetune")) == by_digest(registry, {})
    argotune("install", "--digests")
    assert images_in(api.named("workflowtemplates/finetune")) == by_digest(registry, digests)


def test_an_image_without_a_digest_stays_by_tag_with_a_warning(
    argotune: Argotune, api: ApiServer, registry: fake.Registry
) -> None:
    digests = push(registry, "first", [step for step in STEPS if step not in ("push", "tune")])
    answer = argotune("install", f"--images-registry={registry.host}/argotune")
    assert answer.code == 0
    assert images_in(api.named("workflowtemplates/finetune")) == by_digest(registry, digests)
    (warning,) = answer.err.splitlines()
    assert warning.startswith(
        "warning: images of push, tune are installed by tag, and change when somebody pushes to "
        f"{registry.host}/argotune: {registry.host}/argotune/argotune-push:{TAG}: "
    )
    assert "manifest unknown" in warning
    assert warning.endswith(
        "; likewise tune; install again when that is mended, or with --no-digests where this "
        "machine cannot reach the registry"
    )


def test_a_tag_that_the_registry_has_not_is_refused(
    argotune: Argotune, api: ApiServer, registry: fake.Registry
) -> None:
    digests = push(registry, "first")
    command = ("install", f"--images-registry={registry.host}/argotune")
    argotune(*command)
    answer = argotune("install", "--images-tag=nope")
    (problem,) = answer.errors
    assert (answer.code, answer.out) == (3, "")
    assert problem.startswith(
        f"--images-tag nope: {registry.host}/argotune has no step image of this tag:"
        f" {registry.host}/argotune/argotune-plan:nope: "
    )
    assert problem.endswith("; --no-digests installs a tag before its images are there")
    del registry.manifests["argotune/argotune-tune", TAG]
    (problem,) = argotune("install").errors
    assert problem.startswith(
        f"--images-tag {TAG}: {registry.host}/argotune has no image of tune of this tag: "
    )
    assert images_in(api.named("workflowtemplates/finetune")) == by_digest(registry, digests)
    assert argotune("install", "--images-tag=nope", "--no-digests").code == 0
    assert decided(api)["images-tag"] == "nope"


def test_a_registry_that_does_not_answer_is_waited_for_once(
    argotune: Argotune, api: ApiServer, registry: fake.Registry
) -> None:
    registry.faults.append(fake.Fault("GET", "^/v2/", times=99, status=503))
    answer = argotune("install", f"--images-registry={registry.host}/argotune")
    assert answer.code == 0
    assert images_in(api.named("workflowtemplates/finetune")) == by_digest(registry, {})
    assert "503" in answer.err
    assert not registry.count("GET", "argotune-tune")


def test_the_login_is_that_of_the_person_who_installs(
    argotune: Argotune,
    api: ApiServer,
    registry: fake.Registry,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    registry.login = True
    digests = push(registry, "first")
    logins = tmp_path / "logins.json"
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(logins))
    command = ("install", f"--images-registry={registry.host}/argotune")
    assert (
        f"`skopeo login {registry.host}`, like docker's, leaves a login" in argotune(*command).err
    )
    logins.write_text(fake.docker_config(registry.host))
    assert argotune(*command).err == ""
    assert images_in(api.named("workflowtemplates/finetune")) == by_digest(registry, digests)


def test_the_registry_is_trusted_by_the_authority_that_is_installed(
    argotune: Argotune, api: ApiServer, tmp_path: Path
) -> None:
    certificate, key = self_signed(tmp_path, ["127.0.0.1"])
    (tmp_path / "other").mkdir()
    other, _ = self_signed(tmp_path / "other", ["127.0.0.1"])
    with fake.serving(tls=server_context(certificate, key)) as registry:
        digests = push(registry, "first")
        command = ("install", f"--images-registry={registry.host}/argotune")
        assert "x509" in argotune(*command, f"--ca-file={other}").err
        # Without one, a registry of this machine would not be checked at all.
        assert "x509" in argotune("install").err
        assert argotune("install", f"--ca-file={certificate}").err == ""
    assert images_in(api.named("workflowtemplates/finetune")) == by_digest(registry, digests)


def test_printed_objects_name_them_too(argotune: Argotune, registry: fake.Registry) -> None:
    digests = push(registry, "first")
    answer = argotune(
        "install", "-n", "a", f"--images-registry={registry.host}/argotune", "-o", "yaml"
    )
    templates = [
        item
        for item in yaml.load_all(answer.out, Loader=SafeLoader)
        if (item["kind"], item["metadata"]["name"]) == ("WorkflowTemplate", "finetune")
    ]
    assert [images_in(item) for item in templates] == [by_digest(registry, digests)]
