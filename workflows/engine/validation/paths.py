"""Paths and names of a pod that would lead out of its directory and its volumes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from argotune.workflows.engine.model import JsonObject
from argotune.workflows.engine.pods.inside import is_absolute_inside, is_relative_inside

_PARAMETER_NAME = re.compile(r"^[-a-zA-Z0-9_]+$")  # of artifacts too
_VOLUME_NAME = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")


def path_problems(
    template: JsonObject, container: JsonObject, volumes: Sequence[JsonObject]
) -> Iterator[str]:
    """Why files of a container or script template are not in their places.

    A path that holds a tag is only known when its pod is made, and is checked then.
    """
    for where, path in _absolute_paths(template, container):
        if _is_given(path) and not is_absolute_inside(path):
            yield f"{where} {path!r} must be absolute and without '..'"
    for mount in container.get("volumeMounts") or []:
        yield from _mount_problems(mount)
    mounted = {mount.get("name") for mount in container.get("volumeMounts") or []}
    for volume in volumes:
        if volume.get("name") in mounted:
            yield from _volume_problems(volume)


def file_name_problems(template: JsonObject) -> Iterator[str]:
    """The parameters and artifacts whose names are none of Argo's."""
    for side in ("inputs", "outputs"):
        for kind in ("parameters", "artifacts"):
            for item in (template.get(side) or {}).get(kind) or []:
                name = str(item.get("name") or "")
                if not _PARAMETER_NAME.match(name):
                    yield (
                        f"{side}.{kind}: name {name!r} is invalid: names must consist of"
                        " alpha-numeric characters, '_' or '-'"
                    )


def _absolute_paths(template: JsonObject, container: JsonObject) -> Iterator[tuple[str, Any]]:
    for parameter in (template.get("outputs") or {}).get("parameters") or []:
        where = f"outputs.parameters.{parameter.get('name')}.valueFrom.path"
        yield where, (parameter.get("valueFrom") or {}).get("path")
    for artifact in (template.get("inputs") or {}).get("artifacts") or []:
        yield f"inputs.artifacts.{artifact.get('name')}.path", artifact.get("path")
    for field in ("workingDir", "terminationMessagePath"):
        yield field, container.get(field)


def _mount_problems(mount: JsonObject) -> Iterator[str]:
    path, sub_path = (str(mount.get(field) or "") for field in ("mountPath", "subPath"))
    if not path.strip("/"):
        yield f"mountPath {path!r} must be a directory below /"
    elif _is_given(path) and not is_absolute_inside(path):
        yield f"mountPath {path!r} must be absolute and without '..'"
    if _is_given(sub_path) and not is_relative_inside(sub_path):
        yield f"subPath {sub_path!r} must be relative and without '..'"


def _volume_problems(volume: JsonObject) -> Iterator[str]:
    name = str(volume.get("name") or "")
    if not _VOLUME_NAME.match(name):
        yield (
            f"volume {name!r}: the name is invalid: use lower-case letters, digits and '-', with a"
            " letter or digit at both ends"
        )
    for kind in ("secret", "configMap"):
        for item in (volume.get(kind) or {}).get("items") or []:
            path = str(item.get("path") or "")
            if _is_given(path) and not is_relative_inside(path):
                yield f"volume {name}: path {path!r} must be relative and without '..'"


def _is_given(path: Any) -> bool:
    return bool(path) and "{{" not in path
