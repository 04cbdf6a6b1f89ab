"""`make demo`: create a base model and a dataset, tune the model, and compare answers.

The demo runs the README's workspace file, and then asks the base model and the tuned model the same
questions.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from pathlib import Path

from rich.console import Console

from argotune.presets.loader import model_preset
from argotune.workflows.cli.chat_client import ask
from argotune.workflows.cli.commands.chat import served_here
from argotune.workflows.cli.console import console
from argotune.workflows.cli.errors import CliError
from argotune.workflows.cli.home import Home, home
from argotune.workflows.cli.local.runs import find_run
from argotune.workflows.demo.dataset import write_dataset
from argotune.workflows.demo.server import serving

NAME = "python-docs"
WORKSPACE = Path(__file__).resolve().parent / "workspace.yaml"
PORT = 8765
_ASKED = ("What does json.dumps do?", "Explain math.sqrt.", "Tell me about shutil.rmtree.")
_NEXT = "What is textwrap.dedent for?"


def main(arguments: list[str]) -> int:
    """Run the demo; the exit code is that of `argotune run`."""
    options = _options(arguments)
    screen = console()
    here = home()
    try:
        return _demo(screen, here, options.port, options.resume)
    except CliError as error:
        screen.print(f"error: {error}", style="red")
        return error.exit_code
    except KeyboardInterrupt:
        return 130


def _demo(screen: Console, here: Home, port: int, resume: bool) -> int:
    here.make()
    dataset = here.root / "demo" / f"{NAME}.parquet"
    rows = write_dataset(dataset)
    # Before the minute of work, because the port may be in use.
    with serving(dataset, port) as url:
        screen.rule("1. A base model, made here")
        code = _make_base_model()
        if code:
            return code
        screen.rule("2. A dataset of Python's own documentation, served over HTTP")
        screen.print(f"{rows} questions and answers at {url}")
        screen.rule(f"3. argotune run {_relative(WORKSPACE)}")
        code = _run(url if port != PORT else None, resume)
    if code:
        screen.print("resume with: make demo RESUME=1")
        return code
    screen.rule("4. The same questions before and after")
    _compare(screen, here)
    return 0


def _make_base_model() -> int:
    """Create the model in a process of its own, because only the tuning steps import torch."""
    return _foreground([sys.executable, "-m", "argotune.workflows.cli", "tiny"])


def _run(url: str | None, resume: bool) -> int:
    command = [sys.executable, "-m", "argotune.workflows.cli", "run", str(_relative(WORKSPACE))]
    if resume:
        return _foreground([*command, "--resume"])
    command += ["--allow-loopback"]
    if url:
        command += ["--url", url]
    return _foreground(command)


def _foreground(command: list[str]) -> int:
    """Run a child process, and wait for its cleanup on Ctrl-C, which it receives too."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        # SIG_IGN would be inherited by the child.
        return subprocess.run(
            command, check=False, preexec_fn=lambda: signal.signal(signal.SIGINT, before)
        ).returncode
    finally:
        signal.signal(signal.SIGINT, before)


def _compare(screen: Console, here: Home) -> None:
    service = served_here(NAME)
    base = model_preset("tiny").repository
    for prompt in _ASKED:
        screen.print(f"\n{prompt}", style="bold")
        screen.print(f"  base:  {_line(ask(service, prompt, model=base))}", soft_wrap=True)
        screen.print(f"  tuned: {_line(ask(service, prompt))}", style="green", soft_wrap=True)
    loss_curve = find_run(here, NAME).directory / "claims" / "work" / "report" / "loss.png"
    screen.print(
        f"\nLoss curve: {loss_curve}\n"
        f"\nThe service keeps running at {service.endpoint}:\n"
        f'  .venv/bin/argotune chat {NAME} "{_NEXT}"\n'
        f"  curl {service.endpoint}/chat -H 'Content-Type: application/json'"
        f' -d \'{{"prompt": "{_NEXT}"}}\'\n'
        f"  .venv/bin/argotune status\n"
        f"  .venv/bin/argotune stop {NAME}",
        soft_wrap=True,
    )


def _line(text: str) -> str:
    return " ".join(text.split())[:100]


def _relative(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m argotune.workflows.demo", description=__doc__)
    parser.add_argument("--port", type=int, default=PORT, help="port of the dataset's server")
    parser.add_argument("--resume", action="store_true", help="resume an interrupted demo")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
