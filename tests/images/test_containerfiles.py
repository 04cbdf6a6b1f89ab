"""What every Containerfile holds to."""

from __future__ import annotations

import re
import subprocess
from itertools import combinations

import pytest

from argotune.workflows.templates.finetune import STEPS
from tests.images import lock
from tests.images.containerfile import EXTRAS, IMAGES, ROOT, Instruction, Stage, read, text_of

BASE = "docker.io/library/python:3.12-slim"
CUDA = ("tune", "serve")
WITH_EXTRAS = read("tune").image_with(extras=" ".join(EXTRAS))
FINAL = [*(read(image).image for image in IMAGES), WITH_EXTRAS]
FINAL_NAMES = [*IMAGES, "tune with extras"]
STEP_NAMES = [step.name for step in STEPS if not step.home]


def test_every_step_of_the_template_and_the_server_has_a_containerfile() -> None:
    assert sorted([*STEP_NAMES, "serve"]) == IMAGES


@pytest.mark.parametrize("image", IMAGES)
def test_there_is_one_line_with_the_base(image: str) -> None:
    found = read(image)
    extras = [Instruction("ARG", 'EXTRAS=""')] if image == "tune" else []
    assert list(found.preamble) == [Instruction("ARG", f"BASE={BASE}"), *extras]
    names = {stage.name for stage in found.stages}
    assert {stage.base for stage in found.stages[:-1]} - names == {"${BASE}"}
    assert found.image.base == "${BASE}"
    assert text_of(image).count(BASE) == 1


@pytest.mark.parametrize("image", IMAGES)
def test_nothing_is_latest(image: str) -> None:
    assert "latest" not in text_of(image)


def test_every_image_is_installed_by_the_same_uv() -> None:
    versions = {
        re.findall(r"^ARG UV_VERSION=([\d.]+)$", text_of(image), re.M)[0] for image in IMAGES
    }
    assert len(versions) == 1


@pytest.mark.parametrize("stage", FINAL, ids=FINAL_NAMES)
def test_it_runs_as_a_numbered_user_that_owns_no_file(stage: Stage) -> None:
    """`runAsNonRoot` refuses a name: the kubelet cannot tell whether it is root's."""
    assert [user.text for user in stage.all("USER")] == ["65532:65532"]
    assert [each.word for each in stage.instructions[-2:]] == ["USER", "ENTRYPOINT"]
    assert not any("--chown" in copy.text for copy in stage.all("COPY"))


@pytest.mark.parametrize("image", IMAGES)
def test_it_starts_its_own_step(image: str) -> None:
    assert read(image).entrypoint == ["python", "-m", f"argotune.steps.{image}"]
    assert (ROOT / "steps" / image / "__main__.py").is_file()


@pytest.mark.parametrize("image", IMAGES)
def test_python_of_the_environment_comes_first_on_a_path_that_is_whole(image: str) -> None:
    assert read(image).env["PATH"].split(":") == [
        "/opt/argotune/venv/bin",
        "/usr/local/sbin",
        "/usr/local/bin",
        "/usr/sbin",
        "/usr/bin",
        "/sbin",
        "/bin",
    ]


@pytest.mark.parametrize("image", IMAGES)
def test_every_copied_path_exists_and_the_builder_may_see_it(image: str) -> None:
    sources = read(image).sources
    assert sources
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    seen = [line.removeprefix("!") for line in lines if line.startswith("!")]
    assert "*" in lines
    for source in sources:
        assert (ROOT / source).exists(), source
        assert source in seen or source.split("/")[0] in seen, source


@pytest.mark.parametrize("stage", FINAL, ids=FINAL_NAMES)
def test_a_change_of_code_changes_one_layer(stage: Stage) -> None:
    """Behind the code there are only settings."""
    words = [each.word for each in stage.instructions]
    code = stage.instructions.index(Instruction("COPY", "--from=code /code /opt/argotune/code"))
    assert set(words[code + 1 :]) == {"ARG", "LABEL", "USER", "ENTRYPOINT"}


@pytest.mark.parametrize("stage", FINAL, ids=FINAL_NAMES)
def test_uv_is_mounted_and_not_left_inside(stage: Stage) -> None:
    syncs = [run for run in stage.all("RUN") if "/uv/bin/uv" in run.text]
    assert syncs
    for run in syncs:
        assert run.text.startswith("--mount=type=bind,from=uv,source=/uv,target=/uv ")
        assert "--require-hashes" in run.text
    copied = [copy.text for copy in stage.all("COPY") if "--from=uv" in copy.text]
    assert copied
    assert all(text.split()[1].startswith("/lock/") for text in copied)


@pytest.mark.parametrize("image", IMAGES)
def test_it_is_labelled(image: str) -> None:
    labels = {
        name.removeprefix("org.opencontainers.image."): value
        for name, value in read(image).labels.items()
    }
    assert labels.pop("description")
    assert labels == {
        "title": f"argotune-{image}",
        "version": "${VERSION}",
        "licenses": "Apache-2.0",
    }


def test_tune_and_serve_are_the_same_up_to_their_code() -> None:
    tune, serve = (read(image) for image in CUDA)
    assert tune.stage("uv") == serve.stage("uv")
    for ours, theirs in zip(tune.image.instructions, serve.image.instructions, strict=True):
        if ours.word in {"LABEL", "ENTRYPOINT"}:
            continue
        assert ours == theirs


def test_extras_lie_between_the_layers_of_serve_and_the_code() -> None:
    plain, extended = read("tune").image.instructions, WITH_EXTRAS.instructions
    code = [each.text.startswith("--from=code") for each in plain].index(True)
    added = len(extended) - len(plain)
    assert added > 0
    assert extended[:code] == plain[:code]
    assert extended[code + added :] == plain[code:]


def test_a_compiler_is_for_the_extras_only() -> None:
    installing = [run for run in WITH_EXTRAS.all("RUN") if "apt-get install" in run.text]
    assert installing
    for image in CUDA:
        assert not any(run in read(image).image.instructions for run in installing)


@pytest.mark.parametrize("count", range(1, len(EXTRAS) + 1))
def test_triton_stays_for_the_extras_that_compile(count: int) -> None:
    """The shell of the Containerfile, with `echo` for uv."""
    (export,) = read("tune").stage("uv-extras").all("RUN")
    compiling = {extra for extra in EXTRAS if "triton" in lock.direct(f"image-{extra}")}
    assert compiling < set(EXTRAS)
    for chosen in combinations(EXTRAS, count):
        told = subprocess.run(
            ["sh", "-c", export.text.replace("/uv/bin/uv", "echo")],
            env={"EXTRAS": " ".join(chosen)},
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        ).stdout
        groups = re.findall(r"--only-group image-(\S+)", told)
        assert groups == ["cuda", *chosen]
        assert ("--prune triton" in told) == compiling.isdisjoint(chosen)


@pytest.mark.parametrize("image", [image for image in IMAGES if image not in CUDA])
def test_small_images_export_their_own_group(image: str) -> None:
    assert read(image).groups == [image]
