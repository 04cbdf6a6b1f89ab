"""The output of a run's steps on a cluster: their pods' logs, or what remains of them.

Of a run whose volume is gone too, the report in the registry has the ends of the logs.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from argotune.steps.contracts.report import LOGS
from argotune.workflows.cli.errors import CliError, InputError
from argotune.workflows.cli.login import Login
from argotune.workflows.cli.remote.api_errors import ClusterError, ClusterRefusal
from argotune.workflows.cli.remote.cluster import Cluster
from argotune.workflows.cli.remote.report import report_of_run
from argotune.workflows.cli.remote.runs import run_named
from argotune.workflows.cli.remote.states import states
from argotune.workflows.cli.show.log_lines import is_wanted, label_line
from argotune.workflows.cli.show.rows import Node, is_of_argo, step_name
from argotune.workflows.cli.show.workflow_json import (
    LOG_OUTPUT,
    RUN_LABEL,
    Workflow,
    has_ended,
    name_of,
    nodes_of,
    outputs_of_node,
    step_output,
)

_NODE_ID = "workflows.argoproj.io/node-id"
_NOT_BEGUN = ("Pending", "Omitted", "Skipped")
_NOT_STARTED = 400
_BREAKS = 5
_PAUSE_SECONDS = 1.0
_LAST_LINES_SECONDS = 30.0
_WRITING = threading.Lock()
"""Held while a line is printed, because Python writes its end separately."""


def print_logs(
    cluster: Cluster, name: str, step: str | None, *, follow: bool, login: Login
) -> None:
    """Print the lines of all steps in their order, or of one, with its tries.

    `login` reaches the registry that has the report of a run whose pods are gone.
    """
    run = run_named(cluster, name)
    pods = _pods(cluster, run)
    if follow and (pods or not has_ended(run)):
        _Following(cluster, step).run(name_of(run))
        return
    begun = _begun(run, pods)
    wanted = [node for node in begun if is_wanted(step_name(node), step)]
    if step is not None and not wanted:
        known = ", ".join(step_name(node) for node in begun) or "none yet"
        raise InputError(f"{step!r}: no step of {name_of(run)} with a log; there are {known}")
    gone = [node for node in wanted if node["id"] not in pods]
    kept = _kept_logs(cluster, run, gone, login) if gone else {}
    for node in wanted:
        label = step_name(node)
        # The kept log is that of all tries of a step.
        lines = kept.pop(label.partition("(")[0], None) if node in gone else None
        for line in lines or _lines(cluster, node, pods.get(node["id"])):
            print(label_line(line, label, step))


@dataclass(frozen=True)
class _Pod:
    """A node's pod."""

    name: str
    has_begun: bool
    """Its phase is past Pending."""


def _begun(run: Workflow, pods: Mapping[str, _Pod]) -> list[Node]:
    """List the nodes whose pods have started, in the order of their start."""
    running = {node_id for node_id, pod in pods.items() if pod.has_begun}
    nodes = [
        node
        for node in nodes_of(run).values()
        # Argo calls a node pending for seconds after its pod began: the pod shows it first.
        if node["type"] == "Pod" and (node["phase"] not in _NOT_BEGUN or node["id"] in running)
    ]
    return sorted(nodes, key=lambda node: str(node.get("startedAt")))


def _pods(cluster: Cluster, run: Workflow) -> Mapping[str, _Pod]:
    """Map node ids to their pods, as far as these exist."""
    pods = cluster.list("Pod", f"{RUN_LABEL}={name_of(run)}")
    return {
        str(pod["metadata"].get("annotations", {}).get(_NODE_ID)): _Pod(
            str(pod["metadata"]["name"]),
            pod.get("status", {}).get("phase", "Pending") != "Pending",
        )
        for pod in pods
    }


def _lines(cluster: Cluster, node: Node, pod: _Pod | None) -> Iterator[str]:
    """List the lines of the container; for a deleted pod, those that remain."""
    if pod is None:
        yield from _end_of_log(node)
        return
    try:
        for _, text in _own_lines(cluster, pod.name, follow=False):
            yield text
    except ClusterRefusal as error:
        if error.status == 404:
            yield from _end_of_log(node)
        elif error.status != _NOT_STARTED:
            raise


def _own_lines(cluster: Cluster, pod: str, *, follow: bool) -> Iterator[tuple[str, str]]:
    """Yield time and text of the lines that the step itself wrote."""
    for line in cluster.pod_log(pod, follow=follow):
        stamp, _, text = line.partition(" ")
        if not is_of_argo(text):
            yield stamp, text


def _end_of_log(node: Node) -> list[str]:
    return outputs_of_node(node).get(LOG_OUTPUT, "").splitlines()


def _kept_logs(
    cluster: Cluster, run: Workflow, gone: Sequence[Node], login: Login
) -> dict[str, list[str]]:
    """Map steps to the lines of their logs in the run's report.

    It is empty, and stderr says why, where a volume has the whole logs or no report can be read.
    """
    if _volume_of(run) or not step_output(run, "push", "report"):
        _say_gone(run, gone)
        return {}
    try:
        files = report_of_run(cluster, run, login)
    except CliError as error:
        _say_gone(run, gone)
        print(f"note: {error}", file=sys.stderr)
        return {}
    kept = {
        Path(name).stem: content.decode(errors="replace").splitlines()
        for name, content in files.items()
        if name.startswith(f"{LOGS}/")
    }
    missing = [node for node in gone if step_name(node).partition("(")[0] not in kept]
    labels = ", ".join(step_name(node) for node in missing)
    rest = f"; of {labels} it has none" if missing else ""
    print(
        f"note: the run's pods are gone; these logs are from its report, written by push{rest}",
        file=sys.stderr,
    )
    return kept


def _volume_of(run: Workflow) -> str | None:
    """Return the claim of the run's volume, while it is there."""
    claims = run.get("status", {}).get("persistentVolumeClaims") or []
    return next((item["persistentVolumeClaim"]["claimName"] for item in claims), None)


def _say_gone(run: Workflow, nodes: Sequence[Node]) -> None:
    """Report on stderr which lines are missing, and where they are."""
    volume = _volume_of(run)
    labels = ", ".join(step_name(node) for node in nodes)
    print(
        f"note: the pods of {labels} are gone, and only the end of a failed step's log is kept; "
        + (
            f"the whole logs are on the run's volume {volume}, in logs/"
            if volume
            else "the run's volume with the whole logs is gone too"
        ),
        file=sys.stderr,
    )


class _Following:
    """Prints the lines of all steps as they arrive; each pod has a thread of its own."""

    def __init__(self, cluster: Cluster, step: str | None) -> None:
        self._cluster = cluster
        self._step = step
        self._readers: dict[str, _Reader] = {}
        """Node id -> the reader of its pod's log."""
        self._run_ended = threading.Event()

    def run(self, name: str) -> None:
        """Follow until the run has ended."""
        for workflow in states(self._cluster, name):
            self._start_readers(workflow)
        self._run_ended.set()
        deadline = time.monotonic() + _LAST_LINES_SECONDS
        for reader in self._readers.values():
            reader.thread.join(max(0.0, deadline - time.monotonic()))
        problems = [reader.problem for reader in self._readers.values() if reader.problem]
        if problems:
            raise CliError(problems)

    def _start_readers(self, workflow: Workflow) -> None:
        new = [
            node
            for node in _begun(workflow, {})
            if is_wanted(step_name(node), self._step) and node["id"] not in self._readers
        ]
        pods = _pods(self._cluster, workflow) if new else {}
        gone = [node for node in new if node["id"] not in pods]
        if gone:
            _say_gone(workflow, gone)
        for node in new:
            reader = _Reader(self._cluster, node, pods.get(node["id"]), self._step, self._run_ended)
            self._readers[node["id"]] = reader
            if node["phase"] != "Running":
                # The logs of ended pods come one after the other, not all at once.
                reader.thread.join(_LAST_LINES_SECONDS)


@dataclass
class _Progress:
    """How far a log has been read."""

    time: str = ""
    """Time of the last line, RFC 3339 with nanoseconds: its text sorts by time."""
    breaks: int = 0
    """Connections lost since the last line."""


class _Reader:
    """Follows one pod's log in a thread."""

    def __init__(
        self,
        cluster: Cluster,
        node: Node,
        pod: _Pod | None,
        step: str | None,
        run_ended: threading.Event,
    ) -> None:
        self._cluster = cluster
        self._node = node
        self._pod = pod
        self._step = step
        self._run_ended = run_ended
        self.problem = ""
        """Why lines are missing."""
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        label = step_name(self._node)
        try:
            for line in self._lines():
                text = label_line(line, label, self._step)
                with _WRITING:
                    print(text, flush=True)
        except BrokenPipeError:
            # The reader of stdout has closed it; the main thread notices at its end.
            return
        except CliError as error:
            self.problem = f"{label}: {error}"

    def _lines(self) -> Iterator[str]:
        if self._pod is None:
            yield from _end_of_log(self._node)
            return
        progress = _Progress()
        while True:
            is_last_look = self._run_ended.is_set()
            try:
                yield from self._unread(self._pod.name, progress)
                return
            except ClusterRefusal as error:
                if error.status not in (404, _NOT_STARTED):
                    raise
                if error.status == 404 or is_last_look:
                    return
            except ClusterError as error:
                progress.breaks += 1
                if progress.breaks > _BREAKS or not error.may_pass:
                    raise
            self._run_ended.wait(_PAUSE_SECONDS)

    def _unread(self, pod: str, progress: _Progress) -> Iterator[str]:
        """Skip the printed lines, because each connection reads the log from its beginning."""
        for stamp, text in _own_lines(self._cluster, pod, follow=True):
            if stamp <= progress.time:
                continue
            progress.time, progress.breaks = stamp, 0
            yield text
