"""The loop of a run: waits for pods, timers, signals and requests, and operates after each."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Protocol

from argotune.workflows.engine.clock import Clock
from argotune.workflows.engine.controller import suspend
from argotune.workflows.engine.controller.operate import Operator
from argotune.workflows.engine.model import JsonObject, Node, Phase, rfc3339
from argotune.workflows.engine.pods.pod import Launcher, PodRequest
from argotune.workflows.engine.pods.supervise import (
    NewPod,
    PodEnded,
    PodEvent,
    PodLine,
    PodProgress,
    PodStarted,
    SupervisedPod,
)
from argotune.workflows.engine.record import Controls, Record

_CONTROL_POLL_SECONDS = 0.25  # the delay of requests of other processes
_PHASE_LABEL = "workflows.argoproj.io/phase"
_COMPLETED_LABEL = "workflows.argoproj.io/completed"
_log = logging.getLogger(__name__)


class Listener(Protocol):
    """Receives the events of a run, in the thread that runs it.

    An exception of a listener is logged; the listener is not called again, and the run goes on.
    """

    def on_workflow(self, workflow: JsonObject) -> None:
        """Receive the whole Workflow object after a change, at most a few times per second."""

    def on_node(self, node: JsonObject) -> None:
        """Receive the NodeStatus of a node that was added or changed."""

    def on_line(self, node_id: str, text: str) -> None:
        """Receive a line that a node's container wrote."""

    def on_shutdown(self, strategy: str) -> None:
        """Receive that the run is being stopped: `Stop`, then `Terminate` if it is killed."""


class Listening:
    """Calls a listener, if there is one, and never raises."""

    def __init__(self, listener: Listener | None) -> None:
        self._listener = listener

    @property
    def is_on(self) -> bool:
        """Whether there is a listener that has not failed."""
        return self._listener is not None

    def workflow(self, workflow: JsonObject) -> None:
        """Pass on a changed workflow."""
        if (listener := self._listener) is not None:
            self._call(lambda: listener.on_workflow(workflow))

    def node(self, node: JsonObject) -> None:
        """Pass on a changed node."""
        if (listener := self._listener) is not None:
            self._call(lambda: listener.on_node(node))

    def line(self, node_id: str, text: str) -> None:
        """Pass on a line of a log."""
        if (listener := self._listener) is not None:
            self._call(lambda: listener.on_line(node_id, text))

    def shutdown(self, strategy: str) -> None:
        """Pass on that the run is being stopped."""
        if (listener := self._listener) is not None:
            self._call(lambda: listener.on_shutdown(strategy))

    def _call(self, tell: Callable[[], None]) -> None:
        try:
            tell()
        except Exception:  # a fault of the display must not end the run
            _log.exception("listener failed, it is not called again")
            self._listener = None


@dataclass(frozen=True, slots=True)
class _Interrupt:
    """Ctrl-C, SIGTERM, or the loss of the terminal."""


@dataclass(slots=True)
class _Active:
    """A running pod, its deadline, and the reason why it is being stopped."""

    pod: SupervisedPod
    deadline: float | None
    deadline_message: str
    stopped_because: str = ""


class Loop:
    """Runs one workflow to its end in the calling thread."""

    operator: Operator

    def __init__(
        self,
        workflow: JsonObject,
        stored_spec: JsonObject,
        run_dir: Path,
        launcher: Launcher,
        listening: Listening,
        *,
        clock: Clock,
        new_pod: NewPod,
    ) -> None:
        self._workflow = workflow
        self._stored_spec = stored_spec
        self._launcher = launcher
        self._listening = listening
        self._clock = clock
        self._new_pod = new_pod
        self._record = Record(run_dir)
        self._controls = Controls(run_dir)
        self._events: SimpleQueue[PodEvent | _Interrupt] = SimpleQueue()
        self._active: dict[str, _Active] = {}
        self._wake_times: set[float] = set()
        self._unsaved = True
        self._has_result = False

    def run(self) -> JsonObject:
        """Run to the end and return the Workflow object.

        The first interrupt stops the run, exit handlers excepted; the second kills everything.
        """
        state = self.operator.run.state
        state.on_change = self._node_changed
        with self._interrupts():
            try:
                self._run_to_end()
            except BaseException:
                # For example, the record cannot be saved: no pod may go on unsupervised.
                self._abandon_pods()
                raise
        self._save(durable=True)
        return self._snapshot()

    def _run_to_end(self) -> None:
        state = self.operator.run.state
        self._operate()
        while not state.phase.is_fulfilled or self._active:
            self._handle(self._next_event())
            self._keep_results()
            self._follow_controls()
            self._stop_overdue_pods()
            self._operate()

    def _abandon_pods(self) -> None:
        for active in self._active.values():
            active.pod.kill()
        for active in self._active.values():
            active.pod.join()

    def start_pod(self, request: PodRequest) -> None:
        """Start a pod's thread; its events come to this loop."""
        if self._unsaved and self._record.is_named_in(request.pod.command):
            # It reads what the steps before it came to, or why the run ends.
            self._save()
        pod = self._new_pod(
            request.pod, self._launcher, self._events.put, wants_lines=self._listening.is_on
        )
        node_id = request.pod.identity.node_id
        self._active[node_id] = _Active(pod, request.deadline, request.deadline_message)
        if request.deadline is not None:
            self.wake_at(request.deadline)
        pod.start()

    def wake_at(self, moment: float) -> None:
        """Operate at this time, in seconds since the epoch, even if nothing happens before it."""
        self._wake_times.add(moment)

    def _operate(self) -> None:
        now = self._clock.now()
        self._wake_times = {moment for moment in self._wake_times if moment > now}
        self.operator.operate()
        if self._unsaved and time.monotonic() >= self._record.due_at():
            self._save()

    def _keep_results(self) -> None:
        """Save a pod's results before other steps use them, so that resuming repeats no step."""
        if self._has_result and self._record.is_cheap:
            self._save()

    def _next_event(self) -> PodEvent | _Interrupt | None:
        due = min(self._wake_times, default=None)
        return self._clock.next(
            self._events,
            seconds=self._patience(),
            idle_until=None if self._active else due,
        )

    def _patience(self) -> float:
        """Seconds until the loop must act even if nothing happens."""
        now = self._clock.now()
        waits = [_CONTROL_POLL_SECONDS]
        waits += [moment - now for moment in self._wake_times]
        if self._unsaved:
            waits.append(self._record.due_at() - time.monotonic())
        return max(min(waits), 0.0)

    def _handle(self, event: PodEvent | _Interrupt | None) -> None:
        """Take this event and those in the queue behind it."""
        while event is not None:
            self._take(event)
            try:
                event = self._events.get_nowait()
            except Empty:
                return

    def _take(self, event: PodEvent | _Interrupt) -> None:
        state = self.operator.run.state
        match event:
            case PodStarted(node_id):
                state.mark(state.nodes[node_id], Phase.RUNNING)
            case PodProgress(node_id, progress):
                state.nodes[node_id].progress = progress
                self._node_changed(state.nodes[node_id])
            case PodLine(node_id, text):
                self._listening.line(node_id, text)
            case PodEnded():
                active = self._active.pop(event.node_id)
                self.operator.end_pod(event, active.stopped_because)
                self._has_result = True
            case _Interrupt():
                self._interrupt()

    def _interrupt(self) -> None:
        """Stop all pods but those of exit handlers; the second time, kill all pods."""
        if self.operator.run.shutdown:
            self.operator.run.shutdown = "Terminate"
            self._listening.shutdown("Terminate")
            for active in self._active.values():
                active.stopped_because = self._shutdown_message()
                active.pod.kill()
            return
        self.operator.run.shutdown = "Stop"
        self._listening.shutdown("Stop")
        state = self.operator.run.state
        for node_id, active in self._active.items():
            if not state.is_exit_handler(state.nodes[node_id]):
                active.stopped_because = self._shutdown_message()
                active.pod.stop()

    def _shutdown_message(self) -> str:
        return f"workflow shutdown with strategy:  {self.operator.run.shutdown}"

    def _follow_controls(self) -> None:
        if self._controls.stop_requested():
            self._interrupt()
        if (how := self._controls.resume_requested()) is not None:
            suspend.resume(self.operator.run, how)

    def _stop_overdue_pods(self) -> None:
        now = self._clock.now()
        for active in self._active.values():
            overdue = active.deadline is not None and now >= active.deadline
            if overdue and not active.stopped_because:
                active.stopped_because = active.deadline_message
                active.pod.stop()

    def _node_changed(self, node: Node) -> None:
        self._unsaved = True
        if self._listening.is_on:
            self._listening.node(node.to_status())

    def _save(self, *, durable: bool = False) -> None:
        snapshot = self._snapshot()
        self._record.save(snapshot, durable=durable)
        self._unsaved = self._has_result = False
        self._listening.workflow(snapshot)

    def _snapshot(self) -> JsonObject:
        """The current Workflow object."""
        state = self.operator.run.state
        progress = state.update_progress()
        completed = state.phase.is_fulfilled
        status: JsonObject = {
            "phase": str(state.phase),
            "startedAt": None if state.started_at is None else rfc3339(state.started_at),
            "finishedAt": None if state.finished_at is None else rfc3339(state.finished_at),
            "progress": progress,
            "nodes": {node.id: node.to_status() for node in state.nodes.values()},
            "storedWorkflowTemplateSpec": self._stored_spec,
        }
        if state.message:
            status["message"] = state.message
        if state.outputs:
            status["outputs"] = {"parameters": state.outputs}
        if completed:
            status["conditions"] = [{"type": "Completed", "status": "True"}]
        metadata = self._workflow["metadata"]
        labels = {
            **(metadata.get("labels") or {}),
            _PHASE_LABEL: str(state.phase),
            _COMPLETED_LABEL: "true" if completed else "false",
        }
        return {**self._workflow, "metadata": {**metadata, "labels": labels}, "status": status}

    @contextmanager
    def _interrupts(self) -> Iterator[None]:
        """Turn the signals that stop a run into events, if this is the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def on_signal(number: int, frame: FrameType | None) -> None:
            self._events.put(_Interrupt())

        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {number: signal.signal(number, on_signal) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
