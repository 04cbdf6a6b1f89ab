"""Writes the golden YAML; with --check, only says what differs: `make golden`, `make lint`."""

from __future__ import annotations

import sys

from argotune.workflows.templates.golden import RENDERED_DIR, golden


def main(arguments: list[str]) -> int:
    """Write or compare; 1 when a file differs."""
    different = [
        name
        for name, text in golden().items()
        if not (RENDERED_DIR / name).exists() or (RENDERED_DIR / name).read_text() != text
    ]
    if arguments == ["--check"]:
        for name in different:
            print(f"workflows/rendered/{name} is not what its template builds: run `make golden`")
        return 1 if different else 0
    for name in different:
        (RENDERED_DIR / name).write_text(golden()[name])
        print(f"wrote workflows/rendered/{name}")
    return 0


sys.exit(main(sys.argv[1:]))
