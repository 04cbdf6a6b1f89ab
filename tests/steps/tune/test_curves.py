from __future__ import annotations

from typing import Any

import matplotlib.figure
import pytest

from argotune.steps.tune import curves

RECORDS: list[dict[str, Any]] = [
    {"step": 0, "eval_loss": 4.44416},
    *({"step": step, "loss": 4 - 0.04 * step} for step in range(1, 100)),
    {"step": 50, "eval_loss": 2.0},
    {"step": 99, "eval_loss": 0.0898524},
]


@pytest.mark.parametrize("count", [1, 101, len(RECORDS)])
def test_no_label_lies_on_a_curve_or_on_the_axes(count: int) -> None:
    figure = matplotlib.figure.Figure()
    axes = figure.add_subplot()
    curves._draw_losses(axes, RECORDS[:count])
    figure.canvas.draw()
    legend = axes.get_legend()
    assert legend is not None
    box = legend.get_window_extent()
    assert not any(box.contains(*point) for line in axes.lines for point in _pixels(line))
    assert list(axes.texts) == [], "the legend holds the values"
    assert axes.get_window_extent().contains(box.x0, box.y0)


def test_the_legend_has_the_held_out_losses_of_base_and_last() -> None:
    axes = matplotlib.figure.Figure().add_subplot()
    curves._draw_losses(axes, RECORDS)
    assert [line.get_label() for line in axes.lines] == [
        "train, each step",
        "train, smoothed",
        "held out: base 4.444, last 0.090",
    ]


def _pixels(line: Any) -> Any:
    return line.get_transform().transform(line.get_xydata())
