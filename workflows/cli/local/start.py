"""Starting a service of this machine again, without training: step deploy of a run, alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from argotune.steps.common.errors import StepError
from argotune.steps.contracts.history import DIRECTORY as HISTORY
from argotune.steps.contracts.in_service import InService, read_in_service
from argotune.steps.contracts.report import PLAN
from argotune.steps.contracts.service_plan import PLAN as SERVICE_PLAN
from argotune.steps.contracts.services import Service, is_alive, read_service
from argotune.steps.registry.oci import LayoutReference, parse_reference, with_digest
from argotune.steps.registry.skopeo import Registry
from argotune.steps.registry.versions import find_live, repository_of
from argotune.workflows.cli.errors import InputError
from argotune.workflows.cli.home import Home
from argotune.workflows.cli.local.runs import LocalRun, find_run, local_runs, runs_meant
from argotune.workflows.cli.local.step_process import run_step
from argotune.workflows.cli.show.in_service import described, only_pushed_note
from argotune.workflows.cli.show.workflow_json import (
    inputs_of_node,
    node_of_step,
    serves_alone,
    step_output,
)

Deploy = Callable[[Sequence[str]], None]
"""Runs step deploy with these flags. Raises CliError with its error."""

_FROM_RUN = (
    "api-keys-secret",
    "cors-origins",
    "name",
    "target",
    "question",
    "services-dir",
    "reference",
    "model-dir",
    "port",
    "load-in-4bit",
    "max-length",
    "requests-per-minute",
    "require-signature",
    "serve-with",
    "verification-key",
)
"""Inputs of the run's step deploy that its flags are again."""
_OF_THE_ADAPTER = ("plan-file", "model-dir", "dataset-digest", "layout-dir")
"""Flags that describe the adapter of the run."""


def start(here: Home, name: str, *, deploy: Deploy | None = None) -> None:
    """Start the server of the newest run of that name that succeeded, and print its address.

    Where that run was deleted, the service's record has what is needed. Raises InputError where no
    run of that name has deployed one, CliError where it cannot start.
    """
    run = find_deployed(here, name)
    workspace = run.workspace if run is not None else name
    known = read_service(here.services_dir, workspace)
    if known is not None and is_alive(known):
        print(f"service {workspace}: is running already at {known.endpoint}")
        return
    if run is not None:
        flags = deploy_flags(here, run, is_newest=name == workspace)
    elif known is not None:
        in_service = described(name, known.annotations)
        flags = flags_by_record(here, name, in_service.adapter, in_service.settings)
    else:
        raise _nothing_deployed(here, name)
    here.make()
    (deploy or run_deploy)(flags)
    started = read_service(here.services_dir, workspace)
    if started is not None:
        origin = _origin(run, started) if run is not None else "as it was in service"
        print(f"service {workspace}: answers at {started.endpoint}, {origin}")


def _origin(run: LocalRun, service: Service) -> str:
    """Say which adapter it is: the run's, or after a rollback another version."""
    pushed = step_output(run.outline, "push", "digest")
    if not pushed or service.digest == pushed:
        return f"as of run {run.name}"
    known = read_in_service(service.annotations)
    return f"with {known.version if known else service.digest}, which was rolled back to"


def deploy_flags(here: Home, run: LocalRun, *, is_newest: bool = True) -> list[str]:
    """Return the flags of step deploy, as that run's had them.

    The settings are the service's where they are on record, or an older run would open a service
    with keys to everybody. Of the newest run of a workspace the adapter is the one that was in
    service last, which another one is after a rollback.
    """
    inputs = inputs_of_node(node_of_step(run.workflow, "deploy"))
    claim = {each["name"]: each.get("value") for each in _arguments(run)}.get("model-cache-claim")
    work = run.directory / "claims" / "work"
    if serves_alone(run.workflow):
        return _service_flags(here, inputs, work, claim)
    flags = {
        **{key: inputs[key] for key in _FROM_RUN if key in inputs},
        "plan-file": work / PLAN,
        "cache-dir": here.model_cache(claim),
        "layout-dir": work / "image",
        "auth-file": login_file(),
        "dataset-digest": inputs.get("dataset-digest", ""),
    }
    known = _on_record(here, run.workspace)
    of_service = dict(known.settings) if known is not None else {}
    if not is_newest:
        # The run's model lies where the run put it.
        of_service.pop("cache-dir", None)
    flags |= of_service
    flags["history-file"] = _history_file(str(flags["cache-dir"]), run.workspace)
    reference = str(flags.get("reference", ""))
    live = _adapter_in_service(known, reference, run.workspace) if is_newest else ""
    if live and live != flags.get("reference"):
        # What else it needs, its image says.
        flags = {key: text for key, text in flags.items() if key not in _OF_THE_ADAPTER}
        flags["reference"] = live
    return [f"--{key}={value}" for key, value in flags.items()]


def _service_flags(
    here: Home, inputs: Mapping[str, str], work: Path, claim: str | None
) -> list[str]:
    """Return those of a service without training, whose run's volume has its plan and adapters."""
    flags = {
        **{key: inputs[key] for key in _FROM_RUN if key in inputs},
        "service-plan": work / SERVICE_PLAN,
        "cache-dir": here.model_cache(claim),
        "auth-file": login_file(),
    }
    return [f"--{key}={value}" for key, value in flags.items()]


def _history_file(cache_dir: str | Path, name: str) -> Path:
    """Return where a schedule looks for what is in service."""
    return Path(cache_dir) / HISTORY / f"{name}.json"


def _on_record(here: Home, workspace: str) -> InService | None:
    """Return what deploy noted of the service; None where there is no record."""
    service = read_service(here.services_dir, workspace)
    return read_in_service(service.annotations) if service is not None else None


def login_file() -> Path:
    """Return where docker keeps this user's logins."""
    return Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"


def _adapter_in_service(known: InService | None, reference: str, workspace: str) -> str:
    """Return the adapter that was in service last; empty where nothing says so.

    The service's record knows it, also of a registry, or else the layout of the run's adapter.
    """
    return known.adapter if known is not None else _live_of_layout(reference, workspace)


def _live_of_layout(reference: str, workspace: str) -> str:
    """Return the adapter that a layout on disk has as live; empty where it names none.

    A registry is not asked: a service of this machine starts without a network.
    """
    try:
        image = parse_reference(reference)
        if not isinstance(image, LayoutReference):
            return ""
        live = find_live(repository_of(image, Registry()), workspace)
    except (ValueError, StepError):
        return ""
    return str(with_digest(image, live.digest)) if live is not None else ""


def run_deploy(flags: Sequence[str]) -> None:
    """Run step deploy with these flags. Raises CliError with its error."""
    run_step("deploy", flags)


def flags_by_record(
    here: Home, name: str, reference: str, settings: Mapping[str, str]
) -> list[str]:
    """Return the flags of step deploy for an adapter, with what is on record of its service."""
    flags = {
        "target": "process",
        "name": name,
        "reference": reference,
        "services-dir": here.services_dir,
        "auth-file": login_file(),
        "history-file": _history_file(settings.get("cache-dir") or here.models_dir, name),
        **settings,
    }
    return [f"--{key}={value}" for key, value in flags.items()]


def find_deployed(here: Home, name: str) -> LocalRun | None:
    """Find the newest run of that workspace, or of that name, whose service was deployed."""
    for run in runs_meant(local_runs(here), name):
        deployed = node_of_step(run.workflow, "deploy")
        is_here = inputs_of_node(deployed).get("target") == "process"
        if is_here and deployed.get("phase") == run.phase == "Succeeded":
            return run
    return None


def last_deployed(here: Home, name: str) -> LocalRun:
    """Find the run of `find_deployed`. Raises InputError where there is none."""
    run = find_deployed(here, name)
    if run is None:
        raise _nothing_deployed(here, name)
    return run


def _nothing_deployed(here: Home, name: str) -> InputError:
    found = find_run(here, name)
    return InputError(
        f"{name!r}: no run of this name has deployed a service here; {found.name} is {found.phase}:"
        f" argotune status {found.name}{only_pushed_note([found.outline])}"
    )


def _arguments(run: LocalRun) -> Sequence[Mapping[str, str]]:
    found: Sequence[Mapping[str, str]] = (run.workflow["spec"].get("arguments") or {}).get(
        "parameters"
    ) or []
    return found
