"""What stays of a run beside its adapter in the registry, when its volume and pods are gone.

`push` writes it as an OCI artifact with one layer per file, as `oras pull` reads it too; the
command line reads it for `argotune report` and `argotune logs`. Its manifest names the adapter's as
its subject, so a registry of OCI 1.1 lists it among the referrers. Its tag follows from the
adapter's digest, for the other registries, and because skopeo 1.9 copies no index of referrers
unchanged.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from argotune.steps.contracts import data_report, evaluation, side_by_side

ARTIFACT_TYPE = "application/vnd.argotune.report.v1"
TITLE = "org.opencontainers.image.title"
"""Annotation of a layer: the file's name."""
MEDIA_TYPES = {
    ".jsonl": "application/jsonl",
    ".json": "application/json",
    ".yaml": "application/yaml",
    ".png": "image/png",
    ".html": "text/html",
    ".log": "text/plain",
}
"""Suffix -> type of the layer."""
PLAN, DATASET, RESULT = "plan.yaml", "dataset.json", "result.json"
EVALUATION = evaluation.FILE.name
METRICS, SAMPLES = "metrics.jsonl", "samples.jsonl"
LOGS = "logs"
"""Directory of the logs, STEP.log."""
NOT_KEPT = "none: "
"""Before the reason in push's output `report`, where the report could not be kept."""
MOST_BYTES = 10_000_000
"""Of all files together."""
_MOST_METRICS_BYTES = 4_000_000
_MOST_SAMPLES_BYTES = 1_000_000
_MOST_LOG_BYTES = 200_000

Files = dict[str, bytes]
"""Name -> content."""


def report_tag(digest: str) -> str:
    """Return the report's tag for an adapter's digest, sha256:HEX; cosign names its tags so."""
    return f"{digest.replace(':', '-')}.report"


def evaluation_tag(digest: str, run: str) -> str:
    """Return the tag of an evaluation's report, for the digest of an adapter and the run's UID."""
    return f"{digest.replace(':', '-')}.evaluation-{run}"


def collect(work_dir: Path) -> Files:
    """Read a run's report from its volume; what a step has not written is left out.

    Logs and answers are cut at their beginning; of long metrics every nth step and all evaluations
    stay. What has no room is left out, the page with the curves first.
    """
    found: Files = {}
    for name, content in _candidates(work_dir):
        if sum(map(len, found.values())) + len(content) <= MOST_BYTES:
            found[name] = content
    return found


def read_file(work_dir: Path, name: str) -> bytes | None:
    """Read one file of a run's report from its volume; None if no step has written it."""
    return next((content for each, content in _candidates(work_dir) if each == name), None)


def read_layout(layout: Path, tag: str) -> Files:
    """Read the files of a report from an OCI layout.

    Raises ValueError if the tag is none of a report, or a name leads out of its directory.
    """
    entries = _json(layout / "index.json")["manifests"]
    wanted = "org.opencontainers.image.ref.name"
    digests = [e["digest"] for e in entries if (e.get("annotations") or {}).get(wanted) == tag]
    if not digests:
        raise ValueError(f"{layout} has no tag {tag}")
    manifest = _json(_blob(layout, digests[0]))
    if not _is_report(manifest):
        raise ValueError(f"tag {tag} is not a report of argotune")
    return {
        _name_of(each): _blob(layout, each["digest"]).read_bytes() for each in manifest["layers"]
    }


def is_report(manifest: bytes) -> bool:
    """Whether an image's manifest is that of a report."""
    return _is_report(_object(manifest))


def record_of(files: Files, name: str) -> dict[str, Any]:
    """Parse a JSON object; a file that is missing or something else is empty."""
    return _object(files.get(name, b"{}"))


def records(files: Files, name: str) -> list[dict[str, Any]]:
    """Parse a file of JSON lines; a missing one has none."""
    return [json.loads(line) for line in files.get(name, b"").splitlines()]


def _candidates(work_dir: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the files, those that are missed most first."""
    report = work_dir / "report"
    yield from _file(PLAN, work_dir / PLAN)
    for name in (DATASET, data_report.NAME):
        yield from _file(name, work_dir / "dataset" / name)
    yield from _file(RESULT, report / RESULT)
    yield from _file(EVALUATION, work_dir / evaluation.FILE)
    yield from _file(side_by_side.FILE, work_dir / side_by_side.FILE)
    for name, content in _file(METRICS, report / METRICS):
        yield name, _thinned(content)
    for name, content in _file(SAMPLES, report / SAMPLES):
        yield name, _end(content, _MOST_SAMPLES_BYTES)
    for path in sorted((work_dir / LOGS).glob("*.log")):
        yield f"{LOGS}/{path.name}", _end(path.read_bytes(), _MOST_LOG_BYTES)
    yield from _file("loss.png", report / "loss.png")
    yield from _file("report.html", report / "report.html")
    yield from _file(data_report.PAGE, work_dir / "dataset" / data_report.PAGE)


def _file(name: str, path: Path) -> Iterator[tuple[str, bytes]]:
    if path.is_file():
        yield name, path.read_bytes()


def _end(content: bytes, most_bytes: int) -> bytes:
    """Return the last whole lines."""
    if len(content) <= most_bytes:
        return content
    return content[-most_bytes:].partition(b"\n")[2]


def _thinned(metrics: bytes) -> bytes:
    lines = metrics.splitlines(keepends=True)
    every = -(-len(metrics) // _MOST_METRICS_BYTES)
    return b"".join(
        line for place, line in enumerate(lines) if place % every == 0 or b'"eval_loss"' in line
    )


def _name_of(layer: dict[str, Any]) -> str:
    name = str((layer.get("annotations") or {}).get(TITLE, ""))
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts:
        raise ValueError(f"a layer is called {name!r}, which is no file of a report")
    return name


def _blob(layout: Path, digest: str) -> Path:
    return layout / "blobs" / "sha256" / str(digest).removeprefix("sha256:")


def _is_report(manifest: dict[str, Any]) -> bool:
    return manifest.get("artifactType") == ARTIFACT_TYPE


def _object(content: bytes) -> dict[str, Any]:
    """Parse a JSON object; something else is empty."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_bytes())
    return found
