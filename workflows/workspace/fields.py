"""Which fields a Workspace has, and reading one by its path."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from argotune.presets.names import nearest

FLAGS = (
    "name",
    "preset",
    "method",
    "urls",
    "output-image",
    "push-secret",
    "instance-type",
    "volume-size",
    "storage-class",
)
"""What a flag of its own replaces; `--set` gives all other settings."""
_PREFIX = "argotune.dev/"
"""Of annotations, which `--set` does without."""
_PRESET = ("name", "accessMode", "presetOptions")
_PRESET_OPTIONS = (
    "image",
    "imagePullSecrets",
    "modelAccessSecret",
    "modelWeightsPVC",
    "modelWeightsSubPath",
)
# Kaito 0.12, api/v1beta1/workspace_types.go; v1alpha1 has the same names. Fields below a path that
# is not listed here are not checked.
FIELDS: Mapping[str, tuple[str, ...]] = {
    "": ("apiVersion", "kind", "metadata", "resource", "inference", "tuning", "status"),
    "metadata": (
        "name",
        "namespace",
        "labels",
        "annotations",
        # Set by the API server, and therefore in the output of `kubectl get -o yaml`.
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "finalizers",
        "generateName",
        "generation",
        "managedFields",
        "ownerReferences",
        "resourceVersion",
        "selfLink",
        "uid",
    ),
    "resource": ("count", "instanceType", "labelSelector", "partition", "preferredNodes"),
    "resource.labelSelector": ("matchLabels", "matchExpressions"),
    "tuning": ("preset", "method", "config", "input", "output"),
    "tuning.preset": _PRESET,
    "tuning.preset.presetOptions": _PRESET_OPTIONS,
    "inference": ("preset", "template", "config", "adapters"),
    "inference.preset": _PRESET,
    "inference.preset.presetOptions": _PRESET_OPTIONS,
    # Kaito has neither validationUrls nor adapter.
    "tuning.input": (
        "name",
        "urls",
        "validationUrls",
        "adapter",
        "image",
        "volumeSource",
        "imagePullSecrets",
    ),
    "tuning.output": ("image", "imagePushSecret", "volumeSource"),
}

DNS_LABEL = "lower-case letters, digits and '-', a letter first, at most 63"
"""What is accepted as the name of a Workspace."""
NOT_BOTH = "accepted is one of tuning and inference, not both"
_WEIGHTS_ON_A_VOLUME = (
    f"not supported; weights on a volume are {_PREFIX}model-source: dir:DIRECTORY"
)
REFUSED: Mapping[str, str] = {
    "resource.partition": "a part of a GPU is not supported; accepted is to leave it out",
    "resource.labelSelector.matchExpressions": "not supported; accepted is matchLabels",
    "inference.template": "a pod of one's own is not supported; accepted is inference.preset",
    **{
        f"{section}.preset.presetOptions.{name}": reason
        for section in ("tuning", "inference")
        for name, reason in {
            "modelWeightsPVC": _WEIGHTS_ON_A_VOLUME,
            "modelWeightsSubPath": _WEIGHTS_ON_A_VOLUME,
            "imagePullSecrets": "not supported; accepted is an image that needs no login",
        }.items()
    },
}
"""Fields of Kaito that a file must leave out or empty, with the reason."""
WITHOUT_EFFECT: Mapping[str, str] = {
    "resource.preferredNodes": "nodes are found by resource.labelSelector (deprecated in Kaito)",
    "tuning.input.name": "all files make one dataset",
}
"""Fields that are warned about, with the reason."""


def flag_of(setting: str) -> str:
    """Return how the command line names a setting that replaces one of the file."""
    if setting == "urls":
        return "--url"
    return f"--{setting}" if setting in FLAGS else f"--set {setting}"


def unknown_setting(name: str, text: str, known: Collection[str]) -> str:
    """Say of a `--set` that there is no such setting, and which one may be meant."""
    short = name.removeprefix(_PREFIX)
    near = short if short in known else nearest(short, known)
    advice = f"did you mean {near}?" if near else f"known are {', '.join(known)}"
    if name != short:
        meant = f": {near}" if near else f"; known are {', '.join(known)}"
        advice = f"accepted are names without {_PREFIX}{meant}"
    return f"--set {f'{name}={text}'!r}: no setting {name}; {advice}"


class Fields:
    """The fields of one manifest; flags of the command line replace some of them."""

    def __init__(self, document: Mapping[str, Any], overrides: Mapping[str, str]) -> None:
        self.document = document
        self.overrides = overrides
        self.problems: list[str] = []
        """Problems for every command."""
        self.warnings: list[str] = []
        self.host_warnings: list[str] = []
        """Of hosts inside a private network, which only an installation may permit."""
        self.placeholders: list[str] = []
        """Fields that the user must fill in before anything runs."""

    def get(self, path: str) -> Any:
        """Return the value at a path; None where it or a parent is missing."""
        value: Any = self.document
        for name in path.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        return value

    def shown(self, path: str, flag: str | None) -> str:
        """Return where the user wrote it: the field's path, or the flag."""
        return flag_of(flag) if flag is not None and flag in self.overrides else path

    def text(self, path: str, *, flag: str | None = None) -> str | None:
        """Read a text; None where it is missing or empty. Anything else is a problem."""
        value = self.get(path)
        if flag is not None:
            value = self.overrides.get(flag, value)
        if value is None or value == "":
            return None
        if not isinstance(value, str):
            self.problems.append(f"{path}: {value!r}; accepted is a text")
            return None
        return value

    def required_text(self, path: str, accepted: str, *, flag: str | None = None) -> str | None:
        """Read a text; a missing one is a problem."""
        before = len(self.problems)
        value = self.text(path, flag=flag)
        if value is None and len(self.problems) == before:
            self.problems.append(f"{self.shown(path, flag)}: missing; accepted is {accepted}")
        return value

    def texts(self, path: str) -> list[str]:
        """Read a list of texts; empty where it is missing.

        Anything else is a problem. An item that is not a text becomes an empty one, so that the
        others keep their index.
        """
        value = self.get(path)
        if value is None:
            return []
        if not isinstance(value, list):
            self.problems.append(f"{path}: {value!r}; accepted is a list of texts")
            return []
        for index, item in enumerate(value):
            if not isinstance(item, str) or not item:
                self.problems.append(f"{path}[{index}]: {item!r}; accepted is a text")
        return [item if isinstance(item, str) else "" for item in value]

    def mapping(self, path: str) -> dict[str, str]:
        """Read a mapping of texts; empty where it is missing. Anything else is a problem."""
        value = self.get(path)
        if not isinstance(value, dict):
            if value is not None:
                self.problems.append(f"{path}: {value!r}; accepted is a mapping of texts")
            return {}
        for name, text in value.items():
            if not isinstance(name, str) or not isinstance(text, str):
                self.problems.append(f"{path}.{name}: {text!r}; accepted is a text, in quotes")
        return {str(name): text for name, text in value.items() if isinstance(text, str)}


def check_fields(fields: Fields) -> None:
    """Report fields that Kaito does not have and would drop without a message."""
    _check(fields.document, "", fields.problems)


def _check(value: Mapping[str, Any], path: str, problems: list[str]) -> None:
    for name, child in value.items():
        child_path = f"{path}.{name}".lstrip(".")
        if name not in FIELDS[path]:
            problems.append(f"{child_path}: unknown field; {_advice(str(name), path)}")
        elif child_path in FIELDS and isinstance(child, dict):
            _check(child, child_path, problems)
        elif child_path in FIELDS and child is not None:
            problems.append(f"{child_path}: {child!r}; accepted is a mapping")


def _advice(name: str, path: str) -> str:
    elsewhere = [f"{home}.{name}".lstrip(".") for home, known in FIELDS.items() if name in known]
    if elsewhere:
        return f"did you mean {' or '.join(elsewhere)}?"
    found = nearest(name, FIELDS[path])
    return f"did you mean {found}?" if found else f"known are {', '.join(sorted(FIELDS[path]))}"


class WorkspaceError(Exception):
    """Every problem of the files, each with the field's path, its value, and what is accepted."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        super().__init__("; ".join(self.problems))
