"""Bringing one Workspace to what it says: its run, its schedule, its service, its status.

Everything here may be done twice, or be killed at any place: names follow from what is to be made,
what is there is not made again, and what was done is written down after it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping

from argotune.steps.cluster.errors import ApiError
from argotune.steps.cluster.kube import Kube, Object
from argotune.steps.common import log
from argotune.steps.common.errors import StepError
from argotune.steps.contracts.in_service import NOT_DEPLOYED, WORKSPACE_UID
from argotune.workflows.cli.errors import CliError
from argotune.workflows.cli.installation.operator import FINALIZER, is_chosen, is_held
from argotune.workflows.cli.remote.api_errors import may_pass
from argotune.workflows.cli.remote.cluster import Cluster
from argotune.workflows.cli.remote.submission import check_against_installation
from argotune.workflows.cli.remote.watching import shut_down
from argotune.workflows.cli.show.rows import utc_now
from argotune.workflows.operator import requests, schedule
from argotune.workflows.operator.content import (
    config_map_of,
    content_digest,
    kept,
    run_name,
    unread_problem,
)
from argotune.workflows.operator.deletion import Deletion, drop_finalizer
from argotune.workflows.operator.events import WorkspaceEvents
from argotune.workflows.operator.making import ensure_run, let_go, plan
from argotune.workflows.operator.secret_versions import (
    SECRETS,
    Versions,
    changed_versions,
    failed_with,
    missing_secrets,
    note_of,
    noted_versions,
    versions_of,
)
from argotune.workflows.operator.seen import CONTENT, RUN, Key, Run, Seen
from argotune.workflows.operator.status import Judgement, changes, new_status
from argotune.workflows.workspace.fields import WorkspaceError
from argotune.workflows.workspace.operator_annotations import (
    KEEP,
    ON_CHANGE,
    RERUN,
    SUSPEND,
    operator_problems,
    operator_values,
    path_of,
)
from argotune.workflows.workspace.planned import Planned, PlannedService

_LOGGER = logging.getLogger(__name__)
AGAIN_SECONDS = 600.0
"""A Workspace is looked at so often at least: what it depends on may change unseen."""
_GOES_ON_SECONDS = 60.0
"""The cost of a run grows, and its end comes nearer; and a Secret with which one failed may be
another."""
_MOST_RUNS = 3
"""Of one content, counted before a Secret that changed begins another. Logins of some registries
change every few hours, and a run that fails after its training costs a GPU each time."""
_REFUSED_SECONDS = 30.0
"""A Secret or an installation that was missing may be there."""


class Reconciler:
    """Reconciles Workspaces, one at a time each; several threads may use it."""

    def __init__(self, kube: Kube, seen: Seen, *, managed_only: bool) -> None:
        self._kube = kube
        self._seen = seen
        self._managed_only = managed_only
        self._events = WorkspaceEvents(kube)
        self._refusals: dict[Key, int] = {}
        """How often in a row each Workspace was refused."""
        self.ending_namespaces: set[str] = set()
        """Namespaces that are being deleted: nothing is held in them any more."""

    def reconcile(self, key: Key, *, whole: bool) -> float | None:
        """Bring the Workspace to what it says; returns the seconds until the next look.

        Args:
            key: Namespace and name.
            whole: Whether its content may have changed, and not only what its runs came to.

        Raises ApiError and CliError where the API server does not carry something out: it is to be
        tried again.
        """
        workspace = self._seen.workspaces.get(key)
        if workspace is None or not is_chosen(workspace, managed_only=self._managed_only):
            self._refusals.pop(key, None)
            # One that is chosen no more would wait for ever when it is deleted.
            if workspace is not None and is_held(workspace):
                drop_finalizer(self._kube, workspace)
            return None
        try:
            return self._reconcile(key, workspace, whole=whole)
        except (StepError, CliError) as error:
            if not may_pass(error):
                self._warn(workspace, "Retrying", str(error))
            raise
        except Exception as error:
            said = f"a bug in the operator, whose log says more: {type(error).__name__}: {error}"
            self._warn(workspace, "OperatorError", said)
            raise

    def _reconcile(self, key: Key, workspace: Object, *, whole: bool) -> float | None:
        if key[0] in self.ending_namespaces:
            if is_held(workspace):
                drop_finalizer(self._kube, workspace)
            return None
        cluster = self._cluster(workspace)
        if workspace["metadata"].get("deletionTimestamp"):
            deletion = Deletion(self._kube, cluster, self._seen, self._events)
            return deletion.go_on(workspace)
        values = operator_values(workspace["metadata"].get("annotations") or {})
        workspace = self._with_finalizer(workspace)
        judgement, wait = None, AGAIN_SECONDS
        if whole:
            judgement, workspace = self._look_at_content(cluster, workspace, values)
            wait = self._wait_seconds(key, is_good=judgement.is_good)
        workspace = self._settle(cluster, workspace, values)
        run = self._seen.shown_run(key)
        self._write_status(workspace, judgement, run)
        is_to_change = run is not None and not run.has_ended
        if is_to_change or failed_with(
            self._newest(workspace), workspace, noted_versions(workspace)
        ):
            wait = min(wait, _GOES_ON_SECONDS)
        return wait

    def _wait_seconds(self, key: Key, *, is_good: bool) -> float:
        """Return the time until the next look, twice as long after each refusal in a row."""
        if is_good:
            self._refusals.pop(key, None)
            return AGAIN_SECONDS
        before = self._refusals.get(key, 0)
        self._refusals[key] = before + 1
        return float(min(_REFUSED_SECONDS * 2**before, AGAIN_SECONDS))

    def _look_at_content(
        self, cluster: Cluster, workspace: Object, values: Mapping[str, str]
    ) -> tuple[Judgement, Object]:
        """Start a run where the content is another than that of the last one.

        So too where the last one failed with a Secret that is another now.
        """
        metadata = workspace["metadata"]
        annotations = metadata.get("annotations") or {}
        problems = list(operator_problems(metadata["name"], values))
        if problems:
            return self._refused(workspace, problems), workspace
        if problem := unread_problem(workspace):
            return self._refused(workspace, [problem]), workspace
        digest = content_digest(workspace, self._config(cluster, workspace))
        name, is_new = annotations.get(RUN, ""), annotations.get(CONTENT) != digest
        noted = noted_versions(workspace)
        changed = None if noted is None else changed_versions(cluster, noted)
        begins = is_new or self._may_help(workspace, changed, digest)
        is_as_before = not begins and changed == {}
        if is_as_before and schedule.is_as_wanted(workspace, values, digest):
            return _planned(name), workspace
        if begins and values.get(SUSPEND) == "true":
            said = "no run starts while it is suspended"
            return Judgement(is_good=True, reason="Suspended", message=said), workspace
        try:
            return self._plan(cluster, workspace, values, digest, begins=begins)
        except (WorkspaceError, CliError, StepError) as error:
            if may_pass(error):
                raise
            problems = [str(error)] if isinstance(error, StepError) else error.problems
            # With what was noted of it before the error.
            workspace = self._seen.workspaces.get((cluster.namespace, metadata["name"]), workspace)
            return self._refused(workspace, problems), workspace

    def _plan(
        self,
        cluster: Cluster,
        workspace: Object,
        values: Mapping[str, str],
        digest: str,
        *,
        begins: bool,
    ) -> tuple[Judgement, Object]:
        """Plan the Workspace, and start a run of it where one `begins`.

        Raises WorkspaceError, CliError and StepError for what is wrong with it.
        """
        planned = plan(cluster, workspace)
        # First, or of any Secret of the namespace it would be told whether it is there.
        check_against_installation(cluster, planned.workspace, allow_loopback=False)
        versions = versions_of(cluster, planned)
        problems = [
            *missing_secrets(cluster, planned, versions),
            *self._names_of_others(planned, workspace),
        ]
        if problems:
            return self._refused(workspace, problems), workspace
        noted = {SECRETS: note_of(versions)}
        if begins:
            name = self._start(cluster, workspace, planned, digest)
            workspace = self._noted(workspace, {CONTENT: digest, RUN: name, **noted})
        elif noted_versions(workspace) is None or not self._goes_on(workspace):
            # A run that goes on may still fail with the versions that are noted.
            workspace = self._noted(workspace, noted)
        made = schedule.bring_about(cluster, workspace, planned, values, digest)
        workspace = self._noted(workspace, made)
        return _planned(workspace["metadata"]["annotations"][RUN]), workspace

    def _may_help(self, workspace: Object, changed: Versions | None, digest: str) -> bool:
        """Whether the content is to be run again with the Secrets that have changed."""
        metadata = workspace["metadata"]
        run = self._newest(workspace)
        if run is None or not failed_with(run, workspace, changed):
            return False
        there = self._seen.runs_of((metadata["namespace"], metadata["name"]))
        runs = [each for each in there if each.content == digest and metadata["uid"] in each.owners]
        if len(runs) < _MOST_RUNS:
            return True
        said = (
            f"run {run.name} failed, and a Secret that it used has changed; {len(runs)} runs of"
            " this content are there already, so no other begins: another value of"
            f" {path_of(RERUN)} asks for one"
        )
        self._events.say(workspace, "NotRunAgain", said, is_warning=True)
        return False

    def _newest(self, workspace: Object) -> Run | None:
        """Return the run that was begun last; None where it is gone."""
        metadata = workspace["metadata"]
        name = (metadata.get("annotations") or {}).get(RUN, "")
        return self._seen.run(metadata["namespace"], name)

    def _goes_on(self, workspace: Object) -> bool:
        run = self._newest(workspace)
        return run is not None and not run.has_ended

    def _start(
        self,
        cluster: Cluster,
        workspace: Object,
        planned: Planned | PlannedService,
        digest: str,
    ) -> str:
        annotations = workspace["metadata"].get("annotations") or {}
        before = annotations.get(RUN, "")
        name = run_name(workspace, digest, before)
        workflow = ensure_run(cluster, workspace, planned, name=name, digest=digest)
        self._seen.put_run(workflow)
        said = f"run {name} of WorkflowTemplate {planned.workspace.template}"
        if annotations.get(CONTENT) == digest:
            said += f": run {before} failed, and a Secret that it used has changed"
        self._events.say(workspace, "RunStarted", said)
        return name

    def _settle(self, cluster: Cluster, workspace: Object, values: Mapping[str, str]) -> Object:
        """Let runs go on, wait or end as the annotations say, and do what these ask for."""
        metadata = workspace["metadata"]
        newest = (metadata.get("annotations") or {}).get(RUN, "")
        for run in self._seen.own_runs(workspace):
            if run.has_ended or run.is_ending:
                continue
            if run.name != newest and newest and run.content and values.get(ON_CHANGE) != KEEP:
                shut_down(cluster, run.name, "Stop")
                said = f"run {run.name}: asked to stop, because run {newest} has its place"
                self._events.say(workspace, "RunStopped", said)
            elif run.name == newest:
                is_to_wait = values.get(SUSPEND) == "true"
                if is_to_wait != run.is_held:
                    let_go(cluster, run.name, hold=is_to_wait)
        noted = {
            **schedule.pause_or_resume(cluster, workspace, values),
            **requests.carry_out(cluster, workspace, values, self._seen, self._events),
        }
        return self._noted(workspace, noted)

    def _names_of_others(
        self, planned: Planned | PlannedService, workspace: Object
    ) -> Iterator[str]:
        """Say whose service the run would replace, which is not this Workspace's."""
        run = self._seen.run_of_other(workspace)
        if not run or planned.workspace.options.get("deploy-to") == NOT_DEPLOYED:
            return
        metadata = workspace["metadata"]
        annotate = (
            f"kubectl annotate --overwrite -n {metadata['namespace']} deployment"
            f" {metadata['name']} {WORKSPACE_UID}={metadata['uid']}"
        )
        yield (
            f"metadata.name: {metadata['name']!r}; run {run} deployed the service of this name, and"
            " is no run of this Workspace: take another name, or have somebody who may change"
            f" Deployments give it to this Workspace: {annotate}"
        )

    def _config(self, cluster: Cluster, workspace: Object) -> str | None:
        """Read the ConfigMap's text; None where none is named, or it is missing."""
        named = config_map_of(workspace)
        return None if named is None else cluster.find_config_map(cluster.namespace, *named)

    def _refused(self, workspace: Object, problems: Iterable[str]) -> Judgement:
        text = "; ".join(problems)
        self._events.say(workspace, "Refused", text, is_warning=True)
        return Judgement(is_good=False, reason="Refused", message=text)

    def _with_finalizer(self, workspace: Object) -> Object:
        """Write the finalizer, so that a deletion stops the run before the objects go."""
        if is_held(workspace):
            return workspace
        metadata = workspace["metadata"]
        there = metadata.get("finalizers") or []
        # With the version, since a merge replaces the whole list.
        change = {
            "metadata": {
                "finalizers": [*there, FINALIZER],
                "resourceVersion": metadata["resourceVersion"],
            }
        }
        return self._patched(workspace, change)

    def _noted(self, workspace: Object, annotations: Mapping[str, str | None]) -> Object:
        """Write annotations of the operator; None deletes one."""
        there = workspace["metadata"].get("annotations") or {}
        changed = {name: text for name, text in annotations.items() if there.get(name) != text}
        if not changed:
            return workspace
        return self._patched(workspace, {"metadata": {"annotations": changed}})

    def _patched(self, workspace: Object, change: Object) -> Object:
        metadata = workspace["metadata"]
        changed = kept(
            self._kube.patch("Workspace", metadata["namespace"], metadata["name"], change)
        )
        self._seen.put_workspace(changed)
        return changed

    def _write_status(
        self, workspace: Object, judgement: Judgement | None, run: Run | None
    ) -> None:
        metadata = workspace["metadata"]
        key = (metadata["namespace"], metadata["name"])
        status = new_status(
            workspace,
            judgement=judgement,
            run=run,
            service=self._seen.service_of(key),
            now=utc_now(),
        )
        change = changes(workspace.get("status") or {}, status)
        if not change:
            return
        self._seen.put_workspace(
            self._kube.patch_status("Workspace", metadata["namespace"], metadata["name"], change)
        )

    def _cluster(self, workspace: Object) -> Cluster:
        def warn(texts: Iterable[str]) -> None:
            if text := "; ".join(texts):
                self._warn(workspace, "Warning", text)

        namespace = str(workspace["metadata"]["namespace"])
        return Cluster(kube=self._kube, namespace=namespace, warn=warn)

    def _warn(self, workspace: Object, reason: str, text: str) -> None:
        """Write an Event that nothing depends on."""
        try:
            self._events.say(workspace, reason, text, is_warning=True)
        except ApiError as error:
            log.warn(_LOGGER, "no-event", reason=error)


def _planned(run: str) -> Judgement:
    return Judgement(is_good=True, reason="Planned", message=f"run {run}")
