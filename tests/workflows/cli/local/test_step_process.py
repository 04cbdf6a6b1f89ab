"""A command that `argotune evaluate` and `verify --replay` run, when these are interrupted."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from argotune.workflows.cli.local.step_process import run_to_its_end
from tests.workflows.cli.command import environment

RUN = """
import signal, sys
from argotune.workflows.cli.local.step_process import run_to_its_end
signal.signal(signal.SIGTERM, signal.default_int_handler)
run_to_its_end(sys.argv[1:])
"""
STEP = """
trap 'echo ended > "$0/ended"; kill $!; exit 0' TERM
sleep 600 &
echo started > "$0/started"
wait
"""


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_command_lets_its_step_end_what_it_began(
    tmp_path: Path, signum: signal.Signals
) -> None:
    os.mkfifo(tmp_path / "started")
    command = [sys.executable, "-c", RUN, "sh", "-c", STEP, str(tmp_path)]
    with subprocess.Popen(command, env=environment(), stderr=subprocess.DEVNULL) as process:
        assert (tmp_path / "started").read_text() == "started\n"
        process.send_signal(signum)
        assert process.wait(timeout=30) != 0
    assert (tmp_path / "ended").read_text() == "ended\n"


def test_a_signal_while_a_command_starts_leaves_no_process() -> None:
    until_it_ends, held = os.pipe()
    with pytest.raises(KeyboardInterrupt):
        run_to_its_end(
            ["sleep", "600"],
            pass_fds=[held],
            preexec_fn=lambda: os.kill(os.getppid(), signal.SIGINT),
        )
    os.close(held)
    ready, _, _ = select.select([until_it_ends], [], [], 10)
    assert ready
    assert os.read(until_it_ends, 1) == b""
    os.close(until_it_ends)
