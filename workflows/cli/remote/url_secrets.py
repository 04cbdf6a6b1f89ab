"""The Secrets of a schedule's URLs that it does not name any more.

Nobody may change or list Secrets, so each change of a schedule brings a Secret of its own. The
CronWorkflow owns all of them and remembers the former ones in an annotation, until no run that goes
on uses them.
"""

from __future__ import annotations

from collections.abc import Sequence

from argotune.steps.cluster.kube import Object
from argotune.workflows.cli.remote.api_errors import ClusterRefusal
from argotune.workflows.cli.remote.cluster import Cluster
from argotune.workflows.cli.show.workflow_json import Workflow, name_of

FORMER = "argotune.dev/former-urls-secrets"
"""Annotation of a CronWorkflow: names of Secrets, with commas."""
_PARAMETER = "urls-secret"


def former_secrets(cron: Object, changed: Object) -> list[str]:
    """List the Secrets of the CronWorkflow that it does not name any more when it is changed."""
    text = (cron["metadata"].get("annotations") or {}).get(FORMER, "")
    known = dict.fromkeys([*filter(None, text.split(",")), _named_by(_of_runs(cron))])
    return [name for name in known if name not in ("", _named_by(_of_runs(changed)))]


def delete_unused(
    cluster: Cluster, cron: Object, names: Sequence[str], runs: Sequence[Workflow]
) -> list[str]:
    """Delete the Secrets of that schedule that none of its runs uses, and note those that stay.

    Args:
        cluster: The namespace.
        cron: The schedule.
        names: Secrets that it named before.
        runs: Its runs that go on, which may have no more than metadata.

    Returns:
        Why Secrets are left that should go, one sentence each.
    """
    whole = (cluster.get("Workflow", name_of(run)) for run in runs)
    used = {_named_by(run["spec"]) for run in whole if run is not None}
    kept = [name for name in names if name in used]
    problems = []
    for name in names:
        if name in kept:
            continue
        try:
            cluster.delete("Secret", name)
        except ClusterRefusal as error:
            kept.append(name)
            problems.append(f"{error}; it goes with the schedule")
    annotations = {FORMER: ",".join(kept) or None}
    cluster.patch("CronWorkflow", name_of(cron), {"metadata": {"annotations": annotations}})
    return problems


def _of_runs(cron: Object) -> Object:
    spec: Object = cron["spec"].get("workflowSpec") or {}
    return spec


def _named_by(spec: Object) -> str:
    """Return the Secret that the arguments of a run name; empty without one."""
    parameters = (spec.get("arguments") or {}).get("parameters") or []
    return next(
        (str(each.get("value", "")) for each in parameters if each["name"] == _PARAMETER), ""
    )
