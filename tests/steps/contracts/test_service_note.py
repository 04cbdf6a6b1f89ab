from __future__ import annotations

from typing import Any

import pytest

from argotune.steps.contracts.service_note import NOTE, Note, merge_to, read_note


def deployment(note: str | None) -> dict[str, Any]:
    return {"metadata": {"annotations": {} if note is None else {NOTE: note}}}


def test_a_note_is_read_as_it_was_written_also_that_of_an_earlier_version() -> None:
    note = Note(template={"spec": {"a": 1}}, replicas=2, run="uid")
    assert read_note(deployment(note.text())) == note
    earlier = '{"template": {"spec": {}}, "replicas": 1}'
    assert read_note(deployment(earlier)) == Note(template={"spec": {}}, replicas=1)
    assert read_note(deployment(None)) is None
    assert read_note({"metadata": {}}) is None


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"template": 1, "replicas": 1}'])
def test_a_note_that_somebody_edited_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=NOTE.replace(".", "[.]")):
        read_note(deployment(text))


def merged(found: Any, change: Any) -> Any:
    """RFC 7396."""
    if not isinstance(change, dict):
        return change
    base = dict(found) if isinstance(found, dict) else {}
    for key, value in change.items():
        if value is None:
            base.pop(key, None)
        else:
            base[key] = merged(base.get(key), value)
    return base


@pytest.mark.parametrize(
    ("now", "wanted"),
    [
        ({}, {"a": {"b": [1]}}),
        ({"a": {"b": [1], "c": 2}, "d": 3}, {"a": {"b": [1, 2]}}),
        ({"a": [1], "b": {"c": 1}}, {"a": {"x": 1}, "b": 2}),
        ({"same": {"x": 1}}, {"same": {"x": 1}}),
    ],
)
def test_the_patch_makes_one_object_into_the_other(now: Any, wanted: Any) -> None:
    assert merged(now, merge_to(wanted, now)) == wanted
    assert merge_to(now, now) == {}
