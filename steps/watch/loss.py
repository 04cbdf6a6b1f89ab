"""When a node counts as lost: missing in two checks, or not Ready for the grace period."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from argotune.steps.nodes.fit import Object, not_ready

_CHECKS_WITHOUT_NODE = 2
"""One list may lack the node because the API server that answered lags behind."""


class LossDetector:
    """Decides from successive lists of nodes whether a node is lost."""

    def __init__(self, grace_seconds: float, now: Callable[[], float]) -> None:
        self._grace_seconds = grace_seconds
        self._now = now
        self.reset()

    def reset(self) -> None:
        """Start over with another node."""
        self._checks_without_node = 0
        self._not_ready_since: float | None = None
        self.node_existed = False
        """Whether any check found a node, Ready or not."""

    def reason(self, nodes: Sequence[Object]) -> str:
        """Why the node is lost; empty while it is Ready or may become Ready again.

        A node that is being deleted counts as deleted.
        """
        self.node_existed = self.node_existed or bool(nodes)
        staying = [node for node in nodes if not node["metadata"].get("deletionTimestamp")]
        if not staying:
            self._not_ready_since = None
            self._checks_without_node += 1
            gone = "was deleted" if not nodes else "is being deleted"
            return gone if self._checks_without_node >= _CHECKS_WITHOUT_NODE else ""
        self._checks_without_node = 0
        reasons = [not_ready(node) for node in staying]
        if not all(reasons):
            self._not_ready_since = None
            return ""
        if self._not_ready_since is None:
            self._not_ready_since = self._now()
        seconds = self._now() - self._not_ready_since
        return f"is {reasons[0]} for {seconds:.0f} s" if seconds >= self._grace_seconds else ""
