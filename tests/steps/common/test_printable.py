"""Text that could steer a terminal, and YAML with such text."""

from __future__ import annotations

import json
import sys
import unicodedata

import pytest
import yaml

from argotune.steps.common import strict_yaml
from argotune.steps.common.printable import printable

BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
HOSTILE = "\x1b]0;title\x07 \x1b[2J \x9b31m \u202egpj.exe\r\x08\x7f\x85"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", "\\u001b[2J"),
        ("\x9b31m", "\\u009b31m"),
        ("gpj\u202eexe", "gpj\\u202eexe"),
        ("100%\r", "100%\\u000d"),
        ("\udcff", "\\udcff"),
        ("a\tb\nc", "a\tb\nc"),
        ("naïve שלום 你好 👩\u200d🚀 [red]", "naïve שלום 你好 👩\u200d🚀 [red]"),
    ],
)
def test_what_steers_a_terminal_is_shown_as_its_code(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(shown) == shown


def test_no_control_and_no_bidi_control_is_left() -> None:
    everything = "".join(map(chr, range(sys.maxunicode + 1)))
    changed = {each for each in everything if printable(each) != each}
    controls = {each for each in everything if unicodedata.category(each) in ("Cc", "Cs")}
    assert changed == (controls - {"\n", "\t"}) | set(BIDI)


@pytest.mark.parametrize("text", [HOSTILE, BIDI, "é", "a\nb: [c]"])
def test_json_and_yaml_stay_the_same_values(text: str) -> None:
    record = {"message": text, "list": [text]}
    assert json.loads(printable(json.dumps(record, ensure_ascii=False))) == record
    written = strict_yaml.dump(record)
    assert printable(written) == written
    assert yaml.safe_load(written) == record


def test_letters_stay_letters_in_yaml() -> None:
    assert strict_yaml.dump({"a": "é שלום"}, {"b": 1}) == "a: é שלום\n---\nb: 1\n"
