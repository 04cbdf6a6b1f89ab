"""argotune tiny: the weights of preset `tiny`, made on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Annotated

import typer

from argotune.steps.common.values import is_dns_subdomain
from argotune.workflows.cli.errors import INTERRUPTED, CliError, InputError
from argotune.workflows.cli.home import MODEL_CACHE_CLAIM, check_writable, home
from argotune.workflows.cli.local.machine import missing_packages, pip_install

app = typer.Typer(add_completion=False)

_WAITING = "OMP_WAIT_POLICY"
"""How torch's threads wait for each other, which they do thousands of times a step: by themselves
they spin. On two cores with 16 busy processes a step took 0.7 to 1.4 s so, and 0.24 s without."""


@app.command()
def tiny(
    claim: Annotated[
        str,
        typer.Option(
            "--model-cache-claim", help="The model cache, as a workspace's annotation names it."
        ),
    ] = MODEL_CACHE_CLAIM,
    seed: Annotated[int, typer.Option(help="Seed of weights and text order.", min=0)] = 0,
) -> None:
    """Make the weights of preset tiny on this machine, to try a run with.

    It takes under a minute on two cores, and downloads nothing: the texts are the docstrings of
    Python's standard library.
    """
    if not is_dns_subdomain(claim):
        raise InputError(f"--model-cache-claim: {claim!r}; accepted is the name of a claim")
    missing = missing_packages("tune", "data")
    if missing:
        raise CliError(f"Python packages are missing; install them: {pip_install(missing)}")
    here = home()
    here.make()
    check_writable(here.model_cache(claim))
    command = [sys.executable, "-m", "argotune.steps.tiny.make"]
    # In a process of its own, since only steps import torch; Ctrl-C reaches it too.
    made = subprocess.run(
        [*command, f"--cache-dir={here.model_cache(claim)}", f"--seed={seed}"],
        env={_WAITING: "PASSIVE", **os.environ},
        check=False,
    )
    if made.returncode < 0:
        raise typer.Exit(INTERRUPTED)
    if made.returncode:
        raise typer.Exit(made.returncode)
