"""What runs need of this machine, looked at before the first step: packages, weights, room."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from argotune.steps.common.host_memory import host_memory
from argotune.steps.contracts.model_cache import cache_path, is_complete
from argotune.steps.contracts.training_plan import Model, TrainingPlan, tuning_bytes
from argotune.steps.registry.oci import LayoutReference, parse_reference
from argotune.workflows.cli.checks.finding import (
    AreaFinding,
    Finding,
    Level,
    info,
    ok,
    problem,
    unknown,
)
from argotune.workflows.cli.errors import CliError
from argotune.workflows.cli.home import (
    MODEL_CACHE_CLAIM,
    OWN_DIRECTORY,
    Home,
    nearest_existing,
    write_problem,
)
from argotune.workflows.cli.local.disk import size
from argotune.workflows.home_root import HOME_VARIABLE
from argotune.workflows.workspace.model import Workspace
from argotune.workflows.workspace.planned import Planned, PlannedService

_EXTRA = "local"
"""The extra of this package with what the steps need here; pyproject.toml has the list."""
_GPU_DRIVER = Path("/proc/driver/nvidia/version")
_BYTES_PER_WEIGHT = 2
"""As models are published, and as the CPU keeps them."""


def examine_machine(here: Home, planned: Planned | None) -> Iterator[AreaFinding]:
    """Yield a finding about each need, of a planned workspace's run where there is one."""
    plan = planned.plan if planned is not None else None
    for finding in (_packages(plan), *_skopeo(planned)):
        yield AreaFinding(area="packages", finding=finding)
    yield AreaFinding(area="memory", finding=_memory(plan))
    yield AreaFinding(area="disk", finding=_disk(here, planned))
    if planned is not None and planned.workspace.output_image.startswith("oci:"):
        yield AreaFinding(area="output", finding=_output(planned.workspace.output_image))
    if planned is not None:
        weights = _weights(here, planned.workspace, planned.plan.model)
        yield AreaFinding(area="weights", finding=weights)


def check_machine(here: Home, planned: Planned) -> None:
    """Refuse a run that would fail here for want of something. Raises CliError with all of it."""
    _refuse(told.finding for told in examine_machine(here, planned))


def examine_machine_for_service(here: Home, planned: PlannedService) -> Iterator[AreaFinding]:
    """Yield a finding about each need of a service without training."""
    workspace, plan = planned.workspace, planned.plan
    images = [
        f"fetches adapter {each.name} from {each.image}"
        for each in plan.adapters
        if each.image and not each.image.startswith("oci:")
    ]
    weights_bytes = plan.memory.weights_gb * 1e9
    missing = 0.0
    if plan.model.source == "hub" and not is_complete(_weights_dir(here, workspace, plan.model)):
        missing = _BYTES_PER_WEIGHT * plan.model.parameters
    packages = [_packages(None), *_needs_skopeo([*images, *_fetched_weights(plan.model)])]
    memory = _room_in_memory(weights_bytes, f"the service of {plan.model.preset}", "answers on")
    for finding in packages:
        yield AreaFinding(area="packages", finding=finding)
    yield AreaFinding(area="memory", finding=memory)
    room = _room(here, missing, f"weights of {plan.model.preset}")
    yield AreaFinding(area="disk", finding=room)
    yield AreaFinding(area="weights", finding=_weights(here, workspace, plan.model))


def check_machine_for_service(here: Home, planned: PlannedService) -> None:
    """Refuse a service without training likewise."""
    _refuse(told.finding for told in examine_machine_for_service(here, planned))


def _refuse(findings: Iterable[Finding]) -> None:
    problems = [found.in_one_line() for found in findings if found.level is Level.PROBLEM]
    if problems:
        raise CliError(problems)


def missing_packages(*extras: str) -> list[str]:
    """List the requirements of these extras of argotune that this Python does not meet."""
    return [str(need) for need in _requirements(set(extras)) if not _is_met(need)]


def pip_install(requirements: list[str]) -> str:
    """Return the command that installs them for this Python."""
    return shlex.join([sys.executable, "-m", "pip", "install", *requirements])


def _packages(plan: TrainingPlan | None) -> Finding:
    extras = [_EXTRA]
    if plan is not None and plan.watch.report_to:
        extras.append("track")
    if plan is not None and plan.execution.liger:
        extras.append("liger")
    if plan is not None and plan.evaluation.lm_eval_checks:
        extras.append("lm-eval")
    missing = missing_packages(*extras)
    if not missing:
        return ok(f"the packages of the steps are in {sys.prefix}")
    names = ", ".join(Requirement(text).name for text in missing)
    return problem(
        f"the steps need Python packages that are not in {sys.prefix}: {names}",
        "install them",
        pip_install(missing),
    )


def _requirements(extras: set[str]) -> Iterator[Requirement]:
    """List the requirements of the extras, and of the extras that those name, each once."""
    seen: set[str] = set()
    for text in metadata.requires("argotune") or []:
        need = Requirement(text)
        if need.marker is None or not any(need.marker.evaluate({"extra": it}) for it in extras):
            continue
        if need.name == "argotune":
            yield from _requirements(need.extras)
        elif need.name not in seen:
            seen.add(need.name)
            need.marker = None
            yield need


def _is_met(need: Requirement) -> bool:
    try:
        return need.specifier.contains(metadata.version(need.name), prereleases=True)
    except metadata.PackageNotFoundError:
        return False


def _skopeo(planned: Planned | None) -> Iterator[Finding]:
    if shutil.which("skopeo") is not None:
        yield ok("skopeo copies images from and to registries")
        return
    if planned is None:
        yield info("no skopeo: runs can push to oci:DIRECTORY, and to no registry")
        return
    image = planned.workspace.output_image
    uses = [] if image.startswith("oci:") else [f"pushes to {image}"]
    data = [url for _, url in planned.workspace.all_urls if url.startswith("oci:")]
    uses += [*_fetched_weights(planned.plan.model), *(f"takes data from {url}" for url in data)]
    yield from _needs_skopeo(uses)


def _fetched_weights(model: Model) -> list[str]:
    return [f"takes the weights from {model.source}"] if model.source.startswith("oci:") else []


def _needs_skopeo(uses: Sequence[str]) -> Iterator[Finding]:
    for use in uses if shutil.which("skopeo") is None else ():
        yield problem(
            f"the run {use}, which takes skopeo, and it is not on this machine",
            "install it, as your system's package skopeo",
        )


def _memory(plan: TrainingPlan | None) -> Finding:
    if plan is None:
        return _room_in_memory(0.0, "tuning", "goes on")
    needed_bytes = (plan.memory.weights_gb + plan.memory.lora_gb) * 1e9
    return _room_in_memory(needed_bytes, f"{plan.model.preset} with {plan.method}", "is tuned on")


def _room_in_memory(needed_bytes: float, what: str, does: str) -> Finding:
    """Compare with the least that the model takes, which only a machine without a GPU has to."""
    there = _memory_bytes()
    if there is None:
        return unknown("the memory of this machine cannot be read")
    said = f"{there / 1e9:.1f} GB of memory"
    if _GPU_DRIVER.exists():
        return ok(f"{said}, and a driver of NVIDIA GPUs")
    if not needed_bytes:
        return info(f"{said}, no driver of NVIDIA GPUs: {what} {does} the CPU")
    if needed_bytes <= there:
        return ok(f"{said}, no driver of NVIDIA GPUs: {what} {does} the CPU")
    return problem(
        f"{what} takes at least {needed_bytes / 1e9:.1f} GB of memory on"
        f" the CPU, and this machine has {there / 1e9:.1f} GB",
        "take a smaller preset, or a cluster: argotune submit",
    )


def _memory_bytes() -> int | None:
    """Return the machine's memory, or the limit of the container that this is."""
    try:
        whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None
    limited = host_memory()
    return whole if limited is None else min(whole, limited.limit)


def _disk(here: Home, planned: Planned | None) -> Finding:
    if planned is None:
        return _room(here, 0.0, "")
    plan = planned.plan
    needed = float(tuning_bytes(plan))
    weights = _weights_dir(here, planned.workspace, plan.model)
    if plan.model.source == "hub" and not is_complete(weights):
        needed += _BYTES_PER_WEIGHT * plan.model.parameters
    return _room(here, needed, f"weights and checkpoints of {plan.model.preset}")


def _room(here: Home, needed: float, what: str) -> Finding:
    """Compare the bytes that something takes with the home's disk."""
    existing = nearest_existing(here.root)
    free = shutil.disk_usage(existing).free
    said = f"{size(free)} are free for {here.root}"
    refused = write_problem(here.root)
    if refused:
        return problem(refused, OWN_DIRECTORY, f"export {HOME_VARIABLE}=DIRECTORY")
    if needed <= free:
        return ok(said)
    needs = f"{what} take {size(needed)}, and {said}"
    more_room = "name a directory with more room by ARGOTUNE_HOME"
    if any(here.runs_dir.glob("*/")):
        return problem(needs, f"delete old runs, or {more_room}", "argotune rm --older-than 7d")
    return problem(needs, more_room)


def _output(image: str) -> Finding:
    """Look whether push, the last of the costly steps, will be able to write its layout."""
    layout = parse_reference(image)
    assert isinstance(layout, LayoutReference)
    refused = write_problem(layout.directory)
    if refused:
        return problem(
            f"tuning.output.image: {image}: {refused}",
            "make it writable, or name another directory: --output-image oci:DIRECTORY",
        )
    return ok(f"the image goes into {layout.directory}")


def _weights(here: Home, workspace: Workspace, model: Model) -> Finding:
    directory = _weights_dir(here, workspace, model)
    if model.source in ("hub", "cache") and is_complete(directory):
        return ok(f"the weights of preset {model.preset} are in {directory}")
    if model.source != "cache":
        return info(f"the weights of preset {model.preset} will be fetched from {model.source}")
    claim = _claim(workspace)
    return problem(
        f"the weights of preset {model.preset} are not in {directory}",
        "make them",
        "argotune tiny" + ("" if claim == MODEL_CACHE_CLAIM else f" --model-cache-claim {claim}"),
    )


def _weights_dir(here: Home, workspace: Workspace, model: Model) -> Path:
    return cache_path(here.model_cache(_claim(workspace)), model.repository, model.revision)


def _claim(workspace: Workspace) -> str:
    return workspace.options.get("model-cache-claim") or MODEL_CACHE_CLAIM
