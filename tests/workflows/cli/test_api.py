"""argotune in a notebook: the commands as functions."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import argotune
from tests.fakes.kube import Cluster
from tests.workflows.cli.conftest import Write
from tests.workflows.cli.documents import GREETING, TINY, shell, workflow
from tests.workflows.workspace.helpers import WORKSPACE


def test_importing_costs_nothing_until_a_function_is_named() -> None:
    script = (
        "import sys, argotune; before = set(sys.modules); "
        "assert not any(name.startswith('argotune.') for name in before), before; "
        "argotune.plan; assert 'argotune.workflows.cli.api' in sys.modules; "
        "assert not {'torch', 'kubernetes', 'pyarrow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_dir_lists_what_there_is() -> None:
    assert set(argotune.__all__) <= set(dir(argotune))


def test_a_flag_in_an_error_is_named_as_the_argument() -> None:
    text = TINY.replace("https://", "http://127.0.0.1/")
    with pytest.raises(argotune.InputError, match="this machine; allow_loopback=True permits it"):
        argotune.run(yaml.safe_load(text), show=False)


def test_a_plan_of_a_file_and_of_a_dictionary_is_the_same(write: Write) -> None:
    of_file = argotune.plan(write("workspace.yaml", TINY))
    of_dictionary = argotune.plan(yaml.safe_load(TINY))
    assert of_file == of_dictionary
    assert of_file.name == "my-tiny"
    assert of_file.training.method == "lora"
    assert of_file.memory_gb == of_file.training.memory.total_gb


def test_flags_stand_in_for_the_files_fields(write: Write) -> None:
    planned = argotune.plan(
        write("workspace.yaml", TINY), preset="phi-4", method="qlora", settings={"tune-cpu": "2"}
    )
    assert (planned.training.model.preset, planned.training.method) == ("phi-4", "qlora")


def test_what_is_wrong_is_raised_with_every_problem() -> None:
    text = TINY.replace("method: lora", "method: full").replace("https:", "ftp:")
    with pytest.raises(argotune.InputError) as raised:
        argotune.plan(yaml.safe_load(text))
    assert [each.partition(":")[0] for each in raised.value.problems] == [
        "tuning.method",
        "tuning.input.urls[0]",
    ]
    with pytest.raises(argotune.InputError, match="No such file"):
        argotune.plan("/nowhere/workspace.yaml")


def test_a_run_returns_its_outputs(home_dir: Path) -> None:
    done = argotune.run(yaml.safe_load(GREETING), parameters={"word": "hi"}, yes=True, show=False)
    assert (done.workspace, done.outputs) == ("greet", {"said": "hi"})
    assert done.directory == home_dir / "runs" / done.name


def test_a_workflow_of_another_origin_is_agreed_to_first() -> None:
    with pytest.raises(argotune.InputError, match="say --yes"):
        argotune.run(yaml.safe_load(GREETING), show=False)


def test_a_run_that_fails_is_raised_with_its_name() -> None:
    text = workflow(shell("main", "echo 'error: no' >&2; exit 3"))
    with pytest.raises(argotune.RunFailed, match=r"run greet-\w+: .*; see argotune logs greet-"):
        argotune.run(yaml.safe_load(text), yes=True, show=False)


def test_what_this_machine_lacks_is_raised(home_dir: Path) -> None:
    with pytest.raises(argotune.Error, match="the weights of preset tiny are not in"):
        argotune.run(yaml.safe_load(TINY), show=False)
    assert not (home_dir / "runs").exists()


def test_a_workspace_is_submitted(cluster: Cluster) -> None:
    made = argotune.submit(yaml.safe_load(WORKSPACE), namespace="team-a")
    assert made.namespace == "team-a"
    assert ("Workflow", "team-a", made.name) in cluster.objects


def test_a_service_that_is_not_there() -> None:
    with pytest.raises(argotune.InputError, match="no running service of this name"):
        argotune.chat("my-model", "Who are you?")
