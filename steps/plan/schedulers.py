"""The learning rate schedules of transformers, and what each takes as lr_scheduler_kwargs.

Here without torch, so that wrong arguments are refused before anything starts.
"""

from __future__ import annotations

from collections.abc import Mapping

from argotune.steps.plan.readers import Read, number, one_of, or_none, whole
from argotune.steps.plan.settings import Settings

_RATE = number(at_least=0, at_most=1)
_SHAPE = one_of("linear", "cosine", "1-sqrt")
_MIN_LR: Mapping[str, Read] = {
    "num_cycles": number(above=0),
    "min_lr": or_none(_RATE),
    "min_lr_rate": or_none(_RATE),
}

SCHEDULERS: Mapping[str, Mapping[str, Read]] = {
    "linear": {},
    "cosine": {"num_cycles": number(above=0)},
    "cosine_with_restarts": {"num_cycles": whole(1)},
    "polynomial": {"lr_end": _RATE, "power": number(above=0)},
    "constant": {},
    "constant_with_warmup": {},
    "inverse_sqrt": {"timescale": or_none(whole(1))},
    "cosine_with_min_lr": _MIN_LR,
    "cosine_warmup_with_min_lr": {**_MIN_LR, "warmup_lr_rate": or_none(_RATE)},
    "warmup_stable_decay": {
        "num_decay_steps": whole(1),
        "num_stable_steps": or_none(whole(0)),
        "warmup_type": _SHAPE,
        "decay_type": _SHAPE,
        "min_lr_ratio": _RATE,
        "num_cycles": number(above=0),
    },
}
"""Name -> the arguments that it takes, and what reads them."""

_NEEDED = {
    "cosine_with_min_lr": ("min_lr", "min_lr_rate"),
    "cosine_warmup_with_min_lr": ("min_lr", "min_lr_rate"),
    "warmup_stable_decay": ("num_decay_steps",),
}
"""Name -> the arguments of which exactly one must be set."""

_REFUSED = {
    "reduce_lr_on_plateau": "the rate of a step must follow from its number, so that a run resumes",
    "greedy": "the rate of a step must follow from its number, so that a run resumes",
}


def scheduler(value: object) -> str:
    """Read lr_scheduler_type."""
    if isinstance(value, str) and value in SCHEDULERS:
        return value
    accepted = f"one of {', '.join(SCHEDULERS)}"
    reason = _REFUSED.get(str(value))
    raise ValueError(f"{accepted}: {reason}" if reason else accepted)


def scheduler_kwargs(value: object) -> dict[str, object]:
    """Read lr_scheduler_kwargs, whose names `scheduler_problem` looks at."""
    if value in (None, ""):
        return {}
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise ValueError("a mapping of the schedule's arguments")
    return value


def scheduler_problem(settings: Settings) -> str:
    """Why the schedule does not take its arguments; empty where it does."""
    name, given = settings.scheduler, settings.scheduler_kwargs or {}
    known = SCHEDULERS[name]
    for key, value in given.items():
        if key not in known:
            accepted = ", ".join(known) or "no arguments"
            return f"{key}: not an argument of {name}, which takes {accepted}"
        try:
            known[key](value)
        except ValueError as error:
            return f"{key}: {value!r}; accepted is {error}"
    needed = _NEEDED.get(name, ())
    if needed and sum(given.get(key) is not None for key in needed) != 1:
        return f"{name} needs {' or '.join(needed)} in lr_scheduler_kwargs"
    if name == "polynomial" and settings.learning_rate <= float(given.get("lr_end") or 1e-7):
        return f"lr_end must be below the learning_rate, {settings.learning_rate:g}"
    return ""
