"""An adapter made again from its statement, to see whether it is what was trained.

The steps are those of `argotune run`, with the stated plan, sources, time and name of the run:
they stand in the adapter's README. On a CPU of the same kind with the same packages its files are
equal bit for bit; elsewhere sums have another order, and the losses are compared.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from argotune.steps.common.fields import text_of
from argotune.steps.common.values import NOT_MEASURED
from argotune.steps.contracts.model_cache import base_of
from argotune.steps.contracts.report import RESULT
from argotune.steps.contracts.start_adapter import LIVE, NONE
from argotune.steps.contracts.stop_time import COST_LIMIT
from argotune.steps.contracts.training_plan import TrainingPlan, write_plan
from argotune.steps.dataset.params import SECRET_VARIABLES
from argotune.steps.provenance.checks import Check, Outcome
from argotune.steps.provenance.evidence import Evidence
from argotune.steps.provenance.statement import (
    DATASET,
    ENDED_EARLY,
    HELD_OUT,
    LOSSES,
    MACHINE,
    START,
    VERSIONS,
    Statement,
    oci_digest,
)
from argotune.steps.registry.layout_index import blob_path
from argotune.steps.registry.oci import parse_reference, with_digest
from argotune.workflows.cli.errors import CliError
from argotune.workflows.cli.local.step_process import run_to_its_end
from argotune.workflows.engine.pods.process import inherited_environment

RunStep: TypeAlias = Callable[[str, Mapping[str, str]], Mapping[str, str]]
"""Runs a step by its name with these flags, and returns its outputs. Raises CliError."""

LOSS_BOUNDS = {"base-loss": 0.02, "tuned-loss": 0.05}
"""Largest share by which a loss may differ on another machine: training carries on the differences
of sums that a single evaluation has."""


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where a replay works."""

    work_dir: Path
    """Of this replay; empty."""
    models_dir: Path
    """The model cache of this machine."""
    repository: str
    """The adapter's image without tag and digest, where the one is too that training began with."""
    registry_flags: Mapping[str, str] = field(default_factory=dict)
    """Flags of the model step with the login and the certificates of registries."""


def replay(
    evidence: Evidence,
    statement: Statement,
    places: Places,
    run_step: RunStep,
    *,
    allow_loopback: bool = False,
) -> Iterator[Check]:
    """Make the adapter again, and yield a check of base, data and adapter as each is known.

    What cannot come to the same adapter ends it. Raises CliError where a step fails, ValueError
    where the statement does not say enough.
    """
    plan_file, work_dir = places.work_dir / "plan.yaml", places.work_dir
    write_plan(plan_file, _replayed_plan(statement, places.repository))
    of_plan = {"plan-file": str(plan_file)}
    of_run = {**of_plan, "work-dir": str(work_dir)}
    cache = {"cache-dir": str(places.models_dir)}
    model = run_step("model", {**of_run, **cache, **places.registry_flags})
    model_dir = places.models_dir / model["model-dir"]
    base = _same("base", base_of(model_dir)[1], statement.base.digest)
    yield base
    if base.outcome is Outcome.FAILED:
        return
    parameters = statement.predicate.build_definition.external_parameters
    dataset = run_step(
        "dataset",
        {
            **of_run,
            "tokenizer-dir": str(model_dir),
            "urls": json.dumps(parameters.get("data", [])),
            "validation-urls": json.dumps(parameters.get("validationData", [])),
            "held-out": json.dumps(_held_out(statement)),
            "allow-files": "true",
            "allow-loopback": text_of(allow_loopback),
        },
    )
    rows = statement.dependency(DATASET)
    data = _same("data", dataset["digest"], oci_digest(rows) if rows else "")
    yield data
    if data.outcome is Outcome.FAILED:
        return
    started = statement.predicate.run_details.metadata.started_on
    of_data = {**of_run, "dataset-digest": dataset["digest"], "created": started}
    tuned = run_step(
        "tune",
        {
            **of_data,
            "model-dir": str(model_dir),
            "dataset-summary": dataset["summary"],
            "run-name": statement.predicate.build_definition.internal_parameters.get("run", ""),
            "allow-cpu": "true",
            **_end(statement),
        },
    )
    losses = {name: tuned[name] for name in LOSS_BOUNDS}
    image = work_dir / "replayed"
    pushed = run_step(
        "push", {**of_data, **losses, "image": f"oci:{image}", "model-dir": model["model-dir"]}
    )
    manifest = blob_path(image, pushed["digest"])
    yield _adapter(evidence, statement, _layers(manifest.read_bytes()), losses, work_dir)


def run_as_processes(work_dir: Path, *, threads: str | None) -> RunStep:
    """Return a runner of steps as processes of this Python.

    `threads` is the number that the sums of training are split over; None: as many as there are.
    """
    environ = inherited_environment(os.environ)
    logins = {name: os.environ[name] for name in SECRET_VARIABLES if name in os.environ}
    further = {
        "model": {name: text for name, text in logins.items() if name.startswith("HF_")},
        "dataset": logins,
        "tune": {"OMP_NUM_THREADS": threads} if threads else {},
    }

    def run_step(step: str, flags: Mapping[str, str]) -> Mapping[str, str]:
        print(f"replay: {step}", file=sys.stderr, flush=True)
        outputs = work_dir / "outputs" / step
        outputs.mkdir(parents=True)
        log = work_dir / f"{step}.log"
        given = [f"--{name}={text}" for name, text in flags.items()]
        command = [sys.executable, "-m", f"argotune.steps.{step}", f"--outputs-dir={outputs}"]
        with log.open("wb") as output:
            env = {**environ, **further.get(step, {})}
            done = run_to_its_end([*command, *given], stdout=output, env=env)
        if done.returncode:
            lines = log.read_text(errors="replace").strip().splitlines() or ["it says nothing"]
            raise CliError(f"replay: step {step}: {lines[-1].removeprefix('error: ')}")
        return {path.name: path.read_text() for path in outputs.iterdir()}

    return run_step


def _replayed_plan(statement: Statement, repository: str) -> TrainingPlan:
    """Begin with the very adapter of then, and send nothing to the trackers of its run."""
    plan = statement.plan
    began_with = statement.dependency(START)
    start_from = NONE
    if began_with is not None:
        wanted = plan.lora.start_from
        image = repository if wanted == LIVE else _without_version(wanted)
        start_from = f"{image}@{oci_digest(began_with)}"
    return msgspec.structs.replace(
        plan,
        lora=msgspec.structs.replace(plan.lora, start_from=start_from),
        watch=msgspec.structs.replace(plan.watch, report_to=[]),
    )


def _held_out(statement: Statement) -> list[str]:
    """The questions that were held out because an earlier run of the workspace had done so."""
    rows = statement.dependency(DATASET)
    return rows.annotations.get(HELD_OUT, "").split() if rows is not None else []


def _end(statement: Statement) -> dict[str, str]:
    """The flag by which a training that ended at a cost limit ends at the same step.

    One that ended by its held-out loss does so again.
    """
    said = statement.byproduct(ENDED_EARLY)
    return {"end-after-step": said["steps"]} if said.get("because") == COST_LIMIT else {}


def _without_version(image: str) -> str:
    return str(with_digest(parse_reference(image), None))


def _same(what: str, there: str, stated: str) -> Check:
    if there == stated:
        return _check(what, Outcome.OK, f"the same: {there}")
    return _check(what, Outcome.FAILED, f"it is now {there}, and was {stated}")


def _adapter(
    evidence: Evidence,
    statement: Statement,
    layers: list[str],
    losses: Mapping[str, str],
    work_dir: Path,
) -> Check:
    before = _layers(evidence.manifest)
    if layers == before:
        return _check("adapter", Outcome.OK, f"the same, bit for bit: {', '.join(layers)}")
    differences = _differences(statement, work_dir)
    if not differences:
        return _check(
            "adapter",
            Outcome.FAILED,
            f"on the same kind of CPU with the same packages it is {', '.join(layers)}, and was"
            f" {', '.join(before)}",
        )
    outcome, compared = _losses(statement.byproduct(LOSSES), losses)
    return _check("adapter", outcome, f"not bit for bit, for {'; '.join(differences)}: {compared}")


def _differences(statement: Statement, work_dir: Path) -> list[str]:
    """List why the files need not be equal; empty where they have to be."""
    result: dict[str, Any] = json.loads((work_dir / "report" / RESULT).read_bytes())
    found = []
    for name in (VERSIONS, MACHINE):
        before, now = statement.byproduct(name), result.get(name, {})
        found += [
            f"{key} is {now.get(key)} and was {before.get(key)}"
            for key in sorted({*before, *now})
            if before.get(key) != now.get(key)
        ]
    if not found and statement.byproduct(MACHINE).get("device") != "cpu":
        found.append("GPUs add in no fixed order")
    return found


def _losses(stated: Mapping[str, str], now: Mapping[str, str]) -> tuple[Outcome, str]:
    """Compare losses, nats per token, by their bounds."""
    texts, outcome = [], Outcome.OK
    for name, bound in LOSS_BOUNDS.items():
        before, after = stated.get(name, NOT_MEASURED), now[name]
        if NOT_MEASURED in (before, after):
            texts.append(f"{name} was not measured")
            outcome = max(outcome, Outcome.NOT_CHECKED, key=_GRAVITY.index)
            continue
        share = abs(float(after) - float(before)) / abs(float(before))
        texts.append(f"{name} is {after} and was {before}, {share:.1%} of at most {bound:.0%}")
        if not share <= bound:
            outcome = Outcome.FAILED
    return outcome, "; ".join(texts)


_GRAVITY = (Outcome.OK, Outcome.NOT_CHECKED, Outcome.FAILED)


def _layers(manifest: bytes) -> list[str]:
    """Digests of the layers; manifests differ by the tag that they name, too."""
    return [str(layer["digest"]) for layer in json.loads(manifest)["layers"]]


def _check(what: str, outcome: Outcome, text: str) -> Check:
    return Check(what=f"replay: {what}", outcome=outcome, text=text)
