"""Parameters and results of the deploy step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Params:
    """Start the inference service, wait until it is ready, and ask it one question."""

    target: Literal["process", "kubernetes"] = "kubernetes"
    """process: a server on this machine; kubernetes: a Deployment and a Service."""
    name: str
    """Name of the service and of the served adapter."""
    reference: str
    """The push step's reference of the adapter image, by digest."""
    plan_file: Path
    """The plan step's file."""
    model_dir: str
    """Directory of the base model below the model cache."""
    cache_dir: Path
    """Model cache."""
    services_dir: Path | None = None
    """Directory for the record and log of a server process; needed for target process."""
    namespace: str = "default"
    """Namespace of the service; for target kubernetes."""
    image: str | None = None
    """Image of the server; needed for target kubernetes."""
    model_cache_claim: str | None = None
    """PersistentVolumeClaim of the model cache; needed for target kubernetes."""
    image_pull_secret: str | None = None
    """Secret to pull the adapter image with; for target kubernetes."""
    node_selector: str = "{}"
    """Labels of the node to serve on, a JSON object; for target kubernetes."""
    gpus: int = 0
    """GPUs of the server; for target kubernetes."""
    question: str = "Hello! Who are you?"
    """Asked once when the service is ready; an answer is part of being ready."""
    timeout_seconds: float = 900.0
    """Longest wait for readiness."""
    dataset_digest: str
    """Digest of the data, for the history file and the labels."""
    history_file: Path | None = None
    """Record of what was last tuned and deployed (steps.common.history), written when the
    service answers; empty: none."""


@dataclass(frozen=True, kw_only=True)
class Result:
    endpoint: str
    """URL of the service, e.g. http://127.0.0.1:8080 or http://NAME.NAMESPACE.svc."""
    answer: str
    """The answer to the question, cut to 500 characters."""
