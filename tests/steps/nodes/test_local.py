from __future__ import annotations

import platform
from pathlib import Path

import pytest

from argotune.steps.common.errors import PermanentError
from argotune.steps.common.progress import Progress
from argotune.steps.nodes.local import LocalProvider
from argotune.steps.nodes.provider import Node, NodeRequest


def request(gpus: int) -> NodeRequest:
    return NodeRequest(run="r", gpus=gpus, timeout_seconds=1)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with nothing: no nvidia-smi on its PATH, no driver."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path


def provision(machine: Path, gpus: int) -> Node:
    return LocalProvider(machine / "driver").provision(request(gpus), Progress())


def nvidia_smi(machine: Path, script: str) -> None:
    program = machine / "bin" / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def driver(machine: Path, *models: str) -> None:
    for number, model in enumerate(models):
        information = machine / "driver" / f"0000:0{number}:00.0" / "information"
        information.parent.mkdir(parents=True)
        information.write_text(f"Model: \t\t {model}\nIRQ:   \t\t 16\n")


def test_a_machine_without_gpu_is_a_cpu(machine: Path) -> None:
    node = provision(machine, 0)
    assert node == Node(name=platform.node(), accelerator="cpu", selector={})


def test_a_run_that_needs_a_gpu_is_refused_without_one(machine: Path) -> None:
    with pytest.raises(PermanentError) as caught:
        provision(machine, 1)
    assert str(caught.value) == (
        "the plan needs 1 GPU(s) and this machine has 0; take provider existing, or plan without "
        "an instance type to tune on this machine"
    )


def test_gpus_are_what_nvidia_smi_says(machine: Path) -> None:
    nvidia_smi(
        machine,
        '[ "$*" = "--query-gpu=name --format=csv,noheader" ] && '
        'printf "NVIDIA A100 80GB PCIe\\nNVIDIA A100 80GB PCIe\\nNVIDIA A10\\n"',
    )
    assert provision(machine, 3).accelerator == "2 x NVIDIA A100 80GB PCIe, 1 x NVIDIA A10"


def test_the_driver_is_asked_where_nvidia_smi_is_missing(machine: Path) -> None:
    driver(machine, "NVIDIA H100", "NVIDIA H100")
    assert provision(machine, 1).accelerator == "2 x NVIDIA H100"


def test_the_driver_is_asked_where_nvidia_smi_fails(machine: Path) -> None:
    nvidia_smi(machine, "exit 9")
    driver(machine, "NVIDIA H100")
    assert provision(machine, 1).accelerator == "1 x NVIDIA H100"


def test_nothing_is_given_back_or_collected() -> None:
    local = LocalProvider()
    assert local.release("r", timeout_seconds=1.0, progress=Progress()) == ()
    assert local.collect(lambda run, namespace, workflow: False, dry_run=False) == ()
