"""What a run is made of: the part of a Workspace whose change starts another run.

`metadata.generation` does not count changes of annotations, which are settings of the run, nor of
the ConfigMap, and counts a change that is taken back twice. So runs are known by a digest of their
content, and their names follow from the Workspace's UID, the run before and that digest: whoever
reconciles twice, or is killed in between, makes the same name, and the API server refuses the
second.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from argotune.steps.cluster.kube import Object
from argotune.steps.common import strict_yaml
from argotune.steps.common.yaml_limits import MAX_DEPTH
from argotune.steps.settings.run_settings import PREFIX
from argotune.workflows.workspace.config_map import CONFIG_KEY, INFERENCE_KEY
from argotune.workflows.workspace.documents import Texts
from argotune.workflows.workspace.operator_annotations import OPERATOR_ANNOTATIONS, RERUN

MOST_BYTES = 256 << 10
"""Of a Workspace that is read: thousands of URLs, and two seconds of a processor to refuse. The API
server takes six times as much."""
_LEAST_BYTES = 3
"""Of one value, such as {} and a comma."""
_UNREAD = "unread"
"""Field of the metadata, which the API server lets nobody set: why the content is not read."""
_NOT_KEPT = ("managedFields", "labels", "annotations")
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_SET_BY_THE_SERVER = ("apiVersion", "kind", "metadata", "status")
_HASH_CHARACTERS = 10
_LONGEST_PREFIX = 63 - _HASH_CHARACTERS - 1
"""A Workflow's name is the label of its pods."""


def kept(workspace: Object) -> Object:
    """Return the Workspace as it is remembered: without what nobody reads.

    Of one that is too large or too deep to be read only the metadata and the status stay.
    """
    metadata = workspace["metadata"]
    annotations = metadata.get("annotations") or {}
    lean = {
        **{name: part for name, part in metadata.items() if name not in _NOT_KEPT},
        "labels": metadata.get("labels") or {},
        "annotations": {name: it for name, it in annotations.items() if name != _LAST_APPLIED},
    }
    whole = {**workspace, "metadata": lean}
    content = [part for name, part in workspace.items() if name not in _SET_BY_THE_SERVER]
    problem = _extent_problem([*content, lean["labels"], lean["annotations"]])
    if not problem:
        return whole
    little = {name: part for name, part in whole.items() if name in _SET_BY_THE_SERVER}
    return {**little, "metadata": {**lean, "labels": {}, _UNREAD: problem}}


def unread_problem(workspace: Object) -> str:
    """Say why the content of a Workspace that is `kept` is not read; empty where it is."""
    return str(workspace["metadata"].get(_UNREAD, ""))


def _extent_problem(content: list[Any]) -> str:
    """Say that the values are too many or too deep; without recursion, which they would break."""
    size, level = 0, content
    for _ in range(MAX_DEPTH):
        size += _LEAST_BYTES * len(level)
        size += sum(len(str(each)) for each in level if not isinstance(each, dict | list))
        size += sum(len(name) for each in level if isinstance(each, dict) for name in each)
        if size > MOST_BYTES:
            break
        level = [
            part
            for each in level
            if isinstance(each, dict | list)
            for part in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return ""
    what = f"over {MOST_BYTES >> 10} KiB" if size > MOST_BYTES else f"nested over {MAX_DEPTH} deep"
    return f"the Workspace is {what}, and is not read; accepted is less"


def config_map_of(workspace: Object) -> tuple[str, str] | None:
    """Return name and key of the ConfigMap that the Workspace names; None where it names none."""
    for section, key in (("tuning", CONFIG_KEY), ("inference", INFERENCE_KEY)):
        content = workspace.get(section)
        name = content.get("config") if isinstance(content, dict) else None
        if isinstance(name, str) and name:
            return name, key
    return None


def content_digest(workspace: Object, config: str | None) -> str:
    """Return a digest of all that a run of the Workspace is made of; `config` is the ConfigMap's.

    Labels are not part of it: tools that apply Workspaces change theirs with each release. Whoever
    changes how it is computed has every Workspace of every installation run again.
    """
    content = {
        "config": config,
        "annotations": _settings(workspace),
        **{name: part for name, part in workspace.items() if name not in _SET_BY_THE_SERVER},
    }
    text = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def run_name(workspace: Object, digest: str, before: str, *, what: str = "") -> str:
    """Return the name of the run of this content after the run `before`, which may be empty.

    `what` stands in the name of a run that is no training, such as rollback.
    """
    metadata = workspace["metadata"]
    parts = json.dumps([metadata["uid"], before, digest, what])
    end = hashlib.sha256(parts.encode()).hexdigest()[:_HASH_CHARACTERS]
    prefix = "-".join(filter(None, [str(metadata["name"]), what]))
    return f"{prefix[:_LONGEST_PREFIX].rstrip('-.')}-{end}"


def as_texts(workspace: Object) -> Texts:
    """Return the Workspace as the file that a person would submit, without what is not its own."""
    metadata = workspace["metadata"]
    document = {
        **{name: part for name, part in workspace.items() if name != "status"},
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "labels": metadata.get("labels") or {},
            "annotations": {
                f"{PREFIX}{name}": text
                for name, text in _settings(workspace).items()
                if name not in OPERATOR_ANNOTATIONS
            },
        },
    }
    source = f"Workspace {metadata['namespace']}/{metadata['name']}"
    return [(source, strict_yaml.dump(document))]


def _settings(workspace: Object) -> Mapping[str, Any]:
    """Select the annotations that a run is made of, by their names without the prefix."""
    annotations = workspace["metadata"].get("annotations") or {}
    ours = {
        name.removeprefix(PREFIX): text
        for name, text in annotations.items()
        if name.startswith(PREFIX)
    }
    return {
        name: text
        for name, text in ours.items()
        if name == RERUN or name not in OPERATOR_ANNOTATIONS
    }
