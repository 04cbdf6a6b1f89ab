"""Annotations of a Workspace that the operator reads, beside the settings of its runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from argotune.steps.common.values import is_dns_subdomain
from argotune.steps.contracts.versions import version_of
from argotune.steps.settings.run_settings import PREFIX
from argotune.workflows.workspace.schedule import DEFAULT_TIMEZONE, schedule_problems

MANAGED = "managed"
SCHEDULE = "schedule"
TIMEZONE = "schedule-timezone"
ON_CHANGE = "on-change"
RERUN = "rerun"
SUSPEND = "suspend"
APPROVE = "approve"
REJECT = "reject"
ROLLBACK = "rollback"
PREVIOUS = "previous"
"""Value of the annotation of a rollback: the adapter that was in service before."""
STOP, KEEP = "stop", "keep"


@dataclass(frozen=True, kw_only=True)
class OperatorAnnotation:
    """One annotation without its prefix."""

    name: str
    accepted: str
    check: Callable[[str], bool]
    instead: str
    """What does the same without the operator."""
    description: str


def _matches(pattern: str) -> Callable[[str], bool]:
    return lambda text: re.fullmatch(pattern, text) is not None


def request_of(text: str) -> tuple[str, str]:
    """Split the value of a request into what it asks for, and the text after it."""
    target, _, said = text.partition(" ")
    return target, said.strip()


def _is_run(text: str) -> bool:
    return is_dns_subdomain(request_of(text)[0])


def _is_version(text: str) -> bool:
    version = request_of(text)[0]
    return version == PREVIOUS or version_of(version) is not None


_ROWS = (
    OperatorAnnotation(
        name=MANAGED,
        accepted="true or false",
        check=_matches("true|false"),
        instead="every command works on the file that it is given",
        description=(
            "Whether the operator works on the Workspace. Beside Kaito's own definition it works on"
            " those with `true` alone, else on all but those with `false`"
        ),
    ),
    OperatorAnnotation(
        name=SCHEDULE,
        accepted='times of a schedule, such as "0 3 * * 1"',
        # With its zone, in `operator_problems`.
        check=bool,
        instead="`argotune schedule --cron` makes it",
        description="Times at which the Workspace is tuned again where its data have changed",
    ),
    OperatorAnnotation(
        name=TIMEZONE,
        accepted="a time zone, such as Europe/Berlin",
        check=bool,
        instead="`argotune schedule --timezone` names it",
        description=f"Time zone of the schedule; by default {DEFAULT_TIMEZONE}",
    ),
    OperatorAnnotation(
        name=ON_CHANGE,
        accepted=f"{STOP} or {KEEP}",
        check=_matches(f"{STOP}|{KEEP}"),
        instead="`argotune stop` ends the earlier run",
        description=(
            "What becomes of a run that goes on when a change of the Workspace starts another:"
            f" {STOP}, the default, or {KEEP}"
        ),
    ),
    OperatorAnnotation(
        name=RERUN,
        accepted="any text",
        check=lambda text: True,
        instead="`argotune submit` starts a run each time",
        description="A new value starts a run of an unchanged Workspace",
    ),
    OperatorAnnotation(
        name=SUSPEND,
        accepted="true or false",
        check=_matches("true|false"),
        instead="`argo suspend` and `argotune pause` do it",
        description="true: no run starts, the one that goes on waits, and the schedule is paused",
    ),
    OperatorAnnotation(
        name=APPROVE,
        accepted="the name of a run, and after a space the reason",
        check=_is_run,
        instead="`argotune approve` does it",
        description="The run that waits for its approval, and may deploy its adapter",
    ),
    OperatorAnnotation(
        name=REJECT,
        accepted="the name of a run, and after a space the reason",
        check=_is_run,
        instead="`argotune reject` does it",
        description="The run that waits for its approval, and is to keep what is in service",
    ),
    OperatorAnnotation(
        name=ROLLBACK,
        accepted=f"a version such as v3, or {PREVIOUS}, and after a space any text",
        check=_is_version,
        instead="`argotune rollback` does it",
        description="The version that is to answer again; a new value starts another rollback",
    ),
)
OPERATOR_ANNOTATIONS: Mapping[str, OperatorAnnotation] = {row.name: row for row in _ROWS}
"""Name without the prefix -> annotation."""


def operator_values(annotations: Mapping[str, str]) -> dict[str, str]:
    """Select the operator's annotations of a Workspace, by their names without the prefix."""
    return {
        name: annotations[f"{PREFIX}{name}"]
        for name in OPERATOR_ANNOTATIONS
        if annotations.get(f"{PREFIX}{name}")
    }


def operator_problems(workspace: str, values: Mapping[str, str]) -> Iterator[str]:
    """Say what is wrong with the operator's annotations of the workspace of this name."""
    for name, text in values.items():
        row = OPERATOR_ANNOTATIONS[name]
        if not row.check(text):
            yield f"{path_of(name)}: {text!r}; accepted is {row.accepted}"
    if SCHEDULE in values:
        times = [values[SCHEDULE]]
        for problem in schedule_problems(workspace, times, values.get(TIMEZONE, DEFAULT_TIMEZONE)):
            said = problem.removeprefix("schedule ").removeprefix("--timezone ")
            where = TIMEZONE if problem.startswith("--timezone ") else SCHEDULE
            yield problem if said == problem else f"{path_of(where)}: {said}"
    elif TIMEZONE in values:
        yield f"{path_of(TIMEZONE)}: is the zone of {PREFIX}{SCHEDULE}, which is missing"


def unread_warning(name: str) -> str:
    """Say that a command does not read the annotation."""
    instead = OPERATOR_ANNOTATIONS[name].instead
    return f"{path_of(name)}: only the operator reads it, of a Workspace on a cluster; {instead}"


def path_of(name: str) -> str:
    """Return the place of the annotation in the file."""
    return f"metadata.annotations.{PREFIX}{name}"
