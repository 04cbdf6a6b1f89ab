"""The question of a run with `approval: required`, between push and deploy, and its answer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

APPROVE = "approve"
"""Template and task that wait for the answer."""
DECISION = "decision"
"""Its output with the answer, one of DECISIONS."""
REASON = "reason"
"""Its output with the reason, which may be empty."""
DECISIONS = ("approve", "reject")
_BY_ARGOTUNE = re.compile(r"^(?:approved|rejected) by (?P<name>.+)$")
# Go's text of a map: `map[Email:ann@example.com User:ann]`.
_BY_ARGO = re.compile(r"Resumed by: map\[(?P<who>.*)\]$")
_CLAIM = re.compile(r"(?:^| )(PreferredUsername|Email|User):")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The answer to a run's question."""

    decision: str
    """One of DECISIONS."""
    reason: str
    by: str
    """Who gave it, as far as Argo or the command line noted it; empty: nobody did in time, or it is
    not known. It is for people to read and gives nobody a right."""
    time: str
    """RFC 3339."""


def answer_of(workflow: Mapping[str, Any]) -> Answer | None:
    """Read the answer from a Workflow with its nodes; None where there is none (yet)."""
    nodes = (workflow.get("status") or {}).get("nodes") or {}
    for node in nodes.values():
        is_question = node.get("displayName") == APPROVE and node.get("type") == "Suspend"
        if not is_question or node.get("phase") != "Succeeded":
            continue
        outputs = (node.get("outputs") or {}).get("parameters") or []
        said = {each["name"]: str(each.get("value") or "") for each in outputs}
        if said.get(DECISION) in DECISIONS:
            return Answer(
                decision=said[DECISION],
                reason=said.get(REASON, ""),
                by=_answered_by(str(node.get("message") or "")),
                time=str(node.get("finishedAt") or ""),
            )
    return None


def _answered_by(message: str) -> str:
    """Who answered, by the message of the node.

    `argotune approve` writes the name by which the API server knows the person, and the admission
    policy holds it to that. Argo's server writes the claims of who is logged in to it, and anybody
    may write as it does.
    """
    own = _BY_ARGOTUNE.match(message)
    if own is not None:
        return own["name"]
    argos = _BY_ARGO.search(message)
    if argos is None:
        return ""
    _, *parts = _CLAIM.split(argos["who"])
    claims = dict(zip(parts[::2], parts[1::2], strict=True))
    names = (claims.get(each, "") for each in ("PreferredUsername", "Email", "User"))
    name = next(filter(None, names), "")
    return f"{name} in Argo" if name else ""
