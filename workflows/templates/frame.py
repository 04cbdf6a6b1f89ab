"""What the WorkflowTemplates of runs have in common: account, labels, titles, what goes when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hera.workflows import (
    ConfigMapVolume,
    ExistingVolume,
    Parameter,
    SecretVolume,
    Volume,
    WorkflowTemplate,
)
from hera.workflows.models import (
    LabelValueFrom,
    Metadata,
    PodGC,
    TTLStrategy,
    VolumeClaimGC,
    WorkflowMetadata,
)
from hera.workflows.models import Volume as PodVolume

from argotune.workflows.templates import accounts
from argotune.workflows.templates import step as container
from argotune.workflows.templates.finetune_steps import DAY_SECONDS
from argotune.workflows.templates.manifest import PART_OF

AnyVolume = Volume | ExistingVolume | SecretVolume | ConfigMapVolume | PodVolume
_TITLE = "workflows.argoproj.io/title"
_DESCRIPTION = "workflows.argoproj.io/description"
_LIFETIME_SECONDS = 7 * DAY_SECONDS


def template_of_runs(
    name: str,
    *,
    title: str,
    description: str,
    run_title: str,
    run_description: str,
    run_annotations: Mapping[str, str] | None = None,
    arguments: Sequence[Parameter],
    volumes: Sequence[AnyVolume],
    entrypoint: str,
    on_exit: str | None = None,
) -> WorkflowTemplate:
    """Build a WorkflowTemplate, to which the caller adds its templates as its context.

    `run_title`, `run_description` and `run_annotations` are annotations of its runs, with tags.
    """
    return WorkflowTemplate(
        name=name,
        annotations={_TITLE: title, _DESCRIPTION: description},
        labels=PART_OF,
        arguments=list(arguments),
        entrypoint=entrypoint,
        on_exit=on_exit,
        security_context=container.POD_SECURITY,
        service_account_name=accounts.STEP,
        workflow_metadata=WorkflowMetadata(
            labels=PART_OF,
            annotations={
                _TITLE: run_title,
                _DESCRIPTION: run_description,
                **(run_annotations or {}),
            },
            labels_from={
                "argotune.dev/workspace": LabelValueFrom(expression="workflow.parameters.name")
            },
        ),
        pod_metadata=Metadata(labels=PART_OF),
        # Pods of failed runs stay for `kubectl logs`; the volume stays for `argo retry`.
        pod_gc=PodGC(strategy="OnWorkflowSuccess"),
        volume_claim_gc=VolumeClaimGC(strategy="OnWorkflowSuccess"),
        ttl_strategy=TTLStrategy(seconds_after_completion=_LIFETIME_SECONDS),
        volumes=list(volumes),
    )
