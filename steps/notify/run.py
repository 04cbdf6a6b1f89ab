"""Tell the webhook of the run's Secret what became of the run, and never fail for it."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from argotune.steps.cluster.kube import Kube, connect
from argotune.steps.cluster.this_run import read_this_run
from argotune.steps.common import log
from argotune.steps.common.addresses import Resolve, resolve
from argotune.steps.common.clock import REAL_CLOCK, Clock
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.webhook import format_problem
from argotune.steps.notify import message
from argotune.steps.notify.facts import Facts, facts_of
from argotune.steps.notify.params import SECRET_VARIABLES, Params, Result
from argotune.steps.notify.webhook import NotSent, Webhook
from argotune.steps.web.guard import UrlPolicy

_LOGGER = logging.getLogger(__name__)


def run(
    params: Params,
    *,
    progress: Progress,
    kube: Kube | None = None,
    environ: Mapping[str, str] = os.environ,
    clock: Clock = REAL_CLOCK,
    resolve: Resolve = resolve,
) -> Result:
    """Read what became of the run, and send it; what keeps it from arriving is logged."""
    facts = facts_of(
        _workflow(params, kube),
        workspace=params.workspace,
        run=params.workflow,
        namespace=params.namespace,
        status=params.status,
    )
    progress.update(1, 1)
    if facts.outcome == "unchanged":
        return Result(sent="", problem=facts.reason)
    try:
        _send(params, facts, environ, clock, resolve)
    except NotSent as error:
        log.warn(_LOGGER, "not-sent", outcome=facts.outcome, reason=error)
        return Result(sent="", problem=str(error))
    log.event(_LOGGER, "sent", outcome=facts.outcome)
    return Result(sent=facts.outcome, problem="")


def _send(
    params: Params, facts: Facts, environ: Mapping[str, str], clock: Clock, resolve: Resolve
) -> None:
    url = environ.get(SECRET_VARIABLES["url"], "").strip()
    if not url:
        raise NotSent(
            "the Secret that notify-secret names is missing or has no key url; on one machine the"
            f" variable {SECRET_VARIABLES['url']} stands for it"
        )
    webhook = Webhook(
        url=url,
        policy=UrlPolicy(
            allow_loopback=params.allow_loopback,
            allowed_hosts=frozenset(host.lower() for host in params.allowed_hosts),
        ),
        ca_file=params.ca_file,
        timeout_seconds=params.timeout_seconds,
        attempts=params.attempts,
        clock=clock,
        resolve=resolve,
    )
    given = environ.get(SECRET_VARIABLES["format"], "")
    form = message.format_for(webhook.host, given)
    if form is None:
        raise NotSent(f"the Secret's format {format_problem(given)}")
    now = datetime.fromtimestamp(clock.wall(), UTC)
    body = (
        message.slack(facts)
        if form == "slack"
        else message.cloud_event(facts, uid=params.run, now=now)
    )
    webhook.send(body, message.CONTENT_TYPES[form])


def _workflow(params: Params, kube: Kube | None) -> Mapping[str, Any]:
    """Read the Workflow; without it the notification has the run's status and no results."""
    return read_this_run(
        params.namespace,
        params.workflow,
        record=params.run_record,
        connect=lambda: kube or connect(),
    )
