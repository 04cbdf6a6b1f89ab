"""What is left of a rejected adapter for the schedule, and for the run."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec
import pytest

from argotune.steps.cluster.kube import Kube, Object
from argotune.steps.common.errors import ParamsError, PermanentError
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.checks import CheckResult, Margin
from argotune.steps.contracts.evaluation import Comparison, Evaluation, write_evaluation
from argotune.steps.contracts.history import (
    Rejected,
    digest_of_plan,
    last_deployed,
    last_rejected,
    record_live,
)
from argotune.steps.contracts.in_service import Event, InService, read_in_service
from argotune.steps.contracts.live_adapter import LiveAdapter, write_live_adapter
from argotune.steps.contracts.services import RECORD, Service, read_service, write_record
from argotune.steps.contracts.versions import rejected_tag
from argotune.steps.push.layout import write_image
from argotune.steps.registry.layout_index import read_entries, tag_of
from argotune.steps.registry.oci import LayoutReference
from argotune.steps.reject.params import Params, Result
from argotune.steps.reject.run import run
from tests.fakes.adapter import write_adapter, write_model, write_tiny_plan
from tests.fakes.kube import Cluster, serving

DIGEST = f"sha256:{64 * 'd'}"
LIVE = f"sha256:{64 * '3'}"
GATE = f"sha256:{64 * 'a'}"
ENDED = "2026-02-03T04:05:06Z"
REFERENCE = f"registry.example.com/mine@{DIGEST}"


def reject(root: Path, *, connect: Callable[[], Kube] | None = None, **changes: Any) -> Result:
    write_model(root / "model", write_adapter(root / "adapter"))
    write_tiny_plan(root / "plan.yaml")
    values: dict[str, Any] = {
        "plan_file": root / "plan.yaml",
        "name": "mine",
        "model_dir": root / "model",
        "work_dir": root,
        "dataset_digest": DIGEST,
        "reference": REFERENCE,
        "gate": GATE,
        "history_file": root / "history" / "mine.json",
        "verdict": "rejected",
        "reason": "it is no better than v3 in service: its gain is -0.2 nats per token",
        "outcome": "kept v3",
    }
    return run(Params(**values | changes), progress=Progress(), connect=connect or no_cluster)


def pushed(root: Path) -> str:
    """The reference of an adapter's image in a layout."""
    files = sorted(write_adapter(root / "adapter").iterdir())
    image = write_image(
        root / "dist", files, tag="latest", created="2026-01-01T00:00:00Z", annotations={}
    )
    return str(LayoutReference(directory=root / "dist", digest=image.digest))


def tags(root: Path) -> dict[str | None, str]:
    return {tag_of(each): each["digest"] for each in read_entries(root / "dist")}


def rejected_by(name: str) -> dict[str, Any]:
    """The status of a run whose question a person answered."""
    node = {
        "displayName": "approve",
        "type": "Suspend",
        "phase": "Succeeded",
        "message": f"rejected by {name}",
        "finishedAt": ENDED,
        "outputs": {"parameters": [{"name": "decision", "value": "reject"}]},
    }
    return {"nodes": {"a": node}}


def no_cluster() -> Kube:
    raise AssertionError("no Workflow is named")


def recorded(root: Path) -> Rejected | None:
    assert last_deployed(root / "history" / "mine.json") is None
    return last_rejected(root / "history" / "mine.json")


@pytest.mark.parametrize(("verdict", "by"), [("rejected", "gate"), ("passed", "person")])
def test_data_plan_and_weights_are_recorded(tmp_path: Path, verdict: str, by: str) -> None:
    # What a person says fails no run.
    on_rejected = "keep" if by == "gate" else "fail"
    reference = REFERENCE if by == "gate" else pushed(tmp_path)
    result = reject(tmp_path, verdict=verdict, on_rejected=on_rejected, reference=reference)
    assert (result.rejected_by, result.person) == (by, "")
    assert recorded(tmp_path) == Rejected(
        dataset_digest=DIGEST,
        plan_digest=digest_of_plan(tmp_path / "plan.yaml"),
        base_version="0" * 40,
        reference=reference,
        gate=GATE if by == "gate" else "",
    )


def test_the_adapter_in_service_is_recorded_where_another_one_might_have_lost(
    tmp_path: Path,
) -> None:
    def recorded_live(*lost_to: Literal["base", "live"], verdict: str = "rejected") -> str:
        write_evaluation(tmp_path, evaluation(*lost_to))
        reject(tmp_path, verdict=verdict, reference=reference)
        found = recorded(tmp_path)
        assert found is not None
        return found.live

    reference = pushed(tmp_path)
    write_live_adapter(tmp_path, LiveAdapter(digest=LIVE, version="v3"))
    assert recorded_live("live") == LIVE
    assert recorded_live("live", verdict="passed") == ""
    assert recorded_live("base", "live") == ""
    assert recorded_live() == "", "its answers were empty"


@pytest.mark.parametrize(
    ("score", "least", "lost_to", "is_lost_to_live"),
    [
        (0.5, None, (), True),
        (0.5, 0.6, (), False),
        (0.5, None, ("base",), False),
        (None, None, (), False),
    ],
)
def test_a_check_that_is_worse_than_the_one_in_service_lost_to_it(
    tmp_path: Path,
    score: float | None,
    least: float | None,
    lost_to: tuple[Literal["base", "live"], ...],
    *,
    is_lost_to_live: bool,
) -> None:
    check = CheckResult(
        name="facts",
        kind="lm_eval",
        score=score,
        min=least,
        passed=False,
        rows=40,
        margins=[
            Margin(against="base", score=0.2, margin=0.1),
            Margin(against="live", score=0.6, margin=0.0),
        ],
    )
    write_evaluation(tmp_path, msgspec.structs.replace(evaluation(*lost_to), checks=[check]))
    write_live_adapter(tmp_path, LiveAdapter(digest=LIVE, version="v3"))
    reject(tmp_path)
    found = recorded(tmp_path)
    assert found is not None
    assert found.live == (LIVE if is_lost_to_live else "")


def test_the_adapter_in_service_is_the_one_that_deploy_recorded(tmp_path: Path) -> None:
    write_evaluation(tmp_path, evaluation("live"))
    write_live_adapter(tmp_path, LiveAdapter(digest=LIVE, version="v3"))
    history = tmp_path / "history" / "mine.json"
    history.parent.mkdir()
    record_live(history, DIGEST)
    reject(tmp_path)
    found = last_rejected(history)
    assert found is not None
    assert found.live == DIGEST


def evaluation(*lost_to: Literal["base", "live"]) -> Evaluation:
    return Evaluation(
        made_from={},
        verdict="rejected",
        reason="",
        rows=40,
        tokens=400,
        new_loss=2.0,
        confidence=0.95,
        comparisons=[
            Comparison(against=each, loss=2.0, gain=0.0, margin=0.0, passed=each not in lost_to)
            for each in get_args(Literal["base", "live"])
        ],
    )


def test_a_run_that_is_to_fail_for_it_fails_when_it_is_recorded(tmp_path: Path) -> None:
    with pytest.raises(PermanentError) as caught:
        reject(tmp_path, on_rejected="fail")
    assert str(caught.value) == (
        "kept v3: it is no better than v3 in service: its gain is -0.2 nats per token; the adapter"
        f" is {REFERENCE}, and on-rejected is fail"
    )
    assert recorded(tmp_path) is not None


def test_an_adapter_that_was_not_sent_is_not_recorded(tmp_path: Path) -> None:
    with pytest.raises(ParamsError) as caught:
        reject(tmp_path, reference="")
    assert str(caught.value).startswith("--reference: empty")
    assert recorded(tmp_path) is None


def test_what_a_person_rejected_gets_the_tag_of_the_gates_and_the_persons_name(
    tmp_path: Path,
) -> None:
    names = {"namespace": "team", "name": "one-x"}
    cluster = Cluster()
    cluster.put({"kind": "Workflow", "metadata": names, "status": rejected_by("ann")})
    reference = pushed(tmp_path)
    digest = reference.partition("@")[2]
    with serving(cluster) as kube:
        result = reject(
            tmp_path,
            verdict="passed",
            reference=reference,
            namespace="team",
            workflow="one-x",
            connect=lambda: kube,
        )
    assert result == Result(rejected_by="person", person="ann", tag=rejected_tag(digest))
    assert tags(tmp_path) == {"latest": digest, rejected_tag(digest): digest}


SERVING = InService(adapter="registry.example.com/mine@sha256:1", version="v3")


def deployment(**annotations: str) -> Object:
    metadata = {"namespace": "team", "name": "mine", "annotations": annotations}
    return {"kind": "Deployment", "metadata": metadata}


@pytest.mark.parametrize("is_there", [True, False])
def test_the_service_that_stays_says_who_rejected_which_adapter(
    tmp_path: Path, *, is_there: bool
) -> None:
    cluster = Cluster()
    names = {"namespace": "team", "name": "one-x"}
    cluster.put({"kind": "Workflow", "metadata": names, "status": rejected_by("ann")})
    if is_there:
        cluster.put(deployment(**SERVING.annotations()))
    reference = pushed(tmp_path)
    with serving(cluster) as kube:
        for _ in range(2):
            reject(
                tmp_path,
                verdict="passed",
                reference=reference,
                namespace="team",
                workflow="one-x",
                connect=lambda: kube,
            )
    if not is_there:
        assert ("Deployment", "team", "mine") not in cluster.objects
        return
    known = read_in_service(
        cluster.objects["Deployment", "team", "mine"]["metadata"]["annotations"]
    )
    assert known == dataclasses.replace(
        SERVING,
        rejected={reference.partition("@")[2]: Event(time=ENDED, person="ann", run="one-x")},
    )


def test_the_next_deploy_keeps_what_was_rejected() -> None:
    before = dataclasses.replace(SERVING, rejected={DIGEST: Event(person="ann")})
    now = InService(adapter="registry.example.com/mine@sha256:2", version="v4").after(before)
    assert read_in_service(now.annotations()) == now
    assert now.rejected == before.rejected


def test_a_service_of_this_machine_says_it_too(tmp_path: Path) -> None:
    (tmp_path / "services" / "mine").mkdir(parents=True)
    service = Service(
        name="mine",
        pid=1,
        process_started="1",
        port=1,
        endpoint="http://127.0.0.1:1",
        digest=DIGEST,
        model="tiny",
        started="2026",
        annotations=SERVING.annotations(),
    )
    write_record(tmp_path / "services" / "mine" / RECORD, service)
    record = tmp_path / "workflow.json"
    record.write_text(json.dumps({"metadata": {}, "status": rejected_by("bob")}))
    reject(
        tmp_path,
        verdict="passed",
        reference=pushed(tmp_path),
        run_record=record,
        target="process",
        services_dir=tmp_path / "services",
    )
    now = read_service(tmp_path / "services", "mine")
    assert now is not None
    known = read_in_service(now.annotations)
    assert known is not None
    assert [event.person for event in known.rejected.values()] == ["bob"]


def test_on_one_machine_the_record_of_the_run_tells_who_rejected_it(tmp_path: Path) -> None:
    record = tmp_path / "workflow.json"
    record.write_text(json.dumps({"metadata": {}, "status": rejected_by("bob")}))
    result = reject(
        tmp_path,
        verdict="passed",
        reference=pushed(tmp_path),
        run_record=record,
        target="process",
    )
    assert result.person == "bob"


def test_what_the_gate_rejected_has_its_tag_from_push(tmp_path: Path) -> None:
    result = reject(tmp_path)
    assert result == Result(rejected_by="gate", person="", tag=rejected_tag(DIGEST))


def test_a_registry_that_takes_no_tag_does_not_fail_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gone = pushed(tmp_path).partition("@")[0] + f"@{DIGEST}"
    result = reject(tmp_path, verdict="passed", reference=gone)
    assert result.tag.startswith(f"none: OCI layout {tmp_path / 'dist'} has no {DIGEST}")
    assert "tag-not-set" in caplog.text
    assert recorded(tmp_path) is not None


def test_a_reference_without_a_digest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"^--reference: 'registry.example.com/mine:1' has no"):
        reject(tmp_path, reference="registry.example.com/mine:1")
