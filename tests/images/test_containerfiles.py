"""What both Containerfiles hold to."""

from __future__ import annotations

import re
import subprocess
from itertools import combinations
from pathlib import Path

import pytest

from argotune.workflows.templates.finetune import STEPS
from argotune.workflows.templates.gc import GC
from argotune.workflows.workspace.images import SERVERS
from tests.images import lock
from tests.images.containerfile import (
    CUDA,
    EXTRAS,
    FILES,
    IMAGES,
    OPERATOR,
    ROOT,
    SMALL,
    VLLM,
    Instruction,
    Stage,
    lock_of,
    needs_of,
    package_of,
    read,
    run_shell,
    text_of,
)
from tests.images.imports import modules_of

BASE = "docker.io/library/python:3.12-slim"
WITH_EXTRAS = read("cuda").image_with(extras=" ".join(EXTRAS))
FINAL = [*(read(file).image for file in FILES), WITH_EXTRAS]
FINAL_NAMES = [*FILES, "cuda with extras"]


def test_every_step_of_the_templates_the_servers_and_the_operator_have_an_image() -> None:
    steps = {step.home or step.step for step in (*STEPS, GC)}
    assert sorted([*steps, *SERVERS, OPERATOR]) == sorted(IMAGES)


def test_the_images_of_torch_are_listed_last_for_they_take_longest() -> None:
    assert tuple(IMAGES[-3:]) == (*CUDA, VLLM)
    assert IMAGES[:-3] == [*sorted({*SMALL} - {OPERATOR}), OPERATOR]


@pytest.mark.parametrize("file", FILES)
def test_there_is_one_line_with_the_base(file: str) -> None:
    found = read(file)
    extras = [Instruction("ARG", 'EXTRAS=""')] if file == "cuda" else []
    assert list(found.preamble) == [Instruction("ARG", f"BASE={BASE}"), *extras]
    names = {stage.name for stage in found.stages}
    assert {stage.base for stage in found.stages[:-1]} - names == {"${BASE}"}
    assert found.image.base == "${BASE}"
    assert text_of(file).count(BASE) == 1


@pytest.mark.parametrize("file", FILES)
def test_nothing_is_latest(file: str) -> None:
    assert "latest" not in text_of(file)


def test_every_image_is_installed_by_the_same_uv_and_gets_the_code_in_the_same_way() -> None:
    step, *others = (read(file) for file in FILES)
    of_operator = ("STEP", "workflows")
    code = step.stage("code").instructions
    shared = [each for each in code if not any(name in each.text for name in of_operator)]
    for other in others:
        assert step.stage("uv").instructions[:3] == other.stage("uv").instructions[:3]
        assert shared == list(other.stage("code").instructions)


def test_the_code_of_the_command_line_is_in_the_image_of_the_operator_alone(
    tmp_path: Path,
) -> None:
    (removal,) = (run for run in read("step").stage("code").all("RUN") if "STEP" in run.text)
    folder = tmp_path / "workflows"
    text = removal.text.replace("/code/argotune/workflows", str(folder))
    for image, is_kept in ((OPERATOR, True), ("plan", False)):
        folder.mkdir(exist_ok=True)
        run_shell(text, STEP=image)
        assert folder.exists() == is_kept


@pytest.mark.parametrize("stage", FINAL, ids=FINAL_NAMES)
def test_it_runs_as_a_numbered_user_that_owns_no_file(stage: Stage) -> None:
    """`runAsNonRoot` refuses a name: the kubelet cannot tell whether it is root's."""
    assert [user.text for user in stage.all("USER")] == ["65532:65532"]
    assert [each.word for each in stage.instructions[-2:]] == ["USER", "ENTRYPOINT"]
    assert not any("--chown" in copy.text for copy in stage.all("COPY"))


@pytest.mark.parametrize("file", FILES)
def test_it_starts_the_module_that_it_is_given(file: str) -> None:
    assert read(file).entrypoint == ["python", "-m"]


@pytest.mark.parametrize("file", FILES)
def test_python_of_the_environment_comes_first_on_a_path_that_is_whole(file: str) -> None:
    assert read(file).env["PATH"].split(":") == [
        "/opt/argotune/venv/bin",
        "/usr/local/sbin",
        "/usr/local/bin",
        "/usr/sbin",
        "/usr/bin",
        "/sbin",
        "/bin",
    ]


@pytest.mark.parametrize("file", FILES)
def test_every_copied_path_exists_and_the_builder_may_see_it(file: str) -> None:
    sources = read(file).sources
    assert sources
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    seen = [line.removeprefix("!") for line in lines if line.startswith("!")]
    assert "*" in lines
    for source in sources:
        assert (ROOT / source).exists(), source
        assert source in seen or source.split("/")[0] in seen, source


@pytest.mark.parametrize("file", FILES)
def test_uv_is_installed_by_the_hashes_of_the_lock_file(file: str) -> None:
    (pip,) = (run.text for run in read(file).stage("uv").all("RUN") if "pip install" in run.text)
    assert pip.endswith("--require-hashes --requirement /uv.txt")
    (uv,) = lock.packages("uv")
    archives = [uv["sdist"], *uv["wheels"]]
    text = (ROOT / "images" / "uv.txt").read_text()
    assert text.startswith(f"uv=={uv['version']} ")
    assert set(re.findall(r"--hash=(\S+)", text)) == {each["hash"] for each in archives}


@pytest.mark.parametrize("stage", FINAL, ids=FINAL_NAMES)
def test_a_change_of_code_changes_one_layer(stage: Stage) -> None:
    """Behind the code there are only settings."""
    words = [each.word for each in stage.instructions]
    code = stage.instructions.index(Instruction("COPY", "--from=code /code /opt/argotune/code"))
    assert set(words[code + 1 :]) == {"USER", "ENTRYPOINT"}


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


@pytest.mark.parametrize("stage", FINAL, ids=FINAL_NAMES)
def test_the_step_is_named_behind_the_layers_so_that_images_share_them(stage: Stage) -> None:
    code = stage.instructions.index(Instruction("COPY", "--from=code /code /opt/argotune/code"))
    assert not any("STEP" in each.text for each in stage.instructions[: code + 1])


@pytest.mark.parametrize("image", SMALL)
def test_an_image_holds_skopeo_where_its_step_calls_it(image: str) -> None:
    calls = "argotune.steps.registry.skopeo" in modules_of(package_of(image))
    assert needs_of(image).debian == ("skopeo" if calls else "")


def test_extras_lie_between_the_layers_of_serve_and_the_code() -> None:
    plain, extended = read("cuda").image.instructions, WITH_EXTRAS.instructions
    code = [each.text.startswith("--from=code") for each in plain].index(True)
    added = len(extended) - len(plain)
    assert added > 0
    assert extended[:code] == plain[:code]
    assert extended[code + added :] == plain[code:]


def test_vllm_has_what_it_compiles_its_kernels_with() -> None:
    (install,) = (run for run in read("vllm").image.all("RUN") if "apt-get install" in run.text)
    assert " g++ " in install.text
    assert not needs_of(VLLM).pruned
    assert "triton" in lock.closure("image-vllm", lock=lock_of(VLLM))
    # torch and triton compile with the headers of both.
    assert not any("-name include" in run.text for run in read("vllm").image.all("RUN"))


def test_a_compiler_is_for_the_extras_only() -> None:
    installing = [run for run in WITH_EXTRAS.all("RUN") if "apt-get install" in run.text]
    assert installing
    assert not any(run in read("cuda").image.instructions for run in installing)


@pytest.mark.parametrize("count", range(1, len(EXTRAS) + 1))
def test_triton_stays_for_the_extras_that_compile(count: int) -> None:
    (export,) = read("cuda").stage("uv-extras").all("RUN")
    compiling = {extra for extra in EXTRAS if "triton" in lock.direct(f"image-{extra}")}
    assert compiling < set(EXTRAS)
    for chosen in combinations(EXTRAS, count):
        told = run_shell(export.text, EXTRAS=" ".join(chosen))
        groups = re.findall(r"--only-group image-(\S+)", told)
        assert groups == ["cuda", *chosen]
        assert ("--prune triton" in told) == compiling.isdisjoint(chosen)


def test_a_step_without_a_group_of_its_own_gets_what_every_step_needs() -> None:
    """So a new step touches neither Containerfile nor pyproject.toml."""
    assert needs_of("another").groups == ("step",)
    assert needs_of("dataset").groups == ("dataset",)


def test_a_build_without_step_ends_with_the_flag_to_give() -> None:
    (debian, _) = read("step").stage("uv").all("RUN")[1:]
    with pytest.raises(subprocess.CalledProcessError) as caught:
        run_shell(debian.text)
    assert "STEP: is empty; give --build-arg STEP=plan or another step" in caught.value.stderr
