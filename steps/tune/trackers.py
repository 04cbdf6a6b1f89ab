"""Trackers of a run's metrics: TensorBoard always, MLflow and Weights & Biases on request.

The metrics have the names of transformers' Trainer, so that runs of both share the same charts.
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

from argotune.steps.causal_lm.extras import remedy
from argotune.steps.common import log
from argotune.steps.common.errors import PermanentError
from argotune.steps.common.fs import atomic_write
from argotune.steps.contracts.training_plan import TrainingPlan, Watch

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
"""Metrics per request; MLflow's limit is 1000."""
_MLFLOW_PARAMETERS = 100
"""MLflow's limit of parameters in one request."""

_logger = logging.getLogger(__name__)


class Tracker(Protocol):
    """Gets the records of metrics.jsonl."""

    def rewind(self, records: Sequence[Record]) -> None:
        """Begin an attempt; `records` of earlier attempts remain valid."""

    def add(self, record: Record) -> None:
        """Send one record."""

    def close(self, succeeded: bool) -> None:
        """End the attempt."""


def check_trackers(watch: Watch) -> None:
    """Raise PermanentError for trackers that cannot work; called before the model is loaded."""
    problems = [
        f"report_to has {name}, but {_PACKAGES[name]} is not installed here; {remedy('track')}"
        for name in watch.report_to
        if importlib.util.find_spec(name) is None
    ]
    if "mlflow" in watch.report_to and not os.environ.get("MLFLOW_TRACKING_URI"):
        problems.append("report_to has mlflow, but MLFLOW_TRACKING_URI is not set")
    if problems:
        raise PermanentError("; ".join(problems))


def open_trackers(plan: TrainingPlan, directory: Path) -> list[Tracker]:
    """TensorBoard and the trackers of the plan; `directory` has their files.

    Raises PermanentError if a tracker cannot be reached.
    """
    trackers: list[Tracker] = [TensorBoard(directory / "tensorboard")]
    if "mlflow" in plan.watch.report_to:
        trackers.append(MLflow(plan, directory / "mlflow-run-id"))
    if "wandb" in plan.watch.report_to:
        trackers.append(Wandb(plan, directory))
    return trackers


class TensorBoard:
    """Event files, rewritten from the records at each attempt, so that dropped records disappear.

    Events are written immediately: SummaryWriter's queue and its two threads cost more than the six
    numbers of a step, and its semaphores outlive a killed process.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._writer: Any = None

    def rewind(self, records: Sequence[Record]) -> None:
        """Rewrite the event files with these records."""
        self.close(succeeded=False)
        shutil.rmtree(self._directory, ignore_errors=True)
        self._directory.mkdir(parents=True)
        self._writer = EventsWriter(str(self._directory / "events"))
        for record in records:
            self._write(record)
        self._writer.flush()

    def add(self, record: Record) -> None:
        """Write one record."""
        self._write(record)
        self._writer.flush()

    def close(self, succeeded: bool) -> None:
        """Close the event files."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _write(self, record: Record) -> None:
        values = [
            Summary.Value(tag=name, simple_value=value) for name, value in _metrics(record).items()
        ]
        self._writer.write_event(
            Event(wall_time=record["time"], step=record["step"], summary=Summary(value=values))
        )


class _Remote:
    """A remote tracker.

    It is an error if it cannot be reached at the start. If it fails later, it is disabled with a
    warning, because the training matters more than its record.
    """

    name: str
    errors: tuple[type[Exception], ...]

    def __init__(self) -> None:
        self._lost = False

    def rewind(self, records: Sequence[Record]) -> None:
        """Do nothing: earlier attempts have sent the records."""

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
    """A run in MLflow, which later attempts continue."""

    name = "mlflow"

    def __init__(self, plan: TrainingPlan, id_file: Path) -> None:
        super().__init__()
        # Otherwise an unreachable server would delay every step by MLflow's default ten minutes.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        # Imported by name because the package is optional and not in every image.
        self._entities = importlib.import_module("mlflow.entities")
        self.errors = (importlib.import_module("mlflow.exceptions").MlflowException,)
        self._client = importlib.import_module("mlflow").MlflowClient()
        self._waiting: list[Any] = []
        try:
            self._run_id = _read_id(id_file) or self._begin(plan, id_file)
        except self.errors as error:
            raise PermanentError(f"MLflow cannot create the run: {error}") from error

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
            for name, value in _metrics(record).items()
        ]
        # Evaluations are sent at once, steps in batches.
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
    """A run in Weights & Biases, also with WANDB_MODE=offline, which later attempts continue."""

    name = "wandb"

    def __init__(self, plan: TrainingPlan, directory: Path) -> None:
        super().__init__()
        # Imported by name because the package is optional and not in every image.
        wandb = importlib.import_module("wandb")
        self.errors = (wandb.Error, OSError)
        id_file = directory / "wandb-run-id"
        run_id = _read_id(id_file) or secrets.token_hex(4)
        try:
            self._run = wandb.init(
                project=plan.watch.project or os.environ.get("WANDB_PROJECT") or _PROJECT,
                name=plan.watch.run_name or plan.name,
                id=run_id,
                resume="allow",
                config=_settings(plan),
                dir=str(directory),
                # Weights & Biases must not capture the step's log.
                settings=wandb.Settings(silent=True, console="off", finish_timeout=120),
            )
        except self.errors as error:
            raise PermanentError(f"Weights & Biases cannot create the run: {error}") from error
        # Its own step counter never decreases, but a resumed run's steps do.
        self._run.define_metric("*", step_metric="step")
        atomic_write(id_file, run_id)

    def _send(self, record: Record) -> None:
        self._run.log({"step": record["step"], **_metrics(record)})

    def _finish(self, succeeded: bool) -> None:
        self._run.finish(exit_code=0 if succeeded else 1)


def _metrics(record: Record) -> dict[str, float]:
    return {name: record[key] for key, name in _NAMES.items() if key in record}


def _settings(plan: TrainingPlan) -> dict[str, str]:
    """The plan's settings by dotted names, without URLs and secrets."""
    sections = {
        "model": {
            "repository": plan.model.repository,
            "revision": plan.model.revision,
            "source": plan.model.source,
        },
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


def _read_id(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None
