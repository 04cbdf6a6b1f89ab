"""Names that are not known, and the known one that was meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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
