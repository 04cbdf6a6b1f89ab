"""A workspace as the rest of argotune sees it, whatever version of Kaito's API it came in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from argotune.presets.schema import Method

PREFIX = "argotune.dev/"


@dataclass(frozen=True, kw_only=True)
class Options:
    """Annotations `argotune.dev/NAME` of the Workspace, for what Kaito has no word for. Each may
    be left out; the name is the field's, with dashes."""

    provider: Literal["existing", "aks", "karpenter", "local"] | None = None
    """Where the GPU comes from: nodes of the cluster, an agent pool of AKS or a node of Karpenter
    that is made for the run, or this machine. Default: local for `argotune run`, existing for
    `argotune submit`."""
    alternative_instance_types: str | None = None
    """Further SKUs, with commas between, tried in order when the first is sold out; none: no
    other. Default: up to three on which the plan runs, at no more than twice the price, as
    `argotune plan` shows them."""
    zones: str | None = None
    """Availability zones, with commas between, tried in order; `any` leaves it to the cloud.
    Default: any."""
    capacity_types: Literal["regular", "spot", "spot,regular"] | None = None
    """Spot machines cost less and may be taken away; spot,regular takes a regular one where there
    is no spot one. Default: regular."""
    spot_max_price_usd_per_hour: str | None = None
    """Most that a spot machine of AKS may cost. Default: the regular price."""
    node_lifetime_seconds: str | None = None
    """A node that is made goes after so long, whatever became of its run. Default: 691200, eight
    days."""
    keep_node_seconds: str | None = None
    """So long a node that was made waits for the workspace's next run, which then need not wait for
    it. It costs money all the while, at most half of node-lifetime-seconds. The node of a run that
    failed or was stopped goes at once. For providers aks and karpenter (nodeclaim). Default: 0, it
    goes with its run."""
    aks_cluster_id: str | None = None
    """Azure resource ID of the cluster, for provider aks. Default: the one of `argotune
    install`."""
    aks_subnet_id: str | None = None
    """Azure resource ID of the node's subnet. Default: as the cluster does it."""
    aks_os_sku: Literal["Ubuntu", "AzureLinux"] | None = None
    """Operating system of an AKS node. Default: Ubuntu."""
    aks_gpu_driver: Literal["Install", "None"] | None = None
    """Who installs NVIDIA's driver: AKS, or somebody else such as the GPU operator. Default:
    Install."""
    aks_mig_profile: Literal["MIG1g", "MIG2g", "MIG3g", "MIG4g", "MIG7g"] | None = None
    """Cut of each GPU into instances. Default: whole GPUs."""
    karpenter_mode: Literal["nodeclaim", "nodepool"] | None = None
    """nodeclaim: a claim of the run's own; nodepool: an installed NodePool brings the node, and
    another one when a spot machine is taken away. Default: nodeclaim."""
    karpenter_node_class: str | None = None
    """Node class of the claim, KIND/NAME or GROUP/KIND/NAME. Default: the one of `argotune
    install`."""
    deploy_to: Literal["kubernetes", "process"] | None = None
    """What serves the adapter: a Deployment, or a process of this machine. Default: process for
    `argotune run`, kubernetes for `argotune submit`."""
    question: str | None = None
    """Asked once when the service is ready. Default: Hello! Who are you?"""
    model_source: str | None = None
    """Where the weights come from: hub, oci:IMAGE, dir:DIRECTORY or cache. Default: the
    preset's."""
    model_cache_claim: str | None = None
    """PersistentVolumeClaim that keeps weights between runs. Default: argotune-models."""
    tune_cpu: str | None = None
    """CPUs that the tune pod asks for, a quantity. Default: 2."""
    tune_memory: str | None = None
    """Memory of the tune pod, a quantity. Default: 16Gi."""
    service_gpus: str | None = None
    """GPUs of the service; 0: it runs on CPUs. Default: as many as tuning."""
    service_label_selector: str | None = None
    """Labels of the node that serves, KEY=VALUE,KEY=VALUE. Default: those of the node that tuned,
    or any where that one goes with the run."""
    service_memory: str | None = None
    """Memory that the service asks for, a quantity. Default: 2Gi."""
    adapter_from: Literal["auto", "cache"] | None = None
    """auto: the service mounts the adapter's image where the cluster can; cache: a copy in the
    model cache. Default: auto."""
    volume_size: str | None = None
    """Size of the run's volume, a quantity. Default: 100Gi."""
    storage_class: str | None = None
    """Storage class of the run's volume. Default: the cluster's."""


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """One fine-tuning job."""

    name: str
    """A DNS label; also of the service and of the served adapter."""
    namespace: str | None
    """None: the one that the command works in."""
    preset: str
    """Name of the model preset, aliases resolved."""
    method: Method
    urls: tuple[str, ...]
    """Dataset URLs; their queries may be secret."""
    config: str
    """Text of training_config.yaml; empty for the preset's defaults."""
    output_image: str
    """REGISTRY/REPOSITORY[:TAG], or oci:DIRECTORY[:TAG] with an absolute directory."""
    push_secret: str | None
    """Secret for the output image; None for oci: directories."""
    instance_type: str | None
    """Cloud SKU; None for existing nodes and this machine."""
    label_selector: Mapping[str, str]
    """Labels of the GPU nodes."""
    model_source: str | None
    """Where the weights come from instead of the preset's own place."""
    model_access_secret: str | None
    """Secret with the Hub's token for gated models."""
    options: Options
    warnings: tuple[str, ...]
    """What the user may want to know, one sentence each."""
    problems_before_submit: tuple[str, ...]
    """What may stand in a file that is only looked at, but not in one that is run: placeholders
    that the user has to fill in."""
