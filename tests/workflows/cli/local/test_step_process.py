"""A command that `argotune evaluate` and `verify --replay` run, when these are interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

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
