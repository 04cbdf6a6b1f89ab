"""What push adds to the run's page, in a layout, without a registry."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from argotune.steps.common.html_page import page
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.live_adapter import LiveAdapter, write_live_adapter
from argotune.steps.push.params import Result
from argotune.steps.push.run import run
from tests.steps.push.test_run import params, work_dir

__all__ = ["work_dir"]

SPOT = {
    "machine": "Standard_NC24ads_A100_v4 spot in zone 2",
    "node_since": "2026-01-01T00:00:00Z",
    "price_usd_per_hour": 4.0,
    "step_times": json.dumps(
        {
            "plan": ["2025-12-31T23:59:00Z", "2025-12-31T23:59:09Z"],
            "evaluate": ["2026-01-01T01:00:00Z", "2026-01-01T01:30:00Z"],
        }
    ),
}
URL = "https://example.com/<b>rows</b>.jsonl"


@pytest.fixture
def volume(work_dir: Path) -> Path:
    """The files of the steps before, with a page and a hostile URL."""
    result = {"steps": 9, "tokens_per_step": 100, "tokens_per_second": 50.0, "peak_memory_gb": 1.5}
    written = {
        "report/report.html": page("one", ["<p>curves</p>"]),
        "report/result.json": json.dumps({"result": result}),
        "dataset/data.html": page("one: data", ["<p>12 rows were refused</p>"]),
        "dataset/dataset.json": json.dumps({"files": [{"url": URL, "sha256": 64 * "f"}]}),
    }
    for name, text in written.items():
        (work_dir / name).parent.mkdir(parents=True, exist_ok=True)
        (work_dir / name).write_text(text)
    return work_dir


def pushed(volume: Path, **changes: Any) -> tuple[Result, str, list[list[str]]]:
    """The result, the page, and the rows of its tables."""
    wanted = params(volume, f"oci:{volume / 'out'}", run="uid", workflow="one-x", **changes)
    result = run(wanted, progress=Progress())
    text = (volume / "report" / "report.html").read_text()
    rows = re.findall(r"<tr>(.*?)</tr>", text, re.S)
    cells = [re.findall(r'<td class="(?:text|number)">(.*?)</td>', row, re.S) for row in rows]
    return result, text, [[unescape(cell) for cell in row] for row in cells if row]


def test_the_page_has_the_plan_beside_the_run(volume: Path) -> None:
    _, text, rows = pushed(volume, **SPOT)
    assert "<p>curves</p>" in text
    assert ["optimizer steps", "-", "9"] in rows
    assert ["cost of the node", "-", "at most 6.00 USD"] in rows
    assert ["plan", "2025-12-31 23:59:00 UTC", "9 s"] in rows
    assert ["evaluate", "2026-01-01 01:00:00 UTC", "30 min"] in rows


def test_the_page_has_what_was_found_in_the_data(volume: Path) -> None:
    _, text, _ = pushed(volume)
    assert text.count("<p>12 rows were refused</p>") == 1
    # No second page within the page.
    assert (text.count("<html"), text.count("</html>"), text.count("<h1>")) == (1, 1, 1)


def test_the_page_says_by_digest_what_the_adapter_comes_from(volume: Path) -> None:
    write_live_adapter(volume, LiveAdapter(digest=f"sha256:{64 * 'e'}", version="v3"))
    result, text, rows = pushed(volume)
    found = {row[0]: row[1:] for row in rows}
    assert found["adapter"] == ["phi-tuned", result.digest]
    assert found["base"][0].startswith("argotune/tiny@")
    assert found["base"][1].startswith("sha256:")
    assert found["dataset"] == ["-", f"sha256:{64 * 'a'}"]
    assert found["data/0"] == [URL, f"sha256:{64 * 'f'}"]
    assert found["in service before"] == ["v3", f"sha256:{64 * 'e'}"]
    statement = result.provenance.partition("@")[2]
    assert found["statement of this"] == ["SLSA provenance v1, not signed", statement]
    assert "<b>" not in text


def test_another_try_of_push_leaves_one_of_each_part(volume: Path) -> None:
    _, first, _ = pushed(volume, **SPOT)
    _, second, _ = pushed(volume, **SPOT)
    assert second == first
    assert second.count('<section id="lineage">') == 1


def test_the_image_says_what_its_node_has_cost(volume: Path) -> None:
    result, _, _ = pushed(volume, **SPOT)
    manifest = json.loads((volume / "out/blobs/sha256" / result.digest[7:]).read_bytes())
    assert manifest["annotations"]["sh.argotune.cost-usd"] == "6.00"
    assert manifest["annotations"]["sh.argotune.machine"] == SPOT["machine"]


@pytest.mark.parametrize(
    "changes",
    [{"machine": "", "node_since": ""}, {"price_usd_per_hour": None}, {"step_times": "{}"}],
    ids=["no node was made", "no price", "no times"],
)
def test_a_cost_that_is_not_known_is_not_said(volume: Path, changes: dict[str, Any]) -> None:
    result, _, _ = pushed(volume, **{**SPOT, **changes})
    manifest = json.loads((volume / "out/blobs/sha256" / result.digest[7:]).read_bytes())
    assert "sh.argotune.cost-usd" not in manifest["annotations"]
