"""images/build, with builders that only write down what they are told."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.images.containerfile import EXTRAS, IMAGES, ROOT, file_of

_BUILDER = """#!/bin/bash
[[ $1 != info ]] || exit {info}
echo "{name}${{DOCKER_BUILDKIT:+ with BuildKit}}: $*" >> "{calls}"
"""
_TAGGED = {"TAG": "0.1.0", "REGISTRY": "registry.example.com/team"}
_BASE = f" --build-arg BASE={(ROOT / 'images' / 'bases.lock').read_text().strip()}"
"""The argument of a build that names no base."""


class Machine:
    """A PATH that holds only the builders that a test puts there."""

    def __init__(self, directory: Path) -> None:
        self.bin = directory / "bin"
        self.bin.mkdir()
        self._calls = directory / "calls"
        for tool in ("bash", "dirname"):
            found = shutil.which(tool)
            assert found
            (self.bin / tool).symlink_to(found)

    def has(self, builder: str, *, daemon: bool = True) -> None:
        path = self.bin / builder
        info = 0 if daemon else 1
        path.write_text(_BUILDER.format(name=builder, info=info, calls=self._calls))
        path.chmod(0o755)

    def build(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return self._run(arguments, {**_TAGGED, **settings})

    def _run(
        self, arguments: tuple[str, ...], settings: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(ROOT / "images" / "build"), *arguments],
            env={"PATH": str(self.bin), **settings},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    @property
    def calls(self) -> list[str]:
        return self._calls.read_text().splitlines() if self._calls.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def step_of(step: str) -> str:
    """The argument that names the step, which only the small images need."""
    return f" --build-arg STEP={step}" if file_of(step) == "step" else ""


def labels_of(step: str) -> str:
    """The flags that label an image."""
    label = " --label org.opencontainers.image"
    return (
        f"{label}.title=argotune-{step}{label}.version=0.1.0"
        f"{label}.description={step} of argotune, which tunes language models"
        f"{label}.licenses=Apache-2.0"
    )


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2, done.stderr
    return done.stderr.removeprefix("images/build: ").strip()


def test_every_given_step_is_built_and_named_after_registry_step_and_tag(machine: Machine) -> None:
    machine.has("buildah")
    done = machine.build("build", "plan", "push", VERSION="0.1.0", BASE="localhost/python:3.11")
    assert done.returncode == 0, done.stderr
    assert machine.calls == [
        f"buildah with BuildKit: build --layers --timestamp 0 --file images/step.Containerfile"
        f" --tag registry.example.com/team/argotune-{step}:0.1.0 --build-arg STEP={step}"
        f"{labels_of(step)} --build-arg BASE=localhost/python:3.11 ."
        for step in ("plan", "push")
    ]


def test_docker_builds_with_buildkit_and_a_fixed_date(machine: Machine) -> None:
    machine.has("docker")
    machine.build("build", "plan")
    assert machine.calls == [
        "docker with BuildKit: build --build-arg SOURCE_DATE_EPOCH=0"
        " --file images/step.Containerfile --tag registry.example.com/team/argotune-plan:0.1.0"
        f" --build-arg STEP=plan{labels_of('plan')}{_BASE} ."
    ]


def test_builder_flags_and_index_are_passed_on(machine: Machine) -> None:
    machine.has("buildah")
    machine.build(
        "build", "plan", BUILD_FLAGS="--isolation chroot", INDEX="https://pypi.example.com/simple"
    )
    (call,) = machine.calls
    assert call.endswith(" --build-arg INDEX=https://pypi.example.com/simple --isolation chroot .")


@pytest.mark.parametrize(
    ("given", "passed"),
    [
        (None, ""),
        ("", ""),
        ("liger", " --build-arg EXTRAS=liger"),
        ("compile  track compile", " --build-arg EXTRAS=track compile"),
        (" ".join(EXTRAS), f" --build-arg EXTRAS={' '.join(EXTRAS)}"),
    ],
)
def test_extras_are_passed_to_tune_alone(machine: Machine, given: str | None, passed: str) -> None:
    machine.has("podman")
    settings = {} if given is None else {"EXTRAS": given}
    done = machine.build("build", *IMAGES, **settings)
    assert done.returncode == 0, done.stderr
    assert machine.calls == [
        "podman with BuildKit: build --layers --timestamp 0"
        f" --file images/{file_of(step)}.Containerfile"
        f" --tag registry.example.com/team/argotune-{step}:0.1.0{step_of(step)}"
        f"{labels_of(step)}{_BASE}{passed if step == 'tune' else ''} ."
        for step in IMAGES
    ]


def test_an_unknown_extra_is_refused_before_anything_is_built(machine: Machine) -> None:
    machine.has("docker")
    assert refusal(machine.build("build", "plan", "tune", EXTRAS="track,liger")) == (
        "EXTRAS names track,liger; there are: track liger compile lm-eval"
    )
    assert machine.calls == []


def test_extras_without_tune_are_refused(machine: Machine) -> None:
    machine.has("docker")
    assert refusal(machine.build("build", "plan", "serve", EXTRAS="liger")) == (
        "EXTRAS is 'liger', which only tune has; the steps are: plan serve"
    )
    assert machine.calls == []


def test_a_push_needs_no_extras(machine: Machine) -> None:
    machine.has("podman")
    machine.build("push", "plan", EXTRAS="liger")
    assert machine.calls == ["podman: push registry.example.com/team/argotune-plan:0.1.0"]


@pytest.mark.parametrize(
    ("builders", "chosen"),
    [
        (["docker", "podman", "buildah"], "docker"),
        (["podman", "buildah"], "podman"),
        (["buildah"], "buildah"),
    ],
)
def test_the_first_builder_that_is_there_is_taken(
    machine: Machine, builders: list[str], chosen: str
) -> None:
    for builder in builders:
        machine.has(builder)
    machine.build("build", "plan")
    assert [call.split()[0] for call in machine.calls] == [chosen]


def test_docker_without_its_daemon_is_not_taken(machine: Machine) -> None:
    machine.has("docker", daemon=False)
    machine.has("podman")
    machine.build("build", "plan")
    assert [call.split()[0] for call in machine.calls] == ["podman"]


def test_the_builder_can_be_named(machine: Machine) -> None:
    machine.has("docker")
    machine.has("buildah")
    machine.build("build", "plan", BUILDER="buildah")
    assert [call.split()[0] for call in machine.calls] == ["buildah"]


def test_a_machine_without_builder_is_told_what_to_install(machine: Machine) -> None:
    assert refusal(machine.build("build", "plan")) == (
        "neither docker (with its daemon running), podman nor buildah is here; install one"
    )


def test_pushed_under_the_same_names(machine: Machine) -> None:
    machine.has("podman")
    done = machine.build("push", "plan", "serve", PUSH_FLAGS="--cert-dir certs")
    assert done.returncode == 0, done.stderr
    assert machine.calls == [
        f"podman: push --cert-dir certs registry.example.com/team/argotune-{step}:0.1.0"
        for step in ("plan", "serve")
    ]


@pytest.mark.parametrize("registry", ["localhost", "team/argotune"])
def test_a_push_without_host_is_refused(machine: Machine, registry: str) -> None:
    """Docker would take it for an account of Docker Hub."""
    machine.has("docker")
    assert refusal(machine.build("push", "plan", REGISTRY=registry)) == (
        f"REGISTRY is '{registry}'; to push, give a registry's HOST[:PORT][/PATH]"
    )
    assert machine.calls == []


def test_latest_is_refused(machine: Machine) -> None:
    machine.has("docker")
    assert refusal(machine.build("build", "plan", TAG="latest")) == (
        "TAG is latest, which changes under running workflows; give a version"
    )


def test_a_step_that_runs_in_the_image_of_another_has_none(machine: Machine) -> None:
    machine.has("docker")
    assert refusal(machine.build("build", "watch")) == (
        f"no image watch; there are: {' '.join(IMAGES)}"
    )


@pytest.mark.parametrize("action", ["tag", "list"])
def test_what_is_of_all_images_takes_no_step(machine: Machine, action: str) -> None:
    assert refusal(machine.build(action, "plan")) == (
        f"{action} is of all images and takes no steps; given: plan"
    )


def test_an_unknown_step_is_refused_before_anything_is_built(machine: Machine) -> None:
    machine.has("docker")
    assert refusal(machine.build("build", "plan", "bake")) == (
        f"no image bake; there are: {' '.join(IMAGES)}"
    )
    assert machine.calls == []


def test_an_unknown_builder_is_refused(machine: Machine) -> None:
    assert refusal(machine.build("build", "plan", BUILDER="kaniko")) == (
        "BUILDER is 'kaniko'; it must be docker, podman or buildah"
    )


@pytest.mark.parametrize("target", ["images", "push-images"])
def test_make_takes_all_steps_and_the_projects_version(target: str) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    shown = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", target],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    assert f"REGISTRY='localhost' TAG='{version}' VERSION='{version}' images/build" in shown
    (steps,) = re.findall(r"images/build (?:build|push) (.*)", shown)
    assert steps.split() == IMAGES
