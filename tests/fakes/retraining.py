"""A workspace on a schedule: its data, service and registry, with steps that take no time.

Plan, dataset, provision, push, deploy, reject and release are the real ones. Model has its weights,
tune writes an adapter whose weights are its loss, evaluate compares such losses by its own rules,
and deploy's server answers at once.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import numpy as np

from argotune.steps.common.fields import parse_fields
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.approval import APPROVE, DECISION, REASON
from argotune.steps.contracts.evaluation import REJECTED, Evaluation, write_evaluation
from argotune.steps.contracts.history import DIRECTORY as HISTORY
from argotune.steps.contracts.history import last_deployed, last_rejected, live_digest
from argotune.steps.contracts.live_adapter import DIRECTORY as LIVE_ADAPTER
from argotune.steps.contracts.live_adapter import read_live_adapter
from argotune.steps.contracts.training_plan import read_plan
from argotune.steps.contracts.versions import LIVE, PREVIOUS
from argotune.steps.contracts.versions import REJECTED as REJECTED_TAG
from argotune.steps.dataset import params as dataset_params
from argotune.steps.dataset import run as dataset
from argotune.steps.dataset.download import Downloader
from argotune.steps.deploy import params as deploy_params
from argotune.steps.deploy import run as deploy
from argotune.steps.deploy.version import record_version
from argotune.steps.evaluate import params as evaluate_params
from argotune.steps.evaluate.decide import Limits, compare, decide
from argotune.steps.model import params as model_params
from argotune.steps.model.live import bring_live_adapter
from argotune.steps.nodes.providers import load_provider
from argotune.steps.plan import params as plan_params
from argotune.steps.plan import run as plan
from argotune.steps.provision import params as provision_params
from argotune.steps.provision import run as provision
from argotune.steps.push import params as push_params
from argotune.steps.push import run as push
from argotune.steps.registry.oci import LayoutReference
from argotune.steps.registry.skopeo import Registry
from argotune.steps.registry.versions import Repository, find_version, repository_of
from argotune.steps.reject import params as reject_params
from argotune.steps.reject import run as reject
from argotune.steps.release import params as release_params
from argotune.steps.release import run as release
from argotune.steps.tune import params as tune_params
from argotune.workflows.engine.controller.suspend import Resumption
from argotune.workflows.engine.model import JsonObject
from argotune.workflows.engine.record import RECORD, request_resume
from argotune.workflows.engine.run import Options, run
from argotune.workflows.workspace import manifests
from argotune.workflows.workspace.rollback import rollback_workflow
from tests.fakes.adapter import safetensors, write_adapter, write_model
from tests.fakes.clock import VirtualClock
from tests.fakes.cron import CronController
from tests.fakes.http import FileServer, Status
from tests.fakes.pods import Step, StepsOfThisProcess

NAME = "mine"
ZONE = ZoneInfo("Europe/Berlin")
_MODEL_DIR = "argotune--tiny/0"
_BASE_LOSS = 4.0
_ROWS, _TOKENS_PER_ROW = 40, 10
_CLAIM = "argotune-models"
_TINY = "argotune/tiny"


@dataclass
class Retraining:
    """The workspace and all that it needs."""

    directory: Path
    server: FileServer
    schedule: str
    loss: float = 0.0
    """What training on the data of the day comes to, nats per token."""
    tuning_seconds: float = 0.0
    runs: list[JsonObject] = field(default_factory=list)
    """The Workflows that have ended."""

    def __post_init__(self) -> None:
        begin = datetime(2026, 3, 1, tzinfo=ZONE)
        self._content = b""
        self.clock = VirtualClock(begin)
        self.url = self.server.url("/data.jsonl")
        self.pods = StepsOfThisProcess(self._steps())
        self.installed = {"allow-files": "true", "allow-loopback": "true"}
        self.template = manifests.template(self.installed)
        self.repository: Repository = repository_of(
            LayoutReference(directory=self.directory / "dist"), Registry()
        )
        self.controller = CronController(
            cron=self._cron(), clock=self.clock, begin=self._begin, last=begin
        )
        write_model(self._models / _MODEL_DIR, write_adapter(self.directory / "other"))

    def put_data(self, loss: float, rows: int = 30) -> None:
        """Have the host serve rows, on which training comes to a loss."""
        self.loss = loss
        texts = [{"prompt": f"Question {n}?", "completion": f"{loss}"} for n in range(rows)]
        self._content = "\n".join(map(json.dumps, texts)).encode()
        self.server.add("/data.jsonl", self._content)

    def break_host(self) -> None:
        """Have the host answer all requests of a day with an error."""
        self.server.add("/data.jsonl", self._content, *(Status(code=503) for _ in range(40)))

    def set(self, **settings: str) -> None:
        """Change the schedule's settings, as `argotune schedule` does."""
        self.controller.cron = self._cron(**settings)

    def pause(self, *, is_paused: bool = True) -> None:
        """Pause the schedule, or resume it."""
        self.controller.cron["spec"]["suspend"] = is_paused

    def miss(self, begin: datetime, end: datetime) -> None:
        """Have Argo's controller be down."""
        self.controller.down.append((begin, end))

    def answer_at(self, time: datetime, decision: str) -> None:
        """Have a person answer the run that waits then."""
        how = Resumption(
            node=APPROVE, outputs={DECISION: decision, REASON: "as agreed"}, message="by ann"
        )
        self.clock.call_at(time, lambda: request_resume(self._run_dir(), how))

    def roll_back(self, version: str) -> None:
        """Serve an earlier version, by the installed template."""
        template = manifests.fill_in(manifests.read_rendered("rollback")[0], self.installed)
        workflow = rollback_workflow(
            template,
            name=NAME,
            reference=f"oci:{self.directory / 'dist'}:{version}",
            service_settings={},
        )
        self._run([workflow, template])

    def version_of(self, digest: str) -> str:
        """The tag vN of an adapter; empty if it has none."""
        return find_version(self.repository, digest) if digest else ""

    @property
    def live(self) -> str:
        """The version that the tag `live` stands for."""
        return self._tagged(LIVE)

    @property
    def previous(self) -> str:
        """The version that was in service before."""
        return self._tagged(PREVIOUS)

    @property
    def rejected(self) -> int:
        """How many adapters have a tag of rejected ones."""
        return sum(tag.startswith(REJECTED_TAG) for tag in self.repository.list_tags())

    @property
    def served(self) -> str:
        """The version that the records for schedules have as the one in service."""
        return self.version_of(live_digest(self._history))

    @property
    def tuned_last(self) -> str:
        """The version whose data a schedule does not tune on again."""
        found = last_deployed(self._history)
        return self.version_of(found.reference.rpartition("@")[2]) if found is not None else ""

    @property
    def rejection(self) -> str:
        """`gate`, with the version that the adapter lost to, or `person`; empty: none on record."""
        found = last_rejected(self._history)
        if found is None:
            return ""
        return f"gate {self.version_of(found.live)}".strip() if found.gate else "person"

    def _tagged(self, tag: str) -> str:
        found = self.repository.find(tag)
        return self.version_of(found.digest) if found is not None else ""

    @property
    def _models(self) -> Path:
        return self.directory / "claims" / _CLAIM

    @property
    def _history(self) -> Path:
        return self._models / HISTORY / f"{NAME}.json"

    def _cron(self, **settings: str) -> dict[str, Any]:
        given = {name.replace("_", "-"): text for name, text in settings.items()}
        arguments = {
            "name": NAME,
            "preset": "tiny",
            "urls": json.dumps([self.url]),
            "output-image": f"oci:{self.directory / 'dist'}",
            **given,
        }
        return manifests.cron_workflow(
            arguments, [self.schedule], timezone=ZONE.key, installed=self.template
        )

    def _begin(self, cron: dict[str, Any]) -> None:
        self._run([cron, self.template])

    def _run(self, documents: list[JsonObject]) -> None:
        self.runs.append({})
        options = Options(
            run_dir=self._run_dir(),
            claims_dir=self.directory / "claims",
            working_dir=self.directory,
            clock=self.clock,
            new_pod=self.pods,
        )
        self.runs[-1] = run(documents, options)

    def _run_dir(self) -> Path:
        return self.directory / "runs" / str(len(self.runs))

    def _steps(self) -> dict[str, Step]:
        return {
            "plan": self._plan,
            "dataset": _step(dataset_params.Params, dataset.run, downloader=_patient),
            "model": self._model,
            "provision": self._on_this_machine(provision_params.Params, provision.run),
            "tune": self._tune,
            "evaluate": self._evaluate,
            "push": _step(push_params.Params, push.run),
            "deploy": _step(deploy_params.Params, deploy.run, target=_serve),
            "reject": self._reject,
            "release": self._on_this_machine(release_params.Params, release.run),
        }

    def _on_this_machine(self, kind: Any, work: Callable[..., Any]) -> Step:
        """A step about nodes, for which this machine is the node that exists."""
        return lambda flags: _step(
            kind, work, provider=load_provider("local", _parsed(kind, flags))
        )(flags)

    def _plan(self, flags: Mapping[str, str]) -> Any:
        # There is no tokenizer, so dataset counts no tokens.
        kept = {name: text for name, text in flags.items() if name != "tokenizer-dir"}
        return _step(plan_params.Params, plan.run)(kept)

    def _reject(self, flags: Mapping[str, str]) -> Any:
        of_run = {**flags, "run-record": str(self._run_dir() / RECORD)}
        return _step(reject_params.Params, reject.run)(of_run)

    def _model(self, flags: Mapping[str, str]) -> model_params.Result:
        params = _parsed(model_params.Params, flags)
        assert params.work_dir is not None
        name = read_plan(params.plan_file).name
        bring_live_adapter(params.work_dir, params.output_image, name, Registry())
        return model_params.Result(
            model_dir=_MODEL_DIR, size_gb=0.0, cached=True, origin=f"cache at {40 * '0'}"
        )

    def _tune(self, flags: Mapping[str, str]) -> tune_params.Result:
        params = _parsed(tune_params.Params, flags)
        adapter = write_adapter(params.work_dir / "adapter")
        write_model(params.model_dir, adapter)
        (adapter / "adapter_model.safetensors").write_bytes(
            safetensors(struct.pack("<f", self.loss))
        )
        self.clock.pass_seconds(self.tuning_seconds)
        return tune_params.Result(
            base_loss=_BASE_LOSS,
            tuned_loss=self.loss,
            train_loss=self.loss,
            steps=1,
            tokens_per_step=1,
            warning="",
            tokens_per_second=1.0,
            peak_memory_gb=0.0,
            loading_memory_gb=0.0,
            kept_blocks=0,
            resumed_from_step=0,
            stopped_early="",
        )

    def _evaluate(self, flags: Mapping[str, str]) -> evaluate_params.Result:
        params = _parsed(evaluate_params.Params, flags)
        live = read_live_adapter(params.work_dir)
        assert live is not None
        new = _loss_of(params.work_dir / "adapter")
        others = {"base": _BASE_LOSS}
        if live.is_there:
            others["live"] = _loss_of(params.work_dir / LIVE_ADAPTER)
        limits = Limits(
            over_base=params.min_improvement,
            over_live=params.min_improvement_over_live,
            confidence=params.confidence,
        )
        tokens = np.full(_ROWS, _TOKENS_PER_ROW)
        comparisons = [
            compare(name, loss * tokens, new * tokens, tokens, limits)  # type: ignore[arg-type]
            for name, loss in others.items()
        ]
        decision = decide(new, comparisons, [], rows=_ROWS, live=live.title)
        evaluation = Evaluation(
            made_from={},
            verdict=decision.verdict,
            reason=decision.reason,
            rows=_ROWS,
            tokens=int(tokens.sum()),
            new_loss=new,
            confidence=params.confidence,
            comparisons=comparisons,
        )
        write_evaluation(params.work_dir, evaluation)
        return evaluate_params.Result(
            summary=decision.reason,
            verdict=decision.verdict,
            reason=decision.reason,
            outcome=f"kept {live.title}" if decision.verdict == REJECTED else "",
            warning="",
            base_loss=_BASE_LOSS,
            new_loss=new,
            live_loss=others.get("live", "not measured"),
        )


def _parsed(kind: Any, flags: Mapping[str, str]) -> Any:
    known = {name.replace("_", "-") for name in kind.__dataclass_fields__}
    return parse_fields(kind, {name: text for name, text in flags.items() if name in known})


def _step(kind: Any, work: Callable[..., Any], **clients: Any) -> Step:
    return lambda flags: work(_parsed(kind, flags), progress=Progress(), **clients)


def _patient(params: dataset_params.Params, client: httpx.Client) -> Downloader:
    return dataset.new_downloader(params, client, sleep=lambda seconds: None)


def _serve(params: deploy_params.Params, model: str, progress: Progress) -> deploy_params.Result:
    tagged = record_version(params)
    return deploy_params.Result(
        endpoint="http://127.0.0.1:1", answer="Hello.", version=tagged.version
    )


def _loss_of(adapter: Path) -> float:
    (loss,) = struct.unpack("<f", (adapter / "adapter_model.safetensors").read_bytes()[-4:])
    return round(float(loss), 4)
