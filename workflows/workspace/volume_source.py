"""A volumeSource of the file, of which a claim alone is mounted."""

from __future__ import annotations

from collections.abc import Mapping

from argotune.steps.common.values import is_dns_subdomain
from argotune.workflows.workspace.fields import Fields

_REASONS = {
    "hostPath": "it is a directory of whatever node the pod lands on, and restricted namespaces"
    " refuse it",
}


def read_claim(fields: Fields, path: str, reasons: Mapping[str, str]) -> str | None:
    """Read the claim of the volumeSource at this path; as claim_of."""
    return claim_of(fields, path, fields.get(path), reasons)


def claim_of(fields: Fields, path: str, source: object, reasons: Mapping[str, str]) -> str | None:
    """Find the claim of a volumeSource that stands at this path.

    `reasons` say why other kinds of volumes are refused there. None: there is no valid name, and
    the problem is reported.
    """
    if source is not None and not isinstance(source, dict):
        fields.problems.append(f"{path}: {source!r}; accepted is persistentVolumeClaim")
        return None
    volume = source or {}
    others = [name for name in volume if name != "persistentVolumeClaim"]
    for name in others:
        reason = {**_REASONS, **reasons}.get(name, "no other kind of volume is mounted")
        fields.problems.append(f"{path}.{name}: {reason}; accepted is persistentVolumeClaim")
    named = volume.get("persistentVolumeClaim")
    claim = named.get("claimName") if isinstance(named, dict) else None
    place = f"{path}.persistentVolumeClaim.claimName"
    if claim is None and not others:
        fields.problems.append(
            f"{place}: missing; accepted is the name of a PersistentVolumeClaim of the namespace"
        )
    if claim is not None and not (isinstance(claim, str) and is_dns_subdomain(claim)):
        fields.problems.append(
            f"{place}: {claim!r}; accepted is the name of a PersistentVolumeClaim"
        )
        return None
    return claim
