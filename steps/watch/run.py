"""Bring another node whenever the run's is lost, until nobody needs one."""

from __future__ import annotations

import logging

from argotune.presets.prices import prices_usd_per_hour
from argotune.steps.cluster.kube import ApiRefusal, Kube, connect
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
from argotune.steps.nodes.load import load_provider
from argotune.steps.nodes.provider import Gone, Node, Provider
from argotune.steps.nodes.ready import selector_text
from argotune.steps.nodes.sums import sum_of_known
from argotune.steps.watch.loss import Loss
from argotune.steps.watch.need import end_of_need
from argotune.steps.watch.params import Params, Result

_LOGGER = logging.getLogger(__name__)
_REMOVAL_SECONDS = 1800.0
"""Karpenter drains a node for ten minutes, and a pool that is being made goes when it is there."""


def run(
    params: Params,
    *,
    progress: Progress,
    kube: Kube | None = None,
    provider: Provider | None = None,
    clock: Clock = REAL_CLOCK,
) -> Result:
    """Watch the node; progress is said at the end only, for nobody knows how long tuning takes."""
    chosen = provider or load_provider(params.provider, params)
    watch = Watch(params, kube or connect(), chosen, clock)
    reason = watch.until_needless()
    log.event(_LOGGER, "done", reason=reason, replaced=len(watch.brought))
    progress.update(1, 1)
    return watch.result()


class Watch:
    """One run's node and what became of it."""

    def __init__(self, params: Params, kube: Kube, provider: Provider, clock: Clock) -> None:
        self.brought: list[Node] = []
        """Every node that was brought in place of another."""
        self._params = params
        self._kube = kube
        self._provider = provider
        self._clock = clock
        self._request = params.request(prices_usd_per_hour(params.instance_types()))
        self._selector = selector_text(params.selector())
        self._loss = Loss(params.grace_seconds, clock.now)
        self._gone: list[Gone] = []
        self._until = clock.now() + params.lifetime_seconds
        self._complaint = ""
        self._events = RunEvents(
            kube,
            namespace=params.namespace,
            workflow=params.workflow,
            uid=params.run,
            step="watch",
            clock=clock,
        )

    def until_needless(self) -> str:
        """Why the node is needed no more. Raises CapacityError or PermanentError when there is no
        node to be had, after the run was stopped."""
        try:
            while True:
                self._check_need()
                if lost := self._look():
                    self._replace(lost)
                self._clock.sleep(self._params.look_seconds)
        except _Needless as end:
            return str(end)

    def result(self) -> Result:
        """What was brought and what was lost."""
        last = self.brought[-1] if self.brought else None
        return Result(
            replaced=len(self.brought),
            node=last.name if last else "",
            placement=str(last.placement or "") if last else "",
            price_usd_per_hour=last.price_usd_per_hour if last else None,
            tried="\n".join(str(row) for node in self.brought for row in node.tried),
            node_hours=sum_of_known(each.hours for each in self._gone),
            cost_usd=sum_of_known(each.cost_usd for each in self._gone),
        )

    def _check_need(self) -> None:
        """Raise _Needless when the run needs the node no more."""
        try:
            workflow = self._kube.workflow(self._params.namespace, self._params.workflow)
        except (ApiRefusal, TransientError) as error:
            self._complain(error)
            return
        end = end_of_need(workflow, run=self._params.run, step=self._params.step)
        if end:
            raise _Needless(end)

    def _look(self) -> str:
        """Why the node is lost; empty while it is not, or nobody can say."""
        try:
            nodes = self._kube.nodes(self._selector)
        except (ApiRefusal, TransientError) as error:
            self._complain(error)
            return ""
        return self._loss.look(nodes)

    def _replace(self, lost: str) -> None:
        """Have another node; what may pass is left to the next look."""
        log.warn(_LOGGER, "node-lost", reason=lost)
        self._events.say("NodeLost", f"the run's node {lost}", is_warning=True)
        try:
            if self._clock.now() >= self._until:
                raise PermanentError("the time of the run's nodes is over (node-lifetime-seconds)")
            self._let_go()
            node = self._provider.provision(self._request, Progress(), on_wait=self._hear)
        except TransientError as error:
            self._complain(error)
            self._events.waiting(str(error))
            return
        except (CapacityError, ParamsError, PermanentError) as error:
            raise self._give_up(lost, error) from error
        self._loss.forget()
        self.brought.append(node)
        log.event(_LOGGER, "replaced", node=node.name, placement=node.placement)
        self._events.say("NodeReady", f"node {node.name} ({node.placement}) is there")

    def _let_go(self) -> None:
        """Give back what is left of a node that was there: a machine that is not Ready costs as
        much, and a pool without its node brings none. What an earlier try of this step asked for
        has no node yet; `provision` goes on with it."""
        if not self._loss.was_there:
            return
        self._gone += self._provider.release(
            self._params.run, timeout_seconds=_REMOVAL_SECONDS, progress=Progress()
        )
        self._loss.was_there = False

    def _hear(self, reason: str) -> None:
        self._events.waiting(reason)
        self._check_need()

    def _give_up(self, lost: str, error: StepError) -> StepError:
        """Stop the run, whose pod would wait for ever, and say why."""
        message = (
            f"the run's node {lost} and there is no other, so the run was stopped; `argo retry "
            f"{self._params.workflow}` goes on from the last checkpoint: {error}"
        )
        self._events.say("NoNode", message, is_warning=True)
        self._stop()
        kind = CapacityError if isinstance(error, CapacityError) else PermanentError
        return kind(message)

    def _stop(self) -> None:
        while True:
            self._check_need()
            try:
                self._kube.stop_workflow(self._params.namespace, self._params.workflow)
            except TransientError as error:
                self._complain(error)
                self._clock.sleep(self._params.look_seconds)
            except ApiRefusal as error:
                log.warn(_LOGGER, "cannot-stop", reason=error)
                return
            else:
                return

    def _complain(self, error: StepError) -> None:
        """Once for as long as nothing else is wrong: none of it ends the watch."""
        if str(error) != self._complaint:
            log.warn(_LOGGER, "cannot-see", reason=error)
            self._complaint = str(error)


class _Needless(Exception):
    """The run needs its node no more; no step error, for what waits those out must end too."""
