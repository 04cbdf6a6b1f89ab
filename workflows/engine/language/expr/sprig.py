"""The sprig functions that workflows call as `sprig.NAME(...)`; the text is the last argument.

Sprig has about two hundred functions. These are the ones about text, lists, maps, numbers, paths,
hashes and encodings; a call of any other is refused by name before a run starts.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import posixpath
import re
import secrets
import string
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from argotune.workflows.engine.errors import ExpressionError
from argotune.workflows.engine.language.govalues import go_json, go_string

Function = Callable[..., Any]


def _int(value: Any) -> int:
    try:
        return int(float(value))
    except (TypeError, ValueError):
        return 0  # sprig's conversions never fail


def _float(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return 0.0


def _empty(value: Any) -> bool:
    return value is None or value is False or value in ("", 0, [], {})


def _trunc(length: int, text: str) -> str:
    return text[length:] if length < 0 else text[:length]


def _substr(start: int, end: int, text: str) -> str:
    return text[max(start, 0) : end if end >= 0 else None]


def _indent(spaces: int, text: str) -> str:
    pad = " " * spaces
    return pad + text.replace("\n", "\n" + pad)


def _words(text: str) -> list[str]:
    spaced = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", text)
    return [word for word in re.split(r"[\W_]+", spaced) if word]


def _divide(left: Any, right: Any) -> int:
    return math.trunc(_int(left) / _int(right))


def _go_sub(pattern: str, text: str, replacement: str) -> str:
    return re.sub(pattern, re.sub(r"\$\{?(\w+)\}?", r"\\g<\1>", replacement), text)


def _random(alphabet: str) -> Function:
    return lambda length: "".join(secrets.choice(alphabet) for _ in range(length))


def _ternary(then: Any, otherwise: Any, test: bool) -> Any:
    return then if test else otherwise


def _dict(*pairs: Any) -> dict[str, Any]:
    return {
        go_string(key): value for key, value in zip(pairs[::2], [*pairs[1::2], ""], strict=False)
    }


def _coalesce(*values: Any) -> Any:
    return next((value for value in values if not _empty(value)), None)


def _from_json(text: str) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ExpressionError(f"invalid JSON {text!r}: {error}") from None


def _date(layout: str, moment: Any) -> str:
    """A time, or seconds since 1970, in Go's layout; sprig takes anything else for now."""
    if isinstance(moment, int) and not isinstance(moment, bool):
        moment = datetime.fromtimestamp(moment, UTC)
    elif not isinstance(moment, datetime):
        moment = datetime.now(UTC)
    for go, python in _GO_LAYOUT:
        layout = layout.replace(go, python)
    return str(moment.strftime(layout))


_GO_LAYOUT = (
    ("2006", "%Y"), ("January", "%B"), ("Jan", "%b"), ("01", "%m"), ("02", "%d"),
    ("15", "%H"), ("04", "%M"), ("05", "%S"), ("Monday", "%A"), ("Mon", "%a"),
    ("MST", "%Z"), ("-0700", "%z"), ("PM", "%p"), ("03", "%I"),
)  # fmt: skip

SPRIG_FUNCTIONS: dict[str, Function] = {
    # text
    "trim": str.strip,
    "trimAll": lambda characters, text: text.strip(characters),
    "trimPrefix": lambda prefix, text: text.removeprefix(prefix),
    "trimSuffix": lambda suffix, text: text.removesuffix(suffix),
    "upper": str.upper,
    "lower": str.lower,
    "title": lambda text: re.sub(r"\b\w", lambda match: match.group().upper(), text),
    "repeat": lambda count, text: text * count,
    "substr": _substr,
    "trunc": _trunc,
    "nospace": lambda text: re.sub(r"\s", "", text),
    "contains": lambda needle, text: needle in text,
    "hasPrefix": lambda prefix, text: text.startswith(prefix),
    "hasSuffix": lambda suffix, text: text.endswith(suffix),
    "replace": lambda old, new, text: text.replace(old, new),
    "quote": lambda *values: " ".join(json.dumps(go_string(value)) for value in values),
    "squote": lambda *values: " ".join(f"'{go_string(value)}'" for value in values),
    "cat": lambda *values: " ".join(go_string(value) for value in values),
    "indent": _indent,
    "nindent": lambda spaces, text: "\n" + _indent(spaces, text),
    "snakecase": lambda text: "_".join(word.lower() for word in _words(text)),
    "kebabcase": lambda text: "-".join(word.lower() for word in _words(text)),
    "camelcase": lambda text: "".join(word.capitalize() for word in _words(text)),
    "split": lambda separator, text: {
        f"_{index}": part for index, part in enumerate(text.split(separator))
    },
    "splitList": lambda separator, text: text.split(separator),
    "join": lambda separator, values: separator.join(map(go_string, values)),
    "sortAlpha": lambda values: sorted(map(go_string, values)),
    "regexMatch": lambda pattern, text: re.search(pattern, text) is not None,
    "regexFind": lambda pattern, text: match.group() if (match := re.search(pattern, text)) else "",
    "regexFindAll": lambda pattern, text, count: [
        match.group() for match in re.finditer(pattern, text)
    ][: count if count >= 0 else None],
    "regexReplaceAll": _go_sub,
    "regexReplaceAllLiteral": lambda pattern, text, by: re.sub(pattern, lambda _: by, text),
    "regexSplit": lambda pattern, text, count: re.split(
        pattern, text, maxsplit=count - 1 if count > 0 else 0
    ),
    # numbers
    "int": _int,
    "int64": _int,
    "atoi": _int,
    "float64": _float,
    "add": lambda *values: sum(map(_int, values)),
    "add1": lambda value: _int(value) + 1,
    "sub": lambda left, right: _int(left) - _int(right),
    "mul": lambda *values: math.prod(map(_int, values)),
    "div": _divide,
    "mod": lambda left, right: int(math.fmod(_int(left), _int(right))),
    "max": lambda *values: max(map(_int, values)),
    "min": lambda *values: min(map(_int, values)),
    "floor": lambda value: float(math.floor(_float(value))),
    "ceil": lambda value: float(math.ceil(_float(value))),
    "until": lambda count: list(range(count)),
    "untilStep": lambda start, stop, step: list(range(start, stop, step)),
    # conversion
    "toString": go_string,
    "toStrings": lambda values: list(map(go_string, values)),
    "toJson": go_json,
    "fromJson": _from_json,
    "b64enc": lambda text: base64.b64encode(text.encode()).decode(),
    "b64dec": lambda text: base64.b64decode(text).decode(),
    "sha1sum": lambda text: hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(),
    "sha256sum": lambda text: hashlib.sha256(text.encode()).hexdigest(),
    # values
    "default": lambda fallback, value=None: fallback if _empty(value) else value,
    "empty": _empty,
    "coalesce": _coalesce,
    "ternary": _ternary,
    "all": lambda *values: not any(map(_empty, values)),
    "any": lambda *values: not all(map(_empty, values)),
    # lists and maps
    "list": lambda *values: list(values),
    "first": lambda values: values[0] if values else None,
    "last": lambda values: values[-1] if values else None,
    "rest": lambda values: values[1:],
    "initial": lambda values: values[:-1],
    "append": lambda values, value: [*values, value],
    "prepend": lambda values, value: [value, *values],
    "concat": lambda *lists: [value for values in lists for value in values],
    "reverse": lambda values: values[::-1],
    "uniq": lambda values: list(dict.fromkeys(values)),
    "without": lambda values, *unwanted: [value for value in values if value not in unwanted],
    "has": lambda value, values: value in values,
    "compact": lambda values: [value for value in values if not _empty(value)],
    "dict": _dict,
    "get": lambda mapping, key: mapping.get(key, ""),
    "hasKey": lambda mapping, key: key in mapping,
    "keys": lambda *mappings: [key for mapping in mappings for key in mapping],
    "values": lambda mapping: list(mapping.values()),
    "pick": lambda mapping, *keys: {key: mapping[key] for key in keys if key in mapping},
    "omit": lambda mapping, *keys: {key: mapping[key] for key in mapping if key not in keys},
    # paths, time, chance
    "base": posixpath.basename,
    "dir": lambda path: posixpath.dirname(path) or ".",
    "ext": lambda path: posixpath.splitext(path)[1],
    "clean": posixpath.normpath,
    "isAbs": posixpath.isabs,
    "now": lambda: datetime.now(UTC),
    "date": _date,
    "uuidv4": lambda: str(uuid.uuid4()),
    "randAlphaNum": _random(string.ascii_letters + string.digits),
    "randAlpha": _random(string.ascii_letters),
    "randNumeric": _random(string.digits),
}
