"""Fine-tuning of open language models on your own Kubernetes.

`argotune.plan`, `data`, `run`, `submit` and `chat` are the commands as functions, for notebooks;
they are imported when they are first named, so that `import argotune` costs nothing.

This folder holds the import name: argotune.steps, argotune.workflows and argotune.presets are the
repository's folders of these names, by links that Python, type checkers, the wheel and an editable
install all follow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from argotune.workflows.cli.api import (
        Answer,
        Data,
        Plan,
        Run,
        Submitted,
        chat,
        data,
        plan,
        run,
        submit,
    )
    from argotune.workflows.cli.errors import CliError as Error
    from argotune.workflows.cli.errors import InputError, RunFailed

__all__ = [
    "Answer",
    "Data",
    "Error",
    "InputError",
    "Plan",
    "Run",
    "RunFailed",
    "Submitted",
    "chat",
    "data",
    "plan",
    "run",
    "submit",
]

_ERRORS = {"Error": "CliError", "InputError": "InputError", "RunFailed": "RunFailed"}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _ERRORS:
        from argotune.workflows.cli import errors

        return getattr(errors, _ERRORS[name])
    from argotune.workflows.cli import api

    return getattr(api, name)
