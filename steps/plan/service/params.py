"""Parameters and results of the plan step of a service without training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from argotune.steps.common.errors import ParamsError
from argotune.steps.contracts.vllm import AskedEngine
from argotune.steps.nodes.providers import ProviderName
from argotune.steps.plan.params import AskedBits


@dataclass(frozen=True, kw_only=True)
class Params:
    """Find the adapters of a service, and size it; refuse one that does not fit its GPU."""

    name: str
    """Name of the workspace and of the service, a DNS label."""
    preset: str
    """Base model: one of `argotune presets`, OWNER/NAME or OWNER/NAME@REVISION of the Hub,
    dir:DIRECTORY or oci:IMAGE."""
    own_preset: str = ""
    """The preset itself as JSON, where `preset` is none of argotune's; empty: it is made of
    the model's files."""
    presets_dir: Path | None = None
    """Directory with the installation's presets, files NAME.yaml; may not exist."""
    adapters: str = "[]"
    """Adapters to serve beside the base model, a JSON list of objects with name, image and
    strength; one without an image is the files of the claim."""
    config: str = ""
    """Content of Kaito's inference_config.yaml; empty: the longest context that fits."""
    load_in_4bit: AskedBits = "auto"
    """Whether the server has the base in 4 bits: a quarter of the memory, but slower answers. auto:
    it has not."""
    service_gpus: int | None = None
    """GPUs of the server; empty: one, if the machine has any; 0: it runs on a CPU."""
    engine: AskedEngine = "auto"
    """What the servers compute with. auto: vLLM on a GPU, unless they may have to answer on their
    CPUs, have the base in 4 bits, or an adapter is one that vLLM does not serve. With provider
    local, whose servers are processes of this machine, transformers whatever it says."""
    allow_cpu: bool = False
    """Whether the server may answer on its CPU where it can use none of its GPUs."""
    service_memory: str | None = None
    """Memory that a server asks for; empty: what its engine takes beside the GPU's."""
    instance_type: str | None = None
    """Cloud SKU of the node, e.g. Standard_NC24ads_A100_v4; empty: this machine, or nodes that
    exist."""
    provider: ProviderName = "local"
    """Where the node comes from, as in a run."""
    cloud: str = ""
    """Cloud whose machines are planned with, as in a run."""
    model_source: str | None = None
    """Source of the weights instead of the preset's: hub, oci:IMAGE or dir:DIRECTORY."""
    allowed_hosts: tuple[str, ...] = ()
    """HOST or HOST:PORT of registries that may have private addresses, as a JSON list; outside a
    cluster all may."""
    work_dir: Path | None = None
    """Volume of the run: the adapters go to work-dir/adapters and the plan beside them. Empty:
    neither is written, and the adapters are not looked for."""
    volume_dir: Path | None = None
    """Where the claim with an adapter's files is mounted; may not exist."""
    push_auth_file: Path | None = None
    """Docker config.json for the adapters' registries; may not exist."""
    push_secret: str | None = None
    """Name of the Secret with that file; used in messages only."""
    ca_file: Path | None = None
    """Certificate authority of the registries, PEM, trusted in addition to the system's; may not
    exist."""
    api_keys_file: Path | None = None
    """Keys of the Secret that the settings name for the service's clients, with which deploy will
    ask; may not exist without one."""
    settings: str = ""
    """The settings of the service, a JSON object of texts, to refuse now what a later step would
    refuse; empty: only this step's own."""
    installed: str = ""
    """Those that the installation decides, likewise."""

    def __post_init__(self) -> None:
        problems = list(self._problems())
        if problems:
            raise ParamsError(problems)

    @property
    def has_4_bits(self) -> bool:
        """Whether the base is in 4 bits."""
        return self.load_in_4bit == "true"

    def _problems(self) -> Iterator[str]:
        if self.service_gpus is not None and self.service_gpus not in (0, 1):
            yield (
                f"--service-gpus: {self.service_gpus}; accepted are 0 and 1, because one server"
                " uses one GPU; more servers are service-replicas"
            )


@dataclass(frozen=True, kw_only=True)
class Result:
    """Outputs of the plan step of a service."""

    plan: str
    """The plan as YAML."""
    model: str
    """The base model: REPOSITORY@REVISION, or the source of other weights."""
    gpus: int
    """GPUs of one server, which the node must have free; 0: it runs on a CPU."""
    server_memory: str
    """Memory that one server asks for, which the node must have."""
    disk_gib: int
    """OS disk of the node, GiB."""
    alternatives: tuple[str, ...]
    """Other SKUs on which the service runs unchanged, cheapest first, a JSON list; they cost at
    most twice as much."""
    memory_gb: float
    """Least memory of the GPU, decimal GB."""
    max_length: int
    """Longest question and answer together, tokens."""
    answers: int | None
    """Answers of that length at once; empty: not known."""
    adapters: str
    """The adapters as they were found, NAME=sha256:HEX, with commas between them."""
    warnings: str
    """Warnings about the plan, one line each."""
