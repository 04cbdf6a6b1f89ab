"""When a node counts as lost: gone on two looks, or not Ready for longer than a grace."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from argotune.steps.nodes.fit import Object, not_ready

_LOOKS_WITHOUT_NODE = 2
"""A list that came from a server which lags behind may lack a node once."""


class Loss:
    """Looks at a node again and again."""

    def __init__(self, grace_seconds: float, now: Callable[[], float]) -> None:
        self._grace_seconds = grace_seconds
        self._now = now
        self.forget()

    def forget(self) -> None:
        """Begin anew, with another node."""
        self._looks_without_node = 0
        self._not_ready_since: float | None = None
        self.was_there = False
        """Whether there was a node on any look, well or not."""

    def look(self, nodes: Sequence[Object]) -> str:
        """Why the node is lost; empty while it is well or may become so again.

        A node that is being deleted is as good as gone.
        """
        self.was_there = self.was_there or bool(nodes)
        staying = [node for node in nodes if not node["metadata"].get("deletionTimestamp")]
        if not staying:
            self._not_ready_since = None
            self._looks_without_node += 1
            gone = "was taken away" if not nodes else "is being taken away"
            return gone if self._looks_without_node >= _LOOKS_WITHOUT_NODE else ""
        self._looks_without_node = 0
        reasons = [not_ready(node) for node in staying]
        if not all(reasons):
            self._not_ready_since = None
            return ""
        if self._not_ready_since is None:
            self._not_ready_since = self._now()
        seconds = self._now() - self._not_ready_since
        return f"is {reasons[0]} for {seconds:.0f} s" if seconds >= self._grace_seconds else ""
