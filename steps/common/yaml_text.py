"""YAML that argotune writes: for people to read, and the same values when it is read again."""

from __future__ import annotations

import yaml

from argotune.steps.common.printable import printable


def dump(*documents: object) -> str:
    """The documents as one YAML text, with nothing in it that `printable` would change."""
    text = _dump(documents, allow_unicode=True)
    # YAML leaves bidi controls as they are. In ASCII all of them are escaped, and letters too.
    return text if printable(text) == text else _dump(documents, allow_unicode=False)


def _dump(documents: tuple[object, ...], *, allow_unicode: bool) -> str:
    text: str = yaml.safe_dump_all(
        documents, sort_keys=False, allow_unicode=allow_unicode, width=100
    )
    return text
