"""The run's page with what push knows: the data, the plan beside the run, and the adapter's origin.

`tune` wrote the page and `evaluate` added to it; all texts are escaped. What is known only when the
run has ended, as its whole cost, is not here: `argotune status` and `argotune report RUN` say it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from argotune.steps.common.fs import atomic_write
from argotune.steps.common.html_page import body_of, table, with_section
from argotune.steps.contracts.data_report import PAGE
from argotune.steps.contracts.live_adapter import read_live_adapter
from argotune.steps.contracts.measured import compare_with_plan, duration
from argotune.steps.contracts.report import collect
from argotune.steps.provenance.statement import BASE, Resource, Statement, oci_digest
from argotune.steps.push.params import Params
from argotune.steps.push.provenance import Written
from argotune.steps.push.spent import node_use

_PAGE = Path("report", "report.html")
"""Below the run's volume."""
_NONE = "-"


def add_to_page(params: Params, statement: Statement, written: Written) -> None:
    """Add the parts to the run's page, in place of an earlier try's, if there is a page."""
    path = params.work_dir / _PAGE
    if not path.is_file():
        return
    text = with_section(path.read_text(), "data", list(_data(params.work_dir)))
    text = with_section(text, "plan-and-run", list(_measured(params)))
    rows = [
        *(("adapter", each.name, oci_digest(each)) for each in statement.subject),
        *map(_resource, statement.predicate.build_definition.resolved_dependencies),
        _in_service_before(params.work_dir),
        (
            "statement of this",
            "SLSA provenance v1, " + ("signed" if written.signature else "not signed"),
            written.statement.digest,
        ),
    ]
    lineage = table("What the adapter comes from", ["", "which", "digest"], rows)
    atomic_write(path, with_section(text, "lineage", [lineage]))


def _data(work_dir: Path) -> Iterator[str]:
    """What the dataset step's page says: rows, what was refused, lengths, some of the rows."""
    path = work_dir / "dataset" / PAGE
    if path.is_file():
        yield "<h2>Data</h2>"
        yield body_of(path.read_text())


def _measured(params: Params) -> Iterator[str]:
    use = node_use(params)
    rows = compare_with_plan(collect(params.work_dir), use)
    until = ", whose cost is that until the evaluation ended" if use is not None else ""
    yield table(
        f"The plan beside the run{until}",
        ["", "planned", "measured"],
        [(row.what, row.planned, row.measured) for row in rows],
    )
    times = sorted(params.times().items(), key=lambda each: each[1])
    yield table(
        "When each step ran, waiting included",
        ["step", "began", "took"],
        [
            (step, f"{begin:%Y-%m-%d %H:%M:%S} UTC", duration((end - begin).total_seconds()))
            for step, (begin, end) in times
        ],
    )


def _resource(resource: Resource) -> tuple[str, str, str]:
    which = resource.uri or _NONE
    if resource.name == BASE:
        said = resource.annotations
        which = f"{said['repository']}@{said['revision']}, from {said['source']}"
    return resource.name, which, oci_digest(resource) or _NONE


def _in_service_before(work_dir: Path) -> tuple[str, str, str]:
    live = read_live_adapter(work_dir)
    if live is None or not live.digest:
        return "in service before", "none" if live is not None else _NONE, _NONE
    return "in service before", live.version or _NONE, live.digest
