"""YAML as Argo's API reads it: YAML 1.1 without dates and base-60 numbers."""

from __future__ import annotations

import re
from typing import Any

import yaml

from argotune.steps.common.yaml_limits import check_limits
from argotune.workflows.engine.errors import EngineError

_BOOLEANS = re.compile(
    r"^(?:y|Y|yes|Yes|YES|n|N|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF)$"
)
_INTEGERS = re.compile(
    r"^(?:[-+]?0b[0-1_]+|[-+]?0o?[0-7_]+|[-+]?(?:0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+)$"
)
_FLOATS = re.compile(
    r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$"
)
_NULLS = re.compile(r"^(?:~|null|Null|NULL|)$")


def parse_documents(text: str, source: str) -> list[dict[str, Any]]:
    """The YAML documents in `text`, without empty ones and with Lists opened.

    `source` names the text in messages. Raises EngineError.
    """
    found = parse_values(text, source)
    documents: list[dict[str, Any]] = []
    problems: list[str] = []
    for index, document in enumerate(found):
        where = source if len(found) == 1 else f"{source} (document {index + 1})"
        if document is None:
            continue
        if not isinstance(document, dict) or not isinstance(document.get("kind"), str):
            problems.append(f"{where}: expected a Kubernetes object with a kind")
            continue
        items = document.get("items") if document["kind"].endswith("List") else None
        documents.extend(items if isinstance(items, list) else [document])
    if problems:
        raise EngineError(problems)
    return documents


def parse_values(text: str, source: str) -> list[Any]:
    """The value of each YAML document in `text`, None for an empty one. Raises EngineError."""
    try:
        check_limits(text)
        return list(yaml.load_all(text, Loader=_Loader))
    except (yaml.YAMLError, ValueError, LookupError, AttributeError) as error:
        # PyYAML lets the last three out for text that does not fit its tag, such as 0x_.
        raise EngineError([f"{source}: not valid YAML: {error}"]) from None


def parse_value(text: str, source: str) -> Any:
    """The first YAML document in `text`, None for an empty text. Raises EngineError."""
    return next(iter(parse_values(text, source)), None)


class _Loader(yaml.SafeLoader):
    """A SafeLoader with Go's scalars, whose keys are strings and occur once."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key must be a string", key.start_mark
                )
            if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key.value!r} occurs twice", key.start_mark
                )
            seen.add(key.value)
            if key.tag != "tag:yaml.org,2002:merge":
                key.tag = "tag:yaml.org,2002:str"
        return super().construct_mapping(node, deep)


def _construct_boolean(loader: _Loader, node: yaml.ScalarNode) -> bool:
    return node.value.lower() in ("y", "yes", "true", "on")


def _construct_integer(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = node.value.replace("_", "")
    digits = text.lstrip("+-")
    if len(digits) > 1 and digits[0] == "0" and digits[1].isdigit():
        text = text.replace("0", "0o", 1)
    return int(text, 0)


def _construct_float(loader: _Loader, node: yaml.ScalarNode) -> float:
    return float(node.value.lower().replace(".inf", "inf").replace(".nan", "nan"))


_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", _BOOLEANS, list("yYnNtTfFoO"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", _INTEGERS, list("-+0123456789"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOATS, list("-+0123456789."))
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", _NULLS, ["~", "n", "N", ""])
_Loader.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile(r"^<<$"), ["<"])
_Loader.add_constructor("tag:yaml.org,2002:bool", _construct_boolean)
_Loader.add_constructor("tag:yaml.org,2002:int", _construct_integer)
_Loader.add_constructor("tag:yaml.org,2002:float", _construct_float)
