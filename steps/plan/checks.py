"""Read the checks of answers in a training config; each is refused by its place in the list."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec

from argotune.presets.names import nearest
from argotune.steps.common.urls import redact, url_problem
from argotune.steps.contracts.checks import KINDS, Check, JsonSchema, Judge, LmEval, Regex, Scorer
from argotune.steps.contracts.json_schema import compile_pattern, compile_schema
from argotune.steps.contracts.scoring import ROWS_VARIABLE, SCORES_VARIABLE
from argotune.steps.plan.readers import WrongParts

_MOST_CHECKS = 20
_MOST_SCHEMA_BYTES = 64 << 10
_LIST = f"a list of at most {_MOST_CHECKS} checks, each with its kind"
_SCORER = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_OWN_VARIABLES = (ROWS_VARIABLE, SCORES_VARIABLE, "HOME", "PATH", "TMPDIR")
_SPACES = str.maketrans("\n\t", "  ")
_BOUNDS = ("min", "min_row", "min_improvement", "min_improvement_over_live")
_PLACE = re.compile(r" - at `\$(?P<path>.*)`$")


def read_checks(value: object) -> list[Check]:
    """Read a list of checks.

    Raises ValueError for what is no such list, and WrongParts with the problems of all checks.
    """
    if not isinstance(value, list) or len(value) > _MOST_CHECKS:
        raise ValueError(_LIST)
    checks: list[Check] = []
    problems: list[str] = []
    for index, each in enumerate(value):
        try:
            check = _read(each)
            checks.append(check)
            problems += [f"[{index}]{problem}" for problem in _problems_of(check)]
        except ValueError as error:
            problems.append(f"[{index}]{error}")
    titles = Counter(check.title for check in checks)
    problems += [
        f": {count} checks are called {title!r}; give each a name of its own: name"
        for title, count in titles.items()
        if count > 1
    ]
    if problems:
        raise WrongParts(problems)
    return checks


def _read(value: object) -> Check:
    """One check. Raises ValueError with the place within the check and what is wrong there."""
    if not isinstance(value, dict):
        raise ValueError(f": {value!r}; accepted is a mapping with kind, one of {', '.join(KINDS)}")
    kind = value.get("kind")
    if kind not in KINDS:
        raise ValueError(f".kind: {_unknown_kind(kind)}")
    try:
        return msgspec.convert(value, Check)  # type: ignore[no-any-return]
    except msgspec.ValidationError as error:
        found = _PLACE.search(str(error))
        path = found["path"] if found else ""
        raise ValueError(f"{path}: {_PLACE.sub('', str(error))}, in a check {kind}") from error


def problems_outside_a_run(checks: Sequence[Check], where: str) -> list[str]:
    """List the checks that only a run can measure; `where` is the place of the list."""
    return [
        f"{where}[{place}].kind: {check.kind!r} is measured in a run alone; remove the check here"
        for place, check in enumerate(checks)
        if isinstance(check, LmEval | Scorer)
    ]


def _unknown_kind(kind: object) -> str:
    if kind is None:
        return f"is missing; accepted is one of {', '.join(KINDS)}"
    near = nearest(str(kind), KINDS)
    advice = f"did you mean {near}?" if near else f"accepted is one of {', '.join(KINDS)}"
    return f"{kind!r} is no kind of check; {advice}"


def _problems_of(check: Check) -> Iterator[str]:
    if isinstance(check, Regex):
        yield from _pattern_problems(check)
    if isinstance(check, JsonSchema):
        yield from _schema_problems(check)
    if isinstance(check, Judge):
        yield from _judge_problems(check)
    for bound in _BOUNDS:
        value = getattr(check, bound, None)
        if value is not None and not math.isfinite(value):
            yield f".{bound}: {value}; accepted is a finite number"
    if isinstance(check, LmEval | Scorer) and not check.has_bound:
        *others, last = (bound for bound in _BOUNDS if hasattr(check, bound))
        yield (
            f": without {', '.join(others)} or {last} every adapter would pass; give one of them"
        )
    if isinstance(check, LmEval):
        yield from _task_problems(check)
    if isinstance(check, Scorer):
        yield from _scorer_problems(check)


def _pattern_problems(check: Regex) -> Iterator[str]:
    try:
        compile_pattern(check.pattern)
    except ValueError as error:
        yield f".pattern: {check.pattern!r}; accepted is {error}"


def _schema_problems(check: JsonSchema) -> Iterator[str]:
    if len(msgspec.json.encode(check.schema)) > _MOST_SCHEMA_BYTES:
        yield f".schema: accepted are at most {_MOST_SCHEMA_BYTES >> 10} KiB as JSON"
        return
    try:
        compile_schema(check.schema)
    except ValueError as error:
        yield f".schema: not a JSON schema: {error}"


def _judge_problems(check: Judge) -> Iterator[str]:
    problem = _judge_url_problem(check.url)
    if problem:
        yield f".url: {redact(check.url)!r}; {problem}"
    if "{answer}" not in check.prompt:
        yield ".prompt: without {answer} the judge would not see the answer; put it in"


def _task_problems(check: LmEval) -> Iterator[str]:
    # Which tasks there are is known to the package alone, which tune's image may have.
    repeated = [name for name, count in Counter(check.tasks).items() if count > 1]
    if repeated:
        yield f".tasks: {', '.join(repeated)} is there twice; remove one"


def _scorer_problems(check: Scorer) -> Iterator[str]:
    # Which scorers the installation allows is known to the plan of a whole run.
    if not _SCORER.fullmatch(check.scorer):
        yield f".scorer: {check.scorer!r}; accepted is a name of lower-case letters, digits and '-'"
    # A directory has it.
    if check.name and not _SCORER.fullmatch(check.name):
        yield f".name: {check.name!r}; accepted for a scorer are lower-case letters, digits and '-'"
    for place, text in enumerate(check.args):
        if problem := _argument_problem(text):
            yield f".args[{place}]: {text!r}; accepted is a text {problem}"
    for name, text in check.env.items():
        if not _VARIABLE.fullmatch(name) or name.startswith("ARGO") or name in _OWN_VARIABLES:
            yield (
                f".env: {name!r}; accepted is the name of a variable of your own, so neither "
                f"{', '.join(_OWN_VARIABLES)} nor one that begins with ARGO"
            )
        if problem := _argument_problem(text):
            yield f".env.{name}: {text!r}; accepted is a text {problem}"


def _argument_problem(text: str) -> str:
    if "{{" in text:
        return "without '{{', which Argo would expand"
    return "" if text.translate(_SPACES).isprintable() else "of printable characters"


def _judge_url_problem(url: str) -> str | None:
    if not url.startswith(("https://", "http://")):
        return "accepted is the base of an API as OpenAI's, such as https://HOST/v1"
    if "?" in url or "#" in url:
        return "accepted is a URL without a query, which would be in logs; a key is in the Secret"
    # Whether this machine's or internal addresses may be asked is known to evaluate alone.
    return url_problem(url, allow_loopback=True)
