from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import pytest
import torch

from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.model_cache import MARKER, mark_complete
from argotune.steps.tune.checkpoint import (
    BaseLoss,
    Checkpoints,
    Position,
    identity_of,
    load_tensors,
    mismatches,
)
from tests.steps.common.test_exhausted import small_files
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


class Held(Executor):
    """A thread of a volume that is not ready yet."""

    def __init__(self) -> None:
        self._work: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, work: Callable[..., Any], /, *args: Any, **options: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self._work.append((future, functools.partial(work, *args, **options)))
        return future

    def go_on(self) -> None:
        for future, work in self._work:
            future.set_result(work())


def save(checkpoints: Checkpoints, *parts: Any) -> None:
    checkpoints.begin(*parts)
    checkpoints.finish()


def test_everything_comes_back(tmp_path: Path) -> None:
    adapter, optimizer = trained_adapter()
    position = Position(step=7, recent=[(0.1, 3)], best_loss=1 / 3, best_step=5)
    best = {"lora.weight": torch.ones(2, 4), "lora.bias": torch.zeros(2)}
    save(Checkpoints(tmp_path, {"dataset": "a"}), position, adapter, optimizer, best)
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


def test_a_checkpoint_that_does_not_fit_its_volume_is_named(tmp_path: Path) -> None:
    """The adapter still fits; torch's own error is about an `unexpected pos`."""
    adapter, optimizer = trained_adapter()
    with small_files(), pytest.raises(OSError, match="File too large") as caught:
        save(Checkpoints(tmp_path, {}), Position(step=7), adapter, optimizer, None)
    assert caught.value.filename == str(tmp_path / "step-00000007")
    assert not list(tmp_path.iterdir())


def test_training_goes_on_while_a_checkpoint_is_written(tmp_path: Path) -> None:
    """And what it changes meanwhile is not in the checkpoint."""
    adapter, optimizer = trained_adapter()
    position, expected = Position(step=7), copy.deepcopy(adapter.state_dict())
    writer = Held()
    checkpoints = Checkpoints(tmp_path, {}, writer=writer)
    checkpoints.begin(position, adapter, optimizer, None)
    position.step = 8
    adapter.lora(torch.ones(4)).sum().backward()
    optimizer.step()
    assert names(tmp_path) == []
    writer.go_on()
    checkpoints.finish()

    other, other_optimizer = trained_adapter()
    found, _ = Checkpoints(tmp_path, {}).restore(other, other_optimizer)
    assert found.step == 7
    torch.testing.assert_close(other.state_dict(), expected, rtol=0, atol=0)
    (moments, *_) = other_optimizer.state_dict()["state"].values()
    assert moments["step"] == 1


def test_what_one_checkpoint_failed_with_the_next_one_tells(tmp_path: Path) -> None:
    adapter, optimizer = trained_adapter()
    checkpoints = Checkpoints(tmp_path, {})
    with small_files():
        checkpoints.begin(Position(step=7), adapter, optimizer, None)
        with pytest.raises(OSError, match="File too large"):
            checkpoints.begin(Position(step=8), adapter, optimizer, None)
    assert names(tmp_path) == []


def test_a_checkpoint_that_was_not_finished_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".step-00000005.part").mkdir()
    (tmp_path / ".base_loss.json.part").touch()
    checkpoints = Checkpoints(tmp_path, {})
    assert list(tmp_path.iterdir()) == []
    adapter, optimizer = trained_adapter()
    assert checkpoints.restore(adapter, optimizer) == (Position(), None)


def saved(directory: Path, *steps: int) -> tuple[Adapter, torch.optim.Optimizer]:
    """A run that has saved checkpoints after these steps."""
    adapter, optimizer = trained_adapter()
    checkpoints = Checkpoints(directory, {})
    for step in steps:
        save(checkpoints, Position(step=step), adapter, optimizer, None)
    return adapter, optimizer


def restored_step(directory: Path) -> int:
    return Checkpoints(directory, {}).restore(*trained_adapter())[0].step


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:40])


FILES = ["adapter.safetensors", "optimizer.pt", "state.json", MARKER]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("harm", [Path.unlink, cut, flip_a_bit])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, harm: Callable[[Path], None]
) -> None:
    saved(tmp_path, 5, 7)
    harm(tmp_path / "step-00000007" / name)
    assert restored_step(tmp_path) == 5
    (message,) = caplog.messages
    assert message.startswith("checkpoint_damaged checkpoint=step-00000007 problem=")
    assert f"{name} " in message or name == MARKER, "a wrong marker accuses another file"
    assert message.endswith('effect="training resumes from step-00000005"')


def test_without_a_whole_checkpoint_training_begins_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    saved(tmp_path, 5, 7)
    (tmp_path / "step-00000005" / "optimizer.pt").unlink()
    cut(tmp_path / "step-00000007" / "adapter.safetensors")
    assert restored_step(tmp_path) == 0
    assert caplog.messages == [
        'checkpoint_damaged checkpoint=step-00000007 problem="adapter.safetensors has 40 bytes '
        'instead of 176" effect="training begins anew"',
        'checkpoint_damaged checkpoint=step-00000005 problem="optimizer.pt is missing" '
        'effect="training begins anew"',
    ]


def test_a_damaged_checkpoint_goes_once_a_new_one_is_there(tmp_path: Path) -> None:
    adapter, optimizer = saved(tmp_path, 5, 7)
    cut(tmp_path / "step-00000007" / "adapter.safetensors")
    again = Checkpoints(tmp_path, {})
    again.restore(adapter, optimizer)
    assert names(tmp_path) == ["step-00000005", "step-00000007"], "nothing is lost before"
    save(again, Position(step=6), adapter, optimizer, None)
    assert names(tmp_path) == ["step-00000005", "step-00000006"]
    assert restored_step(tmp_path) == 6


def test_a_damaged_checkpoint_is_replaced_by_that_of_the_same_step(tmp_path: Path) -> None:
    adapter, optimizer = saved(tmp_path, 5, 7)
    cut(tmp_path / "step-00000007" / "adapter.safetensors")
    again = Checkpoints(tmp_path, {})
    again.restore(adapter, optimizer)
    save(again, Position(step=7), adapter, optimizer, None)
    assert restored_step(tmp_path) == 7


def test_a_checkpoint_of_another_version_is_no_damage(tmp_path: Path) -> None:
    saved(tmp_path, 5)
    (tmp_path / "step-00000005" / "state.json").write_text('{"epoch": 3}')
    mark_complete(tmp_path / "step-00000005")
    with pytest.raises(PermanentError, match="not a checkpoint of this version of argotune"):
        Checkpoints(tmp_path, {}).check()


def test_the_base_loss_is_kept_for_the_same_run_only(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, {"dataset": "a"})
    assert checkpoints.base_loss() is None
    checkpoints.keep_base_loss(BaseLoss(loss=1.25, seconds=3.0))
    kept = Checkpoints(tmp_path, {"dataset": "a"}).base_loss()
    assert kept is not None
    assert (kept.loss, kept.seconds) == (1.25, 3.0)
    assert Checkpoints(tmp_path, {"dataset": "b"}).base_loss() is None


def test_an_adapter_of_other_layers_is_refused() -> None:
    adapter, _ = trained_adapter()
    with pytest.raises(PermanentError, match="other layers than the plan's"):
        load_tensors(adapter, {"lora.weight": torch.ones(2, 4)})


@pytest.mark.parametrize(
    "other",
    [{"save_steps": 9}, {"gradient_checkpointing": True}, {"kept_blocks": 1}],
    ids=lambda other: next(iter(other)),
)
def test_what_changes_no_result_is_not_part_of_what_a_run_is(other: dict[str, Any]) -> None:
    """A retry may keep fewer activations where memory was too small."""
    first = identity_of(tiny_plan(save_steps=1), "sha256:d", "sha256:b")
    assert first == identity_of(tiny_plan(**{"save_steps": 1, **other}), "sha256:d", "sha256:b")
    changed = identity_of(tiny_plan(save_steps=1, seed=5), "sha256:d", "sha256:b")
    assert mismatches(first, changed) == ["training.seed was 0, is 5"]
