"""The API server as the checks ask it: paths in, JSON out, and a missing right told apart from
every other answer."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, cast

from kubernetes.client import ApiClient
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic import DynamicClient

from argotune.workflows.cli.remote.api_errors import explained, message_of

Object = dict[str, Any]

_TIMEOUT_SECONDS = (5, 20)
"""To connect, and between two reads."""
_RIGHT = re.compile(
    r'cannot (?P<verb>\w+) resource "(?P<resource>[^"]+)"(?: in API group "[^"]*")?'
    r'(?: in the namespace "(?P<namespace>[^"]+)")?'
)


class MissingRight(Exception):
    """The person may not do what a check needs."""

    def __init__(self, right: str) -> None:
        super().__init__(right)
        self.right = right
        """Verb, resource and where: `list nodes in the whole cluster`."""


class Refused(Exception):
    """The API server understood, and said no for another reason than a missing right."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status
        """The HTTP status; 0 when there was no connection to speak over."""


class Api:
    """One API server. Every call raises MissingRight, Refused, or api_errors.Unreachable."""

    def __init__(self, client: ApiClient) -> None:
        # Without its discovery, which costs a dozen requests and needs none of them.
        self._client: Any = DynamicClient(  # type: ignore[no-untyped-call]
            client, discoverer=lambda client, cache_file: None
        )
        self.host = str(client.configuration.host)

    def get(self, path: str, **query: str) -> Object | None:
        """The object, or None where there is none."""
        try:
            return self._call("get", path, query)
        except Refused as error:
            if error.status == 404:
                return None
            raise

    def list(self, path: str, **query: str) -> list[Object]:
        """The items of a list; none where the server has no such kind."""
        found = self.get(path, **query)
        return [] if found is None else cast("list[Object]", found["items"])

    def create(self, path: str, body: Mapping[str, Any], **query: str) -> Object:
        """Create an object, or ask a review."""
        return self._call("post", path, query, body)

    def delete(self, path: str) -> None:
        """Delete an object now; one that is not there is well."""
        try:
            self._call("delete", path, {"gracePeriodSeconds": "0"})
        except Refused as error:
            if error.status != 404:
                raise

    def _call(
        self,
        verb: str,
        path: str,
        query: Mapping[str, str],
        body: Mapping[str, Any] | None = None,
    ) -> Object:
        with explained(path, self.host):
            try:
                response = self._client.request(
                    verb,
                    path,
                    body=body,
                    query_params=list(query.items()),
                    header_params={},
                    serialize=False,
                    _request_timeout=_TIMEOUT_SECONDS,
                )
            except ApiException as error:
                if not error.status:
                    raise
                raise _told_apart(error) from error
            found: Object = json.loads(response.data)
            return found


def _told_apart(error: ApiException) -> MissingRight | Refused:
    message, status = message_of(error), int(error.status or 0)
    message = message or " ".join(f"{error.status} {error.reason}".split())
    right = _RIGHT.search(message) if status == 403 else None
    if right is None:
        return Refused(message, status)
    where = f"namespace {right['namespace']}" if right["namespace"] else "the whole cluster"
    return MissingRight(f"{right['verb']} {right['resource']} in {where}")
