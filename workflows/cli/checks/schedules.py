"""The schedules of the namespace's workspaces, and of `gc` where it is not suspended."""

from __future__ import annotations

from collections.abc import Iterator

from argotune.workflows.cli.checks.finding import Finding, info, ok, warning
from argotune.workflows.cli.checks.subject import Subject
from argotune.workflows.cli.show.rows import utc_now
from argotune.workflows.cli.show.schedules import Schedule, schedule_of, template_of
from argotune.workflows.workspace.collection import NAME as GC
from argotune.workflows.workspace.manifests import NAME as FINETUNE


def schedules(subject: Subject) -> Iterator[Finding]:
    """Say of each schedule when it runs, or why it does not."""
    if not subject.has_argo:
        return
    found = subject.kube.list("CronWorkflow", subject.namespace)
    named = [name for name in (FINETUNE, GC) if subject.get("WorkflowTemplate", name)]
    now = utc_now()
    for item in sorted(found, key=lambda item: str(item["metadata"]["name"])):
        template = template_of(item)
        # Where no run makes nodes, gc is suspended; installation.collection says where it must not.
        if template == FINETUNE or (template == GC and not item["spec"].get("suspend")):
            yield _finding(subject, schedule_of(item, named, now))


def _finding(subject: Subject, schedule: Schedule) -> Finding:
    said = f"schedule {schedule}"
    if not schedule.reasons:
        return ok(said)
    if schedule.is_suspended and len(schedule.reasons) == 1:
        resume = f"argo cron resume {schedule.name} -n {subject.namespace}"
        return info(said, "resume it where it should run", resume)
    return warning(
        said,
        "correct what it says; a name, time or zone by rendering the schedule again",
        f"argotune render --schedule CRON FILE | kubectl apply -n {subject.namespace} -f -",
    )
