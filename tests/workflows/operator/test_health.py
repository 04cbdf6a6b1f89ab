"""What probes and Prometheus get."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from argotune.workflows.operator import health

Answers = dict[str, tuple[int, str]]


def asked(*, is_alive: bool) -> Answers:
    async def ask() -> Answers:
        metrics = health.Metrics()
        metrics.workspaces.set(3)
        metrics.looks.labels("done").inc()
        # Port 0 is one that is free.
        runner = await health.serve(metrics, 0, is_alive=lambda: is_alive)
        try:
            # It has one port for IPv4 and another for IPv6, whose addresses have four parts.
            (port,) = [address[1] for address in runner.addresses if len(address) == 2]
            async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
                found: Answers = {}
                for path in ("/healthz", "/readyz", "/metrics"):
                    async with session.get(path) as answer:
                        found[path] = answer.status, await answer.text()
                return found
        finally:
            await runner.cleanup()

    return asyncio.run(ask())


@pytest.mark.parametrize(("is_alive", "status"), [(True, 200), (False, 503)])
def test_probes_say_whether_a_worker_hangs(is_alive: bool, status: int) -> None:
    answers = asked(is_alive=is_alive)
    assert [answers[path][0] for path in ("/healthz", "/readyz")] == [status, status]


def test_prometheus_gets_the_figures() -> None:
    status, text = asked(is_alive=True)["/metrics"]
    assert status == 200
    assert "argotune_operator_workspaces 3.0" in text
    assert 'argotune_operator_reconciliations_total{result="done"} 1.0' in text
    assert "process_resident_memory_bytes" in text
