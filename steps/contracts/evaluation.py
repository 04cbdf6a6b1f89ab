"""What `evaluate` found out about a new adapter: report/evaluation.json on the run's volume.

`push` decides by it which tags the adapter gets; reports and comparisons show it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

import msgspec

from argotune.steps.common.errors import PermanentError
from argotune.steps.common.fs import atomic_write
from argotune.steps.contracts.checks import CheckResult

FILE = Path("report", "evaluation.json")
"""Below the run's volume."""
PASSED: Final = "passed"
REJECTED: Final = "rejected"
Verdict = Literal["passed", "rejected"]


class Comparison(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The new adapter against another model, on the same rows."""

    against: Literal["base", "live"]
    loss: float | None
    """Loss of the other model, nats per token; None: it is no finite number."""
    gain: float | None
    """By how much the new adapter's loss is lower, nats per token; None with `loss`."""
    low: float | None = None
    """Lower end of the confidence interval of `gain`; None: the rows are too few for one."""
    high: float | None = None
    """Its upper end."""
    margin: float
    """What `low`, or else `gain`, has to be above."""
    passed: bool


class Answers(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Greedy answers to the prompt of one held-out row; long texts are cut."""

    prompt: str
    """As the chat template writes it, without special tokens."""
    reference: str
    """The row's own answer."""
    base: str
    new: str
    live: str | None = None
    """None: no adapter in service was measured."""
    fault: str = ""
    """What is wrong with the new adapter's answer: `empty` or `looping`; empty: nothing."""


class Evaluation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of the file."""

    version: Literal[1] = 1
    made_from: dict[str, str]
    """All that the result depends on; another try of the step takes the file over where it is the
    same."""
    verdict: Verdict
    reason: str
    """One sentence."""
    warnings: list[str] = []
    """What weakens the verdict, one sentence each."""
    rows: int
    """Held-out rows that were measured."""
    tokens: int
    """Their learned tokens, by which losses are divided."""
    new_loss: float | None
    """Loss of the new adapter, nats per token; None: not measured, or no finite number."""
    confidence: float
    """Of the intervals."""
    live: str = ""
    """The adapter in service: its version and digest; empty: there is none."""
    comparisons: list[Comparison] = []
    answers: list[Answers] = []
    checks: list[CheckResult] = []
    """Results of the plan's own checks, on the new adapter's answers."""

    def loss_of(self, against: Literal["base", "live"]) -> float | None:
        """Loss of the model that the new adapter was compared with; None: not measured."""
        return next((each.loss for each in self.comparisons if each.against == against), None)


def write_evaluation(work_dir: Path, evaluation: Evaluation) -> None:
    """Write the file on the run's volume, atomically."""
    text = msgspec.json.format(msgspec.json.encode(evaluation), indent=2)
    atomic_write(work_dir / FILE, text + b"\n")


def read_evaluation(work_dir: Path) -> Evaluation | None:
    """Read the file; None if there is none. Raises PermanentError if it is another one."""
    path = work_dir / FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Evaluation)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise PermanentError(f"{path}: not the evaluate step's file: {error}") from error
