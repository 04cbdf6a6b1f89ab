"""Record the token ids and labels that TRL's SFTTrainer makes of each kind of row.

    python -m tests.bench.tune.trl_rows

Writes tests/steps/tokens/trl.json, which the unit tests compare with ours: TRL is in the dependency
group `bench` alone. Run it again when the kinds or TRL's version change.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import trl
from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from tests.steps.tokens import kinds
from tests.steps.tune.models import random_model

RECORD = Path(kinds.__file__).with_name("trl.json")


def main() -> None:
    """Write the record."""
    with tempfile.TemporaryDirectory() as directory:
        rows = {
            name: prepare(row, kinds.tokenizer_for(template), Path(directory))
            for name, (template, row) in kinds.KINDS.items()
        }
    RECORD.write_text(json.dumps({"trl": trl.__version__, "rows": rows}) + "\n")
    print(f"{RECORD}: {len(rows)} rows of TRL {trl.__version__}")


def prepare(row: dict[str, Any], tokenizer: Any, directory: Path) -> dict[str, list[int]]:
    """The row's input_ids and labels, -100 for what is not learned."""
    trainer = SFTTrainer(
        model=random_model("phi3", "sdpa"),
        # One row, because a data set of several would add the fields of one to the others.
        train_dataset=Dataset.from_list([row]),
        processing_class=tokenizer,
        args=SFTConfig(
            output_dir=str(directory),
            assistant_only_loss=True,
            max_length=None,
            use_cpu=True,
            report_to="none",
        ),
    )
    (made,) = trainer.train_dataset
    return {name: list(made[name]) for name in ("input_ids", "labels")}


if __name__ == "__main__":
    main()
