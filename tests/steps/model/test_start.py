"""The adapter with whose weights training begins: found, unpacked, refused if it does not fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from argotune.steps.common.errors import PermanentError
from argotune.steps.common.progress import Progress
from argotune.steps.contracts import live_adapter
from argotune.steps.contracts.adapter_image import CREATED, STARTED_FROM, WARM_STARTS, WORKSPACE
from argotune.steps.contracts.model_cache import Origin, mark_complete
from argotune.steps.contracts.start_adapter import (
    DIRECTORY,
    StartAdapter,
    read_start_adapter,
    start_of,
)
from argotune.steps.contracts.training_plan import TrainingPlan, write_plan
from argotune.steps.model.params import Params
from argotune.steps.model.run import run
from argotune.steps.model.start import bring_start_adapter, check_base
from argotune.steps.push.layout import write_image
from argotune.steps.registry.oci import ImageReference
from argotune.steps.registry.skopeo import Registry, push
from tests.fakes.adapter import write_adapter
from tests.fakes.plans import small_plan
from tests.fakes.registry import serving

needs_skopeo = pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")
LORA = small_plan().lora
FITTING = {
    "peft_type": "LORA",
    "r": LORA.r,
    "lora_alpha": LORA.alpha,
    "target_modules": LORA.target_modules,
}


class Workspace:
    """A run's volume, and the layout with its adapters."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.layout = directory / "layout"
        self.runs = 0

    def push(self, tag: str, config: dict[str, Any] | None = None, **annotations: str) -> str:
        adapter = write_adapter(self.directory / f"adapter-{tag}")
        (adapter / "adapter_config.json").write_text(json.dumps({**FITTING, **(config or {})}))
        pushed = write_image(
            self.layout,
            sorted(adapter.iterdir()),
            tag=tag,
            created=f"2026 {tag}",
            annotations=annotations,
        )
        return pushed.digest

    def bring(self, start_from: str, *, full_retrain_every: int = 0) -> StartAdapter:
        self.runs += 1
        self.work_dir = self.directory / f"run{self.runs}"
        self.work_dir.mkdir()
        self.plan = plan_from(start_from)
        params = Params(
            plan_file=Path(),
            cache_dir=Path(),
            work_dir=self.work_dir,
            output_image=f"oci:{self.layout}:1",
            full_retrain_every=full_retrain_every,
        )
        return bring_start_adapter(params, self.plan)


def blobs_of(layout: Path, digest: str) -> set[str]:
    """The layers of an image and its configuration."""
    manifest = json.loads((layout / "blobs/sha256" / digest.removeprefix("sha256:")).read_bytes())
    return {each["digest"] for each in [manifest["config"], *manifest["layers"]]}


def plan_from(start_from: str) -> TrainingPlan:
    plan = small_plan()
    return msgspec.structs.replace(
        plan, lora=msgspec.structs.replace(plan.lora, start_from=start_from)
    )


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def test_the_adapter_in_service_is_unpacked_and_on_record(workspace: Workspace) -> None:
    workspace.push("v1")
    digest = workspace.push("live")
    found = workspace.bring("live")
    assert found == StartAdapter(digest=digest, warm_starts=1)
    assert read_start_adapter(workspace.work_dir) == found == start_of(workspace.work_dir, "live")
    assert (workspace.work_dir / DIRECTORY / "adapter_model.safetensors").is_file()


def test_an_image_is_named_by_tag_or_digest(workspace: Workspace) -> None:
    digest = workspace.push("v1")
    workspace.push("live")
    assert workspace.bring(f"oci:{workspace.layout}:v1").digest == digest
    assert workspace.bring(f"oci:{workspace.layout}@{digest}").digest == digest
    with pytest.raises(PermanentError, match=r"start-from oci:.*:v9: there is no such image"):
        workspace.bring(f"oci:{workspace.layout}:v9")


def test_before_the_first_adapter_a_new_one_is_trained(workspace: Workspace) -> None:
    workspace.push("v1")
    assert workspace.bring("live") == StartAdapter()
    assert start_of(workspace.work_dir, "live") == StartAdapter()
    assert workspace.bring("none") == StartAdapter()
    assert read_start_adapter(workspace.work_dir) is None


@needs_skopeo
@pytest.mark.parametrize(
    ("from_layout", "setting", "advice"),
    [
        (False, "start-from live", "take start-from none"),
        (True, "full-retrain-every", "leave it out"),
    ],
)
def test_a_registry_may_hide_that_there_is_no_repository_yet(
    workspace: Workspace, tmp_path: Path, from_layout: bool, setting: str, advice: str
) -> None:
    workspace.push("v1")
    with serving(login=True) as fake:
        params = Params(
            plan_file=Path(),
            cache_dir=Path(),
            work_dir=tmp_path,
            output_image=f"{fake.host}/team/phi:1",
            full_retrain_every=2,
        )
        start_from = f"oci:{workspace.layout}:v1" if from_layout else "live"
        with pytest.raises(PermanentError) as caught:
            bring_start_adapter(params, plan_from(start_from))
    told = str(caught.value)
    assert told.startswith(f"{setting}: registry {fake.host} refused {fake.host}/team/phi: ")
    assert told.endswith(f" answer so: {advice} for the first run")


def test_the_adapter_in_service_of_another_workspace_is_refused(workspace: Workspace) -> None:
    workspace.push("live", **{WORKSPACE: "other"})
    with pytest.raises(PermanentError, match="of workspace other, and demo needs one"):
        workspace.bring("live")
    # Who names an image means it.
    assert workspace.bring(f"oci:{workspace.layout}:live").digest


def test_every_nth_run_trains_a_new_one(workspace: Workspace) -> None:
    """The registry alone knows how many runs began with an adapter since one that did not."""
    begun = []
    annotations: dict[str, str] = {}
    for number in range(6):
        workspace.push("live", {"inference_mode": number % 2 == 0}, **annotations)
        start = workspace.bring("live", full_retrain_every=3)
        begun.append(start.warm_starts)
        # As push does.
        annotations = (
            {STARTED_FROM: start.digest, WARM_STARTS: str(start.warm_starts)}
            if start.digest
            else {}
        )
    assert begun == [1, 2, 0, 1, 2, 0]
    assert workspace.bring("live", full_retrain_every=1) == StartAdapter()


def test_an_adapter_that_was_rejected_counts_for_the_next_full_training(
    workspace: Workspace,
) -> None:
    """Else none is ever due while what is live stays, or all runs are full ones once one is."""
    workspace.push("live", **{CREATED: "2026-01-01"})
    begun = []
    for day in range(2, 8):
        start = workspace.bring("live", full_retrain_every=3)
        begun.append(start.warm_starts)
        # A candidate that nobody approved has no other tag, and gives it to the next one.
        tag = f"rejected-{day}" if day % 2 else "candidate"
        counted = {WARM_STARTS: str(start.warm_starts)} if start.digest else {}
        workspace.push(tag, **{CREATED: f"2026-01-0{day}", **counted})
    assert begun == [1, 2, 0, 1, 2, 0]


def test_runs_that_begin_with_an_image_are_counted_in_the_outputs_repository(
    workspace: Workspace,
) -> None:
    workspace.push("foreign", **{WARM_STARTS: "7"})
    image = f"oci:{workspace.layout}:foreign"
    assert workspace.bring(image, full_retrain_every=3).warm_starts == 1
    workspace.push("candidate", **{CREATED: "2026-01-02", WARM_STARTS: "2"})
    workspace.push("live", **{CREATED: "2026-01-03", WARM_STARTS: "1", WORKSPACE: "other"})
    assert workspace.bring(image, full_retrain_every=3) == StartAdapter()


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"r": 64}, f"r is 64 there, and {LORA.r} in this run"),
        ({"lora_alpha": 1}, f"lora_alpha is 1 there, and {LORA.alpha} in this run"),
        ({"target_modules": ["lm_head"]}, "target_modules is lm_head there, and "),
        ({"use_dora": True}, "use_dora is True there, and False in this run"),
        ({"use_rslora": True}, "use_rslora is True there, and False in this run"),
        ({"peft_type": "IA3"}, "peft_type is IA3 there, and LORA in this run"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save is lm_head there, and None"),
    ],
)
def test_an_adapter_of_another_shape_is_refused_with_both_values(
    workspace: Workspace, config: dict[str, Any], told: str
) -> None:
    workspace.push("live", config)
    with pytest.raises(PermanentError) as caught:
        workspace.bring("live")
    assert str(caught.value).startswith("start-from live: the adapter does not fit: ")
    assert told in str(caught.value)
    assert read_start_adapter(workspace.work_dir) is None


def test_an_adapter_of_other_weights_is_refused_with_both_values(
    workspace: Workspace, tmp_path: Path
) -> None:
    workspace.push("live")
    workspace.bring("live")
    model_dir = tmp_path / "model"
    model_dir.mkdir()
    (model_dir / "config.json").write_text("{}")
    mark_complete(model_dir, Origin(source="hub", version="1" * 40))
    with pytest.raises(PermanentError) as caught:
        check_base(workspace.work_dir, workspace.plan, model_dir)
    assert f"revision is {40 * '0'} there, and {40 * '1'} in this run" in str(caught.value)
    assert f"digest is sha256:{64 * 'b'} there, and sha256:" in str(caught.value)


def test_a_foreign_adapter_names_its_base_in_its_configuration(
    workspace: Workspace, tmp_path: Path
) -> None:
    plan, revision = small_plan(), "1" * 40
    named = {"base_model_name_or_path": plan.model.repository, "revision": revision}
    workspace.push("live", named)
    workspace.bring("live")
    (workspace.work_dir / DIRECTORY / "serving.json").unlink()
    model_dir = tmp_path / "model"
    model_dir.mkdir()
    (model_dir / "config.json").write_text("{}")
    mark_complete(model_dir, Origin(source="hub", version=revision))
    check_base(workspace.work_dir, workspace.plan, model_dir)
    mark_complete(model_dir, Origin(source="hub", version="2" * 40))
    with pytest.raises(PermanentError, match=f"revision is {revision} there"):
        check_base(workspace.work_dir, workspace.plan, model_dir)


@needs_skopeo
def test_the_adapter_in_service_is_pulled_once_for_both_its_uses(
    workspace: Workspace, tmp_path: Path
) -> None:
    digest = workspace.push("live")
    work_dir = tmp_path / "work"
    with serving() as fake:
        target = ImageReference(registry=fake.host, repository="team/phi", tag="live")
        push(workspace.layout, "live", target, digest, Registry())
        write_plan(tmp_path / "plan.yaml", plan_from("live"))
        params = Params(
            plan_file=tmp_path / "plan.yaml",
            cache_dir=tmp_path / "cache",
            work_dir=work_dir,
            output_image=f"{fake.host}/team/phi:1",
        )
        fake.requests.clear()
        # Both adapters come before the model, which nobody has put into the cache.
        with pytest.raises(PermanentError, match="missing in the model cache"):
            run(params, progress=Progress())
        layers = fake.count("GET", r"/blobs/sha256:")
    assert layers == len(blobs_of(workspace.layout, digest))
    for directory in (DIRECTORY, live_adapter.DIRECTORY):
        assert (work_dir / directory / "adapter_model.safetensors").is_file()
