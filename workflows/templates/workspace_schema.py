"""The schema of a Workspace's fields: the names of the reader, its rules and its words.

Which fields there are is the reader's `FIELDS`; this file has their types. A field that is unknown
is kept by the API server, so that the operator refuses it by name and says which one is meant.
Without that the server drops it in silence for every client that does not ask for strictness, as
Kaito's own definition does.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from argotune.presets.schema import Method
from argotune.steps.common.values import DNS_LABEL_PATTERN
from argotune.steps.contracts.service_plan import MOST_ADAPTERS
from argotune.workflows.workspace.fields import (
    DNS_LABEL,
    FIELDS,
    NOT_BOTH,
    REFUSED,
    WITHOUT_EFFECT,
)
from argotune.workflows.workspace.inference import ADAPTER_FIELDS, ONE_SOURCE, SOURCE_FIELDS
from argotune.workflows.workspace.input import ONE_KIND
from argotune.workflows.workspace.meanings import MEANINGS
from argotune.workflows.workspace.model import ADAPTERS
from argotune.workflows.workspace.preset import ACCESS_MODES
from argotune.workflows.workspace.resource import NO_SELECTOR, ONE_NODE, V1ALPHA1_INSTANCE_TYPE

Schema = dict[str, Any]


def _list_of(items: Schema) -> Schema:
    return {"type": "array", "items": items, "x-kubernetes-list-type": "atomic"}


_ITEM = f"{ADAPTERS}[]"
_OBJECTS = {**FIELDS, _ITEM: ADAPTER_FIELDS, f"{_ITEM}.source": SOURCE_FIELDS}
"""Fields of each object by its path."""
_OF_SERVER = ("apiVersion", "kind", "metadata", "status")
"""Fields that every kind has, or that have a schema of their own."""
_KEPT = {"x-kubernetes-preserve-unknown-fields": True}
_TEXT = {"type": "string"}
_ANY_OBJECT = {"type": "object", **_KEPT}
_CLAIM = {
    **_ANY_OBJECT,
    "properties": {
        "persistentVolumeClaim": {
            **_ANY_OBJECT,
            "description": "a PersistentVolumeClaim of the namespace",
            "properties": {"claimName": {**_TEXT, "description": "its name"}},
        }
    },
}
_TEXTS = _list_of(_TEXT)
# Names of Secrets as in Kaito, or Kubernetes' references {name: NAME}.
_SECRETS = _list_of(_KEPT)
_TYPES: Mapping[str, Schema] = {
    "resource.count": {"type": "integer"},
    "resource.partition": _ANY_OBJECT,
    "resource.preferredNodes": _TEXTS,
    "resource.labelSelector.matchLabels": {"type": "object", "additionalProperties": _TEXT},
    "resource.labelSelector.matchExpressions": {"type": "array", "items": _ANY_OBJECT},
    "tuning.input.urls": _TEXTS,
    "tuning.input.validationUrls": _TEXTS,
    "tuning.input.volumeSource": _CLAIM,
    "tuning.input.imagePullSecrets": _SECRETS,
    "tuning.output.volumeSource": _CLAIM,
    "tuning.preset.presetOptions.imagePullSecrets": _TEXTS,
    "inference.preset.presetOptions.imagePullSecrets": _TEXTS,
    "inference.template": _ANY_OBJECT,
    f"{_ITEM}.source.urls": _TEXTS,
    f"{_ITEM}.source.volumeSource": _CLAIM,
    f"{_ITEM}.source.imagePullSecrets": _SECRETS,
}
"""Types of the fields that are no texts."""
_REQUIRED: Mapping[str, list[str]] = {
    "tuning": ["preset", "method", "input", "output"],
    "tuning.preset": ["name"],
    "tuning.output": ["image"],
    "inference": ["preset"],
    "inference.preset": ["name"],
    _ITEM: ["source"],
    f"{_ITEM}.source": ["name"],
}
_DESCRIPTIONS: Mapping[str, str] = {
    **MEANINGS,
    **{path: f"has no effect: {reason}" for path, reason in WITHOUT_EFFECT.items()},
    **REFUSED,
    "": "a language model that is tuned or served, as in Kaito; argotune runs it as an Argo"
    " Workflow",
    "resource": "the machine",
    "resource.count": f"number of nodes; {ONE_NODE}",
    "resource.labelSelector": "which nodes are used",
    "tuning": "training of an adapter; a service with it follows",
    "tuning.preset": "the base model",
    "tuning.input": "the dataset; accepted is exactly one of urls, image and volumeSource",
    "tuning.output": "where the adapter goes",
    "inference": "a service without training",
    "inference.preset.name": MEANINGS["tuning.preset.name"],
    ADAPTERS: f"adapters that are served beside the base model, at most {MOST_ADAPTERS}",
    _ITEM: "an adapter",
    f"{_ITEM}.source": f"where the adapter is; {ONE_SOURCE}",
    f"{_ITEM}.source.urls": f"not supported; {ONE_SOURCE}",
    **{
        f"{section}.preset.{name}": meaning
        for section in ("tuning", "inference")
        for name, meaning in {
            "accessMode": "private: presetOptions.image has the weights",
            "presetOptions": "where the weights come from",
            "presetOptions.image": "image with the weights, in place of the preset's",
            "presetOptions.modelAccessSecret": "Secret with the Hub's token, HF_TOKEN",
        }.items()
    },
}
_URLS = "has(self.urls) && size(self.urls) > 0"
_IMAGE = "has(self.image) && self.image != ''"
_VOLUME = "has(self.volumeSource)"
_LINK = re.compile(r" \(\[[^\]]+\]\([^)]+\)\)")
"""A link of Markdown, which leads nowhere from `kubectl explain`."""


def fields_schema(*, is_older: bool) -> Schema:
    """Build the schema without status; that of the older version has one default more."""
    schema = _object("")
    if is_older:
        resource = schema["properties"]["resource"]
        # It is stored in the newer version, where a missing one means existing nodes.
        resource["default"] = {}
        resource["properties"]["instanceType"]["default"] = V1ALPHA1_INSTANCE_TYPE
    return schema


def _object(path: str) -> Schema:
    children = {name: f"{path}.{name}".lstrip(".") for name in _OBJECTS[path]}
    found = {
        **_ANY_OBJECT,
        "properties": {
            name: _field(child) for name, child in children.items() if child not in _OF_SERVER
        },
    }
    if path in _REQUIRED:
        found["required"] = list(_REQUIRED[path])
    return _described(found, path)


def _field(path: str) -> Schema:
    if path in _OBJECTS:
        return _object(path)
    if path == ADAPTERS:
        found = {**_list_of(_object(_ITEM)), "maxItems": MOST_ADAPTERS}
    else:
        found = copy.deepcopy(_TYPES.get(path, _TEXT))
    return _described(found, path)


def _described(schema: Schema, path: str) -> Schema:
    rules = [{"rule": rule, "message": message} for rule, message in _rules(path, schema["type"])]
    described = {"description": _LINK.sub("", _DESCRIPTIONS[path]), **schema}
    return {**described, "x-kubernetes-validations": rules} if rules else described


def _rules(path: str, type: str) -> Iterator[tuple[str, str]]:
    """Yield conditions of CEL, each with what is said where it does not hold."""
    if path in REFUSED:
        yield (
            {"string": "self == ''", "array": "size(self) == 0", "object": "false"}[type],
            (REFUSED[path]),
        )
    name = path.rpartition(".")[2]
    if name == "accessMode":
        yield f"self in {['', *ACCESS_MODES]}", f"accepted are {_words(ACCESS_MODES)}"
    match path:
        case "":
            yield (
                f"self.metadata.name.matches('^({DNS_LABEL_PATTERN})$')",
                (f"metadata.name: accepted are {DNS_LABEL}"),
            )
            yield "!(has(self.tuning) && has(self.inference))", NOT_BOTH
            yield (
                "has(self.tuning) || has(self.inference)",
                ("missing; accepted is one of tuning and inference"),
            )
        case "resource":
            yield (
                ("!has(self.instanceType) || self.instanceType == '' || has(self.labelSelector)"),
                f"labelSelector: {NO_SELECTOR}",
            )
        case "resource.count":
            yield "self == 1", ONE_NODE
        case "tuning.method":
            methods = get_args(Method)
            yield f"self.lowerAscii() in {list(methods)}", f"accepted are {_words(methods)}"
        case "tuning.input":
            yield _exactly_one(_URLS, _IMAGE, _VOLUME), ONE_KIND
        case _ if path == f"{_ITEM}.source":
            yield _exactly_one(_IMAGE, _VOLUME), ONE_SOURCE


def _exactly_one(*given: str) -> str:
    return f"[{', '.join(given)}].exists_one(given, given)"


def _words(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
