"""The transcripts of the READMEs: what `argotune` prints today for the commands that stand there.

python -m tests.transcripts   writes the outputs anew, as `make golden` does

A fenced block that begins with `$ argotune` is run: the shell runs each of its commands at the
repository's root, against a fake of a Kubernetes API server and one of skopeo, for which every
image is in its registry. A block below the comment RECORDED
comes from a real run or a real cluster and is left alone.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.workflows.cli.api import api_server

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    [
        ROOT / "README.md",
        *(
            page
            for folder in ("presets", "steps", "workflows", "images", "tests")
            for page in (ROOT / folder).rglob("README.md")
        ),
    ]
)
RECORDED = "<!-- recorded -->"
_BLOCK = re.compile(
    rf"(?P<recorded>^{RECORDED}\n+)?^```\n(?P<text>\$ argotune .*?)^```$", re.M | re.S
)
_RECORDED_BLOCK = re.compile(rf"^{RECORDED}\n+```\n(?P<text>.*?)^```$", re.M | re.S)
# A command goes on behind a backslash at the end of its line.
_COMMAND = re.compile(r"^\$ (?P<command>(?:.*\\\n)*.*)\n", re.M)
_SECONDS = 60

Run = Callable[[str], str]


def commands_of(text: str) -> list[str]:
    """The commands whose outputs are written into this page."""
    return [
        command["command"]
        for block in _BLOCK.finditer(text)
        if not block["recorded"]
        for command in _COMMAND.finditer(block["text"])
    ]


def recorded_blocks(text: str) -> list[str]:
    """The blocks of this page that come from a real run or a real cluster."""
    return [block["text"] for block in _RECORDED_BLOCK.finditer(text)]


def written(text: str, run: Run) -> str:
    """The page with the outputs of today; `run` takes a shell command and returns its output."""

    def block(match: re.Match[str]) -> str:
        if match["recorded"]:
            return match[0]
        commands = [command["command"] for command in _COMMAND.finditer(match["text"])]
        return "```\n" + "".join(f"$ {command}\n{run(command)}" for command in commands) + "```"

    return _BLOCK.sub(block, text)


@contextmanager
def shell() -> Iterator[Run]:
    """Runs commands of a transcript; the cluster that they see is empty at the beginning."""
    with (
        tempfile.TemporaryDirectory() as directory,
        pytest.MonkeyPatch.context() as patch,
        api_server(patch, Path(directory)),
    ):
        skopeo = Path(directory) / "skopeo"
        skopeo.write_text("#!/bin/sh\necho '{}'\n")
        skopeo.chmod(0o755)
        environment = {
            **os.environ,
            "ARGOTUNE_HOME": directory,
            "COLUMNS": "120",
            "PATH": f"{directory}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        }

        def run(command: str) -> str:
            done = subprocess.run(
                command,
                shell=True,
                cwd=ROOT,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=_SECONDS,
            )
            # Tables are padded to their widest row, and help with empty lines.
            lines = [line.rstrip() for line in done.stdout.strip("\n").splitlines()]
            return "\n".join(lines).rstrip() + "\n"

        yield run


def main() -> None:
    """Write the pages whose outputs have changed."""
    for page in PAGES:
        text = page.read_text()
        with shell() as run:
            new = written(text, run)
        if new != text:
            page.write_text(new)
            print(f"wrote {page.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
