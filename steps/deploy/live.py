"""The adapter in service, which has to be the one that the new adapter was compared with."""

from __future__ import annotations

from pathlib import Path

from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.evaluation import read_evaluation
from argotune.steps.contracts.live_adapter import LiveAdapter, read_live_adapter
from argotune.steps.deploy.adapter import registry_of
from argotune.steps.deploy.params import Params
from argotune.steps.registry.versions import find_live, find_version, repository_of


def check_live(params: Params, work_dir: Path) -> None:
    """Raise PermanentError where another adapter went into service since the comparison.

    A run may wait for days, beside another run or a rollback. Without a gate nothing was compared.
    """
    compared = read_live_adapter(work_dir)
    if compared is None or read_evaluation(work_dir) is None or _is_unknown(compared):
        return
    repository = repository_of(params.adapter_image(), registry_of(params))
    now = find_live(repository, params.name)
    if now is None or now.digest in (compared.digest, params.adapter_digest()):
        return
    title = LiveAdapter(digest=now.digest, version=find_version(repository, now.digest)).title
    before = compared.title or "the base model alone"
    raise PermanentError(
        f"{title} went into service since this adapter was compared with {before}; run again"
    )


def _is_unknown(live: LiveAdapter) -> bool:
    """Whether the registry did not say which adapter is in service."""
    return bool(live.problem) and not live.digest
