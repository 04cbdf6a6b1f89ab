"""The root of what argotune stores on this machine: $ARGOTUNE_HOME, or ~/.argotune."""

from __future__ import annotations

import os
from pathlib import Path

HOME_VARIABLE = "ARGOTUNE_HOME"


def home_root() -> Path:
    """Return the directory that the environment names, existing or not."""
    return Path(os.environ.get(HOME_VARIABLE) or default_root()).absolute()


def default_root() -> Path:
    """Return the directory where the environment names none."""
    return Path.home() / ".argotune"
