"""Schedules of CronWorkflows: what Argo accepts, and when a schedule runs next.

Argo reads an expression by robfig/cron's ParseStandard, which knows less than most cron libraries:
five fields or a descriptor, Sunday is 0 only, and there is no L, W or #. An expression is read here
by that grammar and handed to cronsim as lists of numbers, which both read alike, without a zone:
cronsim moves a time that a change of the clocks leaves out, and Argo does not run at it
(https://argo-workflows.readthedocs.io/en/latest/cron-workflows/#daylight-saving).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from argotune.workflows.workspace.fields import WorkspaceError

DEFAULT_TIMEZONE = "Etc/UTC"
NAME_PREFIX = "retrain-"
"""Beginning of the name of a workspace's CronWorkflow."""
LONGEST_NAME = 52
"""Argo appends a dash and a time of ten digits to make the names of its Workflows."""
ACCEPTED = (
    'five fields, minute hour day-of-month month day-of-week, such as "0 3 * * 1-5" (Sunday is 0),'
    " or @hourly, @daily, @weekly, @monthly or @yearly"
)
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_FIELDS = (
    ("minute", range(60), ()),
    ("hour", range(24), ()),
    ("day-of-month", range(1, 32), ()),
    ("month", range(1, 13), _MONTHS),
    ("day-of-week", range(7), _DAYS),
)
_DESCRIPTORS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_LONGEST_SHIFT = timedelta(hours=3)
"""More than any change of the clocks."""
_RANGE = re.compile(r"(?P<star>[*?])|(?P<first>\w+)(-(?P<last>\w+))?", re.ASCII)


def schedule_problems(workspace: str, schedules: Sequence[str], timezone: str) -> list[str]:
    """List why Argo would never run the workspace's CronWorkflow, each with what is wrong."""
    name = f"{NAME_PREFIX}{workspace}"
    problems = []
    if len(name) > LONGEST_NAME:
        problems.append(
            f"metadata.name: {workspace!r}; its schedule would be named {name}, {len(name)}"
            f" characters, and Argo runs none with more than {LONGEST_NAME}; accepted for"
            f" a schedule are names of at most {LONGEST_NAME - len(NAME_PREFIX)} characters"
        )
    return [*problems, *_time_problems(schedules, timezone)]


@contextlib.contextmanager
def with_time_problems(schedules: Sequence[str], timezone: str) -> Iterator[None]:
    """Name what is wrong with a schedule's times together with the problems of the block.

    The block reads the workspace. Raises WorkspaceError where it does.
    """
    try:
        yield
    except WorkspaceError as error:
        problems = _time_problems(schedules, timezone)
        raise WorkspaceError([*error.problems, *problems]) from error


def _time_problems(schedules: Sequence[str], timezone: str) -> list[str]:
    problems = []
    for expression in schedules:
        try:
            _next_of(expression, datetime(2000, 1, 1, tzinfo=UTC))
        except ValueError as error:
            problems.append(f"schedule {error}")
    try:
        _zone(timezone)
    except ValueError as error:
        problems.append(f"--timezone {error}")
    return problems


def next_time(schedules: Sequence[str], timezone: str, now: datetime) -> datetime:
    """Return the first time after now, which has a zone, at which one of the schedules runs.

    Raises ValueError for an expression or a time zone that Argo does not run on.
    """
    zone = _zone(timezone)
    if not schedules:
        raise ValueError("it has no schedule")
    times = (_next_of(each, now.astimezone(zone)) for each in schedules)
    return min(times, key=datetime.timestamp)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(
            f"{name!r}: no time zone of this name; accepted are names such as Etc/UTC and"
            " Europe/Berlin"
        ) from error


def _next_of(expression: str, after: datetime) -> datetime:
    """The first time after `after`, in its zone; one that the clocks repeat is two, as for Argo."""
    found: list[datetime] = []
    try:
        for wall in CronSim(_plain(expression), after.replace(tzinfo=None) - _LONGEST_SHIFT):
            if found and wall > found[0].replace(tzinfo=None) + _LONGEST_SHIFT:
                break
            times = (wall.replace(tzinfo=after.tzinfo, fold=fold) for fold in (0, 1))
            found += [each for each in times if _is_of_clock(each) and _is_later(each, after)]
    except CronSimError:
        found = []
    if not found:
        raise ValueError(f"{expression!r}: no month has that day, so it never runs")
    return min(found, key=datetime.timestamp)


def _is_of_clock(time: datetime) -> bool:
    """Whether the clocks of its zone show it at all."""
    back = time.astimezone(UTC).astimezone(time.tzinfo)
    return back.replace(tzinfo=None) == time.replace(tzinfo=None)


def _is_later(time: datetime, after: datetime) -> bool:
    # Python compares two times of one zone by what the clocks show.
    return time.timestamp() > after.timestamp()


def _plain(expression: str) -> str:
    """Return the expression with lists of numbers in place of steps, ranges and names."""
    if expression.startswith("@every "):
        raise ValueError(
            f"{expression!r}: @every counts from when Argo's controller began; accepted are"
            f" {ACCEPTED}"
        )
    if expression.startswith(("TZ=", "CRON_TZ=")):
        raise ValueError(
            f"{expression!r}: the time zone is a field of its own, spec.timezone (--timezone)"
        )
    texts = _DESCRIPTORS.get(expression, expression).split()
    if len(texts) != len(_FIELDS):
        raise ValueError(f"{expression!r}: accepted are {ACCEPTED}")
    return " ".join(
        _plain_field(text, field, values, names)
        for text, (field, values, names) in zip(texts, _FIELDS, strict=True)
    )


def _plain_field(text: str, field: str, values: range, names: Sequence[str]) -> str:
    chosen: set[int] = set()
    for part in text.split(","):
        if part in ("*", "?", "*/1", "?/1"):
            return "*"
        try:
            chosen.update(_numbers(part, values, names))
        except ValueError as error:
            raise ValueError(
                f"{field} {text!r}: no such time; accepted are *, numbers from {values[0]} to"
                f" {values[-1]}{f' and {names[0]} to {names[-1]}' if names else ''}, ranges such as"
                " 1-5, lists such as 1,3 and steps such as */2"
            ) from error
    return ",".join(map(str, sorted(chosen)))


def _numbers(part: str, values: range, names: Sequence[str]) -> Iterator[int]:
    """Yield the numbers of one part of a list. Raises ValueError for others than robfig's."""
    span, slash, step = part.partition("/")
    match = _RANGE.fullmatch(span)
    if match is None or (slash and not step.isdecimal()):
        raise ValueError(part)
    first, last = values[0], values[-1]
    if not match["star"]:
        first = _number(match["first"], values, names)
        if match["last"]:
            last = _number(match["last"], values, names)
        elif not slash:
            last = first
    if last < first:
        raise ValueError(part)
    # A step of 0 is a ValueError too.
    yield from range(first, last + 1, int(step or 1))


def _number(text: str, values: range, names: Sequence[str]) -> int:
    if text.upper() in names:
        return values[names.index(text.upper())]
    number = int(text) if text.isdecimal() else -1
    if number not in values:
        raise ValueError(text)
    return number
