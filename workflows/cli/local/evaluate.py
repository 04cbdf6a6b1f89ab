"""Measure models beside each other on this machine, by the steps of a run."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from argotune.steps.common import strict_yaml
from argotune.steps.common.urls import redact
from argotune.steps.contracts.checks import AnswerCheck, Judge, LmEval
from argotune.steps.contracts.side_by_side import SideBySide, read_side_by_side
from argotune.steps.contracts.training_plan import TrainingPlan, write_plan
from argotune.steps.plan.planning import (
    OWN_SECTION,
    ROOT,
    Params,
    WrongParts,
    make_plan,
    read_checks,
)
from argotune.steps.registry.skopeo import Registry
from argotune.workflows.cli.errors import CliError, InputError
from argotune.workflows.cli.home import Home
from argotune.workflows.cli.local.machine import missing_packages, pip_install
from argotune.workflows.cli.local.named_models import Models, find_models
from argotune.workflows.cli.local.start import login_file
from argotune.workflows.cli.local.step_process import run_step

_EXTRAS = ("data", "model", "tune")
_NAME = "evaluate"


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be measured."""

    names: Sequence[str]
    """Presets, images, and workspaces of this machine."""
    urls: Sequence[str]
    """The data, all of whose rows are measured on."""
    config: Mapping[str, Any]
    """Sections of a training config, for the columns and lengths of the data."""
    checks: Sequence[AnswerCheck]
    answers: int
    """Number of rows whose answers are shown."""
    allow_cpu: bool


def evaluate_models(here: Home, request: Request, *, say: Callable[[str], None]) -> SideBySide:
    """Measure the models, saying what is done. Raises CliError and StepError."""
    missing = missing_packages(*_EXTRAS)
    if missing:
        raise CliError(
            f"an evaluation needs Python packages that are not here: {', '.join(missing)}; install"
            f" them: {pip_install(missing)}"
        )
    here.make()
    # Below the home, which only this user reads, as the rows may be nobody else's to read.
    with tempfile.TemporaryDirectory(dir=here.root, prefix=f".{_NAME}-") as place:
        directory = Path(place)
        registry = Registry(auth_file=login_file(), attempts=2)
        found = find_models(request.names, here, directory / "adapters", registry)
        plan = _plan(found, request)
        write_plan(directory / "plan.yaml", plan)
        say(f"weights of {found.preset.name}")
        model_dir = _fetch_model(here, directory)
        say("data")
        _read_rows(directory, model_dir, request.urls)
        say(f"{', '.join(model.name for model in found.models)}")
        run_step(f"{_NAME}.side_by_side", _flags(directory, model_dir, found, request))
        return read_side_by_side(directory / "found.json")


def read_config(path: Path | None) -> dict[str, Any]:
    """The sections of a training_config.yaml; none without a file. Raises InputError."""
    if path is None:
        return {}
    document = _yaml(path)
    sections = document.get(ROOT) if isinstance(document, dict) else None
    if not isinstance(sections, dict) or any(
        not isinstance(keys, dict | None) for keys in sections.values()
    ):
        raise InputError(
            f"{path}: accepted is a training_config.yaml, with one root key, {ROOT}, "
            "and mappings in it"
        )
    return sections


def read_check_file(path: Path) -> list[AnswerCheck]:
    """The list of checks in a YAML file. Raises InputError with all of its problems."""
    return checks_of(_yaml(path), str(path))


def checks_of(value: object, where: str) -> list[AnswerCheck]:
    """The checks in a value of YAML. Raises InputError with all of its problems."""
    try:
        checks = read_checks(value)
    except WrongParts as error:
        raise InputError([f"{where}{problem}" for problem in error.problems]) from error
    except ValueError as error:
        raise InputError(f"{where}: accepted is {error}") from error
    others = [
        f"{where}[{place}].kind: {check.kind!r} is measured in a run alone; remove the check here"
        for place, check in enumerate(checks)
        if isinstance(check, LmEval)
    ]
    if others:
        raise InputError(others)
    return [check for check in checks if not isinstance(check, LmEval)]


def _yaml(path: Path) -> object:
    try:
        return strict_yaml.load(path.read_text())
    except (OSError, UnicodeDecodeError, strict_yaml.YamlProblem) as error:
        raise InputError(f"{path}: {getattr(error, 'strerror', None) or error}") from error


def _plan(found: Models, request: Request) -> TrainingPlan:
    sections = {name: dict(keys or {}) for name, keys in request.config.items()}
    # All rows are measured on; how many of them a training would hold out does not matter.
    own = sections.setdefault(OWN_SECTION, {})
    for key in ("validation_share", "checks", "check_rows", "check_tokens"):
        own.pop(key, None)
    sections.setdefault("DatasetConfig", {})["train_test_split"] = 1
    if found.quantization:
        sections.setdefault("QuantizationConfig", {})["bnb_4bit_quant_type"] = found.quantization
    return make_plan(
        Params(
            name=_NAME,
            preset=found.preset.name,
            method="qlora" if found.quantization else "lora",
            config=strict_yaml.dump({ROOT: sections}),
        )
    )


def _fetch_model(here: Home, directory: Path) -> Path:
    cache, outputs = here.models_dir, directory / "outputs"
    run_step(
        "model",
        [
            f"--plan-file={directory / 'plan.yaml'}",
            f"--cache-dir={cache}",
            f"--outputs-dir={outputs}",
        ],
    )
    return cache / (outputs / "model-dir").read_text().strip()


def _read_rows(directory: Path, model_dir: Path, urls: Sequence[str]) -> None:
    """Let the dataset step read the data; tokens in their queries are in no argument."""
    urls_file = directory / "urls.json"
    urls_file.write_bytes(msgspec.json.encode(urls))
    run_step(
        "dataset",
        [
            f"--urls={_json([redact(url) for url in urls])}",
            f"--urls-file={urls_file}",
            f"--plan-file={directory / 'plan.yaml'}",
            f"--work-dir={directory}",
            f"--tokenizer-dir={model_dir}",
            f"--auth-file={login_file()}",
            "--allow-loopback=true",
            "--allow-files=true",
            "--samples=0",
        ],
    )


def _flags(directory: Path, model_dir: Path, found: Models, request: Request) -> list[str]:
    checks_file = directory / "checks.json"
    checks_file.write_bytes(msgspec.json.encode(request.checks))
    # The person who names a judge here may reach it, in whatever network it is.
    judges = [urlsplit(each.url).netloc for each in request.checks if isinstance(each, Judge)]
    own = request.config.get(OWN_SECTION) or {}
    flags = {
        "plan-file": directory / "plan.yaml",
        "model-dir": model_dir,
        "rows-file": directory / "dataset" / "train.parquet",
        "output-file": directory / "found.json",
        "names": _json([model.name for model in found.models]),
        "adapters": _json([str(model.directory or "") for model in found.models]),
        "images": _json([model.image for model in found.models]),
        "answers": request.answers,
        "allow-cpu": str(request.allow_cpu).lower(),
        "allow-loopback": "true",
        "allowed-hosts": _json(judges),
    }
    if request.checks:
        flags["checks-file"] = checks_file
    for key in ("check_rows", "check_tokens"):
        if key in own:
            flags[key.replace("_", "-")] = own[key]
    return [f"--{name}={value}" for name, value in flags.items()]


def _json(values: Sequence[str]) -> str:
    return msgspec.json.encode(values).decode()
