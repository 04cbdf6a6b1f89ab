"""Measure argotune on this machine's GPU, and check that it computes what it should.

    python -m tests.gpu [STAGE...] [--out DIRECTORY] [--dry]

Each stage is a process with a limit of its own, so that one that crashes or runs out of memory ends
alone. Prints a table; the exit code is 1 where something is wrong, and 3 without a GPU.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from argotune.steps.accelerator.cuda import TORCH
from argotune.steps.accelerator.gpus import prepare_gpu
from argotune.steps.common.errors import StepError
from argotune.steps.common.exhausted import step_error_of
from argotune.steps.tune.device import find_device
from tests.gpu.kernels import kernels
from tests.gpu.records import RESULTS, Records, read, table, wrong
from tests.gpu.serving import serve
from tests.gpu.training import extras, mini, mini_16, seven
from tests.gpu.whole_step import several, step

_PACKAGES = ("torch", "transformers", "peft", "bitsandbytes")


def machine(records: Records) -> None:
    """The card, its driver, the versions, and what a product and a copy reach."""
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
    records.add("versions", cuda=TORCH.built_for, driver=TORCH.driver_version(), **versions)
    if not TORCH.count():
        records.add("GPU", none=TORCH.refusal())
        return
    prepare_gpu(0)
    gpus = "; ".join(str(TORCH.gpu(rank)) for rank in range(TORCH.count()))
    records.add("GPU", found=gpus, expandable_segments=TORCH.has_expandable_segments())
    matrix = torch.randn(8192, 8192, device=find_device().torch_device, dtype=torch.bfloat16)
    copy = torch.empty_like(matrix)
    product_ms = records.milliseconds(lambda: matrix @ matrix)
    copy_ms = records.milliseconds(lambda: copy.copy_(matrix))
    records.add(
        "rates",
        tflops=round(2 * 8192**3 / product_ms / 1e9),
        terabytes_per_second=round(2 * matrix.nbytes / copy_ms / 1e9, 2),
    )


STAGES: Mapping[str, tuple[Callable[[Records], None], int]] = {
    "machine": (machine, 60),
    "kernels": (kernels, 90),
    "step": (step, 120),
    "mini": (mini, 180),
    "mini-16": (mini_16, 120),
    "seven": (seven, 180),
    "extras": (extras, 400),
    "serve": (serve, 180),
    "several": (several, 300),
}
"""Each stage, and the longest time that it may take on an H100, s."""


def main() -> int:
    """Run the stages, or within one of their processes that stage."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=", ".join(STAGES))
    parser.add_argument("--out", type=Path, default=Path("dist", "gpu-check"))
    parser.add_argument("--dry", action="store_true", help="the smallest sizes, on the CPU too")
    parser.add_argument("--in-this-process", action="store_true", help=argparse.SUPPRESS)
    flags = parser.parse_args()
    unknown = [name for name in flags.stages if name not in STAGES]
    if unknown:
        parser.error(f"no stage {', '.join(unknown)}; there are: {', '.join(STAGES)}")
    if not flags.dry and not TORCH.count():
        print(f"torch can use no GPU here: {TORCH.refusal()}", file=sys.stderr)
        return 3
    names = flags.stages or list(STAGES)
    if flags.in_this_process:
        for name in names:
            measure(STAGES[name][0], Records(flags.out, name, dry=flags.dry))
        return 0
    (flags.out / RESULTS).unlink(missing_ok=True)
    for name in names:
        _run(name, flags.out, dry=flags.dry)
    return report(flags.out)


def measure(stage: Callable[[Records], None], records: Records) -> None:
    """Run a stage; what a step refuses, and missing memory, is a record and not a traceback."""
    try:
        stage(records)
    except Exception as error:  # a bug goes on as it is
        known = error if isinstance(error, StepError) else step_error_of(error)
        if known is None:
            raise
        records.add("stage", error=str(known))


def report(out: Path) -> int:
    """Print the table and what is wrong; the exit code."""
    records = read(out)
    print("\n" + table(records))
    problems = wrong(records)
    for problem in problems:
        print(f"WRONG  {problem}")
    return 1 if problems else 0


def _run(name: str, out: Path, *, dry: bool) -> None:
    command = [sys.executable, "-m", "tests.gpu", name, f"--out={out}", "--in-this-process"]
    try:
        code = subprocess.run([*command, *(["--dry"] if dry else [])], timeout=STAGES[name][1])
    except subprocess.TimeoutExpired as error:
        Records(out, name, dry=dry).add("stage", error=f"not done after {error.timeout:g} s")
        return
    if code.returncode:
        Records(out, name, dry=dry).add("stage", error=f"exit code {code.returncode}, see above")


if __name__ == "__main__":
    sys.exit(main())
