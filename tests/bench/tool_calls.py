"""Whether tiny learns to call tools: 200 rows, and then 100 questions about other things.

    python -m tests.bench.tool_calls [--epochs E] [--learning-rate R] [--seed S] [--cache-dir DIR]

The rows pass the dataset step and tune, as a user's do, with the preset's settings unless told
otherwise. The questions name towns that no row names, with an ending that no row has: tiny has
copied none in any run, so what is measured is the form of a call, and of which function it is.
A call is well-formed if it is one JSON object in the tags of the template, of a function that is
offered, with its argument as a text. Exits with 1 below 95 of 100.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from argotune.steps.common.progress import Progress
from argotune.steps.contracts.training_plan import write_plan
from argotune.steps.dataset.judge import Judge
from argotune.steps.dataset.make import make_dataset
from argotune.steps.dataset.target import DatasetFile
from argotune.steps.plan.planning import Params as PlanParams
from argotune.steps.plan.planning import make_plan
from argotune.steps.tiny.make import make_tiny
from argotune.steps.tune.params import Params
from argotune.steps.tune.run import run
from argotune.workflows.cli.home import home

LEAST_WELL_FORMED = 95
_ROWS, _QUESTIONS = 200, 100
_BATCH, _MOST_TOKENS = 20, 60
_CALL = re.compile(r"<tool_call>\n(\{.*\})\n</tool_call>")
_ASKED = {"weather": "What is the weather in {}?", "time": "What time is it in {}?"}
_TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"town": "text"}}}
    for name in _ASKED
]
"""Short, because the vocabulary of tiny takes three hundred tokens for two JSON schemas."""


def main() -> int:
    """Train, ask, and print how many calls are well-formed and how many are right."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cache-dir", type=Path, default=home().models_dir, help="with tiny")
    own = "instead of the preset's"
    parser.add_argument("--epochs", type=float, dest="num_train_epochs", help=own)
    parser.add_argument("--learning-rate", type=float, help=own)
    parser.add_argument("--seed", type=int, help="of initialization and order")
    flags = parser.parse_args()
    given = {name: getattr(flags, name) for name in ("num_train_epochs", "learning_rate", "seed")}
    arguments = {name: value for name, value in given.items() if value is not None}
    began = time.monotonic()
    model_dir = make_tiny(flags.cache_dir)
    with tempfile.TemporaryDirectory(prefix="bench-tool-calls-") as place:
        adapter = _train(model_dir, Path(place), arguments)
        trained = time.monotonic()
        calls = [
            (name, town, _call_in(answer)) for (name, town), answer in _answers(model_dir, adapter)
        ]
    formed = sum(call is not None for _, _, call in calls)
    named = sum(call is not None and call["name"] == name for name, _, call in calls)
    right = sum(call == {"name": name, "arguments": {"town": town}} for name, town, call in calls)
    print(
        f"{formed} of {len(calls)} calls are well-formed, {named} of the function asked for, "
        f"{right} with the town too; "
        f"{trained - began:.0f} s to train, {time.monotonic() - trained:.0f} s to ask"
    )
    return 0 if formed >= LEAST_WELL_FORMED else 1


def _towns() -> list[str]:
    """Names of towns, made of two syllables and an ending."""
    begins = ("Al", "Bre", "Cor", "Da", "El", "Fal", "Gro", "Ha", "Is", "Ker")
    middles = ("den", "lin", "mor", "ra", "ster")
    return [a + b + c for c in ("burg", "ton", "wick") for b in middles for a in begins]


def _question(index: int) -> tuple[str, str]:
    names, towns = list(_ASKED), _towns()
    return names[index % 2], towns[index // 2 % len(towns)]


def _train(model_dir: Path, work_dir: Path, arguments: dict[str, float]) -> Path:
    """The adapter's directory; `arguments` are those of Kaito's TrainingArguments."""
    config = json.dumps({"training_config": {"TrainingArguments": arguments}})
    plan = make_plan(PlanParams(name="calls", preset="tiny", method="lora", config=config))
    data = msgspec.structs.replace(plan.data, validation_share=0.05)
    write_plan(work_dir / "plan.yaml", plan)
    path = work_dir / "rows.jsonl"
    path.write_text("".join(json.dumps(_row(index)) + "\n" for index in range(_ROWS)))
    size = path.stat().st_size
    file = DatasetFile(url="rows", name=path.name, path=path, size=size, sha256="0" * 64)
    made = make_dataset(
        [file],
        data,
        work_dir / "dataset",
        scratch_dir=work_dir,
        judge=Judge(model_dir, plan),
        on_bytes=lambda _: None,
    )
    assert made.train_rows + made.validation_rows == _ROWS
    params = Params(
        plan_file=work_dir / "plan.yaml",
        model_dir=model_dir,
        work_dir=work_dir,
        dataset_digest=made.digest.hex(),
    )
    run(params, progress=Progress())
    return work_dir / "adapter"


def _row(index: int) -> dict[str, Any]:
    name, town = _question(index)
    call = {"function": {"name": name, "arguments": json.dumps({"town": town})}}
    answer = {"role": "assistant", "content": None, "tool_calls": [call]}
    return {"messages": [_asked(name, town), answer], "tools": _TOOLS}


def _asked(name: str, town: str) -> dict[str, str]:
    return {"role": "user", "content": _ASKED[name].format(town)}


@torch.no_grad()
def _answers(model_dir: Path, adapter: Path) -> Iterator[tuple[tuple[str, str], str]]:
    """Each question with the answer to it."""
    tokenizer: Any = AutoTokenizer.from_pretrained(adapter, padding_side="left")
    base: Any = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    model: Any = PeftModel.from_pretrained(base, adapter).eval()
    questions = [_question(index) for index in range(_ROWS, _ROWS + _QUESTIONS)]
    for first in range(0, _QUESTIONS, _BATCH):
        batch = questions[first : first + _BATCH]
        given = tokenizer.apply_chat_template(
            [[_asked(*question)] for question in batch],
            tools=_TOOLS,
            add_generation_prompt=True,
            padding=True,
            return_tensors="pt",
            return_dict=True,
        )
        written = model.generate(**given, max_new_tokens=_MOST_TOKENS, do_sample=False)
        texts = tokenizer.batch_decode(
            written[:, given["input_ids"].shape[1] :], skip_special_tokens=True
        )
        yield from zip(batch, texts, strict=True)


def _call_in(answer: str) -> dict[str, Any] | None:
    """The well-formed call that an answer is, else None."""
    found = _CALL.fullmatch(answer.strip())
    try:
        call = json.loads(found[1]) if found else None
    except ValueError:
        return None
    if not isinstance(call, dict) or call.keys() != {"name", "arguments"}:
        return None
    arguments = call["arguments"]
    is_offered = call["name"] in _ASKED and isinstance(arguments, dict)
    has_argument = is_offered and isinstance(arguments.get("town"), str) and len(arguments) == 1
    return call if has_argument else None


if __name__ == "__main__":
    sys.exit(main())
