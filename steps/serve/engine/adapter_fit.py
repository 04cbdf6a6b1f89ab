"""Whether an adapter can be served beside the first one of a server."""

from __future__ import annotations

from pathlib import Path

from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.serving import ServingContract


def check_fits(
    name: str, contract: ServingContract, served: ServingContract, directory: Path
) -> None:
    """Raise PermanentError unless the adapter's base is the one that is served."""
    asked, base = contract.base, served.base
    same = (
        asked.digest == base.digest
        if asked.digest and base.digest
        else (asked.repository, asked.revision) == (base.repository, base.revision)
    )
    if not same:
        raise PermanentError(
            f"adapter {directory} belongs to {asked.repository} {asked.revision}, but "
            f"{base.repository} {base.revision} is served here; serve it on its own base"
        )
    if contract.rope != served.rope:
        raise PermanentError(
            f"adapter {directory} was trained with rotary factors {contract.rope!r}, but the base "
            f"is served with {served.rope!r}; give it a server of its own"
        )
    if name == base.repository:
        raise PermanentError(f"{name!r} is the name of the base model; choose another one")
