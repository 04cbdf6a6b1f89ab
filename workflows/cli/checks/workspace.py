"""The workspace file: read as by `submit`, and its needs for the checks."""

from __future__ import annotations

from collections.abc import Iterator

from argotune.steps.nodes.providers import provider_settings
from argotune.steps.registry.oci import ImageReference, parse_reference
from argotune.workflows.cli.checks.finding import Finding, info, ok, problem
from argotune.workflows.cli.checks.subject import Needs, Subject
from argotune.workflows.workspace.model import provider_of
from argotune.workflows.workspace.node_request import request_of
from argotune.workflows.workspace.nodes import node_is_of_run
from argotune.workflows.workspace.planned import Planned
from argotune.workflows.workspace.workflow import to_parameters


def file(subject: Subject) -> Iterator[Finding]:
    """Check what must be filled in before the file can be submitted."""
    needs = subject.needs
    if needs.workspace is None:
        return
    for text in needs.problems:
        yield problem(f"workspace {needs.workspace}: {text}", "correct the file")
    if not needs.problems:
        yield ok(f"workspace {needs.workspace} can be submitted")
    if needs.arguments.get("preset") == "tiny":
        yield info(
            f"preset tiny is on no hub: its weights must be in claim {needs.models_claim}, which"
            " cannot be seen from here",
            "put them there once",
            f"argo submit -n {subject.namespace} --watch workflows/demo/tiny-weights.yaml -p"
            " images-registry=REGISTRY",
        )


def needs_of(planned: Planned, push_secret: str | None) -> Needs:
    """Return the needs of this workspace; a flag may replace the Secret's name."""
    workspace, options = planned.workspace, planned.workspace.options
    named = push_secret or workspace.push_secret
    defaults = Needs()
    return Needs(
        workspace=workspace.name,
        image=_image(workspace.output_image),
        push_secret=named or defaults.push_secret,
        push_secret_is_named=named is not None,
        model_secret=workspace.model_access_secret,
        models_claim=options.get("model-cache-claim") or defaults.models_claim,
        storage_class=options.get("storage-class"),
        provider=provider_of(options),
        makes_node=node_is_of_run(options),
        provider_settings={
            row.name: options[row.name] for row in provider_settings() if row.name in options
        },
        node=request_of(planned),
        arguments=to_parameters(workspace),
        problems=workspace.problems_before_submit,
    )


def _image(text: str) -> ImageReference | None:
    try:
        reference = parse_reference(text)
    except ValueError:
        # A placeholder, which `file` reports.
        return None
    return reference if isinstance(reference, ImageReference) else None
