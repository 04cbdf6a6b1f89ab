"""What keeps a pod's files inside its own directory and its volumes.

The documents may be somebody else's, and what ran before in a volume may have left links there.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from argotune.workflows.engine.errors import PodError


def is_absolute_inside(path: str) -> bool:
    """Whether a container's path begins at `/` and never goes up."""
    parsed = PurePosixPath(path)
    return parsed.is_absolute() and ".." not in parsed.parts


def is_relative_inside(path: str) -> bool:
    """Whether a path of a volume is relative and never goes up."""
    parsed = PurePosixPath(path)
    return not parsed.is_absolute() and ".." not in parsed.parts


def absolute_inside(path: str, where: str) -> str:
    """The path. Raises PodError, with the field's name `where`, if it could lead out."""
    if not is_absolute_inside(path):
        raise PodError(f"{where} {path!r} must be absolute and without '..'")
    return path


def relative_inside(path: str, where: str) -> PurePosixPath:
    """The path. Raises PodError, with the field's name `where`, if it could lead out."""
    if not is_relative_inside(path):
        raise PodError(f"{where} {path!r} must be relative and without '..'")
    return PurePosixPath(path)


def plain_name(name: str, where: str) -> str:
    """The name. Raises PodError, with the field's name `where`, if it is more than one name."""
    if name in ("", ".", "..") or "/" in name:
        raise PodError(f"{where} {name!r} must be a name without '/'")
    return name


def refuse_link_outside(file: Path, roots: Iterable[Path], what: str) -> None:
    """Raise PodError, with `what` leads out, unless `file` is in a root after symbolic links."""
    real = Path(os.path.realpath(file))
    if not any(real.is_relative_to(os.path.realpath(root)) for root in roots):
        raise PodError(f"{what} leads out of the pod's directory and volumes by a symbolic link")
