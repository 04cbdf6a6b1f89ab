"""The calls that argotune makes to Azure Resource Manager, through the SDK's own pipeline.

The SDK's pollers and retries sleep without a word, up to minutes on any Retry-After. The calls here
read once, and the caller decides when to read again. Quotas and SKUs are two plain GETs through the
same pipeline, which saves Compute's whole SDK. No continuation token is stored: another try reads
from Azure whether the pool exists and how far it is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from azure.core import MatchConditions
from azure.core.credentials import TokenCredential
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
)
from azure.core.rest import HttpRequest
from azure.mgmt.containerservice import ContainerServiceClient
from azure.mgmt.containerservice.models import AgentPool

from argotune.steps.common.errors import PermanentError
from argotune.steps.nodes.aks.classify import refusal_of
from argotune.steps.nodes.aks.cluster_id import ClusterId
from argotune.steps.nodes.aks.fault import Fault, fault_of
from argotune.steps.nodes.aks.refusals import AzureAway
from argotune.steps.nodes.provider import Placement

PUBLIC_CLOUD = "https://management.azure.com"
_CONNECT_SECONDS = 10
_READ_SECONDS = 60
_LONGEST_RETRY_AFTER_SECONDS = 120.0
_USAGES_VERSION = "2024-07-01"
_SKUS_VERSION = "2021-07-01"
_PERMISSIONS_VERSION = "2022-04-01"
_NO_PLACEMENT = Placement(instance_type="the SKU")


class AlreadyThere(Exception):
    """A pool of this name exists, and a request that only creates changes nothing."""


class Changed(Exception):
    """The pool was changed or deleted meanwhile, and the update of its older state is refused."""


@dataclass(frozen=True, kw_only=True)
class Operation:
    """The state of a long-running operation, as Azure reports it; the report may be wrong."""

    status: str
    """InProgress, Succeeded, Failed, Canceled, or another word of Azure's."""
    fault: Fault | None = None
    """Why it failed."""
    retry_after_seconds: float | None = None


class Arm:
    """Agent pools of one cluster, and the quotas and SKUs of its region.

    Every call raises the refusal that Azure's answer means, or AzureAway where none comes.
    """

    def __init__(
        self, cluster: ClusterId, credential: TokenCredential, *, endpoint: str = PUBLIC_CLOUD
    ) -> None:
        self._cluster = cluster
        self._endpoint = endpoint.rstrip("/")
        self._client = ContainerServiceClient(
            credential,
            cluster.subscription,
            base_url=self._endpoint,
            credential_scopes=[f"{self._endpoint}/.default"],
            retry_total=0,
            retry_status=0,
            connection_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
        )

    def get(self, name: str) -> AgentPool | None:
        """Read a pool; None where it is missing."""
        with _translate_errors():
            try:
                return self._client.agent_pools.get(*self._place, name)
            except HttpResponseError as error:
                if error.status_code == 404:
                    return None
                raise

    def pools(self) -> Sequence[AgentPool]:
        """List all pools of the cluster; none where the cluster is missing."""
        with _translate_errors():
            try:
                return list(self._client.agent_pools.list(*self._place))
            except HttpResponseError as error:
                if error.status_code == 404:
                    return []
                raise

    def create(self, name: str, body: AgentPool, placement: Placement) -> str | None:
        """Create a missing pool; returns the URL of the operation, or None where Azure gives none.

        Raises AlreadyThere, or the refusal that Azure's answer means for the placement.
        """
        headers: dict[str, str] = {}
        with _translate_errors(placement):
            try:
                self._client.agent_pools.begin_create_or_update(
                    *self._place,
                    name,
                    body,
                    match_condition=MatchConditions.IfMissing,
                    polling=False,
                    raw_response_hook=lambda answer: headers.update(answer.http_response.headers),
                )
            except ResourceExistsError as error:
                # 409 is another operation in progress; only 412 means that a pool exists.
                if error.status_code == 412:
                    raise AlreadyThere from error
                raise
        lower = {key.lower(): value for key, value in headers.items()}
        return lower.get("azure-asyncoperation")

    def update(self, seen: AgentPool, changed: AgentPool) -> None:
        """Update a pool, unless it has changed since it was `seen`.

        Raises Changed, or the refusal that Azure's answer means.
        """
        if not seen.e_tag:
            raise PermanentError(f"Azure gives no etag for agent pool {seen.name}")
        with _translate_errors():
            try:
                self._client.agent_pools.begin_create_or_update(
                    *self._place,
                    str(seen.name),
                    changed,
                    etag=seen.e_tag,
                    match_condition=MatchConditions.IfNotModified,
                    polling=False,
                )
            except HttpResponseError as error:
                # Not 409, which means that another operation is in progress.
                if error.status_code in (404, 412):
                    raise Changed from error
                raise

    def delete(self, name: str) -> None:
        """Request the pool's deletion, whatever runs on it; a missing pool is no error."""
        with _translate_errors():
            try:
                self._client.agent_pools.begin_delete(
                    *self._place, name, ignore_pod_disruption_budget=True, polling=False
                )
            except HttpResponseError as error:
                if error.status_code not in (200, 404):
                    raise

    def operation(self, url: str) -> Operation | None:
        """Read the state of an operation.

        Returns None where Azure does not know it, where the identity may not read it, or where its
        URL is at another endpoint: the token is for this endpoint only.
        """
        if urlsplit(url).netloc != urlsplit(self._endpoint).netloc:
            return None
        with _translate_errors():
            response = self._client.send_request(HttpRequest("GET", url))
            if response.status_code in (403, 404):
                return None
            response.raise_for_status()
            body = response.json()
            error = body.get("error")
            return Operation(
                status=str(body.get("status", "")),
                fault=fault_of(error) if error else None,
                retry_after_seconds=_retry_after(response.headers),
            )

    def location(self) -> str:
        """Read the region of the cluster.

        It takes a right that runs do not need: Microsoft.ContainerService/managedClusters/read.
        """
        with _translate_errors():
            return str(self._client.managed_clusters.get(*self._place).location)

    def permissions(self) -> list[Mapping[str, Any]]:
        """Read `actions` and `notActions` of each of the caller's roles on the cluster."""
        group, name = self._place
        return self._pages(
            f"/resourceGroups/{group}/providers/Microsoft.ContainerService/managedClusters/{name}"
            f"/providers/Microsoft.Authorization/permissions?api-version={_PERMISSIONS_VERSION}"
        )

    def usages(self, location: str) -> list[Mapping[str, Any]]:
        """List the region's quotas of vCPUs."""
        path = f"locations/{quote(location, safe='')}/usages?api-version={_USAGES_VERSION}"
        return self._compute(path)

    def skus(self, location: str) -> list[Mapping[str, Any]]:
        """List VM sizes and other SKUs of the region, with their restrictions."""
        place = quote(f"location eq '{location}'")
        return self._compute(f"skus?api-version={_SKUS_VERSION}&$filter={place}")

    @property
    def _place(self) -> tuple[str, str]:
        return self._cluster.group, self._cluster.name

    def _compute(self, path: str) -> list[Mapping[str, Any]]:
        return self._pages(f"/providers/Microsoft.Compute/{path}")

    def _pages(self, path: str) -> list[Mapping[str, Any]]:
        """Read every page of a list of the subscription."""
        url: str | None = f"{self._endpoint}/subscriptions/{self._cluster.subscription}{path}"
        found: list[Mapping[str, Any]] = []
        while url and urlsplit(url).netloc == urlsplit(self._endpoint).netloc:
            with _translate_errors():
                response = self._client.send_request(HttpRequest("GET", url))
                response.raise_for_status()
                page = response.json()
            found += page["value"]
            url = page.get("nextLink")
        return found


@contextlib.contextmanager
def _translate_errors(placement: Placement = _NO_PLACEMENT) -> Iterator[None]:
    """Turn the SDK's errors into those of `refusals`."""
    try:
        yield
    except HttpResponseError as error:
        raise refusal_of(_fault(error), placement) from error
    except (AzureError, ValueError, KeyError) as error:
        # The connection failed, or the answer is malformed: a proxy's page, or half an answer.
        raise AzureAway(error) from error


def _fault(error: HttpResponseError) -> Fault:
    if error.response is None:
        # The credential's own errors, AADSTS... in their text, have no answer of ARM.
        status = 401 if isinstance(error, ClientAuthenticationError) else 500
        return fault_of(error.message, status=status)
    try:
        body = error.response.text()
    except AzureError:
        body = error.message
    headers: Mapping[str, str] = getattr(error.response, "headers", {})
    return fault_of(
        body.strip() or error.message,
        status=int(error.status_code or 500),
        retry_after_seconds=_retry_after(headers),
    )


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Read Retry-After in seconds, bounded; its other form, a date, counts as none."""
    text = headers.get("Retry-After", "")
    return min(float(text), _LONGEST_RETRY_AFTER_SECONDS) if text.isdigit() else None
