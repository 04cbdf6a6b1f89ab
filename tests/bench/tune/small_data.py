"""How many optimizer steps little data need: preset tiny tuned with steps of several sizes.

`.venv/bin/python -m tests.bench.tune.small_data --model-dir DIR` prints the held-out loss for each
`min_steps`, from one step an epoch (none) to one row a step; DIR has the weights of preset tiny
(`make tiny`). The rows are questions about Python's library, those held out ask about the same
functions in other words.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from pathlib import Path

import msgspec

from argotune.steps.common.progress import Progress
from argotune.steps.plan.params import Params as PlanParams
from argotune.steps.plan.planning import make_plan
from argotune.steps.tiny.docstrings import conversations
from argotune.steps.tune.params import Result
from argotune.steps.tune.run import run
from tests.steps.tune.models import params_for, write_rows

HELD_OUT_ROWS = 30
STEP_TOKENS = 32_768
"""The ceiling of the large presets, far above an epoch of these rows."""


def tune(model_dir: Path, rows: int, min_steps: int | None, epochs: float) -> Result:
    """Tune on the first of the shuffled rows, with one evaluation at the end."""
    plan = make_plan(
        PlanParams(
            name="bench", preset="tiny", method="lora", config="", plan_file=Path("plan.yaml")
        )
    )
    training = msgspec.structs.replace(
        plan.training,
        min_steps=min_steps,
        micro_batch_tokens=1024,
        accumulation_steps=STEP_TOKENS // 1024,
        epochs=epochs,
        eval_steps=1_000_000,
    )
    watch = msgspec.structs.replace(plan.watch, samples=0)
    plan = msgspec.structs.replace(plan, training=training, watch=watch)
    shuffled = random.Random(0).sample(conversations(), rows + HELD_OUT_ROWS)
    with tempfile.TemporaryDirectory() as directory:
        work_dir = Path(directory)
        write_rows(work_dir / "dataset" / "train.parquet", shuffled[HELD_OUT_ROWS:])
        write_rows(work_dir / "dataset" / "validation.parquet", shuffled[:HELD_OUT_ROWS])
        return run(params_for(work_dir, model_dir, plan), progress=Progress())


def main() -> None:
    """Print a line for each number of rows and each `min_steps`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model-dir", type=Path, required=True)
    parser.add_argument("--rows", type=int, nargs="+", default=[20, 91, 270])
    parser.add_argument("--epochs", type=float, default=16.0)
    parser.add_argument("--min-steps", type=int, nargs="+", default=[0, 30, 100, 300, 1000])
    options = parser.parse_args()
    for rows in options.rows:
        for min_steps in options.min_steps:
            result = tune(options.model_dir, rows, min_steps or None, options.epochs)
            print(
                f"{rows} rows, min_steps {min_steps or 'none'}: {result.steps} steps of "
                f"{result.tokens_per_step} tokens, held-out loss {result.base_loss:.3f} to "
                f"{result.tuned_loss:.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
