"""MLflow's real client against a fake server, and the real W&B offline."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import wandb

from argotune.steps.common.errors import PermanentError
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.training_plan import Watch
from argotune.steps.tune import trackers
from argotune.steps.tune.run import run
from argotune.steps.tune.trackers import check_trackers, open_trackers
from tests.steps.tune.models import params_for, read_records, tiny_plan, write_dataset
from tests.steps.tune.test_report import step_record


class MLflowServer:
    """What MLflow's REST API keeps of runs."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}
        self.experiments: list[str] = []
        self.is_down = False

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if self.is_down:
            return 403, {"error_code": "PERMISSION_DENIED", "message": "gone"}
        name = path.rpartition("/mlflow/")[2]
        if name == "experiments/get-by-name":
            if body["experiment_name"] in self.experiments:
                number = str(self.experiments.index(body["experiment_name"]))
                return 200, {"experiment": {"experiment_id": number, "name": number}}
            return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "none"}
        if name == "experiments/create":
            self.experiments.append(body["name"])
            return 200, {"experiment_id": str(len(self.experiments) - 1)}
        if name == "runs/create":
            run_id = f"run{len(self.runs)}"
            self.runs[run_id] = {"name": body["run_name"], "metrics": [], "params": {}}
            return 200, {"run": {"info": {"run_id": run_id, "run_uuid": run_id}, "data": {}}}
        found = self.runs[body["run_id"]]
        if name == "runs/get":
            info = {"run_id": body["run_id"], "run_uuid": body["run_id"], "status": "RUNNING"}
            return 200, {"run": {"info": {**info, "lifecycle_stage": "active"}, "data": {}}}
        if name == "runs/log-batch":
            found["metrics"] += [(m["key"], m["value"], m["step"]) for m in body.get("metrics", [])]
            found["params"] |= {p["key"]: p["value"] for p in body.get("params", [])}
            return 200, {}
        assert name == "runs/update", name
        found["status"] = body["status"]
        return 200, {"run_info": {"run_id": body["run_id"], "run_uuid": body["run_id"]}}


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[MLflowServer]:
    fake = MLflowServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            self._reply({name: values[0] for name, values in query.items()})

        def do_POST(self) -> None:
            self._reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _reply(self, body: dict[str, Any]) -> None:
            status, content = fake.answer(urlsplit(self.path).path, body)
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}")
        yield fake
        server.shutdown()
        thread.join()


def test_mlflow_gets_what_metrics_jsonl_gets(
    tmp_path: Path, model_dir: Path, mlflow: MLflowServer
) -> None:
    write_dataset(tmp_path)
    plan = tiny_plan(epochs=1.0, watch=Watch(report_to=["mlflow"], project="tests", run_name="one"))
    run(params_for(tmp_path, model_dir, plan), progress=Progress())
    assert mlflow.experiments == ["tests"]
    (found,) = mlflow.runs.values()
    assert (found["name"], found["status"]) == ("one", "FINISHED")
    assert found["params"]["training.learning_rate"] == "0.01"
    assert found["params"]["lora.r"] == "8"
    for key, name in (("loss", "train/loss"), ("eval_loss", "eval/loss")):
        expected = [(name, r[key], r["step"]) for r in read_records(tmp_path) if key in r]
        assert expected
        assert [metric for metric in found["metrics"] if metric[0] == name] == expected


def test_a_later_try_goes_on_with_mlflows_run(tmp_path: Path, mlflow: MLflowServer) -> None:
    plan = tiny_plan(watch=Watch(report_to=["mlflow"]))
    for step, succeeded in ((1, False), (2, True)):
        _, tracker = open_trackers(plan, tmp_path)
        tracker.add({**step_record(step, 1.0), "time": 1.0})
        tracker.close(succeeded)
    (found,) = mlflow.runs.values()
    assert (found["name"], found["status"]) == ("demo", "FINISHED")
    assert mlflow.experiments == ["argotune"]
    assert [step for name, _, step in found["metrics"] if name == "train/loss"] == [1, 2]


def test_a_server_that_refuses_at_the_start_is_an_error_and_later_a_warning(
    tmp_path: Path, mlflow: MLflowServer, caplog: pytest.LogCaptureFixture
) -> None:
    plan = tiny_plan(watch=Watch(report_to=["mlflow"]))
    _, tracker = open_trackers(plan, tmp_path)
    mlflow.is_down = True
    for step in (1, 2):
        tracker.add({"step": step, "eval_loss": 1.0, "time": 1.0})
    tracker.close(succeeded=True)
    lost = [r.getMessage() for r in caplog.records if "tracker_lost" in r.getMessage()]
    assert len(lost) == 1
    assert "PERMISSION_DENIED" in lost[0]
    with pytest.raises(PermanentError, match=r"MLflow cannot create the run: .*gone"):
        open_trackers(plan, tmp_path / "other")


def test_wandb_keeps_the_run_on_disk_when_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    plan = tiny_plan(watch=Watch(report_to=["wandb"], project="tests", run_name="one"))
    _, tracker = open_trackers(plan, tmp_path)
    active = wandb.run
    assert active is not None
    assert (active.project, active.name) == ("tests", "one")
    assert active.id == (tmp_path / "wandb-run-id").read_text()
    assert active.config["lora.r"] == "8"
    tracker.rewind([])
    tracker.add({**step_record(1, 2.5), "time": 1.0})
    assert active.summary["train/loss"] == 2.5
    tracker.close(succeeded=True)
    (kept,) = (tmp_path / "wandb").glob(f"offline-run-*/run-{active.id}.wandb")
    # W&B's own process writes it, and may do so after it said that it is done.
    deadline = time.monotonic() + 60
    while b"train/loss" not in kept.read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_trackers_that_cannot_work_are_refused_before_anything_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both are installed here, so their absence is given by hand."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(trackers.importlib.util, "find_spec", lambda name: None)
    check_trackers(Watch())
    with pytest.raises(PermanentError) as caught:
        check_trackers(Watch(report_to=["mlflow", "wandb"]))
    assert str(caught.value) == (
        "report_to has mlflow, but mlflow-skinny is not installed here; build the tune image with "
        "`make images STEPS=tune EXTRAS=track`, run `make setup` on your own machine, or turn it "
        "off; report_to has wandb, but wandb is not installed here; build the tune image with "
        "`make images STEPS=tune EXTRAS=track`, run `make setup` on your own machine, or turn it "
        "off; report_to has mlflow, but MLFLOW_TRACKING_URI is not set"
    )
