"""The controller: one look at every claim, again and again."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from tests.fakes.karpenter.api import Api, Object
from tests.fakes.karpenter.provisioner import Provisioner
from tests.fakes.karpenter.scripts import Script
from tests.fakes.nodes import Commands, Machine

FINALIZER = "karpenter.sh/termination"
_UNREGISTERED = {"key": "karpenter.sh/unregistered", "effect": "NoExecute"}
_DISRUPTED = {"key": "karpenter.sh/disrupted", "effect": "NoSchedule"}
_TERMINATION_TIME = "karpenter.sh/nodeclaim-termination-timestamp"
_UP = ("Launched", "Registered", "Initialized")
_LOOK_SECONDS = 0.3
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_COPIED = {
    "node.kubernetes.io/instance-type": "Standard_Fake_v1",
    "karpenter.sh/capacity-type": "on-demand",
    "topology.kubernetes.io/zone": "fake-1",
}
"""Labels that a launched claim has by its requirements, or else these values."""


@dataclass
class _Known:
    """What is known of a claim besides what stands in it."""

    script: Script
    machine: Machine
    seen_at: float = field(default_factory=time.monotonic)
    registered_at: float = 0.0
    has_gpus: bool = False
    draining_since: float = 0.0
    is_taken: bool = False
    """The cloud takes the machine back, whatever runs there."""

    def lacks_gpus_of_now(self) -> bool:
        """Whether the GPUs should be there by now and are not."""
        seconds = self.script.gpu_seconds
        if self.has_gpus or seconds is None:
            return False
        return time.monotonic() - self.registered_at >= seconds


class Karpenter:
    """A controller for the claims that a selector finds, and for no other."""

    def __init__(
        self,
        api: Api,
        scripts: Sequence[Script],
        commands: Commands,
        *,
        selector: str,
        provisioner: Provisioner | None = None,
    ) -> None:
        self._api = api
        self._scripts = list(scripts)
        """Of the first claim, the second, ...; the last is for all further ones too."""
        self._commands = commands
        self._selector = selector
        self._provisioner = provisioner
        self._known: dict[str, _Known] = {}
        self.problems: list[str] = []
        """Errors of passes; the next pass may do better."""

    def look(self) -> None:
        """One pass."""
        if self._provisioner is not None:
            self._provisioner.look()
        for claim in self._api.claims(self._selector):
            try:
                self._look_at(claim)
            except (ApiException, HTTPError) as error:
                # Somebody else changed or deleted it meanwhile: the next pass sees what there is.
                self.problems.append(f"{claim['metadata']['name']}: {error}")

    def interrupt(self) -> None:
        """Take the spot machines back: the claims are deleted at the cloud's notice, and nobody
        waits for the drain."""
        for claim in self._api.claims(self._selector):
            self._know(claim).is_taken = True
            self._api.delete_claim(claim)

    def close(self) -> None:
        """Take every node away and let every claim go, so that nothing is held for ever."""
        for known in self._known.values():
            known.machine.take_down()
            self._api.delete_node(known.machine.name)
        for claim in self._api.claims(self._selector):
            self._api.patch_claim(claim, {"finalizers": None})
            if "deletionTimestamp" not in claim["metadata"]:
                self._api.delete_claim(claim)

    def _look_at(self, claim: Object) -> None:
        known = self._know(claim)
        if "deletionTimestamp" in claim["metadata"]:
            self._finalize(claim, known)
        elif FINALIZER not in claim["metadata"].get("finalizers", []):
            self._api.patch_claim(claim, {"finalizers": [FINALIZER]})
            for name in _UP:
                _set(claim, name, "Unknown", "AwaitingReconciliation", "object is awaiting")
            self._api.patch_status(claim)
        elif not _is(claim, "Launched"):
            self._launch(claim, known)
        elif not _is(claim, "Registered"):
            self._register(claim, known)
        else:
            self._keep(claim, known)

    def _know(self, claim: Object) -> _Known:
        uid = claim["metadata"]["uid"]
        if uid not in self._known:
            script = self._scripts[min(len(self._known), len(self._scripts) - 1)]
            machine = Machine(f"karp-{claim['metadata']['name']}", self._commands)
            self._known[uid] = _Known(script=script, machine=machine)
        return self._known[uid]

    def _launch(self, claim: Object, known: _Known) -> None:
        name = claim["metadata"]["name"]
        if known.script.refusal:
            message = f"NodeClaim {name} event: {known.script.refusal}"
            self._api.warn(claim, "InsufficientCapacityError", message)
            self._api.delete_claim(claim)
            return
        if known.script.launch_error:
            if _set(claim, "Launched", "Unknown", "LaunchFailed", known.script.launch_error):
                self._api.patch_status(claim)
            return
        if time.monotonic() - known.seen_at < known.script.launch_seconds:
            return
        self._api.patch_claim(claim, {"labels": _launched_labels(claim)})
        taints = [*(claim["spec"].get("taints") or []), _UNREGISTERED]
        # The GPUs come later, by a device plugin.
        known.machine.start(claim["metadata"]["labels"], [_taint_text(each) for each in taints])
        claim["status"]["providerID"] = f"fake:///{known.machine.name}"
        _set(claim, "Launched", "True", "Launched", "")
        _set(claim, "Registered", "Unknown", "NodeNotFound", "Node not registered with cluster")
        self._api.patch_status(claim)

    def _register(self, claim: Object, known: _Known) -> None:
        node = self._api.node(known.machine.name) if known.machine.is_up() else None
        if node is None:
            return
        metadata = {
            "labels": {**claim["metadata"]["labels"], "karpenter.sh/registered": "true"},
            "annotations": claim["metadata"].get("annotations") or {},
        }
        self._api.patch_node(known.machine.name, metadata, _without(node, _UNREGISTERED))
        known.registered_at = time.monotonic()
        claim["status"]["nodeName"] = known.machine.name
        _set(claim, "Registered", "True", "Registered", "")
        self._api.patch_status(claim)

    def _keep(self, claim: Object, known: _Known) -> None:
        """Bring the GPUs when it is time, and delete the claim of a node that went."""
        node = self._api.node(known.machine.name)
        if node is None:
            self._api.delete_claim(claim)
            return
        if known.lacks_gpus_of_now():
            wanted = claim["spec"]["resources"]["requests"].get("nvidia.com/gpu", "0")
            self._api.give_gpus(known.machine.name, int(wanted))
            known.has_gpus = True
        if _initialize(claim, node):
            self._api.patch_status(claim)

    def _finalize(self, claim: Object, known: _Known) -> None:
        if FINALIZER not in claim["metadata"].get("finalizers", []):
            return
        if _is(claim, "Registered") and not _is(claim, "Drained") and not known.is_taken:
            self._drain(claim, known)
            return
        if known.machine.was_started and not _is(claim, "InstanceTerminating"):
            _set(claim, "InstanceTerminating", "True", "InstanceTerminating", "")
            self._api.patch_status(claim)
        if known.machine.is_down():
            self._api.delete_node(known.machine.name)
            self._api.patch_claim(claim, {"finalizers": None})

    def _drain(self, claim: Object, known: _Known) -> None:
        name = known.machine.name
        if not known.draining_since:
            known.draining_since = time.monotonic()
            self._announce_end(claim)
            node = self._api.node(name)
            if node is not None:
                taints = [*_without(node, _DISRUPTED), _DISRUPTED]
                self._api.patch_node(name, {}, taints)
            _set(claim, "Drained", "Unknown", "Draining", "Draining")
            self._api.patch_status(claim)
        end = (claim["metadata"].get("annotations") or {}).get(_TERMINATION_TIME)
        is_late = bool(end) and f"{datetime.now(UTC):{_TIME}}" > str(end)
        pods = self._api.pods_on(name)
        for pod in pods:
            self._api.evict(pod, force=is_late)
        if not pods and time.monotonic() - known.draining_since >= known.script.drain_seconds:
            _set(claim, "Drained", "True", "Drained", "")
            _set(claim, "VolumesDetached", "True", "VolumesDetached", "")
            self._api.patch_status(claim)

    def _announce_end(self, claim: Object) -> None:
        grace = re.fullmatch(r"(\d+)m", claim["spec"].get("terminationGracePeriod", ""))
        if grace is None:
            return
        begin = datetime.fromisoformat(claim["metadata"]["deletionTimestamp"])
        end = f"{begin + timedelta(minutes=int(grace[1])):{_TIME}}"
        self._api.patch_claim(claim, {"annotations": {_TERMINATION_TIME: end}})
        message = f"All pods will be deleted by {end}"
        self._api.warn(claim, "TerminationGracePeriodExpiring", message)


@contextmanager
def running(karpenter: Karpenter) -> Iterator[Karpenter]:
    """Let it work beside the block; what it made is gone at the end."""
    over = threading.Event()

    def work() -> None:
        while not over.wait(_LOOK_SECONDS):
            try:
                karpenter.look()
            except (ApiException, HTTPError) as error:
                karpenter.problems.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield karpenter
    finally:
        over.set()
        thread.join()
        karpenter.close()


def _launched_labels(claim: Object) -> dict[str, str]:
    wanted = {
        item["key"]: item["values"][0]
        for item in claim["spec"]["requirements"]
        if item["operator"] == "In"
    }
    return {key: wanted.get(key, value) for key, value in _COPIED.items()}


def _taint_text(taint: Object) -> str:
    value = f"={taint['value']}" if taint.get("value") else ""
    return f"{taint['key']}{value}:{taint['effect']}"


def _initialize(claim: Object, node: Object) -> bool:
    """Set the condition; whether it changed."""
    allocatable = node["status"].get("allocatable") or {}
    requests = claim["spec"]["resources"]["requests"]
    missing = [name for name in requests if allocatable.get(name, "0") == "0"]
    if missing:
        message = f'Resource "{missing[0]}" was requested but not registered'
        return _set(claim, "Initialized", "Unknown", "ResourceNotRegistered", message)
    changed = _set(claim, "Initialized", "True", "Initialized", "")
    return _set(claim, "Ready", "True", "Ready", "") or changed


def _without(node: Object, taint: Object) -> list[Object]:
    taints = node["spec"].get("taints") or []
    return [each for each in taints if each["key"] != taint["key"]]


def _is(claim: Object, name: str) -> bool:
    return any(
        item["type"] == name and item["status"] == "True"
        for item in claim.get("status", {}).get("conditions", [])
    )


def _set(claim: Object, name: str, status: str, reason: str, message: str) -> bool:
    """Set a condition in the object; whether it changed."""
    conditions = claim.setdefault("status", {}).setdefault("conditions", [])
    new = {"type": name, "status": status, "reason": reason, "message": message}
    old = next((item for item in conditions if item["type"] == name), None)
    if old is not None and all(old.get(key) == value for key, value in new.items()):
        return False
    if old is not None:
        conditions.remove(old)
    conditions.append({**new, "lastTransitionTime": f"{datetime.now(UTC):{_TIME}}"})
    return True
