"""The flags that a server has as a pod and as a process alike."""

from __future__ import annotations

from pathlib import Path

from argotune.steps.common.fields import text_of
from argotune.steps.deploy.params import Params


def model_flags(params: Params, directory: str | Path) -> list[str]:
    """What is served: the adapter in the directory, or the service whose files it has."""
    if params.service_plan is not None:
        return [f"--service-dir={directory}", f"--name={params.name}"]
    return [
        f"--adapter-dir={directory}",
        f"--name={params.name}",
        f"--adapter-digest={params.adapter_digest()}",
    ]


def server_flags(params: Params, keys_file: str | Path) -> list[str]:
    """What the settings of the run say of the server; `keys_file` is where it finds its keys."""
    rate = params.requests_per_minute
    return [
        *([f"--keys-file={keys_file}"] if params.api_keys_secret else []),
        *([f"--requests-per-minute={rate}"] if rate else []),
        *([f"--cors-origins={text_of(params.cors_origins)}"] if params.cors_origins else []),
        *(["--load-in-4bit=true"] if params.load_in_4bit else []),
        *([f"--max-length={params.max_length}"] if params.max_length else []),
    ]
