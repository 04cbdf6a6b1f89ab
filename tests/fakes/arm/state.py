"""The cloud: agent pools, their operations, quotas and SKUs, and what may go wrong.

Bodies follow the examples of Azure's REST specification (Azure/azure-rest-api-specs, AKS,
AgentPoolsCreate_Spot and its siblings). Time comes from the clock that the cloud is given.
"""

from __future__ import annotations

import copy
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

_POOL_NAME = re.compile(r"[a-z][a-z0-9]{0,11}")
_NODE_PREFIX = "aks"


@dataclass
class Fault:
    """What becomes of the next `times` requests that match, instead of what they ask for."""

    method: str
    path: str
    """A regular expression, searched in path and query."""
    status: int = 500
    body: object = None
    """A mapping is sent as JSON, a text as it is."""
    headers: Mapping[str, str] = field(default_factory=dict)
    drop: bool = False
    """Close the connection instead of an answer."""
    carry_out: bool = False
    """Do what is asked for all the same: the answer alone is lost or wrong."""
    times: int = 1


@dataclass(frozen=True, kw_only=True)
class Creation:
    """What becomes of a pool that is asked for."""

    seconds: float = 120.0
    """Until the pool is there or has failed."""
    error: Mapping[str, Any] | None = None
    """Why it fails."""
    says_operation: bool = True
    """Whether the answer names an operation."""
    operation_says: str | None = None
    """What the operation says of itself, whatever becomes of the pool."""
    brings_node: bool = True
    gpus: int = 1
    """That the node has; 0: its device plugin never comes up."""


@dataclass
class Pool:
    """One agent pool."""

    body: Json
    creation: Creation
    state: str = "Creating"
    until: float = 0.0
    """When the current operation is through."""
    operation: str = ""
    has_node: bool = False
    version: int = 1
    """Its etag."""

    @property
    def name(self) -> str:
        return str(self.body["name"])

    @property
    def node(self) -> str:
        """Name of its one node."""
        return f"{_NODE_PREFIX}-{self.name}-vmss000000"

    @property
    def busy(self) -> bool:
        return self.state in ("Creating", "Updating", "Deleting")

    def json(self) -> Json:
        """What GET answers."""
        answer = copy.deepcopy(self.body)
        answer["properties"] |= {"provisioningState": self.state, "eTag": f"v{self.version}"}
        if self.state == "Failed" and self.creation.error:
            answer["properties"]["status"] = {"provisioningError": dict(self.creation.error)}
        return answer


@dataclass(frozen=True)
class Answer:
    """One HTTP answer."""

    status: int
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)


def error(status: int, code: str, message: str) -> Answer:
    """An error as AKS answers it: flat."""
    return Answer(status, {"code": code, "details": None, "message": message, "subcode": ""})


@dataclass
class Cloud:
    """The state, for tests to set up and to look at."""

    now: Callable[[], float] = time.monotonic
    creations: list[Creation] = field(default_factory=list)
    """What becomes of the next pools."""
    creation: Creation = field(default_factory=Creation)
    """What becomes of those after them."""
    faults: list[Fault] = field(default_factory=list)
    token_faults: list[Fault] = field(default_factory=list)
    """Of the token endpoint."""
    usages: list[Json] = field(default_factory=list)
    skus: list[Json] = field(default_factory=list)
    permissions: list[Json] = field(default_factory=lambda: [{"actions": ["*"], "notActions": []}])
    """Of everybody, on the cluster: one for each role."""
    location: str = "eastus"
    """Region of the cluster."""
    delete_seconds: float = 60.0
    update_seconds: float = 30.0
    retry_after: str | None = None
    """Retry-After of operations."""
    busy_until: float = 0.0
    """AKS does something of its own until then."""
    on_up: Callable[[Pool], None] = lambda pool: None
    on_down: Callable[[Pool], None] = lambda pool: None
    pools: dict[str, Pool] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    """`METHOD path?query` of every request to ARM."""
    tokens: set[str] = field(default_factory=set)
    """Bearer tokens that are good."""
    url: str = ""
    """Where it is served."""
    lock: threading.RLock = field(default_factory=threading.RLock)
    _operations: dict[str, Pool] = field(default_factory=dict)

    def asked(self, method: str) -> list[str]:
        """Requests of a method to agent pools."""
        return [each for each in self.requests if each.startswith(f"{method} ")]

    def settle(self) -> None:
        """Let come true what the time has brought."""
        for pool in list(self.pools.values()):
            if not pool.busy or self.now() < pool.until:
                continue
            if pool.state == "Deleting":
                del self.pools[pool.name]
                self._node_goes(pool)
            elif pool.state == "Updating":
                pool.state = "Succeeded"
            else:
                pool.state = "Failed" if pool.creation.error else "Succeeded"
                if pool.state == "Succeeded" and pool.creation.brings_node:
                    pool.has_node = True
                    self.on_up(pool)

    def put(
        self, path: str, name: str, body: Json, *, only_new: bool, etag: str | None = None
    ) -> Answer:
        """Create a pool, or update the one that has the etag; over another one that is there
        Azure says that all is well."""
        problem = self._problem(name, body)
        if problem is not None:
            return problem
        if etag is not None:
            return self._update(path, name, body, etag)
        if name in self.pools:
            if only_new:
                return error(412, "PreconditionFailed", "the etag does not match")
            pool = self.pools[name]
            pool.state = "Succeeded"
            return Answer(200, pool.json())
        busy = self._in_progress()
        if busy is not None:
            return busy
        creation = self.creations.pop(0) if self.creations else self.creation
        full = {"id": path, "name": name, "type": f"{path.split('/providers/')[1]}", **body}
        pool = Pool(full, creation, until=self.now() + creation.seconds)
        self.pools[name] = pool
        headers = self._start(pool, path) if creation.says_operation else {}
        return Answer(201, pool.json(), headers)

    def _update(self, path: str, name: str, body: Json, etag: str) -> Answer:
        pool = self.pools.get(name)
        if pool is None or etag != f"v{pool.version}":
            return error(412, "PreconditionFailed", "the etag does not match")
        busy = self._in_progress()
        if busy is not None:
            return busy
        fixed = ("vmSize", "osSKU", "scaleSetPriority", "osDiskSizeGB")
        old, new = pool.body["properties"], body["properties"]
        if changed := [key for key in fixed if old.get(key) != new.get(key)]:
            return error(400, "PropertyChangeNotAllowed", f"{changed[0]} cannot be changed")
        pool.body["properties"] = new
        pool.version += 1
        pool.state, pool.until = "Updating", self.now() + self.update_seconds
        return Answer(200, pool.json(), self._start(pool, path))

    def delete(self, path: str, name: str) -> Answer:
        """Start the deletion of a pool."""
        pool = self.pools.get(name)
        if pool is None:
            return Answer(204)
        busy = self._in_progress()
        if busy is not None:
            return busy
        pool.state, pool.until = "Deleting", self.now() + self.delete_seconds
        headers = self._start(pool, path)
        return Answer(202, None, {**headers, "Location": headers["Azure-AsyncOperation"]})

    def operation(self, name: str) -> Answer:
        """What an operation says of itself."""
        pool = self._operations.get(name)
        if pool is None:
            return error(404, "NotFound", f"operation {name} is not there")
        done = {"Creating": "InProgress", "Deleting": "InProgress"}
        done |= {"Updating": "InProgress", "Failed": "Failed"}
        said = pool.creation.operation_says or done.get(pool.state, "Succeeded")
        body: Json = {"name": name, "startTime": "2026-01-01T00:00:00Z", "status": said}
        if said == "Failed" and pool.creation.error:
            body["error"] = dict(pool.creation.error)
        headers = {"Retry-After": self.retry_after} if self.retry_after else {}
        return Answer(200, body, headers)

    def evict(self) -> None:
        """Take the spot machines back: their nodes go, their pools stay and say that all is well,
        as with the eviction policy Delete."""
        with self.lock:
            for pool in self.pools.values():
                self._node_goes(pool)

    def take_down(self) -> None:
        """Take every node away, as at the end of a test."""
        for pool in list(self.pools.values()):
            del self.pools[pool.name]
            self._node_goes(pool)

    def _node_goes(self, pool: Pool) -> None:
        if pool.has_node:
            pool.has_node = False
            self.on_down(pool)

    def _start(self, pool: Pool, path: str) -> dict[str, str]:
        pool.operation = f"op{len(self._operations):04}"
        self._operations[pool.operation] = pool
        subscription = path.split("/")[2]
        url = (
            f"{self.url}/subscriptions/{subscription}/providers/Microsoft.ContainerService"
            f"/locations/eastus/operations/{pool.operation}?api-version=2017-08-31"
        )
        retry = {"Retry-After": self.retry_after} if self.retry_after else {}
        return {"Azure-AsyncOperation": url, **retry}

    def _in_progress(self) -> Answer | None:
        busy = next((pool for pool in self.pools.values() if pool.busy), None)
        if busy is None and self.now() >= self.busy_until:
            return None
        what = f"{busy.name} - {busy.state}" if busy else "nodepool1 - Updating"
        return error(
            409,
            "OperationNotAllowed",
            f"Operation is not allowed: Another agentpool operation ({what}) is in progress, "
            "please wait for it to finish before starting a new operation. See "
            "https://aka.ms/aks-pending-operation for more details",
        )

    def _problem(self, name: str, body: Json) -> Answer | None:
        properties = body.get("properties") or {}
        if not _POOL_NAME.fullmatch(name):
            return error(400, "InvalidParameter", f"agent pool name {name!r} is not valid")
        for needed in ("vmSize", "count", "osDiskSizeGB"):
            if not properties.get(needed):
                return error(400, "InvalidParameter", f"{needed} must be given")
        for tag in properties.get("tags") or {}:
            if set(tag) & set("<>%&\\?/"):
                return error(400, "InvalidTagNameCharacters", f"tag name {tag} is not valid")
        if properties.get("scaleSetPriority") == "Spot":
            taint = "kubernetes.azure.com/scalesetpriority=spot:NoSchedule"
            properties.setdefault("nodeTaints", []).append(taint)
        return None
