"""The YAML of every template, as workflows/rendered holds it."""

from __future__ import annotations

from pathlib import Path

from workflows.templates import finetune, retrain

RENDERED_DIR = Path(__file__).parent.parent / "rendered"
_HEADER = "# Written by `make golden` from workflows/templates/{}.py; edit that.\n"


def golden() -> dict[str, str]:
    """File name to YAML text."""
    texts = {module: module.build().to_yaml() for module in (finetune, retrain)}
    return {f"{m.NAME}.yaml": _HEADER.format(m.NAME) + text for m, text in texts.items()}
