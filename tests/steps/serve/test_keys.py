from __future__ import annotations

import logging
from pathlib import Path

import pytest

from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.client_keys import read_keys
from argotune.steps.serve.keys import ClientKeys

ANNA, BERT = "sk-anna-0123456789", "sk-bert-0123456789"


@pytest.mark.parametrize(
    "text",
    [
        f"# clients\nanna: {ANNA}\n\nbert:{BERT}\n",
        f'{{"anna": "{ANNA}", "bert": "{BERT}"}}',
    ],
)
def test_keys_are_lines_or_a_json_object(tmp_path: Path, text: str) -> None:
    file = tmp_path / "keys"
    file.write_text(text)
    assert read_keys(file) == {"anna": ANNA, "bert": BERT}


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "no key; write a line NAME: KEY for each client"),
        (ANNA.encode(), "entry 1 has no name of letters, digits, '.', '_' and '-' before a ':'"),
        (f"{ANNA}: anna".encode(), "the key of entry 1 is not 16 to 512 visible ASCII characters"),
        (f"anna: {ANNA}\nanna: {BERT}".encode(), "two keys have the same name"),
        (
            f"anna: {ANNA}\nbert: {ANNA}".encode(),
            "two names have the same key, so whose question it is would be unknown",
        ),
        (b'{"anna": 1}', "no JSON object of names and keys"),
        (b"\xff", "not UTF-8"),
    ],
)
def test_what_is_no_file_of_keys_is_said_without_a_key(
    tmp_path: Path, data: bytes, problem: str
) -> None:
    file = tmp_path / "keys"
    file.write_bytes(data)
    with pytest.raises(PermanentError) as caught:
        read_keys(file)
    assert str(caught.value) == f"{file}: {problem}"


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="the keys cannot be read: No such file or directory"):
        ClientKeys(tmp_path / "keys")


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"anna: {ANNA}")
    keys = ClientKeys(file)
    assert (keys.name_of(ANNA), keys.name_of(BERT), keys.name_of("")) == ("anna", None, None)
    replace(file, f"bert: {BERT}")
    assert (keys.name_of(ANNA), keys.name_of(BERT)) == (None, "bert")


@pytest.mark.parametrize("text", ["slip", None])
def test_a_slip_in_the_file_leaves_the_keys_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str | None
) -> None:
    file = tmp_path / "keys"
    file.write_text(f"anna: {ANNA}")
    keys = ClientKeys(file)
    if text is None:
        file.unlink()
    else:
        replace(file, text)
    with caplog.at_level(logging.WARNING):
        assert keys.name_of(ANNA) == "anna"
        assert keys.name_of(ANNA) == "anna"
    assert caplog.text.count("keys-not-read") == 1
    assert ANNA not in caplog.text


def replace(file: Path, text: str) -> None:
    """As a mounted Secret changes: another file under the same name."""
    new = file.with_name("new")
    new.write_text(text)
    new.replace(file)
