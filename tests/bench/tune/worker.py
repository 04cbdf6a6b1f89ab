"""One contestant in a process of its own, kept ready: rounds are asked for on standard input.

    python -m tests.bench.tune.worker NAME DIRECTORY LENGTHS

Each line that it reads is `gradients FILE` or `round`; each gets one line of JSON.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import msgspec

from tests.bench.memory import peak_mb

OURS = "argotune"


class Measured(msgspec.Struct, kw_only=True):
    """A worker's answer."""

    seconds: float
    cpu_seconds: float
    loss: float
    peak_mb: float
    """Largest resident memory of the process, or on a GPU what was reserved there."""


class Worker:
    """The parent's end of a worker."""

    def __init__(self, name: str, process: subprocess.Popen[str]) -> None:
        self.name = name
        self._process = process

    def gradients(self, file: Path) -> Measured:
        """One step over all rows; its gradients are then in `file`."""
        return self._ask(f"gradients {file}")

    def round(self) -> Measured:
        """All rows once."""
        return self._ask("round")

    def _ask(self, line: str) -> Measured:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self.name} ended with exit code {self._process.wait(60)}")
        return msgspec.json.decode(answer, type=Measured)


@contextmanager
def started(name: str, directory: Path, lengths: str, threads: int | None) -> Iterator[Worker]:
    """A worker, ended by the end of its input."""
    own = directory / name
    own.mkdir(exist_ok=True)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(directory / "hf")}
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    with (own / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.tune.worker", name, str(directory), lengths],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment,
        )
        try:
            yield Worker(name, process)
        except SystemExit:
            print((own / "log").read_text()[-4000:], file=sys.stderr)
            raise
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(60)


def main(arguments: list[str]) -> None:
    """Serve until the input ends."""
    # Libraries print; only answers may go where the parent reads them.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    name, directory, lengths = arguments
    _serve(name, Path(directory), lengths, sys.stdin, answers)


def _serve(name: str, directory: Path, lengths: str, questions: IO[str], answers: IO[str]) -> None:
    # After the answers' way is kept apart, for these write while they are loaded.
    import safetensors.torch
    import torch

    from argotune.steps.contracts.training_plan import read_plan
    from tests.bench.tune.contestants import Contestant, Ours, first_gradients
    from tests.bench.tune.rig import LENGTHS

    plan = read_plan(directory / "plan.yaml")
    contestant: Contestant
    if name == OURS:
        contestant = Ours(directory, plan)
    else:
        from tests.bench.tune.rivals import WAYS, Rival

        contestant = Rival(directory, plan, LENGTHS[lengths], WAYS[name])
    for line in questions:
        command, _, file = line.strip().partition(" ")
        with first_gradients(contestant.model) as gradients:
            taken = contestant.train(whole=command == "gradients")
        if command == "gradients":
            safetensors.torch.save_file(gradients, file)
        memory = torch.cuda.max_memory_reserved() / 1e6 if torch.cuda.is_available() else peak_mb()
        measured = Measured(**msgspec.structs.asdict(taken), peak_mb=memory)
        answers.write(msgspec.json.encode(measured).decode() + "\n")
        answers.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
