"""argotune presets."""

from __future__ import annotations

import yaml

from argotune.presets.loader import PRESETS_DIR, model_presets
from tests.workflows.cli.command import Argotune


def test_every_preset_is_a_row_of_the_table(argotune: Argotune) -> None:
    answer = argotune("presets")
    assert answer.code == 0
    head, *rows = answer.out.splitlines()
    assert head.split() == ["NAME", "SIZE", "CONTEXT", "LICENSE", "REPOSITORY"]
    assert [row.split()[0] for row in rows] == sorted(preset.name for preset in model_presets())
    assert "phi-4                       14.7B    16384  MIT         microsoft/phi-4" in answer.out


def test_show_prints_the_file_whole(argotune: Argotune) -> None:
    answer = argotune("presets", "show", "phi-4")
    assert answer.code == 0
    assert answer.out == (PRESETS_DIR / "models" / "phi-4.yaml").read_text()
    assert yaml.safe_load(answer.out)["repository"] == "microsoft/phi-4"


def test_unknown_preset(argotune: Argotune) -> None:
    answer = argotune("presets", "show", "gpt-5")
    known = ", ".join(sorted(preset.name for preset in model_presets()))
    assert answer.code == 2
    assert answer.errors == [
        f"'gpt-5' is not a model preset; known are {known}; `argotune presets add OWNER/NAME` makes"
        " one of a model of the Hub"
    ]


def test_a_name_alone_means_show(argotune: Argotune) -> None:
    assert argotune("presets", "phi-4").out == argotune("presets", "show", "phi-4").out
    answer = argotune("presets", "gpt-5")
    assert (answer.code, answer.errors) == (2, argotune("presets", "show", "gpt-5").errors)
