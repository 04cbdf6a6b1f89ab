"""Parameters and results of the plan step of an evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from argotune.steps.nodes.providers import ProviderName
from argotune.steps.plan.params import Planned


@dataclass(frozen=True, kw_only=True)
class Params:
    """Find the models of an evaluation, and plan it; refuse models that cannot be compared."""

    models: tuple[str, ...]
    """The models, all of one base, as a JSON list: a preset, maybe of one's own, or hub:OWNER/NAME,
    which are base models, or an adapter's image, REGISTRY/REPOSITORY:TAG or by digest, without both
    the one in service. NAME= or NAME:VERSION= before it is what tables call it."""
    own_preset: str = ""
    """A preset of one's own that `models` names, as JSON; empty: it is the installation's."""
    presets_dir: Path | None = None
    """Directory with the installation's presets, files NAME.yaml; may not exist."""
    name: str
    """Name of the evaluation, a DNS label."""
    config: str = ""
    """Content of a training_config.yaml: the columns of the data and the checks of the answers."""
    instance_type: str | None = None
    """Cloud SKU of the GPU node; empty: this machine, or nodes that exist."""
    provider: ProviderName = "local"
    """Where the GPU comes from, as in a run."""
    cloud: str = ""
    """Cloud whose machines are planned with, as in a run."""
    tune_cpu: str = "2"
    """CPUs that the evaluating pod asks for."""
    tune_memory: str = "16Gi"
    """Memory that the evaluating pod asks for."""
    plan_file: Path
    """File to write the plan to, YAML."""
    work_dir: Path
    """Volume of the run; the adapters go to work-dir/adapters."""
    tokenizer_dir: Path
    """Directory for the model's tokenizer and configuration."""
    cache_dir: Path
    """Model cache, whose tokenizer is taken if the model is there."""
    timeout_seconds: float = 60.0
    """Longest time without data from the server that has the tokenizer."""
    auth_file: Path | None = None
    """Docker config.json for weights in a container image; may not exist."""
    access_secret: str | None = None
    """Name of the Secret with the auth file; used in messages only."""
    push_auth_file: Path | None = None
    """Docker config.json for the adapters' registries; may not exist."""
    push_secret: str | None = None
    """Name of the Secret with that file; used in messages only."""
    ca_file: Path | None = None
    """Certificate authority of the registries, PEM, trusted in addition to the system's; may not
    exist."""
    allowed_hosts: tuple[str, ...] = ()
    """HOST or HOST:PORT of registries that may have private addresses, as a JSON list; outside a
    cluster all may."""
    settings: str = ""
    """The evaluation's settings, a JSON object of texts, to refuse now what a later step would
    refuse; empty: only this step's own."""
    installed: str = ""
    """Those that the installation decides, likewise."""


@dataclass(frozen=True, kw_only=True)
class Result(Planned):
    """Outputs of the plan step of an evaluation."""

    models: tuple[str, ...]
    """The models as they were found, NAME=IMAGE@sha256:HEX or a preset, a JSON list."""
