"""card.json beside the adapter: what is known of its training, for the service's page.

README.md says the same to a person. `tune` writes both, and the page at `/` of the service shows
this one. It has nothing that differs between equal runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from argotune.steps.common.errors import PermanentError
from argotune.steps.common.fs import atomic_write

FILE_NAME = "card.json"
CURVE_POINTS = 200
"""Most points of a curve: as many as a page's width shows."""

Points = list[tuple[int, float]]
"""Optimizer step and loss, nats per token."""


class ModelCard(msgspec.Struct, frozen=True, kw_only=True):
    """The content of card.json."""

    facts: dict[str, str]
    """What the fact is about -> the fact, in the order of reading."""
    train_loss: Points
    held_out_loss: Points
    """The first one, at step 0, is the base model's."""


def write_card(directory: Path, card: ModelCard) -> None:
    """Write card.json into the adapter's directory."""
    text = msgspec.json.format(msgspec.json.encode(card), indent=1)
    atomic_write(directory / FILE_NAME, text + b"\n")


def read_card(directory: Path) -> ModelCard | None:
    """Read card.json from the adapter's directory; None for adapters of an earlier version.

    Raises PermanentError if it is not a card.
    """
    path = directory / FILE_NAME
    try:
        return msgspec.json.decode(path.read_bytes(), type=ModelCard)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise PermanentError(f"{path}: not a model card: {error}") from error


def thinned(points: Sequence[tuple[int, float]]) -> Points:
    """At most CURVE_POINTS of the points: the mean of each of so many equal parts."""
    size = -(-len(points) // CURVE_POINTS) or 1
    parts = [points[at : at + size] for at in range(0, len(points), size)]
    return [(part[-1][0], round(sum(loss for _, loss in part) / len(part), 5)) for part in parts]
