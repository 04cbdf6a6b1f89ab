"""What follows from the refusal of a node: fail now, try the next placement, or wait.

Fail now is argotune.steps.common.errors.PermanentError.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from argotune.steps.common.errors import CapacityError, TransientError
from argotune.steps.nodes.provider import Placement

Field = Literal["instance_type", "capacity_type", "zone"]
THIS_ONE: tuple[Field, ...] = ("instance_type", "capacity_type", "zone")


class PlacementRefused(CapacityError):
    """Try the next: there is no node of this placement, and another may give one."""

    def __init__(
        self,
        message: str,
        *,
        alike: Sequence[Field] = THIS_ONE,
        instance_types: Iterable[str] = (),
        may_pass: bool = False,
    ) -> None:
        super().__init__(message)
        self.alike = tuple(alike)
        """A placement that is equal in these fields need not be tried either; empty: no other
        placement need be."""
        self.instance_types = frozenset(instance_types)
        """SKUs that count as equal to the refused one, such as those of one quota family."""
        self.may_pass = may_pass
        """Whether a later try may get a node: a lack of machines passes, a quota does not."""

    def rules_out(self, refused: Placement, other: Placement) -> bool:
        """Whether the refusal of one placement applies to another."""
        return all(self._is_alike(field, refused, other) for field in self.alike)

    def _is_alike(self, field: Field, refused: Placement, other: Placement) -> bool:
        if field == "instance_type" and other.instance_type in self.instance_types:
            return True
        return bool(getattr(refused, field) == getattr(other, field))


class Busy(TransientError):
    """Wait: the cloud runs another operation of this cluster, or asks for fewer requests."""

    def __init__(self, message: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
        """Pause in seconds that the cloud asks for; None: it gives none."""
