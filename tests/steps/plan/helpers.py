"""Shorthands for parameters and configs."""

from __future__ import annotations

import textwrap
from typing import Any

from argotune.steps.plan.params import Params


def params(**values: Any) -> Params:
    """Parameters of a run of preset tiny, with changes."""
    return Params(**{"name": "demo", "preset": "tiny"} | values)


def config(text: str) -> str:
    """A training config from its sections."""
    return "training_config:\n" + textwrap.indent(textwrap.dedent(text), "  ")
