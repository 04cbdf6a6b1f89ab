"""Measure models beside each other on this machine, by the steps of WorkflowTemplate `evaluate`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from argotune.steps.common.urls import redact
from argotune.steps.contracts.checks import Judge
from argotune.steps.contracts.report import PLAN
from argotune.steps.contracts.side_by_side import (
    FILE,
    SideBySide,
    parse_side_by_side,
    read_models,
)
from argotune.steps.contracts.training_plan import read_plan
from argotune.steps.registry.oci import parse_reference, with_digest
from argotune.steps.registry.skopeo import Registry
from argotune.steps.registry.versions import find_live, repository_of
from argotune.workflows.cli.errors import CliError
from argotune.workflows.cli.evaluation_input import Asked, Place, no_own_adapter
from argotune.workflows.cli.home import Home
from argotune.workflows.cli.local.machine import missing_packages, pip_install
from argotune.workflows.cli.local.runs import local_runs, runs_meant
from argotune.workflows.cli.local.start import last_deployed, login_file
from argotune.workflows.cli.local.step_process import run_step
from argotune.workflows.cli.show.in_service import find_version
from argotune.workflows.cli.show.workflow_json import inputs_of_node, node_of_step, serves_alone
from argotune.workflows.cli.versions_of import place_of
from argotune.workflows.workspace.evaluation import NAME
from argotune.workflows.workspace.own_presets import text_of_this_machine

_EXTRAS = ("data", "model", "tune")


def this_machine(here: Home) -> Place:
    """Return this machine as the place of an evaluation."""
    return Place(
        title="this machine",
        is_here=True,
        find_service=lambda name: _in_service(here, name),
        find_version=_version,
        find_preset=text_of_this_machine,
    )


def _in_service(here: Home, name: str) -> str | None:
    if not runs_meant(local_runs(here), name):
        return None
    run = last_deployed(here, name)
    if serves_alone(run.workflow):
        raise no_own_adapter(name)
    image = parse_reference(inputs_of_node(node_of_step(run.workflow, "deploy"))["reference"])
    live = find_live(repository_of(image, _registry()), run.workspace)
    return str(image if live is None else with_digest(image, live.digest))


def _version(name: str, version: str) -> str:
    image = place_of(name, None).image
    return str(with_digest(image, find_version(name, version, image, _registry()).digest))


def _registry() -> Registry:
    return Registry(auth_file=login_file(), attempts=2)


def evaluate_models(
    here: Home, asked: Asked, *, answers: int, allow_cpu: bool, say: Callable[[str], None]
) -> SideBySide:
    """Measure the models, saying what is done. Raises CliError and StepError."""
    missing = missing_packages(*_EXTRAS)
    if missing:
        raise CliError(
            f"an evaluation needs Python packages that are not here: {', '.join(missing)}; install"
            f" them: {pip_install(missing)}"
        )
    here.make()
    # Below the home, which only this user reads, as the rows may be nobody else's to read.
    with tempfile.TemporaryDirectory(dir=here.root, prefix=f".{NAME}-") as place:
        work_dir = Path(place)
        steps = _Steps(here, work_dir)
        say("models")
        steps.plan(asked)
        say("data")
        steps.read_rows(asked.urls)
        say(f"weights of {read_plan(work_dir / PLAN).model.preset}")
        model_dir = steps.fetch_model()
        say(", ".join(model.name for model in read_models(work_dir)))
        steps.measure(asked, model_dir, answers=answers, allow_cpu=allow_cpu)
        return parse_side_by_side((work_dir / FILE).read_bytes())


class _Steps:
    """The steps of an evaluation as processes, with the flags that the template gives them."""

    def __init__(self, here: Home, work_dir: Path) -> None:
        self._work_dir = work_dir
        self._cache_dir = here.models_dir
        self._plan_flag = f"--plan-file={work_dir / PLAN}"
        self._tokenizer_flag = f"--tokenizer-dir={work_dir / 'tokenizer'}"

    def plan(self, asked: Asked) -> None:
        run_step(
            "plan.side_by_side",
            [
                f"--models={_json(asked.models)}",
                f"--own-preset={asked.own_preset}",
                f"--name={NAME}",
                f"--config={asked.config}",
                self._plan_flag,
                self._tokenizer_flag,
                f"--work-dir={self._work_dir}",
                f"--cache-dir={self._cache_dir}",
                f"--push-auth-file={login_file()}",
            ],
        )

    def read_rows(self, urls: Sequence[str]) -> None:
        """Let the dataset step read the data; tokens in their queries are in no argument."""
        urls_file = self._work_dir / "urls.json"
        urls_file.write_bytes(msgspec.json.encode(urls))
        run_step(
            "dataset",
            [
                f"--urls={_json([redact(url) for url in urls])}",
                f"--urls-file={urls_file}",
                self._plan_flag,
                self._tokenizer_flag,
                f"--work-dir={self._work_dir}",
                f"--auth-file={login_file()}",
                "--allow-loopback=true",
                "--allow-files=true",
                "--samples=0",
            ],
        )

    def fetch_model(self) -> Path:
        """Bring the weights, and return their directory."""
        outputs = self._work_dir / "outputs"
        flags = [self._plan_flag, f"--cache-dir={self._cache_dir}", f"--outputs-dir={outputs}"]
        run_step("model", flags)
        return self._cache_dir / (outputs / "model-dir").read_text().strip()

    def measure(self, asked: Asked, model_dir: Path, *, answers: int, allow_cpu: bool) -> None:
        # The person who names a judge here may reach it, in whatever network it is.
        judges = [urlsplit(each.url).netloc for each in asked.checks if isinstance(each, Judge)]
        run_step(
            "evaluate.side_by_side",
            [
                self._plan_flag,
                f"--work-dir={self._work_dir}",
                f"--model-dir={model_dir}",
                f"--shown-answers={answers}",
                f"--allow-cpu={str(allow_cpu).lower()}",
                "--allow-loopback=true",
                f"--allowed-hosts={_json(judges)}",
            ],
        )


def _json(values: Sequence[str]) -> str:
    return msgspec.json.encode(values).decode()
