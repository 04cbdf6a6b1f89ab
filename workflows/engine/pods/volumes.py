"""Volumes as directories of this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from argotune.workflows.engine.errors import PodError, naming
from argotune.workflows.engine.model import JsonObject
from argotune.workflows.engine.pods.inside import (
    absolute_inside,
    plain_name,
    refuse_link_outside,
    relative_inside,
)
from argotune.workflows.engine.pods.paths import Mount
from argotune.workflows.engine.state.documents import Catalog


class VolumeStore:
    """Finds or makes the directory of each volume."""

    def __init__(
        self, *, claims_dir: Path, run_claims_dir: Path, claim_templates: Sequence[str],
        catalog: Catalog,
    ) -> None:  # fmt: skip
        self._claims_dir = claims_dir
        self._run_claims_dir = run_claims_dir
        self._claim_templates = frozenset(claim_templates)
        self._catalog = catalog

    def mounts(
        self, container: JsonObject, volumes: Sequence[JsonObject], pod_dir: Path
    ) -> list[Mount]:
        """The container's mounts.

        Raises PodError for a volume that is not declared or does not exist.
        """
        declared = {volume["name"]: volume for volume in volumes}
        made: dict[str, Path] = {}
        found: list[Mount] = []
        for mount in container.get("volumeMounts") or []:
            name = mount["name"]
            if name not in made:
                made[name] = self._directory(name, declared.get(name), pod_dir)
            found.append(_mount(mount, made[name]))
        return found

    def _directory(self, name: str, volume: JsonObject | None, pod_dir: Path) -> Path:
        if volume is None:
            if name not in self._claim_templates:
                raise PodError(f"volume {name!r} is mounted but not declared")
            return _make_directory(self._run_claims_dir / plain_name(name, "volume"))
        if claim := volume.get("persistentVolumeClaim"):
            return _make_directory(self._claims_dir / plain_name(claim["claimName"], "claimName"))
        directory = _make_directory(pod_dir / "volumes" / plain_name(name, "volume"))
        if (secret := volume.get("secret")) is not None:
            self._write_secret(secret, directory)
        elif (config_map := volume.get("configMap")) is not None:
            self._write_config_map(config_map, directory)
        return directory

    def _write_secret(self, source: JsonObject, directory: Path) -> None:
        name = source["secretName"]
        values = self._catalog.secret_files(name)
        _write(directory, f"secret {name!r}", values, source)

    def _write_config_map(self, source: JsonObject, directory: Path) -> None:
        name = source["name"]
        values = self._catalog.config_maps.get(name)
        encoded = None if values is None else {k: v.encode() for k, v in values.items()}
        _write(directory, f"configMap {name!r}", encoded, source)


def _write(
    directory: Path, label: str, values: Mapping[str, bytes] | None, source: Mapping[str, Any]
) -> None:
    optional = bool(source.get("optional"))
    if values is None:
        if optional:
            return
        raise PodError(f"{label} was not found")
    items = source.get("items") or [{"key": key, "path": key} for key in values]
    for item in items:
        if item["key"] in values:
            inner = relative_inside(item["path"], f"{label}: path")
            _write_private(directory / inner, values[item["key"]])
        elif not optional:
            raise PodError(f"{label} has no key {item['key']!r}")


def _write_private(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch(mode=0o600)
    with naming(file):
        file.write_bytes(content)


def _mount(mount: JsonObject, directory: Path) -> Mount:
    host = directory
    if mount.get("subPath"):
        host = directory / relative_inside(mount["subPath"], "subPath")
        refuse_link_outside(host, [directory], f"subPath {mount['subPath']!r}")
        if not host.exists():
            _make_directory(host)
    path = absolute_inside(mount["mountPath"], "mountPath")
    return Mount(host, path, bool(mount.get("readOnly")))


def _make_directory(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    return directory
