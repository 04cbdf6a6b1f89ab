"""Loading a base: 4-bit weights that an earlier run kept beside quantising the 16-bit ones.

    python -m tests.bench.tune.load [--rounds 3]

A random Phi-3 of 0.4 billion parameters in bfloat16, on the CPU, by what the tune step calls. Each
measurement is a process of its own; starting and importing are not counted. All files are in the
kernel's cache, so a disk's share, which falls with the bytes, is not in it. Exits with 1 where the
kept weights are not faster.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import torch
from transformers import Phi3Config

from argotune.steps.causal_lm.device import Device
from argotune.steps.contracts.model_cache import mark_complete, read_marker
from argotune.steps.contracts.training_plan import Execution, Quantization
from argotune.steps.tune.load import load_model
from tests.bench.child import Found, measured
from tests.bench.memory import peak_mb
from tests.bench.ratio import median_ratio
from tests.bench.tune.rig import save_random_model, tiny_config, tiny_plan

_MODULE = "tests.bench.tune.load"


def main() -> int:
    """Parse the flags; with `--child`, be one of the measured processes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", choices=CHILDREN, help=argparse.SUPPRESS)
    parser.add_argument("--directory", type=Path, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.child:
        print(json.dumps(_load(flags.directory, CHILDREN[flags.child])))
        return 0
    with tempfile.TemporaryDirectory(prefix="bench-load-") as place:
        directory = Path(place, "main")
        save_random_model(directory, _config(), torch.bfloat16)
        mark_complete(directory)
        # The first one keeps what the others of its kind read.
        measured(_MODULE, "kept", directory)
        (kept,) = (path for path in directory.parent.iterdir() if path != directory)
        sizes = {"quantised": _gb(directory), "kept": _gb(kept)}
        found: dict[str, list[Found]] = {name: [] for name in CHILDREN}
        for _ in range(flags.rounds):
            for name in CHILDREN:
                found[name].append(measured(_MODULE, name, directory))
    for name, rounds in found.items():
        seconds = sorted(each["seconds"] for each in rounds)
        print(
            f"{name}: {statistics.median(seconds):.2f} s ({seconds[0]:.2f}-{seconds[-1]:.2f}), "
            f"{sizes[name]:.2f} GB of files, "
            f"peak {statistics.median(each['peak_mb'] for each in rounds):.0f} MB"
        )
    ratio = median_ratio(
        (each["seconds"] for each in found["quantised"]),
        (each["seconds"] for each in found["kept"]),
    )
    print(f"kept weights load {ratio:.2f} times as fast")
    return 0 if ratio > 1 else 1


def _config() -> Phi3Config:
    config = tiny_config()
    config.update(
        {
            "vocab_size": 32_064,
            "hidden_size": 1536,
            "intermediate_size": 4096,
            "num_hidden_layers": 12,
            "num_attention_heads": 16,
            "num_key_value_heads": 16,
        }
    )
    return config


def _gb(directory: Path) -> float:
    marker = read_marker(directory)
    if marker is None:
        raise SystemExit(f"{directory} is not whole")
    return marker.size / 1e9


def _load(directory: Path, execution: Execution) -> Found:
    """As the tune step does on a GPU, where frozen weights are bfloat16."""
    plan = msgspec.structs.replace(
        tiny_plan(packs=1), method="qlora", quantization=Quantization(), execution=execution
    )
    device = Device(torch.device("cpu"), torch.bfloat16, None)
    began = time.perf_counter()
    load_model(plan, directory, device, "default")
    return {"seconds": time.perf_counter() - began, "peak_mb": peak_mb()}


CHILDREN = {"quantised": Execution(), "kept": Execution(cache_quantized=True)}


if __name__ == "__main__":
    sys.exit(main())
