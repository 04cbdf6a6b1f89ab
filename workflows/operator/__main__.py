"""The operator's process: it waits to be the leader, and then works until it is stopped.

A replica that loses the lease ends, and Kubernetes starts it again: nothing it had begun is lost.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import kopf

from argotune.steps.cluster.connection import DEEPEST_JSON
from argotune.steps.cluster.kube import Kube, connect
from argotune.steps.common import log
from argotune.steps.common.errors import StepError
from argotune.workflows.cli.installation.operator import is_held
from argotune.workflows.operator import health
from argotune.workflows.operator.deletion import drop_finalizer, namespace_is_ending
from argotune.workflows.operator.election import Election
from argotune.workflows.operator.queue import WorkQueue
from argotune.workflows.operator.reconcile import Reconciler
from argotune.workflows.operator.seen import Seen
from argotune.workflows.operator.watching import Watcher, fill, registry_of, settings

# The name of a module that is run is __main__.
_LOGGER = logging.getLogger("argotune.operator")
_WORKERS = 4
"""Workspaces that are looked at side by side; a look waits for the API server, and plans."""
_LONGEST_LOOK_SECONDS = 600.0
"""A worker that looks at one Workspace for longer hangs: each of its requests has a time limit."""
_METRICS_SECONDS = 5.0
_NAMESPACE_SECONDS = 1.5
"""Kubernetes begins to empty a namespace five seconds after its deletion
(namespaceDeletionGracePeriod of its controller); before that the finalizers have to be gone."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the operator; returns the exit code."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.all_namespaces and not given.lease_namespace:
        parser.error("--lease-namespace: missing; --all-namespaces needs it")
    log.set_up()
    # kopf reads lists and watches by `json`, which one Workspace of 20 kB would break for all.
    sys.setrecursionlimit(DEEPEST_JSON + sys.getrecursionlimit())
    try:
        kube = connect()
        return asyncio.run(_run(kube, given))
    except StepError as error:
        print(f"argotune operator: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"argotune operator: port {given.port}: {error}", file=sys.stderr)
        return 3


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m argotune.workflows.operator")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--namespace", help="the Workspaces of this namespace")
    where.add_argument("--all-namespaces", action="store_true", help="those of all namespaces")
    parser.add_argument(
        "--managed-only",
        action="store_true",
        help='only those with the annotation argotune.dev/managed: "true"',
    )
    parser.add_argument("--lease-namespace", help="of the leader's lease; default: --namespace")
    parser.add_argument("--port", type=int, default=8080, help="of /healthz, /readyz and /metrics")
    return parser


async def _run(kube: Kube, given: argparse.Namespace) -> int:
    metrics = health.Metrics()
    loop = asyncio.get_running_loop()
    watch = _Watch()
    election = Election(given.lease_namespace or given.namespace, identity=platform.node())
    runner = await health.serve(metrics, given.port, is_alive=watch.is_alive)
    try:
        leads, lost = asyncio.Event(), asyncio.Event()
        election.begin(
            on_start=lambda: loop.call_soon_threadsafe(leads.set),
            on_loss=lambda: loop.call_soon_threadsafe(lost.set),
        )
        log.event(_LOGGER, "standing-by", identity=election.identity)
        await _first_of(leads, lost)
        if not leads.is_set():
            log.warn(_LOGGER, "no-election", identity=election.identity)
            return 1
        metrics.leads.set(1)
        log.event(_LOGGER, "leads", identity=election.identity)
        await _lead(kube, given, metrics, watch, lost)
        if lost.is_set():
            log.warn(_LOGGER, "lost-the-lease", identity=election.identity)
            return 1
        await asyncio.to_thread(election.resign)
        return 0
    finally:
        await runner.cleanup()


async def _lead(
    kube: Kube,
    given: argparse.Namespace,
    metrics: health.Metrics,
    watch: _Watch,
    lost: asyncio.Event,
) -> None:
    """Work until SIGTERM, or until the lease is lost."""
    seen = Seen()
    namespace: str | None = given.namespace
    await asyncio.to_thread(fill, seen, kube, namespace)
    reconciler = Reconciler(kube, seen, managed_only=given.managed_only)
    queue: WorkQueue = WorkQueue(
        reconciler.reconcile,
        workers=_WORKERS,
        done=lambda result: metrics.looks.labels(result).inc(),
    )
    watch.queue = queue
    tasks = [
        asyncio.create_task(queue.run()),
        asyncio.create_task(_measure(kube, seen, metrics)),
    ]
    if namespace is not None:
        tasks.append(asyncio.create_task(_watch_namespace(kube, reconciler, namespace)))
    where: dict[str, Any] = (
        {"clusterwide": True} if namespace is None else {"namespaces": [namespace]}
    )
    try:
        await kopf.operator(
            registry=registry_of(Watcher(seen, queue)),
            settings=settings(),
            # Unless given, it is made of the user's name, and in a container the user has none.
            identity=cast("Any", platform.node()),
            standalone=True,
            stop_flag=lost,
            **where,
        )
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@dataclass
class _Watch:
    """Whether the process works; a replica that stands by does."""

    queue: WorkQueue | None = None

    def is_alive(self) -> bool:
        return self.queue is None or self.queue.longest_look_seconds < _LONGEST_LOOK_SECONDS


async def _first_of(*events: asyncio.Event) -> None:
    waiting = [asyncio.create_task(each.wait()) for each in events]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()


async def _measure(kube: Kube, seen: Seen, metrics: health.Metrics) -> None:
    while True:
        metrics.workspaces.set(len(seen.workspaces))
        metrics.requests.set(kube.requests)
        await asyncio.sleep(_METRICS_SECONDS)


async def _watch_namespace(kube: Kube, reconciler: Reconciler, namespace: str) -> None:
    """Let all Workspaces go when their namespace does: this pod, and its rights, go with it."""
    while True:
        try:
            if await asyncio.to_thread(namespace_is_ending, kube, namespace):
                # First, or a worker would hold again what is let go.
                reconciler.ending_namespaces.add(namespace)
                log.warn(_LOGGER, "namespace-is-deleted", namespace=namespace)
                await asyncio.to_thread(_let_all_go, kube, namespace)
        except StepError as error:
            log.warn(_LOGGER, "namespace-not-seen", reason=error)
        await asyncio.sleep(_NAMESPACE_SECONDS)


def _let_all_go(kube: Kube, namespace: str) -> None:
    for workspace in kube.list("Workspace", namespace):
        if is_held(workspace):
            drop_finalizer(kube, workspace)


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    # The client's election has no end, and an interpreter that ends beside its thread may abort.
    os._exit(code)
