"""CronWorkflow `retrain`: the template `finetune` on a schedule.

A run ends early while data and plan are unchanged.
"""

from __future__ import annotations

from hera.workflows import CronWorkflow, Parameter
from hera.workflows.models import WorkflowTemplateRef

from argotune.workflows.templates import finetune

NAME = "retrain"
# `argotune render --schedule` renders the schedule of a workspace; this one is an example.
_EXAMPLE = {
    "name": "my-model",
    "urls": '["https://example.com/data.parquet"]',
    "output-image": "registry.example.com/my-model:nightly",
    "only-if-changed": "true",
}


def build() -> CronWorkflow:
    """Build the schedule, suspended until its arguments are filled in."""
    defaults = {str(parameter.name): parameter.value for parameter in finetune.parameters()}
    unknown = sorted(_EXAMPLE.keys() - defaults.keys())
    if unknown:
        raise ValueError(f"template {finetune.NAME} has no parameter {', '.join(unknown)}")
    return CronWorkflow(
        name=NAME,
        annotations={
            "workflows.argoproj.io/title": "Tune again when the data changes",
            "workflows.argoproj.io/description": (
                "Fetches and checks the dataset on a schedule; uses a GPU only when the dataset or"
                " the plan differ from what is deployed."
            ),
        },
        labels={"app.kubernetes.io/part-of": "argotune"},
        schedules=["0 3 * * *"],
        timezone="Etc/UTC",
        # Two runs of one workspace would replace each other's service.
        concurrency_policy="Forbid",
        starting_deadline_seconds=3600,
        successful_jobs_history_limit=3,
        failed_jobs_history_limit=3,
        cron_suspend=True,
        workflow_template_ref=WorkflowTemplateRef(name=finetune.NAME),
        # All of them, for `argo retry -p` (manifests.py says why).
        arguments=[
            Parameter(name=name, value=value) for name, value in {**defaults, **_EXAMPLE}.items()
        ],
    )
