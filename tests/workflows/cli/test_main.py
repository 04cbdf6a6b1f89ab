"""What all commands share: help, exit codes, quick starts and pipes."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from argotune.workflows.cli.main import COMMANDS
from tests.workflows.cli.command import Argotune, Processes, environment, finish, leave, wait_until
from tests.workflows.cli.conftest import Write
from tests.workflows.cli.documents import GREETING, shell, workflow

HEAVY = {
    "bitsandbytes",
    "fastapi",
    "hera",
    "httpx",
    "huggingface_hub",
    "kubernetes",
    "matplotlib",
    "numpy",
    "peft",
    "pyarrow",
    "torch",
    "transformers",
}
EACH = """
import json, sys
from argotune.workflows.cli.main import main
for command in json.loads(sys.argv[1]):
    try:
        main(command)
    except SystemExit:
        pass
    print("{}:", *{})
"""
"""Runs commands one after the other; after each it prints a word and what an expression gives."""


def test_help_lists_every_command_and_the_exit_codes(argotune: Argotune) -> None:
    answer = argotune("--help")
    assert answer.code == 0
    listed = [line.split()[1] for line in answer.out.splitlines() if line.startswith("│ ")]
    commands = ["run", "submit", "render", "plan", "presets", "status", "logs", "stop", "chat"]
    assert [word for word in listed if word in commands] == commands
    words = " ".join(answer.out.split())
    assert (
        "Exit codes: 0 well, 1 the run failed, 2 the input is wrong, 3 it cannot be done here or"
        " now, 130 interrupted."
    ) in words


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(argotune: Argotune, command: str) -> None:
    answer = argotune(command, "--help")
    assert answer.code == 0
    assert f"Usage: argotune {command}" in answer.out
    words = " ".join(answer.out.replace("│", " ").split())
    assert COMMANDS[command] in words, "what argotune --help says of it"
    assert "--install-completion" not in answer.out


def test_no_command_at_all_prints_the_help(argotune: Argotune) -> None:
    answer = argotune()
    assert "Usage: argotune [OPTIONS] COMMAND" in answer.out + answer.err
    assert answer.code == 2


def test_version(argotune: Argotune) -> None:
    answer = argotune("--version")
    assert answer.code == 0
    assert answer.out.startswith("argotune ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nope"], "No such command 'nope'."),
        (["pln"], "No such command 'pln'. Did you mean 'plan'?"),
        (["plan"], "Missing argument 'FILE...'."),
        (["run", "--nope"], "No such option: --nope"),
        (["run", "--output", "xml"], "Invalid value for '--output'"),
        (["status", "--output", "xml"], "Invalid value for '--output'"),
    ],
)
def test_a_mistyped_command_is_wrong_input(
    argotune: Argotune, arguments: list[str], message: str
) -> None:
    answer = argotune(*arguments)
    assert answer.code == 2
    assert message in answer.err
    assert "Traceback" not in answer.err


def test_commands_that_need_no_cluster_import_nothing_heavy(write: Write) -> None:
    workspace = str(Path("workflows/demo/workspace.yaml").absolute())
    commands = [
        ["presets"],
        ["presets", "show", "phi-4"],
        ["plan", workspace, "--allow-loopback"],
        ["render", workspace, "--allow-loopback"],
        ["run", str(write("workflow.yaml", GREETING))],
        ["run", "--resume"],
        ["status"],
        ["logs", "nope"],
        ["stop", "nope"],
        ["chat", "nope", "Hello"],
    ]
    for command, modules in zip(commands, imported(*commands), strict=True):
        assert {name.partition(".")[0] for name in modules} & HEAVY == set(), command


def test_help_imports_no_command() -> None:
    (modules,) = imported(["--help"])
    assert modules & HEAVY == set()
    assert {name for name in modules if name.startswith("argotune.workflows.cli.")} == {
        "argotune.workflows.cli.errors",
        "argotune.workflows.cli.main",
        "argotune.workflows.cli.streams",
    }


def imported(*commands: Sequence[str]) -> list[set[str]]:
    """The modules that are loaded after each command of one process."""
    result = subprocess.run(
        [
            sys.executable,
            "-c",
            EACH.format("imported", "sorted(sys.modules)"),
            json.dumps(commands),
        ],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in result.stderr
    said = re.findall("^imported: (.*)$", result.stdout, re.MULTILINE)
    found = [set(modules.split()) for modules in said]
    assert all("argotune.workflows.cli.main" in modules for modules in found)
    return found


def test_a_reader_that_leaves_is_no_failure(start: Processes) -> None:
    answer = leave(start("presets", "show", "phi-4"))
    assert (answer.code, answer.err) == (0, "")


def test_a_run_goes_on_when_its_reader_leaves(
    start: Processes, write: Write, tmp_path: Path
) -> None:
    file = write("slow.yaml", workflow(shell("main", f"echo 1; sleep 0.5; touch {tmp_path}/end")))
    process = start("run", file)
    assert process.stdout is not None
    assert process.stdout.readline() != ""
    answer = leave(process)
    assert (answer.code, answer.err) == (0, "")
    assert (tmp_path / "end").exists()


def test_a_run_that_fails_without_a_reader_says_so_with_its_exit_code(
    start: Processes, write: Write
) -> None:
    answer = leave(start("run", write("bad.yaml", workflow(shell("main", "exit 7")))))
    assert (answer.code, answer.err) == (1, "")


@pytest.mark.parametrize("command", [["presets"], ["presets", "show", "phi-4"], ["--help"]])
def test_a_full_disk_behind_the_output_is_told_in_one_line(
    start: Processes, command: list[str]
) -> None:
    with Path("/dev/full").open("w") as full:
        answer = finish(start(*command, stdout=full))
    assert (answer.code, answer.errors) == (3, ["standard output: No space left on device"])


@pytest.mark.parametrize("closed", [[0], [1], [2], [0, 1, 2]])
def test_a_stream_that_is_closed_is_no_failure(
    start: Processes, write: Write, tmp_path: Path, closed: list[int]
) -> None:
    file = write("one.yaml", workflow(shell("main", f"echo said > {tmp_path}/end")))
    process = start("run", file, preexec_fn=lambda: [os.close(number) for number in closed])
    answer = finish(process)
    assert (answer.code, answer.err) == (0, "")
    assert ("succeeded" in answer.out) == (1 not in closed)
    assert (tmp_path / "end").read_text() == "said\n"


@pytest.mark.parametrize(
    ("environ", "is_plain"),
    [({"NO_COLOR": "1"}, True), ({"TERM": "dumb"}, True), ({"NO_COLOR": ""}, False)],
)
def test_plain_text_is_without_escape_codes(
    write: Write, environ: dict[str, str], is_plain: bool
) -> None:
    file = write("one.yaml", workflow(shell("main", "exit 1")))
    commands = [
        ["run", str(file), "--yes"],
        ["status", "greet"],
        ["run", "--no-such-flag"],
        ["--help"],
    ]
    *said, _ = on_a_terminal(commands, environ).split(b"ended:")
    for command, shown in zip(commands, said, strict=True):
        assert shown.strip()
        assert (b"\x1b" not in shown) == is_plain, command


def on_a_terminal(commands: Sequence[Sequence[str]], environ: Mapping[str, str]) -> bytes:
    """What the commands write to a terminal of their process."""
    terminal, inside = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", EACH.format("ended", "()"), json.dumps(commands)],
        stdin=inside,
        stdout=inside,
        stderr=inside,
        env={**environment(), "TERM": "xterm-256color", **environ},
    )
    os.close(inside)
    shown = b""
    with process, contextlib.suppress(OSError):  # the end of a terminal is an error
        while part := os.read(terminal, 1 << 16):
            shown += part
    os.close(terminal)
    return shown


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_to_be_stopped_is_exit_code_130_and_no_traceback(
    start: Processes, write: Write, home_dir: Path, signum: signal.Signals
) -> None:
    run = start("run", write("slow.yaml", workflow(shell("main", "echo started; sleep 60"))))
    wait_until(lambda: any(home_dir.glob("runs/*/logs/*.log")))
    following = start("logs", "greet", "--follow")
    assert following.stdout is not None
    assert following.stdout.readline() != ""
    following.send_signal(signum)
    answer = finish(following)
    assert (answer.code, answer.err) == (130, "")
    run.send_signal(signum)
    assert finish(run).code == 130
