"""The three kinds of keys of a training config."""

from __future__ import annotations

from dataclasses import dataclass

from argotune.steps.plan.readers import Read


@dataclass(frozen=True, kw_only=True)
class Mapped:
    """A key that sets a field of the settings."""

    field: str
    """Field of `argotune.steps.plan.settings.Settings`."""
    read: Read
    doc: str


@dataclass(frozen=True, kw_only=True)
class Fixed:
    """A key that accepts certain values only; others are refused with the reason."""

    accepted: tuple[object, ...]
    reason: str


@dataclass(frozen=True, kw_only=True)
class NoEffect:
    """A key without effect; an unusual value gives a warning."""

    usual: tuple[object, ...]
    """Values that give no warning: the library's default, or what argotune does anyway."""
    reason: str


Key = Mapped | Fixed | NoEffect


def mapped(field: str, read: Read, doc: str) -> Mapped:
    """A key that sets a field; `read` parses and checks its value."""
    return Mapped(field=field, read=read, doc=doc)


def fixed(reason: str, *accepted: object) -> Fixed:
    """A key that accepts these values only, for this reason."""
    return Fixed(accepted=accepted, reason=reason)


def no_effect(reason: str, *usual: object) -> NoEffect:
    """A key without effect, for this reason; values other than the usual ones give a warning."""
    return NoEffect(usual=usual, reason=reason)


def each(names: str, key: Key) -> dict[str, Key]:
    """The same key under several names, separated by spaces."""
    return dict.fromkeys(names.split(), key)


BFLOAT16 = "weights and computation are bfloat16"
FLOAT16 = "float16 overflows: a fifth of such runs of 7B models ended in NaN (QLoRA paper's code)"
