"""Writes the golden YAML and the README's graph of it.

With --check it only reports the files that differ. `make golden` and `make lint` run it.
"""

from __future__ import annotations

import sys

from argotune.workflows.templates.golden import README, RENDERED_DIR, golden, page_with_graph


def main(arguments: list[str]) -> int:
    """Write or compare the files; returns 1 when one differs."""
    check = arguments == ["--check"]
    different = [
        name
        for name, text in golden().items()
        if not (RENDERED_DIR / name).exists() or (RENDERED_DIR / name).read_text() != text
    ]
    for name in different:
        if check:
            print(f"workflows/rendered/{name} is not what its template builds: run `make golden`")
        else:
            (RENDERED_DIR / name).write_text(golden()[name])
            print(f"wrote workflows/rendered/{name}")
    # The graph is made from the YAML that was just written.
    page = README.read_text()
    drawn = page_with_graph(page)
    if drawn != page:
        different.append(README.name)
        if check:
            print("README.md's graph is not that of workflows/rendered: run `make golden`")
        else:
            README.write_text(drawn)
            print("wrote README.md's graph")
    return 1 if check and different else 0


sys.exit(main(sys.argv[1:]))
