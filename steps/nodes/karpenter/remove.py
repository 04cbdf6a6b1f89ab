"""Deleting claims: those of one run, and those that no run has any more."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime

from argotune.steps.cluster.errors import ApiRefusal
from argotune.steps.cluster.kube import Kube
from argotune.steps.common import log
from argotune.steps.common.counted import counted
from argotune.steps.common.errors import TransientError
from argotune.steps.nodes.fit import Object, is_on
from argotune.steps.nodes.karpenter import claim as claims
from argotune.steps.nodes.labels import (
    KEPT_LABEL,
    NAMESPACE_LABEL,
    NODE_LABEL,
    RUN_LABEL,
    WORKFLOW_LABEL,
)
from argotune.steps.nodes.provider import ReleasedNode, RunIsAlive, Stray
from argotune.steps.nodes.ready import pods_or_none
from argotune.steps.nodes.waiting import LOOK_SECONDS, Waiting

_LOGGER = logging.getLogger(__name__)
_MOST_PODS = 5

Now = Callable[[], datetime]


class Removal:
    """The claims of one run, until they and their nodes are gone."""

    def __init__(self, kube: Kube, run: str, waiting: Waiting, now: Now) -> None:
        self._kube = kube
        self._selector = f"{RUN_LABEL}={run}"
        self._waiting = waiting
        self._now = now
        self._found: dict[str, Object] = {}
        """Every claim that existed, by UID."""

    def remove(self) -> Sequence[ReleasedNode]:
        """Delete the claims and wait until they and their nodes are gone.

        Raises TransientError when the time does not suffice, with what is still waited for.
        """
        while reason := self._patient_look():
            if self._waiting.left_seconds <= 0:
                raise TransientError(f"not deleted in time: {reason}")
            self._waiting.sleep(reason, min(LOOK_SECONDS, self._waiting.left_seconds))
        self._waiting.done()
        return [claims.released_node(claim, self._now()) for claim in self._found.values()]

    def _patient_look(self) -> str:
        try:
            return self._look()
        except TransientError as error:
            return str(error)

    def _look(self) -> str:
        """Request the deletion of what exists; returns what is waited for, or an empty text.

        Every look requests it, because a provision that is being stopped may create its claim after
        the first one. It looks for the nodes too, because for a claim without a node Karpenter
        deletes only what it knows of.
        """
        left = claims_of(self._kube, self._selector)
        for claim in left:
            if claim["metadata"]["uid"] not in self._found:
                log.event(_LOGGER, "gives-back", claim=claims.text_of(claim))
                self._found[claim["metadata"]["uid"]] = claim
            if not claims.is_going(claim):
                self._kube.delete_node_claim(claim["metadata"]["name"])
        if not (left or self._found):
            return ""
        names = [claim["metadata"]["name"] for claim in self._found.values()]
        nodes = [node for name in names for node in self._kube.nodes(f"{NODE_LABEL}={name}")]
        waits = [self._what_it_waits_for(claim, nodes) for claim in left]
        if not left:
            waits = [f"node {node['metadata']['name']}, though its claim is gone" for node in nodes]
        return "; ".join(waits)

    def _what_it_waits_for(self, claim: Object, nodes: Sequence[Object]) -> str:
        text = claims.text_of(claim)
        if claims.is_true(claim, "InstanceTerminating"):
            return f"{text}: the cloud deletes the machine"
        volumes = claims.condition(claim, "VolumesDetached")
        if volumes and volumes["status"] != "True":
            return f"{text}: its volumes are being detached"
        name = (claim.get("status") or {}).get("nodeName")
        node = next((node for node in nodes if node["metadata"]["name"] == name), None)
        if node is None or claims.is_true(claim, "Drained"):
            return f"{text}: Karpenter deletes it"
        pods = ", ".join(self._pods_on(node))
        if not pods:
            return f"{text}: node {name} is being drained"
        forced = claims.forced_at(claim)
        until = f" (deleted at {forced} at the latest)" if forced else ""
        return f"{text}: node {name} is being drained and waits for {pods}{until}"

    def _pods_on(self, node: Object) -> list[str]:
        """List the pods that must end before the machine; those of DaemonSets stay."""
        names = [
            f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
            for pod in pods_or_none(self._kube) or []
            if is_on(pod, node) and not _is_of_daemon_set(pod)
        ]
        more = len(names) - _MOST_PODS
        return names[:_MOST_PODS] + ([counted(more, "more pod")] if more > 0 else [])


def collect(
    kube: Kube, is_alive: RunIsAlive, now: Now, *, dry_run: bool, kept_of: str
) -> Sequence[Stray]:
    """Collect stray claims; unless it is a dry run, request their deletion.

    A claim is stray when its run has ended, when its time is over, or when it waits for a workspace
    of the namespace `kept_of`.
    """
    strays = []
    for claim in [*claims_of(kube, RUN_LABEL), *claims_of(kube, KEPT_LABEL)]:
        reason = "" if claims.is_going(claim) else _stray_reason(claim, is_alive, now(), kept_of)
        if not reason:
            continue
        if not dry_run:
            kube.delete_node_claim(claim["metadata"]["name"])
        stray = Stray(
            what=claims.text_of(claim),
            run=claims.run_of(claim) or claims.left_by(claim),
            reason=reason,
            gone=not dry_run,
        )
        log.event(_LOGGER, "stray", what=stray.what, run=stray.run, reason=reason, gone=stray.gone)
        strays.append(stray)
    return strays


def claims_of(kube: Kube, selector: str) -> list[Object]:
    """List claims by labels; none where the cluster has no NodeClaims."""
    try:
        return list(kube.node_claims(selector))
    except ApiRefusal as error:
        if error.status == 404:
            return []
        raise


def _stray_reason(claim: Object, is_alive: RunIsAlive, now: datetime, kept_of: str) -> str:
    over_at = claims.expires_at(claim)
    if over_at is not None and over_at < now:
        return f"its time ended at {over_at:%Y-%m-%dT%H:%M:%SZ}"
    if claims.left_by(claim):
        until, namespace = claims.kept_until(claim), claims.workspace_of(claim)[0]
        if until is not None and until > now and namespace != kept_of:
            return ""
        said = "it was kept" if until is None else f"it was kept until {until:%Y-%m-%d %H:%M UTC}"
        return f"{said} for {'/'.join(claims.workspace_of(claim))}"
    labels = claim["metadata"]["labels"]
    namespace, workflow = labels.get(NAMESPACE_LABEL, ""), labels.get(WORKFLOW_LABEL, "")
    if is_alive(claims.run_of(claim), namespace, workflow):
        return ""
    named = f" ({namespace}/{workflow})" if namespace and workflow else ""
    return f"its run has ended{named}"


def _is_of_daemon_set(pod: Object) -> bool:
    owners = pod["metadata"].get("ownerReferences") or []
    return any(owner["kind"] == "DaemonSet" for owner in owners)
