"""All objects of a service, in the order in which they are applied."""

from __future__ import annotations

from argotune.steps.deploy.manifests import availability, exposure, monitoring, network
from argotune.steps.deploy.manifests.deployment import Adapter, deployment
from argotune.steps.deploy.manifests.labels import Manifest
from argotune.steps.deploy.params import Params

SERVING_KINDS = ("NetworkPolicy", "Service", "Deployment")
"""Kinds of the objects without which nothing answers."""
SURROUNDING_KINDS = (
    "PodDisruptionBudget",
    "HorizontalPodAutoscaler",
    "Ingress",
    "HTTPRoute",
    "ServiceMonitor",
)
"""Kinds of the objects around them; the last two are not Kubernetes' own."""
KINDS = (*SERVING_KINDS, *SURROUNDING_KINDS)
"""All kinds of objects that deploy makes; each object has the service's name."""


def serving_objects(params: Params, adapter: Adapter, *, replicas: int) -> list[Manifest]:
    """The objects that are applied before the new adapter has answered."""
    return [
        network.network_policy(params),
        network.service(params),
        deployment(params, adapter, replicas=replicas),
    ]


def surrounding_objects(params: Params, *, has_monitors: bool = False) -> list[Manifest]:
    """The objects that are applied when it has answered, so that a failed deploy leaves them.

    `has_monitors`: whether the cluster knows ServiceMonitors.
    """
    found = [availability.disruption_budget(params)]
    if params.max_replicas is not None:
        found.append(availability.autoscaler(params))
    if params.host and params.ingress_class:
        found.append(exposure.ingress(params))
    if params.host and params.gateway:
        found.append(exposure.http_route(params))
    if has_monitors and params.monitor == "auto":
        found.append(monitoring.service_monitor(params))
    return found
