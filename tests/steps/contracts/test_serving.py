from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.serving import (
    Adapter,
    Base,
    ServingContract,
    fix_rope,
    read_contract,
    rope_choice,
    write_contract,
)


def contract() -> ServingContract:
    return ServingContract(
        base=Base(repository="acme/base", revision="abc", family="phi3"),
        adapter=Adapter(name="demo", r=8, alpha=16, target_modules=["qkv_proj"]),
        quantization="nf4",
        chat_template="{{ messages }}",
        stop_tokens=["<|end|>"],
        stop_token_ids=[7],
        max_length=4096,
        longest_row=300,
        rope="short",
    )


def test_it_reads_what_it_wrote(tmp_path: Path) -> None:
    write_contract(tmp_path, contract())
    assert read_contract(tmp_path) == contract()


def test_a_missing_or_foreign_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PermanentError) as caught:
        read_contract(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}/serving.json: No such file or directory; the tune step writes it beside the "
        "adapter"
    )
    (tmp_path / "serving.json").write_text('{"version": 2}')
    with pytest.raises(PermanentError, match=r"serving\.json: not a serving contract: Invalid"):
        read_contract(tmp_path)


@pytest.mark.parametrize(
    ("longest", "original", "choice"),
    [(4096, 4096, "short"), (4097, 4096, "long"), (9999, None, "default")],
)
def test_one_row_over_the_original_length_needs_the_long_factors(
    longest: int, original: int | None, choice: str
) -> None:
    assert rope_choice(longest, original) == choice


def test_both_factor_lists_become_the_chosen_one() -> None:
    parameters = {"rope_type": "longrope", "short_factor": [1.0], "long_factor": [9.0]}
    config = SimpleNamespace(rope_parameters=parameters)
    fix_rope(config, "default")
    assert config.rope_parameters is parameters
    fix_rope(config, "long")
    assert config.rope_parameters["short_factor"] == config.rope_parameters["long_factor"] == [9.0]
    assert parameters["short_factor"] == [1.0]
