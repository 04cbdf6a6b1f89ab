"""Speeds carried over from cards that others measured."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from argotune.presets.loader import model_preset
from argotune.presets.schema import Method, ModelPreset
from argotune.steps.plan.speed import Span, anchors_of, expected_speed, hours, speed_of
from tests.steps.plan.test_choose import chosen, gpus, job


def model_of(parameters: float) -> ModelPreset:
    """A model of so many parameters whose ceiling no card reaches."""
    preset = model_preset("phi-3-mini-4k-instruct")
    shape = msgspec.structs.replace(preset.architecture, num_hidden_layers=1)
    return msgspec.structs.replace(preset, parameters=round(parameters), architecture=shape)


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_class_holds_every_published_speed_it_comes_from(method: Method) -> None:
    anchors = anchors_of(method)
    assert len(anchors) == 3
    for anchor in anchors:
        span = expected_speed(model_of(anchor.parameters), method, anchor.gpu_model, 1)
        assert span is not None
        assert span.low <= anchor.tokens_per_second * 1.001
        assert span.high >= anchor.tokens_per_second * 0.999
        assert span.high < 2.5 * span.low


def test_speed_goes_with_gpus_and_against_size() -> None:
    one = expected_speed(model_of(4e9), "qlora", "A10", 1)
    assert one is not None
    assert expected_speed(model_of(4e9), "qlora", "A10", 2) == one.times(1.8)
    assert expected_speed(model_of(8e9), "qlora", "A10", 1) == one.times(0.5)


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("NVIDIA-A10", "A10"),
        ("NVIDIA-A100-SXM4-80GB", "A100 80GB"),
        ("NVIDIA-H100-NVL", "H100 NVL"),
        ("NVIDIA-H100-80GB-HBM3", "H100 80GB"),
        ("NVIDIA-GeForce-RTX-4090", "RTX 4090"),
    ],
)
def test_card_is_known_by_the_name_of_its_node_label(label: str, name: str) -> None:
    speed = expected_speed(model_of(1e9), "qlora", label, 1)
    assert speed is not None
    assert speed == expected_speed(model_of(1e9), "qlora", name, 1)


@pytest.mark.parametrize(("model", "count"), [("Mystery 9000", 1), (None, 1), ("A10", 0)])
def test_unknown_card_has_no_speed(model: str | None, count: int) -> None:
    assert expected_speed(model_of(1e9), "qlora", model, count) is None


def test_only_the_gpus_that_a_run_uses_count() -> None:
    all_four = job("phi-3-mini-4k-instruct")
    choice = chosen(all_four, gpus("Standard_NC96ads_A100_v4"))
    one = replace(all_four, settings=replace(all_four.settings, processes=1))
    assert speed_of(one, choice, "A100 80GB", 4) == speed_of(all_four, choice, "A100 80GB", 1)


def test_hours_take_the_slower_speed_for_the_longer_time() -> None:
    assert hours(7200, Span(low=1, high=2)) == Span(low=1, high=2)


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (Span(low=1871, high=3841), "1900-3800"),
        (Span(low=0.0731, high=1.5), "0.073-1.5"),
        (Span(low=9.4, high=9.96), "9.4-10"),
        (Span(low=2, high=2.01), "2.0"),
        (Span(low=0, high=0), "0"),
    ],
)
def test_two_digits_are_shown(span: Span, text: str) -> None:
    assert str(span) == text
