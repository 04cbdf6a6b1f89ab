"""Parameters and results of the plan step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from argotune.steps.common.errors import ParamsError
from argotune.steps.contracts.in_service import DeployTo
from argotune.steps.contracts.vllm import AskedEngine
from argotune.steps.nodes.providers import ProviderName

AskedBits = Literal["auto", "false", "true"]
"""Whether a server has the base in 4 bits: auto lets the plan decide."""


@dataclass(frozen=True, kw_only=True)
class Params:
    """Resolve the configuration into a training plan; refuse a run that does not fit its GPU."""

    name: str
    """Name of the workspace, of the service and of the served adapter, a DNS label."""
    preset: str
    """Base model: one of `argotune presets`, OWNER/NAME or OWNER/NAME@REVISION of the Hub,
    dir:DIRECTORY or oci:IMAGE."""
    own_preset: str = ""
    """The preset itself as JSON, where `preset` is none of argotune's; empty: it is made of
    the model's files."""
    presets_dir: Path | None = None
    """Directory with the installation's presets, files NAME.yaml; may not exist."""
    method: Literal["lora", "qlora"] = "qlora"
    """lora: 16-bit base weights; qlora: 4-bit base weights."""
    config: str = ""
    """Content of Kaito's training_config.yaml; empty: the preset's defaults."""
    instance_type: str | None = None
    """Cloud SKU of the GPU node, e.g. Standard_NC24ads_A100_v4; empty: this machine."""
    provider: ProviderName = "local"
    """Where the GPU comes from. local: this machine, with or without a GPU; others: a node of a
    cluster, which is assumed to have a GPU if the model needs one."""
    cloud: str = ""
    """Cloud whose machines are planned with: aws, azure or gcp; empty: that of the instance type,
    or all that the provider has."""
    tune_cpu: str = "2"
    """CPUs that the tune pod asks for, a quantity such as 4 or 500m."""
    tune_memory: str = "16Gi"
    """Memory that the tune pod asks for, a quantity such as 16Gi."""
    validation_urls: tuple[str, ...] = ()
    """URLs of files whose rows are all held out, as a JSON list; empty: a share of the data is."""
    model_source: str | None = None
    """Source of the weights instead of the preset's: hub, oci:IMAGE or dir:DIRECTORY."""
    loaded_weights: int = 0
    """Weights of all adapters that an evaluation of several models loads; 0: a run's evaluation,
    which has the new adapter and the one in service."""
    start_from: str = "none"
    """Adapter with whose weights training begins: none, live for the one in service, or an image
    REGISTRY/REPOSITORY:TAG."""
    deploy_to: DeployTo = "kubernetes"
    """Where the adapter is served, which is planned too; none: nowhere."""
    serve_with: str = ""
    """Name of a service that takes the adapter beside its own, so that none is planned."""
    service_instance_type: str | None = None
    """Cloud SKU of the machine that serves; empty: it has a GPU as tuning has."""
    service_gpus: int | None = None
    """GPUs of each server; empty: one, if its machine has any; 0: it runs on a CPU."""
    service_memory: str | None = None
    """Memory that a server asks for; empty: what its engine takes."""
    engine: AskedEngine = "auto"
    """What the servers compute with. auto: vLLM on a GPU, unless it cannot serve the adapter or the
    base does not fit there."""
    load_in_4bit: AskedBits = "auto"
    """Whether they have the base in 4 bits. auto: where tuning has, and 16 bits do not fit their
    GPU."""
    allow_cpu: bool = False
    """Whether they may answer on their CPUs where they can use none of their GPUs."""
    output_image: str | None = None
    """The push step's image; its registry is checked before anything costs money; empty: no
    check."""
    output_claim: str = ""
    """The push step's claim for a copy of the adapter, in which this step writes and deletes a
    file; empty: none."""
    output_dir: Path | None = None
    """Where that claim is mounted."""
    allowed_hosts: tuple[str, ...] = ()
    """HOST or HOST:PORT of registries that may have private addresses, as a JSON list; outside a
    cluster all may."""
    plan_file: Path | None = None
    """File to write the plan to, YAML; empty: none."""
    tokenizer_dir: Path | None = None
    """Directory for the model's tokenizer and configuration, with which the dataset step judges
    rows; empty: none is brought."""
    cache_dir: Path | None = None
    """Model cache, whose tokenizer is taken if the model is there; needed with tokenizer-dir."""
    timeout_seconds: float = 60.0
    """Longest time without data from the server that has the tokenizer."""
    auth_file: Path | None = None
    """Docker config.json for weights in a container image; may not exist."""
    access_secret: str | None = None
    """Name of the Secret with the auth file; used in messages only."""
    ca_file: Path | None = None
    """Certificate authority of that image's registry, PEM, trusted in addition to the system's;
    may not exist."""
    api_keys_file: Path | None = None
    """Keys of the Secret that the settings name for the service's clients, with which deploy will
    ask; may not exist without one."""
    settings: str = ""
    """The run's settings, a JSON object of texts, to refuse now what a later step would refuse;
    empty: only this step's own."""
    installed: str = ""
    """Those that the installation decides, likewise."""

    def __post_init__(self) -> None:
        if self.tokenizer_dir is not None and self.cache_dir is None:
            raise ParamsError("--tokenizer-dir: it needs --cache-dir, the model cache")


@dataclass(frozen=True, kw_only=True)
class Planned:
    """What the plan says of model and machine."""

    plan: str
    """The plan as YAML."""
    model: str
    """The base model: REPOSITORY@REVISION, or the source of other weights."""
    gpus: int
    """Number of GPUs that the node must have; 0: this machine without a GPU."""
    disk_gib: int
    """OS disk of the GPU node, GiB."""
    alternatives: tuple[str, ...]
    """Other SKUs on which the plan runs unchanged, cheapest first, a JSON list; they have as many
    GPUs and cost at most twice as much."""
    memory_gb: float
    """Estimated peak memory of one GPU, decimal GB."""
    warnings: str
    """Warnings about the plan, one line each."""


@dataclass(frozen=True, kw_only=True)
class Result(Planned):
    """Outputs of the plan step."""

    fastest_tokens_per_second: str
    """Highest expected speed of each SKU that may be tried, a JSON object; empty without
    max-cost-usd: provision compares the limit with it once the data's tokens are known."""
    service_gpus: int
    """GPUs of each server of the service; 0: they answer on CPUs."""
    engine: str
    """What the servers of the service compute with; auto: the run has no service of its own."""
    load_in_4bit: bool
    """Whether they have the base in 4 bits."""
    max_length: int | None
    """Longest question and answer together, tokens, where less fits their GPU than the model can
    have; empty: that."""
    cpu_memory: str
    """Memory that one of them asks for while it answers on a CPU, a quantity."""
    gate: str
    """sha256:HEX of the gate's settings; with others a schedule tunes again on what it rejected."""
    has_scorers: bool
    """Whether a check is of kind scorer."""
    scored_checks: tuple[str, ...]
    """Titles of the checks of kind scorer, a JSON list."""
    scorers: str
    """Of each of them, a JSON object by title: `scorer`, the program's name in the installation,
    `args`, its arguments, and `env`, its environment variables as in a Pod."""
