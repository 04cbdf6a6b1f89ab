"""The question that a run with `approval: required` asks between push and deploy."""

from __future__ import annotations

APPROVE = "approve"
"""Template and task that wait for the answer."""
DECISION = "decision"
"""Its output with the answer, one of DECISIONS."""
REASON = "reason"
"""Its output with the reason, which may be empty."""
DECISIONS = ("approve", "reject")
