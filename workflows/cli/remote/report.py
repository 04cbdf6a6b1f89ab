"""The report that a run left in the registry beside its adapter."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from argotune.steps.common.errors import StepError
from argotune.steps.contracts import side_by_side
from argotune.steps.contracts.report import (
    NOT_KEPT,
    Files,
    evaluation_tag,
    is_report,
    read_layout,
    report_tag,
)
from argotune.steps.registry.oci import ImageReference, LayoutReference, parse_reference
from argotune.steps.registry.skopeo import list_tags, pull, remote_digest, remote_manifest
from argotune.workflows.cli.errors import CliError, InputError
from argotune.workflows.cli.login import Login
from argotune.workflows.cli.remote.cluster import Cluster
from argotune.workflows.cli.remote.runs import cluster_runs, whole_run
from argotune.workflows.cli.show.workflow_json import Workflow, name_of, step_output, workspace_of

_LAYOUT_TAG = "report"
_SEARCHED_RUNS = 20
"""A Workflow is a hundred kilobytes."""


def report_of_run(cluster: Cluster, run: Workflow, login: Login) -> Files:
    """Fetch the report of a run of a cluster.

    Raises CliError that says why there is none, and which earlier run of the workspace has one, or
    why it cannot be read.
    """
    text = step_output(run, "push", "report")
    found = step_output(run, "evaluate", "found")
    if found and (not text or text.startswith(NOT_KEPT)):
        # An evaluation of several models has it in its outputs too.
        return {side_by_side.FILE: found.encode()}
    if not text:
        raise CliError(f"run {name_of(run)} has pushed no report{_earlier(cluster, run)}")
    if text.startswith(NOT_KEPT):
        reason = text.removeprefix(NOT_KEPT)
        raise CliError(f"run {name_of(run)} has no report in the registry: {reason}")
    return _fetched(_registry_reference(text), login)


def where_kept(run: Workflow) -> str:
    """Say where an evaluation's report is when its Workflow has gone; empty of other runs."""
    if not step_output(run, "evaluate", "found"):
        return ""
    text = step_output(run, "push", "report") or f"{NOT_KEPT}keep-report is none"
    if text.startswith(NOT_KEPT):
        return f"kept at its Workflow alone, for a week: {text.removeprefix(NOT_KEPT)}"
    return f"kept in the registry: argotune report {text}"


def report_of_image(text: str, login: Login) -> Files:
    """Fetch the report of an adapter's image, REGISTRY/REPOSITORY with a tag or a digest.

    The image may be a report itself, such as an evaluation's. Raises InputError for another
    reference, CliError where the registry has no report of it.
    """
    image = _registry_reference(text)
    try:
        with login.registry() as registry:
            manifest = remote_manifest(image, registry)
    except StepError as error:
        raise CliError(str(error)) from error
    if is_report(manifest):
        return _fetched(image, login)
    tag = report_tag(f"sha256:{hashlib.sha256(manifest).hexdigest()}")
    return _fetched(_tagged(image, tag), login)


def evaluations_of_image(text: str, login: Login) -> list[ImageReference]:
    """List the reports of evaluations that are kept beside an adapter's image.

    Raises as `report_of_image`.
    """
    image = _registry_reference(text)
    try:
        with login.registry() as registry:
            digest = image.digest or remote_digest(image, registry)
            tags = list_tags(image, registry)
    except StepError as error:
        raise CliError(str(error)) from error
    of_image = evaluation_tag(digest, "")
    return [_tagged(image, tag) for tag in sorted(tags) if tag.startswith(of_image)]


def _earlier(cluster: Cluster, run: Workflow) -> str:
    """Say which earlier run of the workspace has a report; empty where none is found.

    A scheduled run that changed nothing is the newest, and has none.
    """
    for other in cluster_runs(cluster, workspace_of(run))[:_SEARCHED_RUNS]:
        found = whole_run(cluster, name_of(other))
        if found is not None and step_output(found, "push", "report"):
            return f"; the newest that has: argotune report {name_of(found)} {cluster.flags}"
    return ""


def _tagged(image: ImageReference, tag: str) -> ImageReference:
    return ImageReference(registry=image.registry, repository=image.repository, tag=tag)


def _registry_reference(text: str) -> ImageReference:
    try:
        reference = parse_reference(text)
    except ValueError as error:
        raise InputError(str(error)) from error
    if isinstance(reference, LayoutReference):
        raise InputError(
            f"{text!r}: the report of a run on this machine is in its directory; name the run"
        )
    return reference


def _fetched(image: ImageReference, login: Login) -> Files:
    with tempfile.TemporaryDirectory(prefix="argotune-report-") as directory:
        layout = Path(directory) / "layout"
        try:
            with login.registry() as registry:
                pull(image, layout, _LAYOUT_TAG, registry)
            return read_layout(layout, _LAYOUT_TAG)
        except (StepError, ValueError) as error:
            raise CliError(f"report {image}: {error}") from error
