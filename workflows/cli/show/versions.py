"""The versions of a workspace's adapter: their tags and annotations, and what its service notes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from argotune.steps.contracts import adapter_image
from argotune.steps.contracts.in_service import NOT_DEPLOYED, Event, InService
from argotune.steps.contracts.versions import CANDIDATE, LIVE, PREVIOUS, REJECTED
from argotune.steps.nodes.made_node import is_spot
from argotune.steps.registry.versions import Version
from argotune.workflows.cli.show.fitting import Fitting

_COLUMNS = (
    "VERSION",
    "STATE",
    "DIGEST",
    "DATA",
    "BASE",
    "BASE LOSS",
    "LIVE LOSS",
    "TUNED LOSS",
    "VERDICT",
    "COST",
    "DEPLOYED",
    "BY",
)
_WRAPPED = ("STATE", "DEPLOYED")
_DROPPED = (
    "BASE",
    "BY",
    "DATA",
    "BASE LOSS",
    "LIVE LOSS",
    "COST",
    "DEPLOYED",
    "VERDICT",
    "TUNED LOSS",
)
"""Columns that a narrow terminal has no room for, the first to go first."""
_DIGITS = 12
_UNKNOWN = "-"
_NOT_DEPLOYED = "not deployed"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One version, as the table and `-o json` show it; what is not known is empty."""

    version: str
    """vN; empty for one that has not been in service, nor was to be pushed alone."""
    states: tuple[str, ...]
    """Of live, previous, candidate, not deployed, rejected."""
    digest: str
    created: str
    dataset_digest: str
    base_model: str
    base_revision: str
    base_loss: str
    live_loss: str
    """Loss of the adapter in service then, on the rows of this version."""
    tuned_loss: str
    verdict: str
    cost_usd: float | None
    """Of the node that was made for its run, until the evaluation ended; None: not known."""
    machine: str
    """That node: SKU, spot or regular, and zone."""
    event: Event
    rejection: Event
    """When a person rejected it, or nobody approved it in time."""

    @property
    def is_cost_upper_bound(self) -> bool:
        """Whether the cost is by the regular price, which a spot machine costs at most."""
        return is_spot(self.machine)

    @property
    def cost(self) -> str:
        """The cost for a person; empty where it is not known."""
        if self.cost_usd is None:
            return ""
        return f"{'<= ' if self.is_cost_upper_bound else ''}{self.cost_usd:.2f} USD"

    def record(self) -> dict[str, Any]:
        """Return the row for programs."""
        return {
            "version": self.version or None,
            "states": list(self.states),
            "digest": self.digest,
            "created": self.created,
            "datasetDigest": self.dataset_digest,
            "baseModel": self.base_model,
            "baseRevision": self.base_revision,
            "baseLoss": self.base_loss,
            "liveLoss": self.live_loss,
            "tunedLoss": self.tuned_loss,
            "verdict": self.verdict,
            "costUsd": self.cost_usd,
            "costIsUpperBound": self.is_cost_upper_bound,
            "machine": self.machine,
            "deployedAt": self.event.time,
            "deployedBy": self.event.person,
            "deployedByRun": self.event.run,
            "approvedBy": self.event.approved_by,
            "rejectedAt": self.rejection.time,
            "rejectedBy": self.rejection.person,
        }


def version_rows(versions: Iterable[Version], known: InService | None) -> list[Row]:
    """Describe the versions, those in service first by their numbers.

    `known` is what the service notes; without it nobody knows who deployed what.
    """
    return [_row(version, known) for version in versions]


def versions_table(rows: Sequence[Row]) -> Fitting:
    """Build a table without borders, like that of the workspaces; empty columns are left out.

    On a narrow terminal columns go, and digests stay whole.
    """
    cells = [_cells(row) for row in rows]
    shown = [index for index in range(len(_COLUMNS)) if any(row[index] for row in cells)]
    costs = _COLUMNS.index("COST")
    table = Table(box=None, header_style="bold", pad_edge=False)
    for index in shown:
        name = _COLUMNS[index]
        table.add_column(name, overflow="fold", no_wrap=name not in _WRAPPED)
    for row in cells:
        table.add_row(
            *(Text(row[index] or (_UNKNOWN if index == costs else "")) for index in shown)
        )
    return Fitting(table, drop=_DROPPED)


def short(digest: str) -> str:
    """Return the beginning of a digest or revision, enough to tell it from others."""
    return digest.removeprefix("sha256:")[:_DIGITS]


def difference(rows: Iterable[Row], known: InService | None) -> str:
    """Say where tags and service disagree about what is live; empty where they do not.

    They do where the registry refused to move the tags.
    """
    if known is None:
        return ""
    digest = known.adapter.partition("@")[2]
    live = [row.digest for row in rows if LIVE in row.states]
    if live == [digest]:
        return ""
    tagged = short(live[0]) if live else "none"
    return (
        f"the service answers with {short(digest)}, and the tag {LIVE} is at {tagged}: the registry"
        " refused to move it; the next deploy tries again"
    )


def _row(version: Version, known: InService | None) -> Row:
    said = version.adapter.annotations
    tag = f"v{version.number}" if version.number is not None else ""
    states = tuple(_states(version, known))
    verdict = said.get(adapter_image.VERDICT, "")
    return Row(
        version=tag,
        states=states,
        digest=version.adapter.digest,
        created=said.get(adapter_image.CREATED, ""),
        dataset_digest=said.get(adapter_image.DATASET_DIGEST, ""),
        base_model=said.get(adapter_image.BASE_MODEL, ""),
        base_revision=said.get(adapter_image.BASE_REVISION, ""),
        base_loss=said.get(adapter_image.BASE_LOSS, ""),
        live_loss=said.get(adapter_image.LIVE_LOSS, ""),
        tuned_loss=said.get(adapter_image.TUNED_LOSS, ""),
        cost_usd=_cost(said.get(adapter_image.COST_USD, "")),
        machine=said.get(adapter_image.MACHINE, ""),
        verdict=verdict or ("rejected" if "rejected" in states else ""),
        event=known.history.get(tag, Event()) if known is not None else Event(),
        rejection=known.rejected.get(version.adapter.digest, Event())
        if known is not None
        else Event(),
    )


def _cost(text: str) -> float | None:
    """Parse an annotation, which anybody may have written who may push."""
    try:
        cost = float(text)
    except ValueError:
        return None
    return cost if math.isfinite(cost) else None


def _states(version: Version, known: InService | None) -> Iterator[str]:
    is_rejected = any(tag.startswith(REJECTED) for tag in version.tags)
    # Somebody rejected it after push had set the tag, which the next push moves.
    states = (LIVE, PREVIOUS) if is_rejected else (LIVE, PREVIOUS, CANDIDATE)
    yield from (state for state in states if state in version.tags)
    if _is_only_pushed(version, known):
        yield _NOT_DEPLOYED
    if is_rejected:
        yield REJECTED.removesuffix("-")


def _is_only_pushed(version: Version, known: InService | None) -> bool:
    """Whether its run was only to push it, and no rollback has put it into service since."""
    history = known.history if known is not None else {}
    was_in_service = {LIVE, PREVIOUS, *history} & version.tags
    only_pushed = version.adapter.annotations.get(adapter_image.DEPLOY_TO) == NOT_DEPLOYED
    return only_pushed and version.number is not None and not was_in_service


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.version,
        ", ".join(row.states),
        short(row.digest),
        short(row.dataset_digest),
        short(row.base_revision),
        row.base_loss,
        row.live_loss,
        row.tuned_loss,
        row.verdict,
        row.cost,
        row.event.time.removesuffix("Z").replace("T", " ")[:16],
        _by(row),
    )


def _by(row: Row) -> str:
    """Who deployed a version, and who approved it where that was somebody else; or rejected it."""
    event, rejecter = row.event, row.rejection.person
    approver = event.approved_by if event.approved_by != event.person else ""
    said = (
        event.person,
        f"approved by {approver}" if approver else "",
        f"rejected by {rejecter}" if rejecter else "",
    )
    return ", ".join(filter(None, said))
