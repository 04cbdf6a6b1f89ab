"""Reading preset files that are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from argotune.presets import loader
from argotune.presets.schema import AnchorFile


def test_unknown_key_is_an_error_that_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "PRESETS_DIR", tmp_path)
    (tmp_path / "anchors.yaml").write_text("bfloat16_tflops: {}\nanchors: []\nanchorz: []\n")
    with pytest.raises(
        ValueError, match=r"^anchors\.yaml: Object contains unknown field `anchorz`$"
    ):
        loader._read(tmp_path / "anchors.yaml", AnchorFile)
