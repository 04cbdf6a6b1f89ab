"""How an API server answers a list: selectors of labels, pages, and metadata alone."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

Object = dict[str, Any]

_METADATA = "as=PartialObjectMetadata"


def has_labels(item: Object, selector: str) -> bool:
    """Whether a labelSelector of `key`, `!key`, `key=value` and `key!=value` selects the object."""
    labels = item["metadata"].get("labels") or {}
    return all(_meets(labels, term) for term in filter(None, selector.split(",")))


def has_fields(item: Object, selector: str) -> bool:
    """Whether a fieldSelector of `path=value` and `path!=value` selects the object."""
    for term in filter(None, selector.split(",")):
        path, operator, wanted = re.split(r"(!=|=)", term, maxsplit=1)
        value: Any = item
        for part in path.split("."):
            value = (value or {}).get(part)
        if ((value or "") == wanted) != (operator == "="):
            return False
    return True


def listed(
    items: Sequence[Object], query: Mapping[str, str], accept: str, version: int = 0
) -> Object:
    """The answer to a list of these objects: one page where the query has a limit."""
    first = int(query.get("continue", "0"))
    end = first + int(query.get("limit", len(items)))
    metadata = {"resourceVersion": str(version)}
    if end < len(items):
        metadata["continue"] = str(end)
    page = [as_accepted(item, accept) for item in items[first:end]]
    if _METADATA not in accept:
        return {"kind": "List", "metadata": metadata, "items": page}
    # As Kubernetes 1.34 answers: an empty one is null.
    return {"kind": "PartialObjectMetadataList", "metadata": metadata, "items": page or None}


def as_accepted(item: Object, accept: str) -> Object:
    """The object, or its metadata alone where the Accept header asks for them."""
    if _METADATA not in accept:
        return item
    return {
        "apiVersion": "meta.k8s.io/v1",
        "kind": "PartialObjectMetadata",
        "metadata": item["metadata"],
    }


def _meets(labels: Mapping[str, str], term: str) -> bool:
    if term.startswith("!"):
        return term[1:] not in labels
    key, operator, value = term.partition("!=")
    if operator:
        return labels.get(key) != value
    key, operator, value = term.partition("=")
    return key in labels and (not operator or labels[key] == value)
