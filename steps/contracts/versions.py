"""The tags by which a repository tells the versions of an adapter; the registry is their record.

`push` writes `candidate` or a rejected tag; `deploy` moves the others once the service has
answered.
"""

from __future__ import annotations

import re

CANDIDATE = "candidate"
"""The adapter that was pushed last and passed its evaluation."""
LIVE = "live"
"""The adapter in service."""
PREVIOUS = "previous"
"""The adapter that was in service before it."""
REJECTED = "rejected-"
"""Before the first 12 hex digits of the digest of an adapter that did not pass."""
_VERSION = re.compile(r"v([1-9][0-9]{0,8})")


def version_tag(number: int) -> str:
    """Return the tag of the nth adapter that went into service, from v1 on."""
    return f"v{number}"


def version_of(tag: str) -> int | None:
    """Return the number of a version's tag; None for every other tag."""
    match = _VERSION.fullmatch(tag)
    return int(match[1]) if match else None


def rejected_tag(digest: str) -> str:
    """Return the tag of a rejected adapter by its digest, sha256:HEX."""
    return f"{REJECTED}{digest.removeprefix('sha256:')[:12]}"


def is_of_versions(tag: str) -> bool:
    """Whether a tag is one that argotune moves: of a version, or of an adapter's state."""
    is_state = tag in (CANDIDATE, LIVE, PREVIOUS) or tag.startswith(REJECTED)
    return is_state or version_of(tag) is not None
