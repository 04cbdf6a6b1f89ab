"""The workspace file: read as by `submit`, and its needs for the checks."""

from __future__ import annotations

from collections.abc import Iterator

from argotune.steps.nodes.providers import provider_settings
from argotune.steps.registry.oci import ImageReference, parse_reference
from argotune.steps.settings.step_params import SERVICE_STEPS
from argotune.workflows.cli.checks.finding import Finding, info, ok, problem
from argotune.workflows.cli.checks.subject import Needs, Subject
from argotune.workflows.workspace.manifests import install_defaults, installed_values
from argotune.workflows.workspace.model import provider_of
from argotune.workflows.workspace.node_request import request_of, request_of_service
from argotune.workflows.workspace.nodes import node_is_of_run
from argotune.workflows.workspace.planned import Planned, PlannedService
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
            f"argo submit -n {subject.namespace} --watch workflows/demo/tiny-weights.yaml"
            f" {_images_flags(subject)}",
        )


def _images_flags(subject: Subject) -> str:
    """Name the installed registry and tag; the Workflow's own tag is this version's."""
    if subject.template is None:
        return "-p images-registry=REGISTRY"
    defaults = install_defaults()
    values = {**defaults, **installed_values(subject.template)}
    flags = f"-p images-registry={values['images-registry']}"
    if values["images-tag"] == defaults["images-tag"]:
        return flags
    return f"{flags} -p images-tag={values['images-tag']}"


def needs_of(planned: Planned | PlannedService, push_secret: str | None) -> Needs:
    """Return the needs of this workspace; a flag may replace the Secret's name."""
    workspace, options = planned.workspace, planned.workspace.options
    images = [each.image for each in workspace.adapters or ()]
    found = map(_registry, images if workspace.is_service else [workspace.output_image])
    named = push_secret or workspace.push_secret
    defaults = Needs()
    return Needs(
        workspace=workspace.name,
        template=workspace.template,
        images=_images_of_service(planned)
        if isinstance(planned, PlannedService)
        else defaults.images,
        registries=tuple(dict.fromkeys(filter(None, found))),
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
        node=request_of_service(planned)
        if isinstance(planned, PlannedService)
        else request_of(planned),
        arguments=to_parameters(workspace),
        problems=workspace.problems_before_submit,
    )


def _images_of_service(planned: PlannedService) -> tuple[str, ...]:
    steps = (step.partition(".")[0] for step in SERVICE_STEPS)
    return (*steps, "vllm" if planned.plan.engine == "vllm" else "serve")


def _registry(image: str) -> str | None:
    try:
        reference = parse_reference(image)
    except ValueError:
        # A placeholder, which `file` reports, or an adapter without an image.
        return None
    return reference.registry if isinstance(reference, ImageReference) else None
