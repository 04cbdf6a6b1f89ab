from __future__ import annotations

from pathlib import Path

import pytest
import torch

from argotune.steps.common.errors import PermanentError
from argotune.steps.tune.checkpoint import (
    Checkpoints,
    Position,
    identity_of,
    load_tensors,
    mismatches,
)
from tests.steps.tune.models import tiny_plan


class Adapter(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lora = torch.nn.Linear(4, 2)


def trained_adapter() -> tuple[Adapter, torch.optim.Optimizer]:
    adapter = Adapter()
    optimizer = torch.optim.AdamW(adapter.parameters(), lr=0.1, fused=True)
    adapter.lora(torch.ones(4)).sum().backward()
    optimizer.step()
    return adapter, optimizer


def test_everything_comes_back(tmp_path: Path) -> None:
    adapter, optimizer = trained_adapter()
    position = Position(step=7, recent=[(0.1, 3)], best_loss=1 / 3, best_step=5)
    best = {"lora.weight": torch.ones(2, 4), "lora.bias": torch.zeros(2)}
    Checkpoints(tmp_path, {"dataset": "a"}).save(position, adapter, optimizer, best)
    expected = torch.rand(3)

    other, other_optimizer = trained_adapter()
    torch.rand(10)
    torch.manual_seed(99)
    checkpoints = Checkpoints(tmp_path, {"dataset": "a"})
    found, found_best = checkpoints.restore(other, other_optimizer)
    assert found == position
    torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)
    torch.testing.assert_close(other.state_dict(), adapter.state_dict(), rtol=0, atol=0)
    torch.testing.assert_close(
        other_optimizer.state_dict()["state"], optimizer.state_dict()["state"], rtol=0, atol=0
    )
    torch.testing.assert_close(found_best, best, rtol=0, atol=0)


def test_a_checkpoint_that_was_not_finished_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".step-00000005.abc").mkdir()
    checkpoints = Checkpoints(tmp_path, {})
    assert list(tmp_path.iterdir()) == []
    adapter, optimizer = trained_adapter()
    assert checkpoints.restore(adapter, optimizer) == (Position(), None)


def test_what_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / "step-00000005").mkdir()
    with pytest.raises(PermanentError, match="step-00000005: not a checkpoint of argotune"):
        Checkpoints(tmp_path, {}).check()


@pytest.mark.parametrize("name", ["adapter.safetensors", "optimizer.pt"])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, name: str) -> None:
    adapter, optimizer = trained_adapter()
    Checkpoints(tmp_path, {}).save(Position(step=7), adapter, optimizer, None)
    path = tmp_path / "step-00000007" / name
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(
        PermanentError, match=r"step-00000007 is damaged \(.*\); delete it to resume"
    ):
        Checkpoints(tmp_path, {}).restore(adapter, optimizer)


def test_the_base_loss_is_kept_for_the_same_run_only(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, {"dataset": "a"})
    assert checkpoints.base_loss() is None
    checkpoints.keep_base_loss(1.25)
    assert Checkpoints(tmp_path, {"dataset": "a"}).base_loss() == 1.25
    assert Checkpoints(tmp_path, {"dataset": "b"}).base_loss() is None


def test_an_adapter_of_other_layers_is_refused() -> None:
    adapter, _ = trained_adapter()
    with pytest.raises(PermanentError, match="other layers than the plan's"):
        load_tensors(adapter, {"lora.weight": torch.ones(2, 4)})


def test_how_often_a_run_saves_is_not_part_of_what_it_is() -> None:
    first = identity_of(tiny_plan(save_steps=1), "sha256:d")
    assert first == identity_of(tiny_plan(save_steps=9), "sha256:d")
    changed = identity_of(tiny_plan(save_steps=1, seed=5), "sha256:d")
    assert mismatches(first, changed) == ["training.seed was 0, is 5"]
