"""Each image holds what its code imports, and no more."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, distribution

import pytest

from argotune.workflows.templates.finetune import STEPS
from argotune.workflows.templates.gc import GC
from tests.images import lock
from tests.images.containerfile import (
    CUDA,
    EXTRAS,
    IMAGES,
    OPERATOR,
    SMALL,
    VLLM,
    lock_of,
    needs_of,
    package_of,
)
from tests.images.imports import modules_of, optional_of, third_party_of

COMMAND_LINE = {"hera", "rich", "typer"}
TORCH = {"accelerate", "bitsandbytes", "peft", "torch"}
# Its tokenizers need no torch; it brings typer and rich for commands of its own.
TOKENIZERS = "transformers"
# transformers imports it to place weights on devices; our code does not.
UNSEEN = {"accelerate"}
HOMES = {"tiny": "tune", **{step.step: step.home for step in (*STEPS, GC) if step.home}}
GUESTS = {home: [guest for guest, of in HOMES.items() if of == home] for home in HOMES.values()}
"""Folders of steps/ that an image runs beside its step's."""


def test_imports_are_found_through_our_modules_and_by_name() -> None:
    modules = modules_of("steps/release")
    assert {
        "argotune.steps.release.run",
        "argotune.steps.common.main",
        "argotune.steps.nodes.existing",
    } <= modules
    assert "kubernetes.dynamic" in third_party_of("steps/release")


def test_locked_dependencies_are_followed() -> None:
    assert {"kubernetes", "urllib3"} <= lock.closure("image-deploy")
    assert "triton" in lock.closure("image-torch")
    assert "triton" not in lock.closure("image-torch", ["triton"])


@pytest.mark.parametrize("image", IMAGES)
def test_the_locked_group_provides_every_import(image: str) -> None:
    needs = needs_of(image)
    names = lock.closure(f"image-{needs.groups[-1]}", needs.pruned, lock_of(image))
    modules = _modules_in(image)
    assert modules
    missing = [module for module in sorted(modules) if not _provided(module, names)]
    assert missing == []


@pytest.mark.parametrize("group", sorted({needs_of(image).groups[-1] for image in IMAGES}))
def test_a_group_names_nothing_that_its_images_do_not_import(group: str) -> None:
    images = [image for image in IMAGES if group == needs_of(image).groups[-1]]
    modules = set[str]().union(*map(_modules_in, images))
    unused = [
        name
        for name in sorted(lock.direct(f"image-{group}", lock_of(images[0])) - UNSEEN)
        if not any(_provided(module, {name}) for module in modules)
    ]
    assert unused == []


@pytest.mark.parametrize("image", SMALL)
def test_small_images_have_no_torch_and_the_operator_alone_the_command_line(image: str) -> None:
    names = lock.closure(f"image-{needs_of(image).groups[-1]}")
    assert not names & TORCH
    assert (TOKENIZERS in names) == (image == "dataset")
    if TOKENIZERS not in names:
        assert names & COMMAND_LINE == ({"rich", "typer"} if image == OPERATOR else set())


def test_vllms_torch_is_in_a_layer_of_its_own() -> None:
    assert needs_of(VLLM).groups == ("torch", "vllm")
    locked = lock_of(VLLM)
    assert lock.closure("image-torch", lock=locked) < lock.closure("image-vllm", lock=locked)


def test_the_large_layer_is_part_of_both_cuda_images() -> None:
    for image in CUDA:
        assert needs_of(image).groups == ("torch", "cuda")
    assert lock.closure("image-torch") < lock.closure("image-cuda")


@pytest.mark.parametrize("module", sorted(optional_of("steps/tune")))
def test_what_is_imported_by_name_is_there_with_extras_only(module: str) -> None:
    extras = {name for extra in EXTRAS for name in lock.direct(f"image-{extra}")}
    assert _provided(module, extras)
    assert not _provided(module, lock.closure("image-cuda", needs_of("tune").pruned))


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_names_nothing_that_tune_does_not_ask_for(extra: str) -> None:
    modules = optional_of("steps/tune")
    names = lock.direct(f"image-{extra}")
    assert names
    assert [name for name in names if not any(_provided(each, {name}) for each in modules)] == []


def test_liger_brings_what_its_kernels_are_compiled_with() -> None:
    assert lock.direct("image-compile") < lock.direct("image-liger")


def _modules_in(image: str) -> set[str]:
    """Modules that are not ours nor the standard library's, of all that the image runs."""
    packages = [package_of(each) for each in (image, *GUESTS.get(image, []))]
    return {module for package in packages for module in third_party_of(package)}


def _provided(module: str, names: set[str]) -> bool:
    return any(_provides(name, module) for name in names)


def _provides(name: str, module: str) -> bool:
    files = _files(name)
    if files is None:
        # Such as vLLM, which is here in no environment: the module has the distribution's name.
        return module.split(".")[0] == name
    path = module.replace(".", "/")
    # A module that is compiled, too, or a namespace of several distributions.
    begins = (f"{path}.", f"{path}/")
    return f"{path}.py" in files or any(file.startswith(begins) for file in files)


@cache
def _files(name: str) -> frozenset[str] | None:
    """Those that the distribution has installed here; None where it is not installed."""
    try:
        return frozenset(str(file) for file in distribution(name).files or ())
    except PackageNotFoundError:
        return None
