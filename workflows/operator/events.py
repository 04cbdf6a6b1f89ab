"""Events about a Workspace, which `kubectl describe workspace` shows."""

from __future__ import annotations

import platform
import threading
from collections import OrderedDict

from argotune.steps.cluster.kube import Kube, Object
from argotune.steps.common import log
from argotune.steps.common.printable import printable
from argotune.workflows.cli.installation.operator import OPERATOR
from argotune.workflows.cli.show.rows import utc_now

_MOST_CHARACTERS = 1000
"""The newer API of events takes 1 kB."""
_MOST_REMEMBERED = 100_000


def safe_line(text: str) -> str:
    """Return one line without tokens of URLs and without characters that steer a terminal.

    What others wrote is in it, and kubectl prints it as it is.
    """
    return " ".join(printable(log.redact_urls(text)).split())


class WorkspaceEvents:
    """Writes what happened to Workspaces; the same thing twice in a row is written once."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._said: OrderedDict[tuple[str, str], int] = OrderedDict()
        """UID and reason -> hash of what was said last."""
        self._lock = threading.Lock()

    def say(
        self, workspace: Object, reason: str, message: str, *, is_warning: bool = False
    ) -> None:
        """Write an Event. Raises ApiError where the API server does not.

        `reason` is a word in upper camel case.
        """
        metadata = workspace["metadata"]
        text = safe_line(message)
        if len(text) > _MOST_CHARACTERS:
            text = f"{text[: _MOST_CHARACTERS - 1]}…"
        key = (str(metadata["uid"]), reason)
        with self._lock:
            if self._said.get(key) == hash(text):
                return
        self._kube.create_event(_event(workspace, reason, text, is_warning=is_warning))
        with self._lock:
            self._said[key] = hash(text)
            self._said.move_to_end(key)
            while len(self._said) > _MOST_REMEMBERED:
                self._said.popitem(last=False)


def _event(workspace: Object, reason: str, message: str, *, is_warning: bool) -> Object:
    metadata = workspace["metadata"]
    now = utc_now().isoformat(timespec="seconds")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "generateName": f"{metadata['name'][:50].rstrip('-.')}-",
            "namespace": metadata["namespace"],
        },
        "involvedObject": {
            "apiVersion": workspace["apiVersion"],
            "kind": workspace["kind"],
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata["uid"],
        },
        "type": "Warning" if is_warning else "Normal",
        "reason": reason,
        "message": message,
        "count": 1,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "source": {"component": OPERATOR},
        "reportingComponent": OPERATOR,
        "reportingInstance": platform.node(),
    }
