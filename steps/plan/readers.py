"""Parsers for one value of the training config.

A reader raises ValueError with a description of the accepted values, or WrongParts. YAML 1.1 parses
`2e-4` as a string, so numbers may also be strings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

Read = Callable[[object], object]


class WrongParts(ValueError):
    """Problems of single parts of a value, each with the part's place behind the value's own."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        super().__init__("; ".join(self.problems))


OPTIMIZERS = (
    "adafactor",
    "sgd",
    "adagrad",
    "rmsprop",
    "adamw_8bit",
    "adamw_bnb_8bit",
    "paged_adamw_32bit",
    "paged_adamw_8bit",
    "ademamix",
    "ademamix_8bit",
    "paged_ademamix_32bit",
    "paged_ademamix_8bit",
    "lion_32bit",
    "lion_8bit",
    "paged_lion_32bit",
    "paged_lion_8bit",
    "rmsprop_bnb",
    "rmsprop_bnb_8bit",
    "rmsprop_bnb_32bit",
)
"""Values of transformers' optim beside AdamW's that torch, transformers and bitsandbytes have."""
ROLES = ("attention", "mlp", "all-linear")
"""Names for groups of a block's linear layers, whatever the model calls them."""


def whole(at_least: int, at_most: int | None = None) -> Read:
    """A reader of integers in the range, both ends included."""
    accepted = f"a whole number of {at_least} or more"
    if at_most is not None:
        accepted = f"a whole number from {at_least} to {at_most}"

    def read(value: object) -> int:
        found = _number(value, accepted)
        if not found.is_integer() or found < at_least or (at_most is not None and found > at_most):
            raise ValueError(accepted)
        return int(found)

    return read


def number(
    *, above: float | None = None, at_least: float | None = None, at_most: float | None = None
) -> Read:
    """A reader of numbers in the range: `above` is excluded, the other bounds are included."""
    bounds = [
        f"above {above:g}" if above is not None else "",
        f"from {at_least:g}" if at_least is not None else "",
        f"to {at_most:g}" if at_most is not None else "",
    ]
    accepted = " ".join(["a number", *filter(None, bounds)])

    def read(value: object) -> float:
        found = _number(value, accepted)
        if (
            (above is not None and found <= above)
            or (at_least is not None and found < at_least)
            or (at_most is not None and found > at_most)
        ):
            raise ValueError(accepted)
        return found

    return read


def interval(value: object) -> float | int:
    """Read a number of steps, or a share of them below 1, as transformers does."""
    accepted = "a whole number of 1 or more, or a share of the steps above 0 and below 1"
    found = _number(value, accepted)
    if found <= 0 or (found >= 1 and not found.is_integer()):
        raise ValueError(accepted)
    return int(found) if found >= 1 else found


def boolean(value: object) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def text(value: object) -> str:
    """Read a non-empty string."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError("a string")
    return value


def one_of(*choices: str) -> Read:
    """A reader of one of the strings."""

    def read(value: object) -> str:
        if value not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
        return str(value)

    return read


def or_none(read: Read) -> Read:
    """A reader of null and of what the other reader accepts."""

    def read_or_none(value: object) -> object:
        if value is None:
            return None
        try:
            return read(value)
        except ValueError as error:
            raise ValueError(f"{error}, or null") from None

    return read_or_none


def none_for(unset: object, read: Read) -> Read:
    """A reader like the other one that returns None for `unset`, the library's "not set"."""

    def read_or_unset(value: object) -> object:
        return None if value == unset else read(value)

    return read_or_unset


def initialization(value: object) -> bool | str:
    """Read init_lora_weights of PEFT: what leaves the base's weights as they are."""
    if value in (None, "default"):
        return True
    if isinstance(value, bool):
        return value
    if value in ("gaussian", "orthogonal"):
        return str(value)
    raise ValueError(
        "true, false, gaussian or orthogonal: the others (pissa, olora, loftq, eva, ...) change "
        "the base's weights or need data, and vLLM cannot serve such adapters"
    )


def optimizer(value: object) -> str:
    """Read optim of transformers."""
    if value in (None, "adamw_torch", "adamw_torch_fused", "adamw_hf"):
        return "adamw_torch_fused"
    if value in OPTIMIZERS:
        return str(value)
    raise ValueError(
        f"adamw_torch, {', '.join(OPTIMIZERS)}: the others need packages that the image of tune "
        "does not have; paged_adamw_8bit and adafactor save memory as they do"
    )


def modules(value: object) -> str | list[str]:
    """Read a list of layer names, or a role of layers."""
    if value in ROLES:
        return str(value)
    if not isinstance(value, list) or not value or not all(isinstance(name, str) for name in value):
        raise ValueError(f"a list of layer names, or {', '.join(ROLES)}")
    return value


def texts(at_most: int) -> Read:
    """A reader of lists of at most this many strings."""
    accepted = f"a list of at most {at_most} strings"

    def read(value: object) -> list[str]:
        if not isinstance(value, list) or len(value) > at_most:
            raise ValueError(accepted)
        if not all(isinstance(each, str) and each.strip() for each in value):
            raise ValueError(accepted)
        return value

    return read


def trackers(value: object) -> list[str]:
    """Read report_to of transformers, without tensorboard, whose files are always written."""
    names = ["none"] if value is None else [value] if isinstance(value, str) else value
    known = ("mlflow", "wandb", "tensorboard", "none")
    if not isinstance(names, list) or not all(name in known for name in names):
        raise ValueError("mlflow, wandb, tensorboard, a list of them, or none")
    return sorted(set(names) & {"mlflow", "wandb"})


def sharding(value: object) -> bool:
    """Read fsdp of transformers: whether the weights are sharded."""
    if value in (None, "", [], False):
        return False
    words = value.split() if isinstance(value, str) else value
    if value is True:
        return True
    if isinstance(words, list) and words[:1] == ["full_shard"] and words[1:] in ([], ["auto_wrap"]):
        return True
    raise ValueError("true, false, or full_shard with or without auto_wrap")


def _number(value: object, accepted: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(accepted)
    try:
        found = float(value)
    except ValueError:
        raise ValueError(accepted) from None
    if not math.isfinite(found):
        raise ValueError(accepted)
    return found
