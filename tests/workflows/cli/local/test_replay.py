"""What a replay says of base, data and adapter; push is the real step, the others stand in."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from argotune.steps.common.fields import fields_of, parse_fields, text_of
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.start_adapter import StartAdapter, write_start_adapter
from argotune.steps.contracts.training_plan import read_plan, write_plan
from argotune.steps.provenance.checks import Check, Outcome, verify
from argotune.steps.provenance.evidence import gather
from argotune.steps.push import params as push_params
from argotune.steps.push import run as push
from argotune.steps.registry.skopeo import Registry
from argotune.workflows.cli.errors import CliError
from argotune.workflows.cli.local.replay import Places, replay, run_as_processes
from tests.fakes.adapter import safetensors, write_adapter, write_model, write_tiny_plan
from tests.steps.provenance.pushed import Pushed, pushed

MACHINE = {"device": "cpu", "model": "a CPU", "threads": "2"}
VERSIONS = {"torch": "2.10.0"}
DATA = "sha256:" + "a" * 64


def write_result(work_dir: Path, **changes: Any) -> None:
    """What tune leaves of packages and machine."""
    result = {"versions": VERSIONS, "machine": MACHINE} | changes
    (work_dir / "report").mkdir(exist_ok=True)
    (work_dir / "report" / "result.json").write_text(json.dumps(result))


@dataclasses.dataclass
class Steps:
    """Stand-ins for model, dataset and tune, which leave what they are told to."""

    adapter: Path
    """The files that tune makes again."""
    work_dir: Path
    digest: str = DATA
    losses: tuple[str, str] = ("3.25", "1.5")
    weights: bytes | None = None
    """Other weights than before."""
    result: dict[str, Any] = dataclasses.field(default_factory=dict)
    seen: dict[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)
    """Step -> the flags that it got."""

    def __call__(self, step: str, flags: Mapping[str, str]) -> Mapping[str, str]:
        self.seen[step] = flags
        known = {item.kebab for item in fields_of(self._params(step))}
        assert set(flags) <= known, "the step has no such flag"
        outputs: Mapping[str, str] = getattr(self, f"_{step}")(flags)
        return outputs

    @staticmethod
    def _params(step: str) -> type[Any]:
        module = __import__(f"argotune.steps.{step}.params", fromlist=["Params"])
        params: type[Any] = module.Params
        return params

    def _model(self, flags: Mapping[str, str]) -> Mapping[str, str]:
        begun = self.adapter.parent / "start-adapter.json"
        if begun.exists():
            shutil.copy(begun, self.work_dir)
        return {"model-dir": "model"}

    def _dataset(self, flags: Mapping[str, str]) -> Mapping[str, str]:
        return {"digest": self.digest, "summary": "60 rows"}

    def _tune(self, flags: Mapping[str, str]) -> Mapping[str, str]:
        made = self.work_dir / "adapter"
        made.mkdir()
        for path in self.adapter.iterdir():
            (made / path.name).write_bytes(path.read_bytes())
        if self.weights is not None:
            (made / "adapter_model.safetensors").write_bytes(safetensors(self.weights))
        write_result(self.work_dir, **self.result)
        return {"base-loss": self.losses[0], "tuned-loss": self.losses[1]}

    def _push(self, flags: Mapping[str, str]) -> Mapping[str, str]:
        result = push.run(parse_fields(push_params.Params, flags), progress=Progress())
        return {"digest": text_of(result.digest)}


@pytest.fixture
def adapter(tmp_path: Path) -> Pushed:
    write_result(tmp_path)
    return pushed(tmp_path, None, urls=("https://example.com/rows.jsonl",))


def look(adapter: Pushed, **changes: Any) -> tuple[list[Check], Steps]:
    root = adapter.layout.parent
    work_dir = root / "replay"
    work_dir.mkdir()
    steps = Steps(adapter=root / "adapter", work_dir=work_dir, **changes)
    evidence = gather(adapter.reference, Registry(), root / "unused")
    statement = verify(evidence, []).statement
    assert statement is not None
    places = Places(
        work_dir=work_dir,
        models_dir=root / "cache",
        repository=f"oci:{adapter.layout}",
        registry_flags={"auth-file": "config.json"},
    )
    return list(replay(evidence, statement, places, steps)), steps


def test_equal_files_are_the_same_adapter(adapter: Pushed) -> None:
    checks, steps = look(adapter)
    assert [(check.what, check.outcome) for check in checks] == [
        ("replay: base", Outcome.OK),
        ("replay: data", Outcome.OK),
        ("replay: adapter", Outcome.OK),
    ]
    (layer,) = adapter.manifest()["layers"]
    assert checks[-1].text == f"the same, bit for bit: {layer['digest']}"
    # Time and name of the run stand in the adapter's README.
    assert steps.seen["tune"]["created"] == "2026-01-01T00:00:00Z"
    assert steps.seen["tune"]["run-name"] == "demo-x"
    assert json.loads(steps.seen["dataset"]["urls"]) == ["https://example.com/rows.jsonl"]
    stated = read_plan(adapter.layout.parent / "plan.yaml")
    assert read_plan(steps.work_dir / "plan.yaml") == stated


@pytest.mark.parametrize(
    ("start_from", "image"), [("live", "oci:{layout}"), ("r.io/team/old:1", "r.io/team/old")]
)
def test_training_begins_with_the_very_adapter_of_then(
    tmp_path: Path, start_from: str, image: str
) -> None:
    """The tag of what was in service then may be another adapter's by now."""
    write_result(tmp_path)
    write_model(tmp_path / "cache" / "model", write_adapter(tmp_path / "adapter"))
    plan = write_tiny_plan(tmp_path / "plan.yaml")
    lora = msgspec.structs.replace(plan.lora, start_from=start_from)
    write_plan(tmp_path / "plan.yaml", msgspec.structs.replace(plan, lora=lora))
    began_with = f"sha256:{64 * '7'}"
    write_start_adapter(tmp_path, StartAdapter(digest=began_with, warm_starts=1))
    adapter = pushed(tmp_path, None)
    checks, steps = look(adapter)
    assert checks[-1].outcome is Outcome.OK
    wanted = f"{image.format(layout=adapter.layout)}@{began_with}"
    assert read_plan(steps.work_dir / "plan.yaml").lora.start_from == wanted
    assert steps.seen["model"]["work-dir"] == str(steps.work_dir)
    assert steps.seen["model"]["auth-file"] == "config.json"


def test_a_first_run_that_was_to_begin_with_the_live_adapter_is_made_again(tmp_path: Path) -> None:
    write_result(tmp_path)
    write_model(tmp_path / "cache" / "model", write_adapter(tmp_path / "adapter"))
    plan = write_tiny_plan(tmp_path / "plan.yaml")
    lora = msgspec.structs.replace(plan.lora, start_from="live")
    write_plan(tmp_path / "plan.yaml", msgspec.structs.replace(plan, lora=lora))
    write_start_adapter(tmp_path, StartAdapter())
    checks, steps = look(pushed(tmp_path, None))
    assert checks[-1].outcome is Outcome.OK
    assert read_plan(steps.work_dir / "plan.yaml").lora.start_from == "none"


def test_other_rows_end_the_replay_before_it_trains(adapter: Pushed) -> None:
    other = "sha256:" + "e" * 64
    checks, steps = look(adapter, digest=other)
    assert checks[-1].has_failed
    assert checks[-1].text == f"it is now {other}, and was {DATA}"
    assert "tune" not in steps.seen


def test_another_base_ends_the_replay_before_it_fetches_data(adapter: Pushed) -> None:
    marker = adapter.layout.parent / "cache" / "model" / ".argotune-complete.json"
    marker.write_text(marker.read_text().replace('"size": 2', '"size": 3'))
    checks, steps = look(adapter)
    assert [check.what for check in checks] == ["replay: base"]
    assert checks[0].has_failed
    assert "dataset" not in steps.seen


def test_other_files_on_the_same_kind_of_cpu_fail(adapter: Pushed) -> None:
    checks, _ = look(adapter, weights=b"\1" * 64)
    assert checks[-1].has_failed
    assert checks[-1].text.startswith("on the same kind of CPU with the same packages it is sha256")


@pytest.mark.parametrize(
    ("losses", "outcome", "said"),
    [
        (("3.26", "1.55"), Outcome.OK, "tuned-loss is 1.55 and was 1.5, 3.3% of at most 5%"),
        (("3.25", "1.6"), Outcome.FAILED, "tuned-loss is 1.6 and was 1.5, 6.7% of at most 5%"),
        (("3.4", "1.5"), Outcome.FAILED, "base-loss is 3.4 and was 3.25, 4.6% of at most 2%"),
        (("3.25", "not measured"), Outcome.NOT_CHECKED, "tuned-loss was not measured"),
    ],
)
def test_on_another_machine_losses_are_compared(
    adapter: Pushed, losses: tuple[str, str], outcome: Outcome, said: str
) -> None:
    result = {"versions": {"torch": "2.11.0"}, "machine": {**MACHINE, "threads": "8"}}
    checks, _ = look(adapter, weights=b"\1" * 64, losses=losses, result=result)
    assert checks[-1].outcome is outcome
    assert said in checks[-1].text
    assert checks[-1].text.startswith(
        "not bit for bit, for torch is 2.11.0 and was 2.10.0; threads is 8 and was 2: "
    )


def test_a_step_that_fails_says_why(tmp_path: Path) -> None:
    run_step = run_as_processes(tmp_path, threads=None)
    with pytest.raises(CliError, match=r"replay: step push: .*--work-dir"):
        run_step("push", {"image": "oci:x"})
