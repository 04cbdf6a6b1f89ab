"""What the refusal of a node means for the next move: fail now, next, wait.

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
    """Next: no node of this placement; another may do."""

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
        """Placements that are equal in these fields need not be tried either; none: no
        placement at all."""
        self.instance_types = frozenset(instance_types)
        """SKUs that count as equal to the refused one, such as those of one quota family."""
        self.may_pass = may_pass
        """Whether a later try may get a node: a lack of machines passes, a quota does not."""

    def rules_out(self, refused: Placement, other: Placement) -> bool:
        """Whether the refusal of one placement stands for another."""
        return all(self._is_alike(field, refused, other) for field in self.alike)

    def _is_alike(self, field: Field, refused: Placement, other: Placement) -> bool:
        if field == "instance_type" and other.instance_type in self.instance_types:
            return True
        return bool(getattr(refused, field) == getattr(other, field))


class Busy(TransientError):
    """Wait: the cloud does something else for this cluster, or asks for fewer requests."""

    def __init__(self, message: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
        """What the cloud asks for; None: it does not say."""
