"""argotune plan."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys
from collections.abc import Iterator

import pytest

from argotune.steps.contracts.training_plan import parse_plan
from tests.workflows.cli.command import Argotune, environment
from tests.workflows.cli.conftest import Write
from tests.workflows.cli.documents import TINY
from tests.workflows.workspace.helpers import QUICK_START, changed

A100 = "Standard_NC24ads_A100_v4"


def test_quick_start_is_planned_with_warnings(argotune: Argotune, write: Write) -> None:
    answer = argotune("plan", write("workspace.yaml", QUICK_START))
    assert answer.code == 0
    assert "Plan of workspace-tuning-phi-3" in answer.out
    warnings = answer.err.splitlines()
    assert [line for line in warnings if not line.startswith("warning: ")] == []
    fields = [line.removeprefix("warning: ").partition(":")[0] for line in warnings]
    assert fields[:6] == [
        "apiVersion",
        "tuning.input.urls[0]",
        "resource.instanceType",
        "tuning.output.image",
        "tuning.output.imagePushSecret",
        "resource.instanceType",
    ]
    assert (
        "Standard_NC6s_v3 cannot be used: retired by the cloud on 2025-09-30; the nearest that"
        " fits is Standard_NC24ads_A100_v4 (A100 80GB, 80 GiB, 3.673 USD/h in eastus); planned for"
        " instead; submit asks for --substitute"
    ) in warnings[5]


def test_substitute_takes_the_nearest_sku(argotune: Argotune, write: Write) -> None:
    answer = argotune("plan", write("workspace.yaml", QUICK_START), "--substitute")
    assert answer.code == 0
    assert "3.673 USD/h in eastus); taken instead" in answer.err
    chosen = [line.split()[1] for line in answer.out.splitlines() if line.startswith("* ")]
    assert chosen == ["Standard_NC24ads_A100_v4"]


def test_skus_that_do_not_fit_are_listed_with_their_reason_on_request(
    argotune: Argotune, write: Write
) -> None:
    file = write("workspace.yaml", QUICK_START)
    assert "Standard_NC6s_v3" not in argotune("plan", file).out
    every = argotune("plan", file, "--all").out
    line = next(line for line in every.splitlines() if "Standard_NC6s_v3 " in line)
    assert "retired" in line


def test_yaml_output_is_the_plan_that_the_steps_read(argotune: Argotune, write: Write) -> None:
    answer = argotune("plan", write("workspace.yaml", TINY), "--output", "yaml")
    assert answer.code == 0
    plan = parse_plan(answer.out)
    assert (plan.name, plan.method, plan.model.preset) == ("my-tiny", "lora", "tiny")


@pytest.mark.parametrize(
    ("flag", "value", "shown"),
    [
        ("--name", "another", "Plan of another"),
        ("--preset", "phi-4", "microsoft/phi-4"),
        ("--method", "qlora", "qlora"),
    ],
)
def test_flags_stand_in_for_the_files_fields(
    argotune: Argotune, write: Write, flag: str, value: str, shown: str
) -> None:
    file = write("workspace.yaml", TINY)
    assert shown not in argotune("plan", file).out
    answer = argotune("plan", file, flag, value)
    assert answer.code == 0
    assert shown in answer.out


@pytest.mark.parametrize(
    ("cloud", "machine"), [("aws", "g6e.xlarge"), ("gcp", "a2-highgpu-1g"), ("azure", A100)]
)
def test_a_cloud_that_is_asked_for_is_the_one_whose_machines_are_shown(
    argotune: Argotune, write: Write, cloud: str, machine: str
) -> None:
    text = changed({"resource/instanceType": None, "tuning/preset/name": "phi-4"})
    answer = argotune("plan", write("workspace.yaml", text), "--cloud", cloud)
    assert answer.code == 0
    assert f"GPU machines of {cloud} that fit; none is planned for" in answer.out
    (title,) = (at for at, line in enumerate(answer.out.splitlines()) if " that fit; " in line)
    assert answer.out.splitlines()[title + 2].split()[0] == machine
    prices = [line for line in answer.out.splitlines() if line.startswith("Prices")]
    assert len(prices) == 1


def test_a_machine_of_another_cloud_than_the_one_asked_for_is_refused(
    argotune: Argotune, write: Write
) -> None:
    answer = argotune("plan", write("workspace.yaml", changed({})), "--cloud", "aws")
    assert answer.code == 2
    assert f"instance-type: {A100} is a machine of azure; the run is in aws" in answer.errors[0]
    both = argotune(
        "plan", write("workspace.yaml", changed({})), "--cloud", "aws", "--provider", "aks"
    )
    assert "cloud: aws; provider aks makes machines of azure" in both.err


def test_a_sku_that_cannot_hold_the_job_is_refused_with_one_that_can(
    argotune: Argotune, write: Write
) -> None:
    file = write("workspace.yaml", TINY)
    answer = argotune(
        "plan", file, "--preset", "qwen2.5-coder-32b-instruct",
        "--instance-type", "g5.4xlarge",
    )  # fmt: skip
    assert answer.code == 2
    assert len(answer.errors) == 1
    assert answer.errors[0].startswith(
        "resource.instanceType: g5.4xlarge: qwen2.5-coder-32b-instruct with lora and 4096 tokens"
        " per pass needs "
    )
    assert "; take it with --substitute or --instance-type p" in answer.errors[0]


@pytest.mark.parametrize("command", ["plan", "render", "submit"])
def test_a_tune_pod_that_does_not_fit_on_the_machine_is_refused_when_the_file_is_read(
    argotune: Argotune, write: Write, command: str
) -> None:
    file = write("workspace.yaml", TINY)
    settings = ["--set", "tune-memory=4000Gi", "--instance-type", "Standard_NC24ads_A100_v4"]
    answer = argotune(command, file, *settings)
    assert answer.code == 2
    # A cluster refuses its output too, which is a directory.
    assert answer.errors[-1:] == [
        "instance-type: Standard_NC24ads_A100_v4 cannot be used: 216.8 GiB of memory for the tune "
        "pod, 4000 GiB needed (parameter tune-memory); no other SKU fits; ask for less"
    ]


def test_a_cost_limit_is_held_against_the_tokens_that_the_command_is_told(
    argotune: Argotune, write: Write
) -> None:
    annotations = {"provider": "aks", "service-gpus": "0", "max-cost-usd": "1"}
    changes = {"metadata/annotations": {f"argotune.dev/{k}": v for k, v in annotations.items()}}
    file = write("workspace.yaml", changed(changes))
    assert argotune("plan", file).code == 0
    answer = argotune("plan", file, "--dataset-tokens", "10000000")
    assert answer.code == 2
    assert answer.errors[0].startswith(
        "metadata.annotations.argotune.dev/max-cost-usd: 1, but by its plan the run costs at least "
    )


WITHOUT_SELECTOR = TINY.replace(
    "resource:\n  labelSelector:\n    matchLabels:\n      app: my-tiny\n", ""
)


def test_without_an_instance_type_no_machine_is_planned_for(
    argotune: Argotune, write: Write
) -> None:
    out = argotune("plan", write("workspace.yaml", TINY)).out
    assert "none is planned for, as the file names no resource.instanceType" in out
    assert "* is planned for" not in out


def test_published_speeds_are_not_carried_over_to_a_model_a_thousand_times_smaller(
    argotune: Argotune, write: Write
) -> None:
    out = argotune("plan", write("workspace.yaml", TINY)).out
    assert "TOKENS/S, HOURS, USD: not known for a model so small." in out
    assert "carried over" not in out


def test_on_this_machine_no_machines_of_a_cloud_are_listed(
    argotune: Argotune, write: Write
) -> None:
    answer = argotune("plan", write("workspace.yaml", TINY), "--set", "provider=local")
    assert answer.code == 0
    assert "GPU machines" not in answer.out


def test_a_run_that_only_pushes_is_planned_without_a_service(
    argotune: Argotune, write: Write
) -> None:
    file = write("workspace.yaml", TINY)
    answer = argotune("plan", file, "--set", "deploy-to=none")
    said = "service none the adapter is pushed, not deployed"
    assert said in " ".join(answer.out.split())
    assert "not deployed" not in argotune("plan", file).out


def test_a_url_that_is_not_fetched_is_no_problem(argotune: Argotune, write: Write) -> None:
    command = ("plan", write("workspace.yaml", TINY), "--url", "http://127.0.0.1:9/a.jsonl")
    answer = argotune(*command)
    assert answer.code == 0
    assert answer.err.splitlines()[0] == (
        "warning: --url[0]: 'http://127.0.0.1:9/a.jsonl': this machine; --allow-loopback permits it"
    )
    assert "permits it" not in argotune(*command, "--allow-loopback").err


def test_labels_are_asked_for_only_where_a_node_is_chosen_by_them(
    argotune: Argotune, write: Write
) -> None:
    file = write("workspace.yaml", WITHOUT_SELECTOR)
    assert argotune("plan", file).code == 0
    answer = argotune("plan", file, "--instance-type", "Standard_NC24ads_A100_v4")
    assert answer.code == 2
    assert answer.errors[0].startswith("resource.labelSelector: missing; ")
    text = WITHOUT_SELECTOR.replace("tuning:", "resource: {instanceType: Standard_X}\ntuning:")
    on_this_machine = argotune("run", write("workspace.yaml", text))
    assert "labelSelector" not in on_this_machine.err


def test_a_narrow_terminal_loses_nothing_of_the_tables(write: Write) -> None:
    text = TINY.replace("name: tiny", "name: phi-4").replace("my-tiny", "mine")
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "argotune.workflows.cli", "plan", write("workspace.yaml", text)],
        stdout=theirs,
        env={**environment(), "COLUMNS": "80"},
    ) as process:
        os.close(theirs)
        shown = b"".join(_blocks(ours)).decode()
    assert process.returncode == 0
    assert "\u2026" not in shown
    assert "98.32" in shown


def _blocks(terminal: int) -> Iterator[bytes]:
    """What is written to a terminal until its other side is closed."""
    with contextlib.suppress(OSError):
        while block := os.read(terminal, 1 << 16):
            yield block
