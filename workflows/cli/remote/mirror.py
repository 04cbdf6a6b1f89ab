"""The objects of a kind, kept up to date by one list and one watch after it.

A table that is shown again and again reads a namespace of 500 runs once; then only changes come.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

from argotune.steps.cluster.kube import Object, Objects
from argotune.workflows.cli.errors import CliError
from argotune.workflows.cli.remote.api_errors import ClusterError
from argotune.workflows.cli.remote.cluster import Cluster
from argotune.workflows.cli.remote.states import Outage

_WATCH_SECONDS = 240
"""Then the server ends a watch, and another one begins."""


class Mirror:
    """Keeps the objects up to date in a thread of its own, until its block is left.

    What the thread waits for then may come minutes later: it asks and says nothing more.
    """

    def __init__(
        self, cluster: Cluster, kind: str, label_selector: str, *, metadata_only: bool = False
    ) -> None:
        self._cluster = cluster
        self._kind = kind
        self._selector = label_selector
        self._metadata_only = metadata_only
        self._objects: Objects = []
        self._problem: CliError | None = None
        self._is_read = threading.Event()
        """Set when the first list is there, or a problem."""
        self._is_left = threading.Event()
        threading.Thread(target=self._follow, name=f"mirror of {kind}", daemon=True).start()

    def __enter__(self) -> Mirror:
        return self

    def __exit__(self, *exception: object) -> None:
        self._is_left.set()

    def objects(self) -> Objects:
        """Return the objects as they are now.

        The first call waits for them. Raises ClusterError when the cluster refuses them, or does
        not come back (`Outage.wait`).
        """
        self._is_read.wait()
        if self._problem is not None:
            raise self._problem
        return self._objects

    def _follow(self) -> None:
        try:
            for objects in self._states():
                if self._is_left.is_set():
                    return
                self._objects = objects
                self._is_read.set()
        except CliError as error:
            self._problem = error
            self._is_read.set()

    def _states(self) -> Iterator[Objects]:
        """Yield all objects at first and after each change."""
        outage = Outage(sleep=self._is_left.wait)
        by_name: dict[str, Object] = {}
        version = ""
        while not self._is_left.is_set():
            try:
                if not version:
                    found = self._cluster.collection(
                        self._kind, self._selector, metadata_only=self._metadata_only
                    )
                    outage.has_answered = True
                    by_name = {item["metadata"]["name"]: item for item in found.items}
                    version = found.resource_version
                    yield list(by_name.values())
                for event in self._events(version):
                    version = event["object"]["metadata"]["resourceVersion"]
                    outage.is_over()
                    if event["type"] != "BOOKMARK":
                        _take_over(by_name, event)
                        yield list(by_name.values())
                outage.is_over()
            except ClusterError as error:
                version = ""
                if not self._is_left.is_set():
                    outage.wait(error)

    def _events(self, version: str) -> Iterator[Object]:
        return self._cluster.watch_all(
            self._kind,
            self._selector,
            version,
            _WATCH_SECONDS,
            metadata_only=self._metadata_only,
        )


def _take_over(by_name: dict[str, Object], event: Object) -> None:
    item = event["object"]
    if event["type"] == "DELETED":
        by_name.pop(item["metadata"]["name"], None)
    else:
        by_name[item["metadata"]["name"]] = item
