"""The objects that templates may refer to by name."""

from __future__ import annotations

from pathlib import Path

from argotune.workflows.engine.state.documents import Catalog


def test_a_secret_may_be_files_and_values_in_memory_which_no_volume_gets(tmp_path: Path) -> None:
    (tmp_path / ".dockerconfigjson").write_text("{}")
    catalog = Catalog.of([], {"data": tmp_path}, {"data": {"HF_TOKEN": "hf"}, "hub": {"K": "v"}})
    assert catalog.secret("data") == {".dockerconfigjson": b"{}", "HF_TOKEN": b"hf"}
    assert catalog.secret_files("data") == {".dockerconfigjson": b"{}"}
    assert catalog.secret("hub") == {"K": b"v"}
    assert catalog.secret("none") is None
