"""The outlook for an agent pool of AKS: quotas and SKUs, with the login of the user."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from argotune.presets.loader import catalogs_of, sku_catalogs
from argotune.steps.cluster.errors import MissingRight
from argotune.steps.nodes.aks.arm import Arm
from argotune.steps.nodes.aks.connect import connect
from argotune.steps.nodes.aks.preflight import Forecast, Preflight
from argotune.steps.nodes.aks.quota import REGIONAL_QUOTA, SPOT_QUOTA
from argotune.steps.nodes.aks.refusals import NoCredential, RoleMissing, SecretExpired
from argotune.steps.nodes.alternatives import placements
from argotune.steps.nodes.errors import PlacementRefused
from argotune.steps.nodes.provider import NodeRequest, Placement
from argotune.steps.nodes.providers import ProviderSettings
from argotune.steps.plan.planning import Span
from argotune.workflows.cli.errors import CliError, InputError
from argotune.workflows.cli.remote.cluster import Cluster
from argotune.workflows.cli.show.fitting import Fitting
from argotune.workflows.cli.show.plan_rows import SkuRow, sku_rows, what_hours_are_of
from argotune.workflows.workspace.node_request import request_of
from argotune.workflows.workspace.planned import Planned

_REGION = "topology.kubernetes.io/region"
_OTHERS = (
    "others report 5 minutes for a GPU node, one of them for the driver (Azure/AKS#4110), and 8 to "
    "10 for an A100 node (Azure/AKS#3652)"
)
"""No measured times by SKU are published; these are users' own reports in the named issues."""


def print_outlook(
    screen: Console,
    planned: Planned,
    *,
    cluster_id: str,
    location: str | None,
    cluster: Cluster | None,
    dataset_tokens: int | None,
) -> bool:
    """Print every alternative in the order of provision's tries, and whether it is available."""
    # It warns of every way to log in that it tried; the error below is enough.
    logging.getLogger("azure").setLevel(logging.ERROR)
    arm = connect(ProviderSettings(aks_cluster_id=cluster_id))
    region = _region(arm, location, cluster)
    preflight, request = Preflight(arm, region), request_of(planned)
    forecasts = [_forecast(preflight, request, each) for each in placements(request)]
    rows = {row.name: row for row in _sku_rows(planned, dataset_tokens)}
    seen = not preflight.unseen
    screen.print(f"GPU node by provider aks in {region}, in the order of tries", style="bold")
    table = _table(forecasts, request, rows, seen=seen)
    dropped = ("OF REGION", "OF FAMILY", "VCPUS", "ZONE", "USD", "USD/H", "CAPACITY")
    screen.print(Fitting(table, drop=[each for each in dropped if rows or each != "USD"]))
    for line in _notes(planned, forecasts, preflight.unseen, request, rows, dataset_tokens):
        screen.print(Text(line, style="dim"), soft_wrap=True)
    screen.print()
    return any(forecast.refusal is None for forecast in forecasts)


def _forecast(preflight: Preflight, request: NodeRequest, placement: Placement) -> Forecast:
    """Return the lists' forecast, unless provision will not request the machine as too small."""
    forecast = preflight.forecast(placement)
    reason = request.too_small.get(placement.instance_type)
    if not reason:
        return forecast
    refusal = PlacementRefused(f"{placement.instance_type}: {reason}")
    return dataclasses.replace(forecast, refusal=refusal)


def _region(arm: Arm, location: str | None, cluster: Cluster | None) -> str:
    """Return the given region, else the AKS cluster's own, else that of its nodes.

    The cluster is always asked, because nothing else works without a login.
    """
    try:
        found = arm.location()
    except (NoCredential, SecretExpired) as error:
        words = str(error).partition("AADSTS")[1:]
        said = f" ({''.join(words).partition(';')[0]})" if words[0] else ""
        raise CliError(
            f"no Azure login{said}: run `az login`, or set AZURE_TENANT_ID, AZURE_CLIENT_ID and"
            " AZURE_CLIENT_SECRET"
        ) from error
    except RoleMissing:
        found = ""
    region = location or found or _region_of_nodes(cluster)
    if not region:
        raise InputError(
            "--aks-location: missing; your login may not read the cluster"
            " (Microsoft.ContainerService/managedClusters/read), and no node says its region"
        )
    return region


def _region_of_nodes(cluster: Cluster | None) -> str:
    if cluster is None:
        return ""
    try:
        nodes = cluster.kube.list("Node", labels=_REGION)
    except MissingRight:
        return ""
    return next((str(node["metadata"]["labels"][_REGION]) for node in nodes), "")


def _sku_rows(planned: Planned, dataset_tokens: int | None) -> Sequence[SkuRow]:
    """Return the run's cost on each SKU, where its duration is known."""
    if dataset_tokens is None and planned.plan.training.max_steps is None:
        return ()
    return sku_rows(planned.params, dataset_tokens=dataset_tokens)


def _table(
    forecasts: Sequence[Forecast],
    request: NodeRequest,
    rows: Mapping[str, SkuRow],
    *,
    seen: bool,
) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(" ", justify="right")
    for name in ("SKU", "CAPACITY", "ZONE"):
        table.add_column(name, no_wrap=True)
    for name in ("VCPUS", "OF FAMILY", "OF REGION", "USD/H", *(["USD"] if rows else [])):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("OUTLOOK", no_wrap=True)
    reasons = _reasons(forecasts)
    for number, forecast in enumerate(forecasts, 1):
        placement = forecast.placement
        refused = "" if forecast.refusal is None else str(forecast.refusal)
        outlook = f"refused [{reasons.index(refused) + 1}]" if refused else ""
        table.add_row(
            str(number),
            placement.instance_type,
            placement.capacity_type,
            placement.zone or "any",
            *_quota_cells(forecast),
            _price(placement, request),
            *([_cost(rows.get(placement.instance_type), placement)] if rows else []),
            Text(outlook or ("may be had" if seen else "not all is seen")),
        )
    return table


def _quota_cells(forecast: Forecast) -> tuple[str, str, str]:
    """Return the vCPUs of a node, and what is left of the quotas of family and region."""
    whole = {quota.name: quota for quota in forecast.quotas}
    regional = whole.pop(REGIONAL_QUOTA, None) or whole.pop(SPOT_QUOTA, None)
    family = next(iter(whole.values()), None)
    any_one = regional or family
    left = [f"{each.left}/{each.limit}" if each else "-" for each in (family, regional)]
    return (str(any_one.needed) if any_one else "-", *left)  # type: ignore[return-value]


def _price(placement: Placement, request: NodeRequest) -> str:
    price = request.prices_usd_per_hour.get(placement.instance_type)
    if placement.capacity_type == "spot":
        limits = [each for each in (price, request.spot_max_price_usd_per_hour) if each is not None]
        return f"<= {min(limits):.2f}" if limits else "-"
    return "-" if price is None else f"{price:.2f}"


def _cost(row: SkuRow | None, placement: Placement) -> str:
    if row is None or row.cost_usd is None:
        return "-"
    if placement.capacity_type == "spot":
        most = row.cost_usd.high
        return f"<= {Span(low=most, high=most)}"
    return str(row.cost_usd)


def _reasons(forecasts: Sequence[Forecast]) -> list[str]:
    found = [str(forecast.refusal) for forecast in forecasts if forecast.refusal is not None]
    return list(dict.fromkeys(found))


def _notes(
    planned: Planned,
    forecasts: Sequence[Forecast],
    unseen: Sequence[str],
    request: NodeRequest,
    rows: Mapping[str, SkuRow],
    dataset_tokens: int | None,
) -> list[str]:
    """Explain the table's marks and omissions."""
    lines = [f"[{number}] {reason}" for number, reason in enumerate(_reasons(forecasts), 1)]
    lines += [f"not seen: {reason}" for reason in unseen]
    lines.append(
        "OF FAMILY, OF REGION: vCPUs left of the limit; spot counts against the region's quota for "
        f"spot only ({SPOT_QUOTA})."
    )
    if rows:
        hours_of = what_hours_are_of(planned.plan, dataset_tokens=dataset_tokens)
        lines.append(f"USD: {hours_of}, without the minutes until the GPU can be used.")
    regions = [each.price_region for each in catalogs_of("aks", sku_catalogs())]
    lines.append(
        f"USD/H: of a regular machine in {' or '.join(regions)}, which spot does not pass."
    )
    lines.append(
        f"Until the GPU can be used: not known by SKU; {_OTHERS}. provision waits "
        f"{request.launch_timeout_seconds / 60:g} minutes for each node and "
        f"{request.gpu_timeout_seconds / 60:g} for its GPU."
    )
    return lines
