"""Presets of one's own: in the file, of the installation, or of this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from argotune.presets.loader import model_preset_names
from argotune.steps.common import strict_yaml
from argotune.workflows.home_root import home_root
from argotune.workflows.workspace.config_map import ConfigMaps, FindConfigMap
from argotune.workflows.workspace.fields import Fields

PRESET_KEY = "model_preset.yaml"
"""Key of a ConfigMap in the file of a Workspace that is a preset."""
INSTALLED_PRESETS = "argotune-presets"
"""ConfigMap of an installation; each key is NAME.yaml of a preset."""
DIRECTORY = "presets"
"""Below the home of this machine, with a file NAME.yaml of each preset."""


def split_presets(config_maps: ConfigMaps) -> tuple[ConfigMaps, ConfigMaps]:
    """Split the ConfigMaps of a file into those without and those with a preset."""
    others = [each for each in config_maps if PRESET_KEY not in _data(each)]
    return others, [each for each in config_maps if PRESET_KEY in _data(each)]


class OwnPresets:
    """Finds presets by their names, those of the file first."""

    def __init__(
        self,
        fields: Fields,
        preset_maps: ConfigMaps,
        find_config_map: FindConfigMap | None,
    ) -> None:
        self._fields = fields
        self._maps = preset_maps
        self._find_config_map = find_config_map
        self._used: Mapping[str, Any] | None = None
        self.not_looked_at = ""
        """Why the presets of the installation were not looked at."""

    def find(self, name: str) -> str | None:
        """Return the text of a preset; None: there is none of this name."""
        named = [each for each in self._maps if _name_in(each) == name]
        if len(named) > 1:
            self._fields.problems.append(f"preset {name!r}: occurs {len(named)} times; keep one")
        if named:
            self._used = named[0]
            return str(_data(named[0])[PRESET_KEY])
        # Presets of one's own cannot have the names of argotune's.
        if name.lower() in model_preset_names():
            return None
        return self._of_installation(name) or text_of_this_machine(name)

    def _of_installation(self, name: str) -> str | None:
        if self._find_config_map is None:
            return None
        namespace = self._fields.get("metadata.namespace")
        namespace = namespace if isinstance(namespace, str) else None
        try:
            return self._find_config_map(namespace, INSTALLED_PRESETS, f"{name}.yaml")
        except LookupError as error:
            self.not_looked_at = str(error)
            return None

    def warn_of_unused(self) -> None:
        """Warn of what the file has and nothing names: presets, and other keys beside one."""
        for each in self._maps:
            name = f"ConfigMap {each['metadata']['name']!r}"
            if each is not self._used:
                self._fields.warnings.append(
                    f"{name}: not used; no preset.name is {_name_in(each)!r}"
                )
            self._fields.warnings += [
                f"{name}: data.{key}: has no effect beside {PRESET_KEY}; put it into a ConfigMap of"
                " its own"
                for key in _data(each).keys() - {PRESET_KEY}
            ]


def directory_of_this_machine() -> Path:
    """Return the directory with the presets of this machine, existing or not."""
    return home_root() / DIRECTORY


def files_of_this_machine() -> Sequence[Path]:
    """List the presets of this machine, sorted by name."""
    return sorted(directory_of_this_machine().glob("*.yaml"))


def text_of_this_machine(name: str) -> str | None:
    """Return the text of a preset of this machine; None: there is none of this name."""
    found = (path for path in files_of_this_machine() if path.stem == name)
    return next((path.read_text("utf-8") for path in found), None)


def _data(config_map: Mapping[str, Any]) -> Mapping[str, Any]:
    data = config_map.get("data")
    return data if isinstance(data, dict) else {}


def _name_in(config_map: Mapping[str, Any]) -> str:
    """The preset's name; of a text that is no preset the ConfigMap's, so that its use is told."""
    try:
        preset = strict_yaml.load(str(_data(config_map)[PRESET_KEY]))
    except strict_yaml.YamlProblem:
        preset = None
    name = preset.get("name") if isinstance(preset, dict) else None
    return str(name or config_map["metadata"]["name"])
