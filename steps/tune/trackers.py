"""Where a run's numbers go beside metrics.jsonl: TensorBoard's event files always, MLflow and
Weights & Biases where the plan's report_to names them and their packages are installed.

The names are those of transformers' Trainer, so that runs of both stand in the same charts.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.summary_pb2 import Summary

from argotune.steps.common import log
from argotune.steps.common.errors import PermanentError
from argotune.steps.common.fs import atomic_write
from argotune.steps.contracts.training_plan import TrainingPlan, Watch
from argotune.steps.tune.extras import remedy

Record = Mapping[str, Any]

_NAMES = {
    "loss": "train/loss",
    "learning_rate": "train/learning_rate",
    "gradient_norm": "train/grad_norm",
    "tokens_per_second": "train/tokens_per_second",
    "memory_gb": "train/memory_gb",
    "epoch": "train/epoch",
    "eval_loss": "eval/loss",
}
_PROJECT = "argotune"
_PACKAGES = {"mlflow": "mlflow-skinny", "wandb": "wandb"}
_MLFLOW_BATCH = 500
"""Metrics of one request; MLflow's limit is 1000."""
_MLFLOW_PARAMETERS = 100
"""MLflow's limit of parameters in one request."""

_logger = logging.getLogger(__name__)


class Tracker(Protocol):
    """Is told what metrics.jsonl gets."""

    def rewind(self, records: Sequence[Record]) -> None:
        """A try begins; these records of earlier tries stay."""

    def add(self, record: Record) -> None:
        """One record more."""

    def close(self, succeeded: bool) -> None:
        """The try has ended."""


def check_trackers(watch: Watch) -> None:
    """Refuse trackers that cannot work, before a GPU has waited for it. Raises PermanentError."""
    problems = [
        f"report_to names {name}, and {_PACKAGES[name]} is not installed here; {remedy('track')}"
        for name in watch.report_to
        if importlib.util.find_spec(name) is None
    ]
    if "mlflow" in watch.report_to and not os.environ.get("MLFLOW_TRACKING_URI"):
        problems.append("report_to names mlflow, and MLFLOW_TRACKING_URI does not say where it is")
    if problems:
        raise PermanentError("; ".join(problems))


def open_trackers(plan: TrainingPlan, directory: Path) -> list[Tracker]:
    """TensorBoard's, and those of the plan; their own notes of the run lie in `directory`."""
    trackers: list[Tracker] = [TensorBoard(directory / "tensorboard")]
    if "mlflow" in plan.watch.report_to:
        trackers.append(MLflow(plan, directory / "mlflow-run-id"))
    if "wandb" in plan.watch.report_to:
        trackers.append(Wandb(plan, directory))
    return trackers


class TensorBoard:
    """Event files, made anew from the records at each try: what was dropped is not in them.

    Written at once: SummaryWriter's queue and its two threads cost more than the six numbers of a
    step, and its semaphores outlive a process that is ended.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._writer: Any = None

    def rewind(self, records: Sequence[Record]) -> None:
        self.close(succeeded=False)
        shutil.rmtree(self._directory, ignore_errors=True)
        self._directory.mkdir(parents=True)
        self._writer = EventsWriter(str(self._directory / "events"))
        for record in records:
            self._write(record)
        self._writer.flush()

    def add(self, record: Record) -> None:
        self._write(record)
        self._writer.flush()

    def close(self, succeeded: bool) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _write(self, record: Record) -> None:
        values = [
            Summary.Value(tag=name, simple_value=value) for name, value in _named(record).items()
        ]
        self._writer.write_event(
            Event(wall_time=record["time"], step=record["step"], summary=Summary(value=values))
        )


class _Remote:
    """A tracker elsewhere. One that cannot be reached at the start is an error; one that is lost
    later is given up with a warning, for the training is worth more than its record there."""

    name: str
    errors: tuple[type[Exception], ...]

    def __init__(self) -> None:
        self._lost = False

    def rewind(self, records: Sequence[Record]) -> None:
        """Earlier tries told it already."""

    def add(self, record: Record) -> None:
        self._try(lambda: self._send(record))

    def close(self, succeeded: bool) -> None:
        self._try(lambda: self._finish(succeeded))

    def _try(self, action: Any) -> None:
        if self._lost:
            return
        try:
            action()
        except self.errors as error:
            self._lost = True
            log.warn(_logger, "tracker_lost", tracker=self.name, reason=str(error))

    def _send(self, record: Record) -> None:
        raise NotImplementedError

    def _finish(self, succeeded: bool) -> None:
        raise NotImplementedError


class MLflow(_Remote):
    """A run of MLflow; a later try goes on with it."""

    name = "mlflow"

    def __init__(self, plan: TrainingPlan, id_file: Path) -> None:
        super().__init__()
        # A server that is gone must not hold up every step for MLflow's own ten minutes.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        # Optional, and not part of every image: by its name, not by an import statement.
        self._entities = importlib.import_module("mlflow.entities")
        self.errors = (importlib.import_module("mlflow.exceptions").MlflowException,)
        self._client = importlib.import_module("mlflow").MlflowClient()
        self._waiting: list[Any] = []
        try:
            self._run_id = _kept(id_file) or self._begin(plan, id_file)
        except self.errors as error:
            raise PermanentError(f"MLflow cannot be told of the run: {error}") from error

    def _begin(self, plan: TrainingPlan, id_file: Path) -> str:
        project = plan.watch.project or os.environ.get("MLFLOW_EXPERIMENT_NAME") or _PROJECT
        experiment = self._client.get_experiment_by_name(project)
        experiment_id = (
            self._client.create_experiment(project)
            if experiment is None
            else experiment.experiment_id
        )
        run = self._client.create_run(experiment_id, run_name=plan.watch.run_name or plan.name)
        run_id = str(run.info.run_id)
        settings = [self._entities.Param(k, v[:500]) for k, v in _settings(plan).items()]
        for first in range(0, len(settings), _MLFLOW_PARAMETERS):
            chunk = settings[first : first + _MLFLOW_PARAMETERS]
            self._client.log_batch(run_id, params=chunk, synchronous=True)
        atomic_write(id_file, run_id)
        return run_id

    def _send(self, record: Record) -> None:
        self._waiting += [
            self._entities.Metric(name, value, int(record["time"] * 1000), record["step"])
            for name, value in _named(record).items()
        ]
        # An evaluation is looked at; steps can wait for it.
        if "eval_loss" in record or len(self._waiting) >= _MLFLOW_BATCH:
            self._flush()

    def _finish(self, succeeded: bool) -> None:
        self._flush()
        self._client.set_terminated(self._run_id, "FINISHED" if succeeded else "FAILED")

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        if waiting:
            self._client.log_batch(self._run_id, metrics=waiting, synchronous=True)


class Wandb(_Remote):
    """A run of Weights & Biases, online or with WANDB_MODE=offline; a later try goes on with it."""

    name = "wandb"

    def __init__(self, plan: TrainingPlan, directory: Path) -> None:
        super().__init__()
        # Optional, and not part of every image: by its name, not by an import statement.
        wandb = importlib.import_module("wandb")
        self.errors = (wandb.Error, OSError)
        id_file = directory / "wandb-run-id"
        run_id = _kept(id_file) or secrets.token_hex(4)
        try:
            self._run = wandb.init(
                project=plan.watch.project or os.environ.get("WANDB_PROJECT") or _PROJECT,
                name=plan.watch.run_name or plan.name,
                id=run_id,
                resume="allow",
                config=_settings(plan),
                dir=str(directory),
                # The log of the step stays the step's.
                settings=wandb.Settings(silent=True, console="off", finish_timeout=120),
            )
        except self.errors as error:
            raise PermanentError(f"Weights & Biases cannot be told of the run: {error}") from error
        # Its own count of steps never goes back; a resumed run does.
        self._run.define_metric("*", step_metric="step")
        atomic_write(id_file, run_id)

    def _send(self, record: Record) -> None:
        self._run.log({"step": record["step"], **_named(record)})

    def _finish(self, succeeded: bool) -> None:
        self._run.finish(exit_code=0 if succeeded else 1)


def _named(record: Record) -> dict[str, float]:
    return {name: record[key] for key, name in _NAMES.items() if key in record}


def _settings(plan: TrainingPlan) -> dict[str, str]:
    """The plan's choices by dotted names; neither URLs nor anything secret is among them."""
    sections = {
        "model": {"repository": plan.model.repository, "revision": plan.model.revision},
        "lora": msgspec.to_builtins(plan.lora),
        "quantization": msgspec.to_builtins(plan.quantization) or {},
        "training": msgspec.to_builtins(plan.training),
        "hardware": msgspec.to_builtins(plan.hardware),
    }
    values = {
        f"{section}.{key}": str(value)
        for section, fields in sections.items()
        for key, value in fields.items()
    }
    return {"method": plan.method, **values}


def _kept(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None
