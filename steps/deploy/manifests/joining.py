"""Whether the servers of a Deployment can take an adapter that joins them, as far as it says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from argotune.steps.deploy.manifests.deployment import MODELS

_TAKES_NONE = (
    "it is a service without training on vLLM, which has the adapters of its file alone: name the"
    " adapter's image there, or serve it with argotune.dev/engine: transformers"
)
_TOO_OLD = (
    "an earlier version of argotune deployed it, and it takes no adapters; its workspace's next"
    " run, or a rollback, brings one that does"
)


def served_model_dir(pod: Mapping[str, Any]) -> str:
    """Directory below the model cache of the base that servers of this pod's spec have."""
    return _flags(pod).get("--model-dir", "").removeprefix(f"{MODELS}/")


def other_base(pod: Mapping[str, Any], model_dir: str | None) -> str:
    """Say that servers of this pod's spec have another base than an adapter's; empty: they do not.

    `model_dir` is that of its base, None where it is not known yet.
    """
    served = served_model_dir(pod)
    if model_dir is None or served == model_dir:
        return ""
    return f"it serves the base {served}, and the adapter belongs to {model_dir}"


def differences(
    pod: Mapping[str, Any], *, model_dir: str | None, keys_secret: str | None
) -> Iterator[str]:
    """Say why servers of this pod's spec cannot take an adapter.

    `model_dir` is that of its base, None where it is not known yet; `keys_secret` the Secret with
    the keys of its clients.
    """
    if "--adapters-dir" not in _flags(pod):
        yield _TAKES_NONE if "--service-dir" in _flags(pod) else _TOO_OLD
    if other := other_base(pod, model_dir):
        yield other
    volumes = pod.get("volumes") or []
    secret = next((it["secret"]["secretName"] for it in volumes if "secret" in it), "")
    if secret != (keys_secret or ""):
        how = f"answers clients with a key of Secret {secret}" if secret else "has no keys"
        yield f"it {how}, and api-keys-secret is {keys_secret or 'none'}"


def _flags(pod: Mapping[str, Any]) -> dict[str, str]:
    given = (flag.partition("=") for flag in pod["containers"][0].get("args") or [])
    return {name: value for name, _, value in given}
