"""The run's curves: loss.png with the losses, and report.html with all values in one offline page.

Both are drawn from the records of metrics.jsonl.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from argotune.steps.common.html_page import facts, page, table
from argotune.steps.common.values import NOT_MEASURED

Record = dict[str, Any]
Points = list[tuple[int, float]]

_SMALL_CURVES = (
    ("learning_rate", "learning rate"),
    ("gradient_norm", "gradient norm, before clipping"),
    ("tokens_per_second", "real tokens per second"),
    ("memory_gb", "peak memory, GB"),
)


def loss_png(records: Sequence[Record], title: str) -> bytes:
    """Draw the losses over the steps as PNG."""
    width, height = 8.0, 4.5
    figure = Figure(figsize=(width, height), dpi=120)
    figure.subplots_adjust(**_margins(width, height, top=0.4))
    axes = figure.add_subplot()
    _draw_losses(axes, records)
    axes.set_title(title)
    return _save(figure, "png")


def report_html(
    records: Sequence[Record],
    samples: Sequence[Record],
    title: str,
    settings: Mapping[str, str],
) -> str:
    """An HTML page with all curves, evaluations and sample answers, and how the run was made."""
    how = [list(each) for each in settings.items()]
    return page(
        title,
        [
            _facts(records),
            _curves(records),
            _evaluations(records),
            _samples(samples),
            table("How it was tuned", ["", ""], how),
        ],
    )


def _curves(records: Sequence[Record]) -> str:
    """One SVG with the losses above and smaller plots of the other values below."""
    drawn = [(key, name) for key, name in _SMALL_CURVES if any(key in r for r in records)]
    rows = -(-len(drawn) // 2)
    width, height = 9.0, 4.2 + 2.1 * rows
    figure = Figure(figsize=(width, height))
    grid = figure.add_gridspec(
        rows + 1,
        2,
        height_ratios=[2.2, *[1.0] * rows],
        hspace=0.4,
        wspace=0.2,
        **_margins(width, height, top=0.1),
    )
    _draw_losses(figure.add_subplot(grid[0, :]), records)
    for place, (key, name) in enumerate(drawn):
        axes = figure.add_subplot(grid[1 + place // 2, place % 2])
        axes.plot(*zip(*points(records, key), strict=True), color="tab:blue", linewidth=1)
        axes.set_title(name, fontsize=9)
        axes.tick_params(labelsize=8)
        # As many as there is room for; of all that is drawn, ticks take most of the time.
        axes.locator_params(nbins=4)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.25)
    # Text stays text instead of paths, and equal curves give equal bytes.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "argotune"}):
        svg = _save(figure, "svg").decode()
    return svg[svg.index("<svg") :]


def _margins(width: float, height: float, top: float) -> dict[str, float]:
    """Margins for the labels around the axes, as shares of a figure whose size is in inches.

    matplotlib's automatic layout measures each label and draws everything twice, which takes three
    quarters of the time.
    """
    return {
        "left": 0.9 / width,
        "right": 1 - 0.15 / width,
        "bottom": 0.55 / height,
        "top": 1 - top / height,
    }


def _save(figure: Figure, kind: str) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, metadata={"Date": None} if kind == "svg" else None)
    return buffer.getvalue()


def _draw_losses(axes: Axes, records: Sequence[Record]) -> None:
    train, held_out = points(records, "loss"), points(records, "eval_loss")
    if train:
        axes.plot(*zip(*train, strict=True), color="0.75", linewidth=1, label="train, each step")
        axes.plot(*zip(*_smooth(train), strict=True), color="tab:blue", label="train, smoothed")
    if held_out:
        # The values stand in the legend, which keeps off the curves; notes at points lie on them.
        values = [f"base {held_out[0][1]:.3f}", *(f"last {v:.3f}" for _, v in held_out[1:][-1:])]
        label = f"held out: {', '.join(values)}"
        axes.plot(*zip(*held_out, strict=True), "o-", color="tab:orange", label=label)
    axes.set(xlabel="optimizer step", ylabel="loss per token, nats")
    axes.set_ylim(bottom=0, top=1.1 * axes.get_ylim()[1])
    axes.grid(alpha=0.25)
    if train or held_out:
        axes.legend(frameon=False)


def points(records: Sequence[Record], key: str) -> Points:
    """The steps and values of the records that have this key."""
    return [(record["step"], record[key]) for record in records if key in record]


def _smooth(points: Points) -> Points:
    """Exponential moving average over a fifteenth of the run, at most 20 steps, bias-corrected."""
    weight = 1 - 1 / max(2.0, min(20.0, len(points) / 15))
    mean, share = 0.0, 0.0
    smoothed = []
    for step, value in points:
        mean = weight * mean + (1 - weight) * value
        share = weight * share + (1 - weight)
        smoothed.append((step, mean / share))
    return smoothed


def _facts(records: Sequence[Record]) -> str:
    steps = [record for record in records if "loss" in record]
    held_out = points(records, "eval_loss")
    values: dict[str, str] = {}
    if held_out:
        values["held-out loss of the base model"] = f"{held_out[0][1]:.4f}"
    elif steps:
        # With held-out rows the base's loss is measured before the first step.
        values["held-out loss"] = NOT_MEASURED
    if len(held_out) > 1:
        step, loss = min(held_out[1:], key=lambda point: point[1])
        values["best held-out loss"] = f"{loss:.4f} at step {step}"
    if steps:
        rates = sorted(record["tokens_per_second"] for record in steps)
        values["steps"] = f"{steps[-1]['step']} ({steps[-1]['epoch']:.2f} epochs)"
        values["tokens per second, median"] = f"{rates[len(rates) // 2]:,.0f}"
        values["peak memory"] = f"{max(record['memory_gb'] for record in steps):.2f} GB"
    return facts(values)


def _evaluations(records: Sequence[Record]) -> str:
    rows = [
        [str(step) if step else "base", f"{loss:.4f}"]
        for step, loss in points(records, "eval_loss")
    ]
    return table("Evaluations", ["step", "held-out loss"], rows)


def _samples(samples: Sequence[Record]) -> str:
    """A table of the answers to each question, in the order of the steps."""
    rows, seen = [], ""
    for sample in sorted(samples, key=lambda s: (s["question"], s["step"])):
        prompt = "" if sample["prompt"] == seen else sample["prompt"]
        expected = "" if prompt == "" else sample["expected"] or ""
        seen = sample["prompt"]
        step = str(sample["step"]) if sample["step"] else "base"
        rows.append([prompt, expected, step, sample["answer"]])
    return table("Answers as it learned", ["question", "expected", "step", "answer"], rows)
