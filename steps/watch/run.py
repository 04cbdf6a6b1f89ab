"""Replace the run's node whenever it is lost, until the run no longer needs one, and give it back.

A run that pays for a node on which its pod does not start is stopped.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from argotune.presets.loader import machines
from argotune.steps.cluster.errors import ApiRefusal
from argotune.steps.cluster.kube import Kube, Objects, connect
from argotune.steps.cluster.run_events import RunEvents
from argotune.steps.common import log
from argotune.steps.common.clock import REAL_CLOCK, Clock
from argotune.steps.common.errors import (
    CapacityError,
    ParamsError,
    PermanentError,
    StepError,
    TransientError,
)
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.stop_time import stop_config_map
from argotune.steps.nodes.deadline import allowance_of, wall_time
from argotune.steps.nodes.labels import STEP_POD_LABEL, WORKFLOW_POD_LABEL
from argotune.steps.nodes.ledger import with_node, without_node, write_made_nodes
from argotune.steps.nodes.made_node import Made, running_node, sum_of_known
from argotune.steps.nodes.provider import Node, Provider, ReleasedNode
from argotune.steps.nodes.providers import load_provider
from argotune.steps.nodes.ready import selector_text
from argotune.steps.watch.loss import LossDetector
from argotune.steps.watch.need import end_of_need, have_succeeded, step_in_need
from argotune.steps.watch.params import Params, Result
from argotune.steps.watch.start import StartDetector, gates_of

T = TypeVar("T")

_LOGGER = logging.getLogger(__name__)
_REMOVAL_SECONDS = 1800.0
"""Karpenter drains a node for ten minutes, and AKS deletes a pool only after its creation."""


def run(
    params: Params,
    *,
    progress: Progress,
    kube: Kube | None = None,
    provider: Provider | None = None,
    clock: Clock = REAL_CLOCK,
) -> Result:
    """Watch the node; progress is reported only at the end, because the duration is unknown."""
    chosen = provider or load_provider(params.provider, params)
    watch = Watch(params, kube or connect(), chosen, clock)
    reason = watch.wait_for_end_of_need()
    log.event(_LOGGER, "done", reason=reason, replaced=len(watch.replacements))
    progress.update(1, 1)
    return watch.result()


class Watch:
    """Watches and replaces the node of one run."""

    def __init__(self, params: Params, kube: Kube, provider: Provider, clock: Clock) -> None:
        self.replacements: list[Node] = []
        """Every node that replaced a lost one."""
        self._params = params
        self._kube = kube
        self._provider = provider
        self._clock = clock
        self._request = params.request(machines(params.instance_types()))
        self._selector = selector_text(params.selector())
        self._step = params.steps[0]
        """The step that needs the node now."""
        self._loss = LossDetector(params.grace_seconds, clock.now)
        self._start = StartDetector(
            refused_seconds=params.refused_seconds,
            start_seconds=params.start_seconds,
            now=clock.now,
        )
        self._released: list[ReleasedNode] = []
        self._allowance = allowance_of(params, asked=wall_time(clock))
        """For how long and how much the run may have nodes, from now until the Workflow says
        since when."""
        self._told_end: datetime | None = None
        """The end of training that tune knows of."""
        self._is_held = False
        """Whether the step's pod was held by a scheduling gate at the last check."""
        self._last_warning = ""
        self._events = RunEvents(
            kube,
            namespace=params.namespace,
            workflow=params.workflow,
            uid=params.run,
            step="watch",
            clock=clock,
        )

    def wait_for_end_of_need(self) -> str:
        """Watch until the run no longer needs the node, give it back, and return the reason.

        Raises CapacityError or PermanentError if no replacement is available, or the step's pod
        does not start; the run is then already stopped.
        """
        try:
            while True:
                self._check_need()
                self._check_allowance()
                self._tell_end_of_training()
                self._check_node()
                self._clock.sleep(self._params.look_seconds)
        except _NodeNotNeeded as end:
            if end.is_done:
                self._give_back()
            return str(end)

    def result(self) -> Result:
        """The outputs: replacements, and hours and cost of the nodes that were given back."""
        last = self.replacements[-1] if self.replacements else None
        return Result(
            replaced=len(self.replacements),
            node=last.name if last else "",
            placement=str(last.placement or "") if last else "",
            price_usd_per_hour=last.price_usd_per_hour if last else None,
            tried="\n".join(str(row) for node in self.replacements for row in node.tried),
            node_hours=sum_of_known(each.hours for each in self._released),
            cost_usd=sum_of_known(each.cost_usd for each in self._released),
        )

    def _check_need(self) -> None:
        """Raise _NodeNotNeeded if the run no longer needs the node."""
        try:
            workflow = self._kube.workflow(self._params.namespace, self._params.workflow)
        except (ApiRefusal, TransientError) as error:
            self._warn_once(error)
            return
        end = end_of_need(workflow, run=self._params.run, steps=self._params.steps)
        if end:
            is_done = workflow is not None and have_succeeded(workflow, self._params.steps)
            raise _NodeNotNeeded(end, is_done=is_done)
        if workflow is not None:
            self._step = step_in_need(workflow, self._params.steps)
            self._allowance = self._allowance.by(workflow)

    def _check_allowance(self) -> None:
        """Stop the run when it may have no node any more; release takes the node away."""
        over = self._allowance.over(wall_time(self._clock))
        if over is None:
            return
        message = (
            f"{over.reason}, so the run was stopped; `argo retry {self._params.workflow} -p "
            f"{over.setting}={over.unit}` with more of them resumes from the last checkpoint"
        )
        raise self._give_up(over.event, PermanentError(message))

    def _tell_end_of_training(self) -> None:
        """Write down for tune when the money is spent, where tune is to end by itself before that.

        Another node has another price, so the time changes with it.
        """
        ends_at = self._allowance.training_ends_at()
        if self._params.at_cost_limit == "stop" or ends_at in (None, self._told_end):
            return
        manifest = stop_config_map(
            namespace=self._params.namespace,
            workflow=self._params.workflow,
            run=self._params.run,
            stop_at=ends_at,
        )
        if self._seen(lambda: self._kube.apply_config_map(manifest)) is not None:
            self._told_end = ends_at

    def _check_node(self) -> None:
        """Replace the node if it is lost, and stop the run if its pod does not start there.

        What the API server does not show decides nothing.
        """
        nodes = self._seen(lambda: self._kube.nodes(self._selector))
        if nodes is None:
            return
        if lost := self._loss.reason(nodes):
            self._start.reset()
            self._replace(lost)
            return
        self._find_unwritten(nodes)
        selector = pods_selector(self._params.workflow, self._step)
        pods = self._seen(lambda: self._kube.pods(self._params.namespace, selector))
        if pods is None:
            return
        self._report_gates(sorted({gate for pod in pods for gate in gates_of(pod)}))
        if stuck := self._start.reason(pods, nodes):
            raise self._give_up("PodNotStarted", PermanentError(self._not_started(stuck)))

    def _report_gates(self, gates: Sequence[str]) -> None:
        """Say that the pod waits in a queue, and when it does no longer; the run goes on."""
        pod = f"the pod of step {self._step}"
        if gates:
            held = f"{pod} is held by the scheduling gate {', '.join(gates)}"
            self._events.waiting(f"{held}, while its node is paid for")
        elif self._is_held:
            self._events.say("PodAdmitted", f"{pod} is held by no scheduling gate any more")
        self._is_held = bool(gates)

    def _find_unwritten(self, nodes: Objects) -> None:
        """Write down a replacement that an earlier try of this step asked for and did not."""
        made = self._allowance.made
        if not nodes or not made or running_node(made) is not None:
            return
        try:
            self._have_node()
        except (CapacityError, ParamsError, PermanentError, TransientError) as error:
            self._warn_once(error)

    def _seen(self, look: Callable[[], T]) -> T | None:
        """What the API server answers; None, and a warning, if it does not."""
        try:
            return look()
        except (ApiRefusal, TransientError) as error:
            self._warn_once(error)
            return None

    def _replace(self, lost: str) -> None:
        """Provision another node; after a transient error the next check tries again."""
        log.warn(_LOGGER, "node-lost", reason=lost)
        self._events.say("NodeLost", f"the run's node {lost}", is_warning=True)
        try:
            self._release_lost_node()
            node = self._have_node()
        except TransientError as error:
            self._warn_once(error)
            self._events.waiting(str(error))
            return
        except (CapacityError, ParamsError, PermanentError) as error:
            kind = CapacityError if isinstance(error, CapacityError) else PermanentError
            raise self._give_up("NoNode", kind(self._not_replaced(lost, error))) from error
        self._loss.reset()
        self.replacements.append(node)
        log.event(_LOGGER, "replaced", node=node.name, placement=node.placement)
        self._events.say("NodeReady", f"node {node.name} ({node.placement}) is Ready")

    def _have_node(self) -> Node:
        """A node, asked for or found, within what is left to the run; it is written down."""
        request = self._allowance.within(self._request, wall_time(self._clock))
        node = self._provider.provision(request, Progress(), on_wait=self._report_wait)
        self._write_down(with_node(self._allowance.made, node, wall_time(self._clock)))
        return node

    def _write_down(self, made: Made) -> None:
        """What cannot be written now is written with the next change."""
        if made == self._allowance.made:
            return
        params = self._params
        try:
            write_made_nodes(
                self._kube,
                made,
                namespace=params.namespace,
                workflow=params.workflow,
                run=params.run,
            )
        except (ApiRefusal, TransientError) as error:
            self._warn_once(error)
            return
        self._allowance = replace(self._allowance, made=made)

    def _release_lost_node(self) -> None:
        """Delete the lost node's machine or pool.

        A machine that is not Ready costs as much as a Ready one, and a pool does not replace a
        lost node. If no check found a node, an earlier attempt of this step may have requested
        one, which `provision` then waits for.
        """
        if not self._loss.node_existed:
            return
        self._release()
        self._loss.node_existed = False

    def _give_back(self) -> None:
        """Delete the node that has done its work, unless the workspace's next run may have it.

        Nothing after tune uses it. What fails here is left to the step `release`, which also keeps
        nodes.
        """
        ends_at = self._allowance.training_ends_at()
        has_money = ends_at is None or wall_time(self._clock) < ends_at
        if self._params.keep_node_seconds and has_money:
            return
        try:
            self._release()
        except (CapacityError, PermanentError, TransientError) as error:
            log.warn(_LOGGER, "cannot-give-back", reason=error)

    def _release(self) -> None:
        self._released += self._provider.release(
            self._params.run, timeout_seconds=_REMOVAL_SECONDS, progress=Progress()
        )
        self._write_down(without_node(self._allowance.made, wall_time(self._clock)))

    def _report_wait(self, reason: str) -> None:
        self._events.waiting(reason)
        self._check_need()

    def _give_up(self, reason: str, error: StepError) -> StepError:
        """Stop the run, whose pod would wait forever, and return the error for the user."""
        self._events.say(reason, str(error), is_warning=True)
        self._stop()
        return error

    def _not_replaced(self, lost: str, error: StepError) -> str:
        return (
            f"the run's node {lost} and no replacement is available, so the run was stopped; `argo "
            f"retry {self._params.workflow}` resumes from the last checkpoint: {error}"
        )

    def _not_started(self, stuck: str) -> str:
        return (
            f"the pod of step {self._step} did not start in {stuck}; its node is Ready and "
            "costs money, so the run was stopped; remove what keeps the pod from starting (its "
            "CPUs and memory are the parameters tune-cpu and tune-memory), then `argo retry "
            f"{self._params.workflow}` resumes from the last checkpoint"
        )

    def _stop(self) -> None:
        while True:
            self._check_need()
            try:
                self._kube.stop_workflow(self._params.namespace, self._params.workflow)
            except TransientError as error:
                self._warn_once(error)
                self._clock.sleep(self._params.look_seconds)
            except ApiRefusal as error:
                log.warn(_LOGGER, "cannot-stop", reason=error)
                return
            else:
                return

    def _warn_once(self, error: StepError) -> None:
        """Log an error that does not end the watch; the same error in a row is logged once."""
        if str(error) != self._last_warning:
            log.warn(_LOGGER, "cannot-see", reason=error)
            self._last_warning = str(error)


def pods_selector(workflow: str, step: str) -> str:
    """The labels that Argo and the template give the pods of a step."""
    return selector_text({WORKFLOW_POD_LABEL: workflow, STEP_POD_LABEL: step})


class _NodeNotNeeded(Exception):
    """The run no longer needs its node.

    It is no StepError, because it must also end code that waits until a StepError passes.
    """

    def __init__(self, reason: str, *, is_done: bool) -> None:
        super().__init__(reason)
        self.is_done = is_done
        """Whether the step that needed it has succeeded."""
