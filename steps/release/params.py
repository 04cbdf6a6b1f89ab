"""Parameters and results of the release step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from steps.common.errors import ParamsError


@dataclass(frozen=True, kw_only=True)
class Params:
    """Give back what provision got for this run, whatever the run's result."""

    provider: Literal["local", "existing"] = "existing"
    """The provider that provision used."""
    run: str
    """UID of the run."""

    def __post_init__(self) -> None:
        if not self.run:
            raise ParamsError("--run: empty; give the run's UID")


@dataclass(frozen=True, kw_only=True)
class Result:
    released: str
    """What was given back; `nothing` where the nodes were there before the run."""
