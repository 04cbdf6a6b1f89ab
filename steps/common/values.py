"""Rules for the values of settings: quantities, names, numbers, lists.

The workspace file, the command line and the steps' parameters share these rules. This module
imports only the standard library.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

NOT_MEASURED: Final = "not measured"
Measured: TypeAlias = float | Literal["not measured"]
"""A number that a run may have had no way to measure, as a loss without held-out rows."""

DNS_LABEL_PATTERN = r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?"
_DNS_LABEL = re.compile(DNS_LABEL_PATTERN)
_DNS_SUBDOMAIN = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
)
_LABEL_NAME = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)")
_CPUS = re.compile(r"(?=.*[1-9])([0-9]{1,6}(\.[0-9]{1,3})?|[0-9]{1,9}m)")
_BYTES = re.compile(r"(?=.*[1-9])[0-9]{1,18}(\.[0-9]{1,6})?([KMGTPE]i|[kMGTPE])?")
_POSITIVE_NUMBER = re.compile(r"(?=.*[1-9])[0-9]{1,9}(\.[0-9]{1,6})?")
_NUMBER = re.compile(r"-?[0-9]{1,9}(\.[0-9]{1,6})?")
_SHARE = re.compile(r"0(\.[0-9]{1,6})?")
_WHOLE_NUMBER = re.compile(r"0|[1-9][0-9]{0,3}")
_ORIGIN = re.compile(r"https?://([a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
_NAMES = re.compile(r"[\w.-]+( *, *[\w.-]+)*", re.ASCII)


def is_dns_label(text: str) -> bool:
    """Whether the text is a valid name of a Service: RFC 1035, a letter first."""
    return _DNS_LABEL.fullmatch(text) is not None


def is_dns_subdomain(text: str) -> bool:
    """Whether the text is a valid name of a Kubernetes object: RFC 1123."""
    return _DNS_SUBDOMAIN.fullmatch(text) is not None


def is_label_key(text: str) -> bool:
    """Whether the text is a label's key: NAME or PREFIX/NAME."""
    prefix, slash, name = text.rpartition("/")
    return _LABEL_NAME.fullmatch(name) is not None and (not slash or is_dns_subdomain(prefix))


def is_label_value(text: str) -> bool:
    """Whether the text is a label's value; the empty string is one."""
    return text == "" or _LABEL_NAME.fullmatch(text) is not None


def is_bytes(text: str) -> bool:
    """Whether the text is a positive Kubernetes quantity of memory or disk, such as 100Gi."""
    return _BYTES.fullmatch(text) is not None


def is_cpus(text: str) -> bool:
    """Whether the text is a positive Kubernetes quantity of CPUs: 2, 0.5, 500m."""
    return _CPUS.fullmatch(text) is not None


def is_positive_number(text: str) -> bool:
    """Whether the text is a number above 0: 86400, 1.5."""
    return _POSITIVE_NUMBER.fullmatch(text) is not None


def is_whole_number(text: str) -> bool:
    """Whether the text is a whole number: 0, 1, 2, ..."""
    return _WHOLE_NUMBER.fullmatch(text) is not None


def is_origin(text: str) -> bool:
    """Whether the text is an origin as browsers send it, in small letters and without a path."""
    return _ORIGIN.fullmatch(text) is not None


def origin_problems(origins: Iterable[str]) -> list[str]:
    """What is wrong with a step's parameter `cors-origins`."""
    return [
        f"--cors-origins: {origin!r} is no origin such as https://app.example.com, nor *"
        for origin in origins
        if origin != "*" and not is_origin(origin)
    ]


def reads(parse: Callable[[str], object]) -> Callable[[str], bool]:
    """A check whether `parse` accepts a text, that is, raises no ValueError."""

    def check(text: str) -> bool:
        try:
            parse(text)
        except ValueError:
            return False
        return True

    return check


def names_in(text: str) -> list[str]:
    """The names of a comma-separated list."""
    return [name.strip() for name in text.split(",")]


def _names_or_none(text: str) -> list[str]:
    return [] if text == "none" else names_in(text)


@dataclass(frozen=True, kw_only=True)
class ValueType:
    """The accepted values of a setting, and their form for a step."""

    accepted: str
    """For messages: `accepted is ...`."""
    check: Callable[[str], bool] = bool
    """Whether a text of the workspace file is accepted."""
    in_file: str = ""
    """Notation in the workspace file, for the reference page."""
    in_form: str = ""
    """Notation of the template's parameter, for Argo's form."""
    is_number: bool = False
    """Whether YAML reads it as a number, unless it is in quotes."""
    pattern: str = ""
    """A regular expression that every accepted text matches, for Argo and Kubernetes (RE2)."""
    items: Callable[[str], list[str]] | None = None
    """Parses a list, which the step gets as JSON; None: the step gets the text unchanged."""

    def names(self, text: str) -> list[str]:
        """The items of a list; the text alone where it is none."""
        return [text] if self.items is None else self.items(text)

    def parameter(self, text: str) -> str:
        """The template's parameter for a text of the workspace file."""
        return text if self.items is None else json.dumps(self.items(text))


TEXT = ValueType(accepted="a text")
BYTES = ValueType(
    accepted="a quantity such as 16Gi",
    check=is_bytes,
    in_file="a quantity",
    pattern="^[0-9]+([.][0-9]+)?([KMGTPE]i|[kMGTPE])?$",
)
CPUS = ValueType(
    accepted="a quantity such as 4 or 500m",
    check=is_cpus,
    in_file="a quantity",
    pattern="^[0-9]+([.][0-9]+)?m?$",
)
COUNT = ValueType(accepted="a whole number such as 1", is_number=True, check=is_whole_number)
NATS = ValueType(
    accepted="a number such as 0.02 or -0.02",
    is_number=True,
    check=lambda text: _NUMBER.fullmatch(text) is not None,
)
SHARE = ValueType(
    accepted="a number below 1 such as 0.95",
    is_number=True,
    check=lambda text: _SHARE.fullmatch(text) is not None,
)
PRICE = ValueType(accepted="a price such as 1.5", is_number=True, check=is_positive_number)
SECONDS = ValueType(accepted="a number of seconds", is_number=True, check=is_positive_number)
SECONDS_OR_ZERO = ValueType(
    accepted="a number of seconds or 0",
    is_number=True,
    check=lambda text: text == "0" or is_positive_number(text),
)
WHOLE_SECONDS = ValueType(
    accepted="a whole number of seconds above 0",
    is_number=True,
    check=lambda text: re.fullmatch("[1-9][0-9]{0,8}", text) is not None,
    pattern="^[1-9][0-9]{0,8}$",
)
"""What Argo takes for a duration: it reads no parts of a second without a unit."""
CLAIM = ValueType(accepted="the name of a PersistentVolumeClaim", check=is_dns_subdomain)
_LABEL_OR_NOTHING = "^([a-z]([-a-z0-9]{0,61}[a-z0-9])?)?$"
QUEUE = ValueType(
    accepted="the name of a LocalQueue", check=is_dns_label, pattern=_LABEL_OR_NOTHING
)
SERVICE = ValueType(accepted="the name of a service", check=is_dns_label, pattern=_LABEL_OR_NOTHING)
PRIORITY_CLASS = ValueType(accepted="the name of a PriorityClass", check=is_dns_subdomain)
URLS = ValueType(
    accepted="URLs with spaces between",
    check=lambda text: bool(text.strip()),
    in_file="with spaces between",
    in_form='a JSON list, ["https://..."]',
    items=str.split,
)
ORIGINS = ValueType(
    accepted="origins such as https://app.example.com with spaces between, or *",
    check=lambda text: text == "*" or (bool(text.strip()) and all(map(is_origin, text.split()))),
    in_file="with spaces between; *: all",
    in_form='a JSON list, ["https://app.example.com"]',
    items=str.split,
)
SECRET = ValueType(accepted="the name of a Secret", check=is_dns_subdomain)
HOST = ValueType(
    accepted="the name of a host such as chat.example.com",
    check=is_dns_subdomain,
    pattern="^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?)?$",
)
OBJECT_NAME = ValueType(accepted="the name of an object", check=is_dns_subdomain)
OBJECT_PLACE = ValueType(
    accepted="NAMESPACE/NAME",
    check=lambda text: text.count("/") == 1 and all(map(is_dns_subdomain, text.split("/"))),
)
PORT = ValueType(
    accepted="a port from 1 to 65535",
    is_number=True,
    check=lambda text: text.isascii() and text.isdigit() and 0 <= int(text) <= 65535,
    pattern="^[0-9]{1,5}$",
)
STORAGE_CLASS = ValueType(accepted="the name of a StorageClass", check=is_dns_subdomain)
NAMES = ValueType(
    accepted="names with commas between",
    check=lambda text: _NAMES.fullmatch(text) is not None,
    in_file="with commas between",
    in_form='a JSON list, ["a", "b"]',
    items=names_in,
)
NAMES_OR_NONE = ValueType(
    accepted="names with commas between, or none",
    check=lambda text: _NAMES.fullmatch(text) is not None,
    in_file="with commas between; none: no other",
    in_form='a JSON list, ["a", "b"]; []: no other',
    items=_names_or_none,
)
