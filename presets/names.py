"""Names that are not known, and the known one that was meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass

_PRESET = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
# As huggingface_hub checks repositories; revisions are commits, tags and branches.
_OF_HUB = re.compile(
    r"(?P<repository>[\w-][\w.-]*/[\w-][\w.-]*)(@(?P<revision>[\w][\w./-]*))?", re.ASCII
)
_PLACES = ("dir:", "oci:")


@dataclass(frozen=True, kw_only=True)
class HubName:
    """A model of the Hub as a user names it."""

    repository: str
    """OWNER/NAME."""
    revision: str | None
    """Commit, tag or branch; None: the branch main."""


def hub_name(name: str) -> HubName | None:
    """Parse OWNER/NAME or OWNER/NAME@REVISION; None for another name."""
    found = None if is_place(name) else _OF_HUB.fullmatch(name)
    return found and HubName(repository=found["repository"], revision=found["revision"])


def is_place(name: str) -> bool:
    """Whether the name is a directory or an image with a model's files."""
    return name.startswith(_PLACES)


def is_preset_name(text: str) -> bool:
    """Whether a text has the form of a preset's name, which no Hub id and no path has."""
    return _PRESET.fullmatch(text) is not None


def is_model_name(text: str) -> bool:
    """Whether a text has the form of a preset's name, a Hub id, a directory or an image."""
    if is_place(text):
        return bool(text.partition(":")[2])
    return is_preset_name(text) or hub_name(text) is not None


class UnknownName(LookupError):
    """No preset or SKU has this name; the message lists the known ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind = kind
        self.name = name
        self.known = tuple(known)
        self.nearest = nearest(name, self.known)
        hint = f"did you mean {self.nearest}? " if self.nearest else ""
        super().__init__(f"{name!r} is not a {kind}; {hint}known are {', '.join(self.known)}")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most similar to the given one, or None if none is close."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    found = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None
