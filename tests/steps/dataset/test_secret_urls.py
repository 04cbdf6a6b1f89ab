from __future__ import annotations

import json
from pathlib import Path

import pytest

from argotune.steps.common.errors import ParamsError
from argotune.steps.dataset.secret_urls import full_urls

URLS = ("https://h.example/a.parquet", "https://h.example/b.parquet")
FULL = ["https://h.example/a.parquet?sig=TOKEN", "https://h.example/b.parquet#sha256=ab"]


def write(path: Path, value: object) -> Path:
    path.write_text(json.dumps(value))
    return path


def test_the_secret_has_the_queries(tmp_path: Path) -> None:
    assert full_urls("urls", URLS, write(tmp_path / "urls.json", FULL)) == tuple(FULL)


def test_without_a_secret_the_parameter_counts(tmp_path: Path) -> None:
    assert full_urls("urls", URLS, None) == URLS
    assert full_urls("urls", URLS, tmp_path / "missing.json") == URLS


@pytest.mark.parametrize("value", [FULL[:1], FULL[::-1], {"urls": FULL}, [1]])
def test_another_secret_is_refused_without_its_contents(tmp_path: Path, value: object) -> None:
    with pytest.raises(ParamsError, match=r"--urls-file: .*urls\.json") as raised:
        full_urls("urls", URLS, write(tmp_path / "urls.json", value))
    assert "TOKEN" not in str(raised.value)


@pytest.mark.parametrize("text", ["https://h.example/a.parquet?sig=TOKEN", "[" * 100_000])
def test_a_broken_secret_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "urls.json").write_text(text)
    with pytest.raises(ParamsError, match=r"is not JSON$"):
        full_urls("urls", URLS, tmp_path / "urls.json")
