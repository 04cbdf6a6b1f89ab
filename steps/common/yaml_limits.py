"""Limits on YAML that others write, checked before any of it is built.

An alias costs a few characters and stands for all that its anchor holds: 500 bytes of them can mean
gigabytes. Nesting costs one character a level, and libyaml's composer overflows the C stack on it.
Reading events alone does neither.
"""

from __future__ import annotations

from typing import Any

import yaml

MAX_DEPTH = 100
"""Most collections inside one another; Kubernetes' own objects nest about 30."""
MAX_BYTES = 16 << 20
"""Most memory of a text's values with every alias written out; the API server takes 3 MiB."""
_VALUE_BYTES = 64
"""About what one value takes beside the characters of its text."""

# libyaml's parser is ten times faster; not every build of PyYAML has it.
SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def check_limits(text: str) -> None:
    """Raise yaml.MarkedYAMLError, with the place, if the text exceeds a limit.

    Raises yaml.YAMLError if the text is not YAML.
    """
    extent = _Extent()
    event: Any
    for event in yaml.parse(text, Loader=SafeLoader):
        problem = extent.add(event)
        if problem is not None:
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)


class _Extent:
    """Depth and size of the events so far."""

    def __init__(self) -> None:
        self._bytes = 0
        self._open: list[tuple[str | None, int]] = []
        self._anchors: dict[str, int | None] = {}

    def add(self, event: yaml.Event) -> str | None:
        """The limit that the event exceeds, or None."""
        before = self._bytes
        match event:
            case yaml.DocumentStartEvent():
                self._anchors.clear()
            case yaml.ScalarEvent():
                self._bytes += _VALUE_BYTES + len(event.value)
                self._remember(event.anchor, self._bytes - before)
            case yaml.AliasEvent():
                size = self._anchors.get(str(event.anchor), 0)
                if size is None:
                    return f"the alias *{event.anchor} stands inside what it names"
                self._bytes += size
            case yaml.CollectionStartEvent():
                self._bytes += _VALUE_BYTES
                self._open.append((event.anchor, before))
                self._remember(event.anchor, None)
            case yaml.CollectionEndEvent():
                anchor, start = self._open.pop()
                self._remember(anchor, self._bytes - start)
        if len(self._open) > MAX_DEPTH:
            return f"over {MAX_DEPTH} lists and mappings inside one another are not accepted"
        if self._bytes > MAX_BYTES:
            return (
                f"over {MAX_BYTES >> 20} MiB of values, with aliases written out, are not accepted"
            )
        return None

    def _remember(self, anchor: str | None, size: int | None) -> None:
        """Note the size in bytes of what an anchor names; None while it is open."""
        if anchor is not None:
            self._anchors[anchor] = size
