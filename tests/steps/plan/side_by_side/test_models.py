"""What the models of an evaluation are, by what they are called."""

from __future__ import annotations

from pathlib import Path

import pytest

from argotune.steps.common.errors import ParamsError
from argotune.steps.contracts.side_by_side import adapter_dir
from argotune.steps.plan.side_by_side.models import Models, find_models, read_models
from argotune.steps.registry.skopeo import Registry
from tests.fakes.hub import fake_hub
from tests.fakes.hub_models import add_model
from tests.steps.plan.side_by_side.adapters import put_adapter


def find(tmp_path: Path, *names: str) -> Models:
    return find_models(read_models(names), tmp_path / "work", Registry())


def problems(tmp_path: Path, *names: str) -> list[str]:
    with pytest.raises(ParamsError) as caught:
        find(tmp_path, *names)
    return caught.value.problems


def test_a_lone_adapter_gets_its_base_beside_it(tmp_path: Path) -> None:
    image = put_adapter(tmp_path, "v1")
    found = find(tmp_path, image)
    base, adapter = found.models
    assert (base.name, base.image, found.quantization) == ("tiny", "", "nf4")
    assert adapter.name == image
    assert adapter.image.startswith(f"oci:{tmp_path / 'dist'}@sha256:")
    assert (adapter_dir(tmp_path / "work", adapter.image) / "serving.json").exists()


def test_models_stay_in_the_order_in_which_they_are_named(tmp_path: Path) -> None:
    image = put_adapter(tmp_path, "v1")
    assert [each.name for each in find(tmp_path, image, "tiny").models] == [image, "tiny"]
    assert [each.name for each in find(tmp_path, "TINY").models] == ["TINY"]


def test_a_name_before_an_image_is_what_tables_call_it(tmp_path: Path) -> None:
    image = put_adapter(tmp_path, "v1")
    named = (f"python-docs={image}", f"python-docs:v1={image}")
    assert [each.name for each in find(tmp_path, *named).models] == [
        "python-docs",
        "python-docs:v1",
    ]
    assert [each.name for each in find(tmp_path, named[0]).models] == ["tiny", "python-docs"]


def test_a_directory_with_an_equals_sign_has_no_name_before_it(tmp_path: Path) -> None:
    (model,) = read_models([f"oci:a={tmp_path}:v1"])
    assert model.name == str(model.image) == f"oci:a={tmp_path}:v1"


def test_an_image_without_a_tag_is_the_one_in_service(tmp_path: Path) -> None:
    live = put_adapter(tmp_path, "live")
    assert find(tmp_path, live.removesuffix(":live")).models[1].image == (
        find(tmp_path, live).models[1].image
    )


def test_an_image_that_is_not_there_is_refused_by_its_tag(tmp_path: Path) -> None:
    image = put_adapter(tmp_path, "v1").removesuffix(":v1")
    assert problems(tmp_path, image) == [
        f"models: {image}: there is no image with the tag live; name one that is there:"
        f" {image}:TAG, or {image}@sha256:HEX"
    ]
    assert problems(tmp_path, f"{image}:v2") == [
        f"models: {image}:v2: there is no image with the tag v2; name one that is there:"
        f" {image}:TAG, or {image}@sha256:HEX"
    ]


def test_models_of_several_bases_are_refused_with_the_base_of_each(tmp_path: Path) -> None:
    image = put_adapter(tmp_path, "v1")
    assert problems(tmp_path, "phi-4", image) == [
        "models: they are compared on one base that is loaded in one way, and these have several: "
        f"phi-4 has phi-4, {image} has tiny in nf4"
    ]
    other = put_adapter(tmp_path, "v2", quantization=None)
    [problem] = problems(tmp_path, image, other)
    assert f"{other} has tiny in 16 bits" in problem


def test_models_that_differ_in_their_rotary_factors_are_refused_with_these(tmp_path: Path) -> None:
    short = put_adapter(tmp_path, "v1", rope="short")
    long = put_adapter(tmp_path, "v2", rope="long")
    [problem] = problems(tmp_path, short, long)
    assert problem.endswith(
        f"{short} has tiny in nf4 with LongRoPE's short factors, {long} has tiny in nf4 with"
        " LongRoPE's long factors"
    )


def test_an_adapter_of_no_preset_is_refused(tmp_path: Path) -> None:
    image = put_adapter(tmp_path, "v1", repository="acme/own", revision="0" * 40)
    [problem] = problems(tmp_path, image)
    assert "it was tuned on acme/own@0000000" in problem


def test_an_adapter_of_a_model_of_the_hub_is_measured_on_its_commit(tmp_path: Path) -> None:
    name, commits = "acme/own", ["a" * 40, "b" * 40]
    image = put_adapter(tmp_path, "v1", repository=name, revision=commits[0], source="hub")
    with fake_hub() as hub:
        # The template of its training is in the adapter.
        add_model(hub, name, tokenizer_config={"eos_token": "</s>"})
        hub.commits[name] = commits
        named = read_models([image])
        found = find_models(named, tmp_path / "work", Registry(), hub.endpoint)
        assert (found.preset.name, found.preset.revision) == (name, commits[0])
        assert found.preset.chat.template
        add_model(hub, name)
        both = read_models([f"hub:{name}@{commits[0]}", image])
        models = find_models(both, tmp_path / "work", Registry(), hub.endpoint).models
        assert [each.image == "" for each in models] == [True, False]
        moved = read_models([f"hub:{name}", image])
        with pytest.raises(ParamsError, match="have several: hub:acme/own has acme/own, "):
            find_models(moved, tmp_path / "work", Registry(), hub.endpoint)


def test_everything_wrong_with_the_names_is_said_at_once(tmp_path: Path) -> None:
    found = problems(tmp_path, "phi4", "tiny", "tiny", "a=registry.example.com/UP:1")
    assert [each.partition(" ")[2].partition(" ")[0] for each in found] == [
        "phi4:",
        "a=registry.example.com/UP:1:",
        "tiny",
    ]
    assert "did you mean phi-4" in found[0]
    assert problems(tmp_path) == ["models: empty; give a JSON list of presets and adapters' images"]
    called = problems(tmp_path, "a=registry.example.com/x:1", "a=registry.example.com/x:2")
    assert called == ["models: a is called twice; name each once"]
