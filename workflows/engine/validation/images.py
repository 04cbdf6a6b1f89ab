"""Whether a container can run on this machine, and what to do if it cannot."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping

from argotune.workflows.engine.language.substitute import Scope, substitute_text
from argotune.workflows.engine.model import JsonObject
from argotune.workflows.engine.pods.factory import FIELDS
from argotune.workflows.engine.pods.process import find_command
from argotune.workflows.engine.state.documents import Catalog


def container_problems(
    container: JsonObject, runtime: str, environ: Mapping[str, str]
) -> Iterator[str]:
    """Why a container cannot start; a command that only the run knows is not checked."""
    image = container.get("image") or ""
    command = container.get("command") or []
    if runtime != "process":
        if not image:
            yield "image may not be empty"
        return
    if not command:
        yield (
            f"command is missing: processes do not use image {image}, which would set it; set "
            "command, or use --runtime docker"
        )
        return
    program = command[0]
    own_path = [v.get("value") for v in container.get("env") or [] if v.get("name") == "PATH"]
    if "{{" in program or own_path or _is_in_volume(program, container):
        return
    if find_command(program, environ) is None:
        yield (
            f"command {program!r} of image {image} does not exist on this machine: install it, "
            "or use --runtime docker"
        )


def _is_in_volume(program: str, container: JsonObject) -> bool:
    return any(
        program.startswith(f"{mount.get('mountPath', '').rstrip('/')}/")
        for mount in container.get("volumeMounts") or []
    )


def runtime_problems(runtime: str, environ: Mapping[str, str]) -> Iterator[str]:
    """The problem if docker or podman is selected and does not exist."""
    if runtime != "process" and shutil.which(runtime, path=environ.get("PATH")) is None:
        yield f"--runtime {runtime}: {runtime} does not exist on this machine: install it"


def reference_problems(
    container: JsonObject, volumes: list[JsonObject], catalog: Catalog, scope: Scope
) -> Iterator[str]:
    """Secrets, ConfigMaps and fields that a container needs and that do not exist."""
    for variable in container.get("env") or []:
        where = f"env {variable.get('name')}"
        source = variable.get("valueFrom") or {}
        path = (source.get("fieldRef") or {}).get("fieldPath")
        if path is not None and path not in FIELDS:
            yield f"{where}: fieldPath {path!r} is not supported by the local engine"
        yield from _key(where, source.get("secretKeyRef"), "secret", catalog, scope)
        yield from _key(where, source.get("configMapKeyRef"), "configMap", catalog, scope)
    for source in container.get("envFrom") or []:
        yield from _whole("envFrom", source.get("secretRef"), "name", "secret", catalog, scope)
        yield from _whole(
            "envFrom", source.get("configMapRef"), "name", "configMap", catalog, scope
        )
    mounted = {mount.get("name") for mount in container.get("volumeMounts") or []}
    for volume in volumes:
        if volume.get("name") in mounted:
            where = f"volume {volume['name']}"
            secret, config_map = volume.get("secret"), volume.get("configMap")
            yield from _whole(where, secret, "secretName", "secret", catalog, scope)
            yield from _whole(where, config_map, "name", "configMap", catalog, scope)


def _whole(
    where: str, reference: JsonObject | None, field: str, kind: str, catalog: Catalog, scope: Scope
) -> Iterator[str]:
    if reference is None or reference.get("optional"):
        return
    name = substitute_text(str(reference.get(field) or ""), scope)
    if "{{" not in name and _keys(kind, name, catalog) is None:
        yield f"{where}: {kind} {name!r} was not found: {_remedy(kind)}"


def _key(
    where: str, reference: JsonObject | None, kind: str, catalog: Catalog, scope: Scope
) -> Iterator[str]:
    if reference is None or reference.get("optional"):
        return
    name = substitute_text(str(reference.get("name") or ""), scope)
    key = substitute_text(str(reference.get("key") or ""), scope)
    if "{{" in name or "{{" in key:
        return
    keys = _keys(kind, name, catalog)
    if keys is None:
        yield f"{where}: {kind} {name!r} was not found: {_remedy(kind)}"
    elif key not in keys:
        yield f"{where}: {kind} {name!r} has no key {key!r}"


def _keys(kind: str, name: str, catalog: Catalog) -> set[str] | None:
    if kind == "configMap":
        found = catalog.config_maps.get(name)
        return None if found is None else set(found)
    secret = catalog.secret(name)
    return None if secret is None else set(secret)


def _remedy(kind: str) -> str:
    if kind == "configMap":
        return "add it to the documents"
    return "add it to the documents, or pass a directory for it"
