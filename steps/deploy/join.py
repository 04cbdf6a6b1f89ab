"""Joining a service that is there: its servers take one more adapter of their base, by its name.

Nothing is started. The adapter's files go to the claim of the model cache, which every server
mounts, also one that starts later. The servers look there each second and take the adapter between
two steps of their answers, so no request is lost, and no rollout is needed, however the servers got
their first adapter.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass

from argotune.steps.cluster.kube import Kube, Object, connect
from argotune.steps.common import log
from argotune.steps.common.clock import REAL_CLOCK, Clock
from argotune.steps.common.errors import PermanentError, StepError
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.in_service import joined_annotation, joined_in, read_in_service
from argotune.steps.contracts.model_cache import joined_path
from argotune.steps.contracts.served import SERVICE_LABEL
from argotune.steps.deploy.ask import ask, serves_digest
from argotune.steps.deploy.client_key import client_key
from argotune.steps.deploy.joined_files import (
    joined,
    refusals_in,
    take_out,
    wait_until_served,
)
from argotune.steps.deploy.kubernetes import ASK_SECONDS, SCALED_TO_NONE, person_of, run_of
from argotune.steps.deploy.manifests.joining import differences
from argotune.steps.deploy.manifests.labels import is_ours
from argotune.steps.deploy.manifests.network import PORT
from argotune.steps.deploy.params import NOT_ASKED, Params, Result
from argotune.steps.deploy.version import Tagged, in_service, record_version

_LOGGER = logging.getLogger(__name__)
_LOG_LINES = 1000
_LEFT = "the adapter is taken out of the service"

Urls = Callable[[Object], str]
"""Where a pod answers."""


def join_on_cluster(params: Params, model: str, progress: Progress) -> Result:
    """Join a service of the cluster; `model` is not needed: the servers have the base."""
    kube = connect()
    if params.leave:
        return leave_service(params, kube=kube)
    result = join_service(params, kube=kube, progress=progress)
    tagged = record_version(params)
    describe_joined(params, tagged, kube=kube)
    return dataclasses.replace(result, version=tagged.version)


def join_service(
    params: Params,
    *,
    kube: Kube,
    progress: Progress,
    clock: Clock = REAL_CLOCK,
    endpoint: str | None = None,
    pod_url: Urls | None = None,
) -> Result:
    """Put the adapter into the service, wait until each of its servers has it, and ask it.

    Raises PermanentError with all that differs where the service cannot take it, or with the
    reason of the server that refuses it; then what was served before is.
    """
    host = _host(kube, params)
    key = client_key(params, params.api_keys_file)
    url = endpoint or f"http://{params.serve_with}.{params.namespace}.svc"
    pods = _Pods(kube=kube, params=params, key=key, url=pod_url or _pod_url)
    known = pods.refusals()
    with joined(params, params.cache_dir / joined_path(params.serve_with)):
        if host["spec"].get("replicas", 1) == 0:
            log.warn(_LOGGER, "not-asked", service=params.serve_with, reason=SCALED_TO_NONE)
            answer = f"{NOT_ASKED}{SCALED_TO_NONE}"
        else:
            wait_until_served(pods, known, params, clock=clock, progress=progress)
            answer = ask(
                url,
                params.question,
                model=params.name,
                timeout_seconds=ASK_SECONDS,
                key=key,
                clock=clock,
            )
    progress.update(1, 1)
    log.event(_LOGGER, "joined", name=params.name, service=params.serve_with, endpoint=url)
    return Result(endpoint=url, answer=answer)


def leave_service(params: Params, *, kube: Kube) -> Result:
    """Take the adapter out of the service, whose other adapters stay."""
    take_out(params.cache_dir / joined_path(params.serve_with), params.name)
    if kube.get("Deployment", params.namespace, params.serve_with) is not None:
        _annotate(kube, params, None)
    log.event(_LOGGER, "left", name=params.name, service=params.serve_with)
    return Result(endpoint="", answer=f"{NOT_ASKED}{_LEFT}")


def describe_joined(params: Params, tagged: Tagged, *, kube: Kube) -> None:
    """Annotate the Deployment with the adapter that is in service now, and by whom.

    A refusal takes nothing out of service, as with a service of its own.
    """
    try:
        found = kube.get("Deployment", params.namespace, params.serve_with) or {"metadata": {}}
        known = joined_in(found["metadata"].get("annotations") or {}).get(params.name, {})
        run = run_of(kube, params)
        described = in_service(
            params, tagged, read_in_service(known), run=run, person=person_of(run)
        )
        _annotate(kube, params, json.dumps(described.annotations()))
    except StepError as error:
        log.warn(_LOGGER, "service-not-described", service=params.name, reason=error)


def _annotate(kube: Kube, params: Params, text: str | None) -> None:
    change = {"metadata": {"annotations": {joined_annotation(params.name): text}}}
    kube.patch("Deployment", params.namespace, params.serve_with, change)


def _host(kube: Kube, params: Params) -> Object:
    """The Deployment of the service. Raises PermanentError with all that differs."""
    found = kube.get("Deployment", params.namespace, params.serve_with)
    own = kube.get("Deployment", params.namespace, params.name)
    problems = []
    if found is None or not is_ours(found):
        problems.append(f"there is no such service in namespace {params.namespace}")
    else:
        problems += differences(
            found["spec"]["template"]["spec"],
            model_dir=params.model_dir,
            keys_secret=params.api_keys_secret,
        )
    if own is not None:
        problems.append(
            f"{params.name} has a service of its own, which `argotune stop {params.name} --service`"
            " removes"
        )
    if found is None or problems:
        raise PermanentError(f"serve-with {params.serve_with}: {'; '.join(problems)}")
    return found


@dataclass(frozen=True, kw_only=True)
class _Pods:
    """The ready pods of the service."""

    kube: Kube
    params: Params
    key: str | None
    url: Urls

    def late(self) -> list[str]:
        """Say what does not serve the adapter yet."""
        pods = self._ready()
        late = [str(pod["metadata"]["name"]) for pod in pods if not self._serves(pod)]
        return [f"pod {name} does not serve it" for name in late] if pods else ["no pod is ready"]

    def refusals(self) -> frozenset[str]:
        """Collect what their logs say of an adapter of the name that they do not take."""
        found: set[str] = set()
        for pod in self._ready():
            name = str(pod["metadata"]["name"])
            # A log that cannot be read leaves the reason to the timeout.
            with contextlib.suppress(StepError):
                text = self.kube.pod_log(
                    self.params.namespace, name, previous=False, tail_lines=_LOG_LINES
                )
                found.update(f"pod {name}: {line}" for line in refusals_in(text, self.params.name))
        return frozenset(found)

    def _ready(self) -> list[Object]:
        selector = f"{SERVICE_LABEL}={self.params.serve_with}"
        return [pod for pod in self.kube.pods(self.params.namespace, selector) if _is_ready(pod)]

    def _serves(self, pod: Object) -> bool:
        digest = self.params.adapter_digest()
        return serves_digest(self.url(pod), self.params.name, digest, key=self.key)


def _is_ready(pod: Object) -> bool:
    conditions = pod.get("status", {}).get("conditions") or []
    is_going = "deletionTimestamp" in pod["metadata"]
    return not is_going and any(
        item["type"] == "Ready" and item["status"] == "True" for item in conditions
    )


def _pod_url(pod: Object) -> str:
    address = pod["status"]["podIP"]
    return f"http://{f'[{address}]' if ':' in address else address}:{PORT}"
