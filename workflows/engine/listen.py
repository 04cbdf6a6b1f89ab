"""Tells a caller what happens in a run, so that it can be shown."""

import logging
from collections.abc import Callable
from typing import Protocol

from argotune.workflows.engine.model import JsonObject

_log = logging.getLogger(__name__)


class Listener(Protocol):
    """Hears of a run from the thread that runs it; what it raises is logged and ends nothing."""

    def on_workflow(self, workflow: JsonObject) -> None:
        """The workflow changed: the whole object, at most some times a second."""

    def on_node(self, node: JsonObject) -> None:
        """A node was made or changed: its NodeStatus."""

    def on_line(self, node_id: str, text: str) -> None:
        """A node's container wrote a line."""


class Listening:
    """Calls a listener, if there is one, and never fails."""

    def __init__(self, listener: Listener | None) -> None:
        self._listener = listener

    @property
    def is_on(self) -> bool:
        """Whether anybody listens."""
        return self._listener is not None

    def workflow(self, workflow: JsonObject) -> None:
        """Passes on a changed workflow."""
        if (listener := self._listener) is not None:
            self._call(lambda: listener.on_workflow(workflow))

    def node(self, node: JsonObject) -> None:
        """Passes on a changed node."""
        if (listener := self._listener) is not None:
            self._call(lambda: listener.on_node(node))

    def line(self, node_id: str, text: str) -> None:
        """Passes on a line of a log."""
        if (listener := self._listener) is not None:
            self._call(lambda: listener.on_line(node_id, text))

    def _call(self, tell: Callable[[], None]) -> None:
        try:
            tell()
        except Exception:  # a fault in what is shown must not end what is run
            _log.exception("listener failed, it is not called again")
            self._listener = None
