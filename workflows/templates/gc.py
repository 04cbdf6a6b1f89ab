"""WorkflowTemplate and CronWorkflow `gc`: every ten minutes, the deletion of stray nodes.

Those are nodes of ended runs, and nodes that were kept long enough.
"""

from __future__ import annotations

from hera.workflows import CronWorkflow, Parameter, WorkflowTemplate
from hera.workflows.models import (
    Metadata,
    PodGC,
    TTLStrategy,
    WorkflowMetadata,
    WorkflowTemplateRef,
)

from argotune.steps.gc import params as gc_params
from argotune.steps.nodes.providers import cluster_settings
from argotune.workflows.templates import accounts
from argotune.workflows.templates import step as container
from argotune.workflows.templates.manifest import PART_OF
from argotune.workflows.templates.step import Step, value_of
from argotune.workflows.workspace.schedule import DEFAULT_TIMEZONE

NAME = "gc"
_TITLE = "workflows.argoproj.io/title"
_RUN_TITLE = "gc: look for nodes that runs left behind"
_KEPT_SECONDS = 24 * 3600

PARAMETERS = (
    Parameter(
        name="dry-run",
        value="false",
        enum=["false", "true"],
        description="Only report what would be deleted",
    ),
)
GC = Step(
    params=gc_params,
    home="release",
    is_of_workspace=False,
    memory="192Mi",
    fixed={
        "namespace": "{{workflow.namespace}}",
        **{row.name: value_of(row.name) for row in cluster_settings()},
        "dry-run": "{{workflow.parameters.dry-run}}",
    },
    timeout_seconds=600,
    uses_kubernetes=True,
    asks_the_cloud=True,
)


def build() -> WorkflowTemplate:
    """Build the template of one step."""
    with WorkflowTemplate(
        name=NAME,
        annotations={
            _TITLE: "gc: delete nodes that runs left behind",
            "workflows.argoproj.io/description": (
                "Agent pools and NodeClaims of runs that have ended, or whose time is over."
            ),
        },
        labels=PART_OF,
        arguments=list(PARAMETERS),
        entrypoint=GC.name,
        security_context=container.POD_SECURITY,
        service_account_name=accounts.STEP,
        workflow_metadata=WorkflowMetadata(annotations={_TITLE: _RUN_TITLE}),
        pod_metadata=Metadata(labels=PART_OF),
        pod_gc=PodGC(strategy="OnWorkflowSuccess"),
        ttl_strategy=TTLStrategy(seconds_after_completion=_KEPT_SECONDS),
    ) as template:
        GC.template()
    return template


def build_schedule() -> CronWorkflow:
    """Build the schedule, suspended where no run makes nodes; `argotune install` resumes it."""
    return CronWorkflow(
        name=NAME,
        annotations={
            _TITLE: _RUN_TITLE,
            "workflows.argoproj.io/description": (
                "Of the whole namespace, and of no workspace; suspended where no run makes nodes."
            ),
        },
        labels=PART_OF,
        schedules=["7-59/10 * * * *"],
        timezone=DEFAULT_TIMEZONE,
        concurrency_policy="Forbid",
        starting_deadline_seconds=600,
        successful_jobs_history_limit=1,
        failed_jobs_history_limit=3,
        cron_suspend=True,
        workflow_template_ref=WorkflowTemplateRef(name=NAME),
        arguments=[Parameter(name=item.name, value=item.value) for item in PARAMETERS],
    )
