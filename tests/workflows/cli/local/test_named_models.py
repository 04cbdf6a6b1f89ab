"""What the models are that `argotune evaluate` is given by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from argotune.presets.loader import model_preset
from argotune.steps.contracts.serving import read_contract, write_contract
from argotune.steps.push.layout import write_image
from argotune.steps.registry.skopeo import Registry
from argotune.workflows.cli.errors import InputError
from argotune.workflows.cli.home import Home
from argotune.workflows.cli.local.named_models import Models, find_models
from tests.fakes.adapter import write_adapter, write_base

TINY = model_preset("tiny")


def push(tmp_path: Path, tag: str, *, quantization: str | None = "nf4", **base: Any) -> str:
    """An adapter of tiny in a layout; the reference of its tag."""
    adapter = write_adapter(tmp_path / tag)
    write_base(adapter, **{"repository": TINY.repository, "revision": TINY.revision, **base})
    contract = read_contract(adapter)
    write_contract(adapter, msgspec.structs.replace(contract, quantization=quantization))
    layout = tmp_path / "dist"
    write_image(layout, list(adapter.iterdir()), tag=tag, created="2026", annotations={})
    return f"oci:{layout}:{tag}"


def find(tmp_path: Path, *names: str) -> Models:
    return find_models(names, Home(tmp_path / "home"), tmp_path / "unpacked", Registry())


def problem(tmp_path: Path, *names: str) -> str:
    with pytest.raises(InputError) as caught:
        find(tmp_path, *names)
    return str(caught.value)


def test_a_lone_adapter_gets_its_base_beside_it(tmp_path: Path) -> None:
    image = push(tmp_path, "v1")
    found = find(tmp_path, image)
    base, adapter = found.models
    assert (base.name, base.directory, found.quantization) == ("tiny", None, "nf4")
    assert adapter.name == image
    assert adapter.image.startswith(f"oci:{tmp_path / 'dist'}@sha256:")
    assert adapter.directory is not None
    assert (adapter.directory / "serving.json").exists()


def test_models_stay_in_the_order_in_which_they_are_named(tmp_path: Path) -> None:
    image = push(tmp_path, "v1")
    assert [each.name for each in find(tmp_path, image, "tiny").models] == [image, "tiny"]
    assert [each.name for each in find(tmp_path, "TINY").models] == ["TINY"]


def test_an_image_without_a_tag_is_the_one_in_service(tmp_path: Path) -> None:
    live = push(tmp_path, "live")
    assert find(tmp_path, live.removesuffix(":live")).models[1].image == (
        find(tmp_path, live).models[1].image
    )


def test_an_image_that_is_not_there_is_refused_by_its_tag(tmp_path: Path) -> None:
    image = push(tmp_path, "v1").removesuffix(":v1")
    assert problem(tmp_path, image) == (
        f"{image}: there is no image with the tag live; name one that is: {image}:TAG, or "
        f"{image}@sha256:HEX"
    )
    assert problem(tmp_path, f"{image}:v2").startswith(f"{image}:v2: there is no image with the")


def test_models_of_several_bases_are_refused_with_the_base_of_each(tmp_path: Path) -> None:
    image = push(tmp_path, "v1")
    assert problem(tmp_path, "phi-4", image) == (
        "models are compared on one base that is loaded in one way, and these have several: "
        f"phi-4 has phi-4, {image} has tiny in nf4"
    )
    other = push(tmp_path, "v2", quantization=None)
    assert f"{other} has tiny in 16 bits" in problem(tmp_path, image, other)


def test_an_adapter_of_no_preset_is_refused(tmp_path: Path) -> None:
    image = push(tmp_path, "v1", repository="acme/own", revision="0" * 40)
    assert "it was tuned on acme/own@0000000" in problem(tmp_path, image)


def test_a_name_that_is_nothing_says_what_it_might_be(tmp_path: Path) -> None:
    assert problem(tmp_path, "phi4") == (
        "phi4: no preset (did you mean phi-4?), no workspace that has run on this machine, and no "
        "image, which would be REGISTRY/REPOSITORY:TAG or oci:DIRECTORY:TAG"
    )
