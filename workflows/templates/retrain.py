"""CronWorkflow `retrain`: the template `finetune` on a schedule.

A run ends early while data and plan are unchanged. It is installed nowhere: `argotune render
--schedule` makes the CronWorkflow of a workspace from it, with a name, times and arguments.
"""

from __future__ import annotations

from hera.workflows import CronWorkflow
from hera.workflows.models import WorkflowTemplateRef

from argotune.workflows.templates import finetune
from argotune.workflows.templates.manifest import PART_OF
from argotune.workflows.workspace.schedule import DEFAULT_TIMEZONE

NAME = "retrain"


def build() -> CronWorkflow:
    """Build the schedule without the workspace's part."""
    return CronWorkflow(
        name=NAME,
        labels=PART_OF,
        schedules=["0 3 * * *"],
        timezone=DEFAULT_TIMEZONE,
        # Two runs of one workspace would replace each other's service.
        concurrency_policy="Forbid",
        starting_deadline_seconds=3600,
        successful_jobs_history_limit=3,
        failed_jobs_history_limit=3,
        workflow_template_ref=WorkflowTemplateRef(name=finetune.NAME),
    )
