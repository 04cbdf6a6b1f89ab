"""argotune report and logs of a run whose volume and pods are gone, through the real skopeo."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from argotune.steps.common.progress import Progress
from argotune.steps.contracts.data_report import parse_report
from argotune.steps.contracts.side_by_side import (
    ComparedModel,
    write_models,
    write_side_by_side,
)
from argotune.steps.nodes.ledger import MADE_NODES
from argotune.steps.push.params import Result
from argotune.steps.push.side_by_side.params import Params
from argotune.steps.push.side_by_side.run import run as keep_evaluation
from tests.fakes.adapter import write_adapter, write_tiny_plan
from tests.fakes.kube import Cluster
from tests.fakes.registry import Registry, docker_config, serving
from tests.steps.dataset.test_page import REPORT as DATA
from tests.steps.evaluate.test_page import FOUND as EVALUATION
from tests.steps.push.test_run import push
from tests.workflows.cli.cluster_workflows import NAME, put_pod, run_of, step
from tests.workflows.cli.command import Argotune
from tests.workflows.cli.commands.test_evaluate import FOUND as SIDE_BY_SIDE
from tests.workflows.cli.status import node

pytestmark = pytest.mark.skipif(
    shutil.which("skopeo") is None, reason="skopeo is not installed on this machine"
)

ON_CLUSTER = ("-n", "team-a")
DATA_PAGE = "<!doctype html><title>data</title>"


@pytest.fixture
def registry() -> Iterator[Registry]:
    with serving(login=True) as registry:
        yield registry


@pytest.fixture
def pushed(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Result:
    """What push says of a run; this user has the registry's login."""
    own = tmp_path / "docker"
    own.mkdir()
    (own / "config.json").write_text(docker_config(registry.host))
    monkeypatch.setenv("DOCKER_CONFIG", str(own))
    return push(write_volume(tmp_path / "work"), registry)


def write_volume(work_dir: Path) -> Path:
    write_adapter(work_dir / "adapter")
    write_tiny_plan(work_dir / "plan.yaml")
    samples = [
        {"step": each, "prompt": "Who?", "expected": None, "answer": f"at {each}"}
        for each in (0, 9)
    ]
    result = {"base_loss": 4.0, "tuned_loss": 0.5, "steps": 9}
    speed = {"tokens_per_second": 2500.0, "peak_memory_gb": 1.5}
    rows = {"train_rows": 90, "validation_rows": 10, "duplicate_rows": 2, "rejected_rows": 1}
    tokens = {"tokens": 9000, "learned_tokens": 3000, "longest_row_tokens": 400, "cut_rows": 1}
    written = {
        "dataset/dataset.json": json.dumps({**rows, "tokens": tokens}),
        "dataset/data.json": msgspec.json.encode(DATA).decode(),
        "dataset/data.html": DATA_PAGE,
        "report/result.json": json.dumps({"result": result | speed}),
        "report/evaluation.json": msgspec.json.encode(EVALUATION).decode(),
        "report/metrics.jsonl": '{"step": 0, "eval_loss": 4.0}\n{"step": 9, "eval_loss": 0.5}\n',
        "report/samples.jsonl": "".join(json.dumps(each) + "\n" for each in samples),
        "logs/plan.log": "planned\n",
        "logs/tune.log": "step 1\nstep 2\n",
    }
    for name, text in written.items():
        (work_dir / name).parent.mkdir(parents=True, exist_ok=True)
        (work_dir / name).write_text(text)
    return work_dir


def put_run(cluster: Cluster, report: str) -> None:
    """A run that has ended well, without pods and volume."""
    cluster.put(
        run_of(
            *step("plan", "Succeeded"),
            *step("tune", "Succeeded"),
            *step("push", "Succeeded", outputs={"report": report}),
            *step("deploy", "Succeeded"),
            phase="Succeeded",
        )
    )


def test_the_report_of_a_run(argotune: Argotune, cluster: Cluster, pushed: Result) -> None:
    put_run(cluster, pushed.report)
    answer = argotune("report", "my-model", *ON_CLUSTER)
    assert (answer.code, answer.err) == (0, "")
    lines = [" ".join(line.split()) for line in answer.out.splitlines()]
    assert lines[:6] == [
        "run my-model-abcde, 2026-01-01T00:00:00Z",
        "model argotune/tiny, 000000000000, Apache-2.0",
        "method qlora, bfloat16",
        "adapter r 8, alpha 8, dropout 0, qkv_proj",
        "batch 1 x 512 tokens, 512 tokens per optimizer step, rows packed",
        "rate 0.001, linear, warm-up 0%, seed 0",
    ]
    lines = lines[6:]
    assert lines[:8] == [
        "rows 90 for training, 10 held out, 2 repeated, 1 unusable",
        "tokens 9000 an epoch, 3000 of them learned; the longest row has 400; rows cut: 1",
        "base loss 4",
        "tuned loss 0.5, after 9 steps",
        "held out 2 evaluations, the best 0.5 at step 9",
        f"verdict rejected: {EVALUATION.reason}",
        "gain over base 0.5 (0.25 to 0.75), passed",
        "gain over live no finite number, not passed",
    ]
    assert lines[8].startswith("check ")
    assert lines[8].endswith("0.9 on 20 rows, not passed")
    assert lines[9].startswith("files ")
    found = lines.index("FOUND ROWS WHICH")
    assert lines[found : found + 5] == [
        "FOUND ROWS WHICH",
        "refused: empty 2 a.jsonl:7, b.jsonl:3",
        "repeated, dropped 98 b.jsonl:3, …",
        "nearly repeated 1 b.jsonl:3 ~ a.jsonl:7",
        "e-mail addresses 1 a.jsonl:7",
    ]
    measured = lines.index("PLANNED MEASURED")
    assert lines[measured + 1 : measured + 5] == [
        "peak memory of the process, on a CPU - 1.50 GB",
        "training speed - 2,500 tokens/s",
        "optimizer steps - 9",
        "",
    ]
    assert lines[-2:] == ["Who?", "answer: at 9"]


def test_the_report_of_a_run_has_its_whole_cost_and_who_rejected_it(
    argotune: Argotune, cluster: Cluster, pushed: Result
) -> None:
    decided = [{"name": "decision", "value": "reject"}, {"name": "reason", "value": "too long"}]
    answered = node(
        "approve",
        "Succeeded",
        type="Suspend",
        message="rejected by ann",
        outputs={"parameters": decided},
    )
    run = run_of(
        *step("push", "Succeeded", outputs={"report": pushed.report}), answered, phase="Succeeded"
    )
    row = {
        "placement": "NC24 spot in zone 1",
        "priceUsdPerHour": 4.0,
        "since": "2026-01-01T00:00:00Z",
        "until": "2026-01-01T01:30:00Z",
    }
    run["metadata"]["uid"] = "uid"
    run["metadata"]["annotations"] = {MADE_NODES: json.dumps({"run": "uid", "nodes": [row]})}
    cluster.put(run)
    answer = argotune("report", "my-model", *ON_CLUSTER)
    assert (answer.code, answer.err) == (0, "")
    lines = [" ".join(line.split()) for line in answer.out.splitlines()]
    assert "approval rejected by ann: too long" in lines
    assert "cost of the node - at most 6.00 USD" in lines


@pytest.mark.parametrize("version", [":1", "@{digest}"])
def test_the_report_of_an_image(
    argotune: Argotune, pushed: Result, registry: Registry, version: str, tmp_path: Path
) -> None:
    image = f"{registry.host}/team/phi{version.format(digest=pushed.digest)}"
    directory = tmp_path / "kept"
    answer = argotune("report", image, "--to", directory)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.endswith(f"written to {directory}\n")
    assert (directory / "logs" / "tune.log").read_text() == "step 1\nstep 2\n"
    assert (directory / "plan.yaml").read_text().startswith("name: phi-tuned")


def test_the_report_of_an_evaluation_is_read_when_its_workflow_has_gone(
    argotune: Argotune, cluster: Cluster, pushed: Result, registry: Registry, tmp_path: Path
) -> None:
    adapter = f"{registry.host}/team/phi@{pushed.digest}"
    work_dir = tmp_path / "evaluation"
    work_dir.mkdir()
    write_models(work_dir, [ComparedModel(name="phi", image=adapter)])
    write_side_by_side(work_dir, SIDE_BY_SIDE)
    login = tmp_path / "docker" / "config.json"
    params = Params(work_dir=work_dir, run="uid", created="2026-01-31T12:00:00Z", auth_file=login)
    kept = keep_evaluation(params, progress=Progress()).report
    outputs = {"found": msgspec.json.encode(SIDE_BY_SIDE).decode()}
    evaluated = [*step("evaluate", "Succeeded", outputs=outputs)]
    evaluated += step("push", "Succeeded", outputs={"report": kept})
    cluster.put(run_of(*evaluated, phase="Succeeded"))
    while_there = argotune("report", NAME, *ON_CLUSTER)
    assert while_there.out.splitlines()[-1] == f"kept in the registry: argotune report {kept}"
    later = argotune("report", kept)
    assert (later.code, later.err) == (0, "")
    assert "+3.2500 (+3.0000 to +3.5000)" in later.out
    tag = f"{pushed.digest.replace(':', '-')}.evaluation-uid"
    said = argotune("report", f"{registry.host}/team/phi:1").out.splitlines()[-1]
    assert said == f"an evaluation of it: argotune report {registry.host}/team/phi:{tag}"


def test_the_data_of_a_run_are_in_its_report(
    argotune: Argotune, cluster: Cluster, pushed: Result, tmp_path: Path
) -> None:
    put_run(cluster, pushed.report)
    answer = argotune("data", "my-model", *ON_CLUSTER, "--rows", "1", "--output", "json")
    assert (answer.code, answer.err) == (0, "")
    assert parse_report(answer.out.encode()) == DATA
    shown = argotune("data", NAME, *ON_CLUSTER, "--page", tmp_path / "page.html")
    assert shown.out.startswith(f"Data of {DATA.name}\n")
    assert (tmp_path / "page.html").read_text() == DATA_PAGE


def test_of_a_run_without_a_report_the_dataset_step_is_quoted(
    argotune: Argotune, cluster: Cluster
) -> None:
    outputs = {"summary": "40 rows: 38 to train", "findings": "near duplicates: 3"}
    tried = [*step("dataset", "Succeeded", outputs=outputs), *step("tune", "Failed")]
    cluster.put(run_of(*tried, phase="Failed"))
    answer = argotune("data", NAME, *ON_CLUSTER)
    assert answer.code == 3
    assert answer.errors[0].startswith(f"run {NAME} has pushed no report")
    assert answer.errors[0].endswith(
        "; its dataset step says: 40 rows: 38 to train; near duplicates: 3"
    )


def test_an_image_without_a_report(argotune: Argotune, pushed: Result, registry: Registry) -> None:
    del registry.manifests["team/phi", f"{pushed.digest.replace(':', '-')}.report"]
    answer = argotune("report", f"{registry.host}/team/phi:1")
    assert answer.code == 3
    assert len(answer.errors) == 1
    assert "manifest unknown" in answer.errors[0]


def test_logs_of_steps_whose_pods_are_gone_are_in_the_report(
    argotune: Argotune, cluster: Cluster, pushed: Result
) -> None:
    put_run(cluster, pushed.report)
    answer = argotune("logs", NAME, *ON_CLUSTER)
    assert answer.code == 0
    assert answer.out.splitlines() == ["plan(0): planned", "tune(0): step 1", "tune(0): step 2"]
    assert answer.err == (
        "note: the run's pods are gone; these logs are from its report, written by push; of"
        " push(0), deploy(0) it has none\n"
    )
    assert argotune("logs", NAME, "tune", "--follow", *ON_CLUSTER).out == (
        "tune(0): step 1\ntune(0): step 2\n"
    )


def test_a_pod_that_is_there_has_its_log_before_the_report(
    argotune: Argotune, cluster: Cluster, pushed: Result
) -> None:
    put_run(cluster, pushed.report)
    put_pod(cluster, "tune(0)", "from the pod")
    answer = argotune("logs", NAME, *ON_CLUSTER)
    assert answer.out.splitlines() == ["plan(0): planned", "tune(0): from the pod"]


def test_a_registry_that_refuses_the_user_is_told_with_what_to_do(
    argotune: Argotune,
    cluster: Cluster,
    registry: Registry,
    pushed: Result,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", "/nowhere")
    put_run(cluster, pushed.report)
    answer = argotune("logs", NAME, *ON_CLUSTER)
    assert (answer.code, answer.out) == (0, "")
    told, why = answer.err.splitlines()
    assert told.endswith("; the run's volume with the whole logs is gone too")
    assert why.startswith(f"note: report {pushed.report}: registry ")
    assert why.endswith(f"; `skopeo login {registry.host}`, like docker's, leaves a login")
    assert argotune("report", NAME, *ON_CLUSTER).code == 3


@pytest.mark.parametrize(
    ("report", "problem"),
    [
        ("", f"run {NAME} has pushed no report"),
        ("none: no room", f"run {NAME} has no report in the registry: no room"),
    ],
)
def test_a_run_without_a_report(
    argotune: Argotune, cluster: Cluster, report: str, problem: str
) -> None:
    put_run(cluster, report)
    answer = argotune("report", NAME, *ON_CLUSTER)
    assert (answer.code, answer.errors) == (3, [problem])


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("oci:/x/y",), "'oci:/x/y': the report of a run on this machine is in its directory;"),
        (("UPPER/x",), "'UPPER/x': 'UPPER' is not a component of a repository name;"),
        (("x", "--ca-file", "/no"), "--ca-file /no: no such file"),
    ],
)
def test_what_names_no_report_is_refused(
    argotune: Argotune, arguments: tuple[str, ...], problem: str
) -> None:
    answer = argotune("report", *arguments)
    assert answer.code == 2
    assert answer.errors[0].startswith(problem)


def test_a_run_that_changed_nothing_leads_to_the_one_with_the_report(
    argotune: Argotune, cluster: Cluster
) -> None:
    put_run(cluster, "registry.example.com/a:sha256-0.report")
    unchanged = run_of(*step("dataset", "Succeeded"), phase="Succeeded", name="my-model-later")
    created = {"creationTimestamp": "2126-01-01T00:00:00Z"}
    cluster.put({**unchanged, "metadata": {**unchanged["metadata"], **created}})
    answer = argotune("report", "my-model", *ON_CLUSTER)
    assert answer.code == 3
    assert answer.errors == [
        "run my-model-later has pushed no report; the newest that has:"
        f" argotune report {NAME} -n team-a"
    ]
