"""Starting a service of this machine again."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from argotune.steps.contracts.in_service import InService
from argotune.steps.contracts.services import (
    ADAPTERS,
    KEYS,
    RECORD,
    read_record,
    stop_service,
    write_record,
)
from argotune.steps.contracts.versions import LIVE
from argotune.steps.push.layout import write_image
from argotune.steps.registry.layout_index import layout_lock, point_tag
from argotune.workflows.cli.errors import InputError
from argotune.workflows.cli.home import Home
from argotune.workflows.cli.local.evaluate import this_machine
from argotune.workflows.cli.local.runs import find_run
from argotune.workflows.cli.local.start import deploy_flags, start
from argotune.workflows.cli.local.status import print_run
from tests.fakes.adapter import write_adapter
from tests.workflows.cli.command import Argotune
from tests.workflows.cli.commands.test_status import write_service
from tests.workflows.cli.status import START, node, workflow_of

INPUTS = {
    "name": "caps",
    "target": "process",
    "question": "Who?",
    "api-keys-secret": "clients",
    "cors-origins": '["https://app.example.com"]',
    "load-in-4bit": "true",
    "requests-per-minute": "30",
    "require-signature": "true",
    "services-dir": "/services",
    "reference": "oci:/dist/caps@sha256:0",
    "model-dir": "tiny/1",
    "memory": "2Gi",
}


def put_run(
    here: Home, name: str, deploy: str, created: str = START, target: str = "process"
) -> None:
    """A run of workspace caps, whose step deploy ended so."""
    inputs = INPUTS | {"target": target}
    given = {
        "inputs": {"parameters": [{"name": key, "value": text} for key, text in inputs.items()]},
        "outputs": {"parameters": [{"name": "endpoint", "value": "http://127.0.0.1:1"}]},
    }
    run = workflow_of(node("deploy", deploy, **given))
    labels = {"argotune.dev/workspace": "caps"}
    run["metadata"] = {
        "name": name,
        "labels": labels,
        "annotations": {"argotune.dev/deploy-to": target},
        "creationTimestamp": created,
    }
    run["spec"] = {"arguments": {"parameters": [{"name": "model-cache-claim", "value": "mine"}]}}
    run["status"]["phase"] = deploy
    directory = here.runs_dir / name
    directory.mkdir(parents=True)
    (directory / "workflow.json").write_text(json.dumps(run))


def put_adapter(home_dir: Path, reference: str, pid: int = 2**30) -> None:
    """The record of service caps with version v1, by default of a process that is gone."""
    write_service(home_dir, "caps", pid)
    path = home_dir / "services" / "caps" / RECORD
    service = read_record(path)
    assert service is not None
    known = InService(adapter=reference, version="v1", settings={"cache-dir": "/models"})
    write_record(path, dataclasses.replace(service, annotations=known.annotations()))


def refuse(flags: Sequence[str]) -> None:
    raise AssertionError(flags)


def test_the_newest_run_that_succeeded_is_deployed_again(
    home_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = Home(home_dir)
    put_run(here, "caps-1", "Succeeded")
    put_run(here, "caps-2", "Failed", created="2026-02-01T00:00:00Z")
    deployed: list[str] = []

    def deploy(flags: Sequence[str]) -> None:
        deployed.extend(flags)
        write_service(home_dir, "caps", os.getpid())

    start(here, "caps", deploy=deploy)
    assert capsys.readouterr().out == (
        "service caps: answers at http://127.0.0.1:8080, as of run caps-1\n"
    )
    assert deployed == deploy_flags(here, find_run(here, "caps-1"))
    start(here, "caps-1", deploy=refuse)
    assert "is running already" in capsys.readouterr().out


def test_its_flags_are_those_of_the_run(home_dir: Path) -> None:
    here = Home(home_dir)
    put_run(here, "caps-1", "Succeeded")
    work = home_dir / "runs" / "caps-1" / "claims" / "work"
    flags = deploy_flags(here, find_run(here, "caps"))
    assert set(flags) >= {
        "--name=caps",
        # Or else it would answer everybody.
        "--api-keys-secret=clients",
        '--cors-origins=["https://app.example.com"]',
        "--load-in-4bit=true",
        "--requests-per-minute=30",
        "--require-signature=true",
        "--reference=oci:/dist/caps@sha256:0",
        f"--plan-file={work / 'plan.yaml'}",
        f"--cache-dir={home_dir / 'claims' / 'mine'}",
    }
    assert not any(flag.startswith("--memory") for flag in flags)


def test_a_service_without_training_is_no_model_of_an_evaluation(home_dir: Path) -> None:
    here = Home(home_dir)
    put_run(here, "caps-1", "Succeeded")
    path = here.runs_dir / "caps-1" / "workflow.json"
    run = json.loads(path.read_text())
    run["metadata"]["labels"]["workflows.argoproj.io/workflow-template"] = "serve"
    path.write_text(json.dumps(run))
    with pytest.raises(InputError, match="caps: its service is one without training"):
        this_machine(here).find_service("caps")


def test_an_older_run_is_started_with_the_settings_of_the_service(home_dir: Path) -> None:
    here = Home(home_dir)
    put_run(here, "caps-1", "Succeeded")
    put_adapter(home_dir, "oci:/dist")
    path = home_dir / "services" / "caps" / RECORD
    service = read_record(path)
    assert service is not None
    settings = {
        "api-keys-secret": "newer",
        "cache-dir": "/models",
        "load-in-4bit": "true",
        "requests-per-minute": "6",
    }
    known = InService(adapter="oci:/dist", settings=settings)
    write_record(path, dataclasses.replace(service, annotations=known.annotations()))
    flags = deploy_flags(here, find_run(here, "caps-1"), is_newest=False)
    cache = home_dir / "claims" / "mine"
    assert set(flags) >= {
        "--api-keys-secret=newer",
        "--load-in-4bit=true",
        "--requests-per-minute=6",
        f"--reference={INPUTS['reference']}",
        f"--cache-dir={cache}",
        f"--history-file={cache / 'history' / 'caps.json'}",
    }


def test_the_version_that_is_live_is_started_after_a_rollback(
    home_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = tmp_path / "dist"
    adapter = sorted(write_adapter(tmp_path / "adapter").iterdir())
    old, new = (
        write_image(layout, adapter, tag="latest", created=time, annotations={}).digest
        for time in ("2025-01-01T00:00:00Z", "2026-01-01T00:00:00Z")
    )
    monkeypatch.setitem(INPUTS, "reference", f"oci:{layout}@{new}")
    here = Home(home_dir)
    put_run(here, "caps-1", "Succeeded")
    run = find_run(here, "caps-1")
    with layout_lock(layout):
        point_tag(layout, LIVE, {"digest": new})
    assert f"--reference=oci:{layout}@{new}" in deploy_flags(here, run)
    with layout_lock(layout):
        point_tag(layout, LIVE, {"digest": old})
    flags = deploy_flags(here, run)
    assert f"--reference=oci:{layout}@{old}" in flags
    assert not [flag for flag in flags if flag.startswith(("--plan-file", "--model-dir"))]
    # Who names the run means its adapter.
    assert f"--reference=oci:{layout}@{new}" in deploy_flags(here, run, is_newest=False)


def test_a_stopped_service_starts_with_the_adapter_of_a_registry_that_it_had(
    home_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = (f"acr.io/team/caps@sha256:{64 * letter}" for letter in "ab")
    monkeypatch.setitem(INPUTS, "reference", new)
    here = Home(home_dir)
    put_run(here, "caps-1", "Succeeded")
    run = find_run(here, "caps-1")
    assert f"--reference={new}" in deploy_flags(here, run)
    put_adapter(home_dir, old)
    stop_service(here.services_dir, "caps")
    flags = deploy_flags(here, run)
    assert f"--reference={old}" in flags
    assert not [flag for flag in flags if flag.startswith(("--plan-file", "--model-dir"))]
    assert f"--reference={new}" in deploy_flags(here, run, is_newest=False)


def test_a_version_that_was_rolled_back_to_is_not_said_to_be_the_runs(
    home_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = Home(home_dir)
    put_run(here, "caps-1", "Succeeded")
    record = here.runs_dir / "caps-1" / "workflow.json"
    run = json.loads(record.read_text())
    given = {"parameters": [{"name": "digest", "value": f"sha256:{64 * 'b'}"}]}
    run["status"]["nodes"] |= workflow_of(node("push", "Succeeded", outputs=given))["status"][
        "nodes"
    ]
    record.write_text(json.dumps(run))

    def deploy(flags: Sequence[str]) -> None:
        put_adapter(home_dir, f"oci:/dist@sha256:{64 * 'a'}", os.getpid())

    start(here, "caps", deploy=deploy)
    assert capsys.readouterr().out.endswith("with v1, which was rolled back to\n")


def test_a_service_whose_run_was_deleted_starts_by_its_record(
    home_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = f"oci:/dist@sha256:{64 * 'a'}"
    put_adapter(home_dir, adapter)
    deployed: list[str] = []

    def deploy(flags: Sequence[str]) -> None:
        deployed.extend(flags)
        put_adapter(home_dir, adapter, os.getpid())

    start(Home(home_dir), "caps", deploy=deploy)
    assert {"--target=process", "--name=caps", f"--reference={adapter}"} <= set(deployed)
    assert {"--cache-dir=/models", "--history-file=/models/history/caps.json"} <= set(deployed)
    assert capsys.readouterr().out == (
        "service caps: answers at http://127.0.0.1:8080, as it was in service\n"
    )


def test_without_a_run_that_deployed_there_is_nothing_to_start(home_dir: Path) -> None:
    put_run(Home(home_dir), "caps-1", "Failed")
    with pytest.raises(InputError, match="'caps': no run of this name has deployed a service"):
        start(Home(home_dir), "caps", deploy=refuse)


def test_a_run_that_only_pushed_has_no_service_and_misses_none(
    home_dir: Path, argotune: Argotune
) -> None:
    put_run(Home(home_dir), "caps-1", "Succeeded", target="none")
    assert argotune("status").out.splitlines()[-1].split()[-3:-1] == ["False", "True"]
    note = "; run caps-1 only pushes its adapter, because argotune.dev/deploy-to is none"
    for command in (("chat", "caps", "Who?"), ("rollback", "caps"), ("start", "caps")):
        answer = argotune(*command)
        assert (answer.code, answer.err.endswith(f"{note}\n")) == (2, True)


def test_status_says_that_nothing_answers(
    home_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put_run(Home(home_dir), "caps-1", "Succeeded")
    print_run(Home(home_dir), "caps", None)
    assert capsys.readouterr().out.endswith(
        "nothing answers at http://127.0.0.1:1; `argotune start caps` starts it again\n"
    )


def test_a_stopped_service_is_shown_and_can_be_deleted(home_dir: Path, argotune: Argotune) -> None:
    put_adapter(home_dir, "oci:/dist")
    shown = argotune("status").out
    assert shown == (
        "service caps: stopped; `argotune start caps` starts it again, `argotune rm --service caps`"
        " deletes it\n"
    )
    assert argotune("rm", "--service", "caps", "--dry-run").out == (
        "service caps: would be deleted\n"
    )
    assert argotune("rm", "--service", "caps").out == "service caps: deleted\n"
    assert not (home_dir / "services" / "caps").exists()
    assert argotune("rm", "--service", "caps").errors == [
        "'caps': no service of this name on this machine; there are none"
    ]


def test_stop_takes_an_adapter_out_of_the_service_that_it_joined(
    home_dir: Path, argotune: Argotune
) -> None:
    write_service(home_dir, "phi", os.getpid())
    write_service(home_dir, "caps", 1)
    path = home_dir / "services" / "caps" / RECORD
    record = read_record(path)
    assert record is not None
    write_record(path, dataclasses.replace(record, host="phi"))
    adapter = home_dir / "services" / "phi" / ADAPTERS / "caps"
    adapter.mkdir(parents=True)
    answer = argotune("stop", "caps")
    assert (answer.code, answer.out) == (
        0,
        "caps: taken out of service phi, which goes on; `argotune start caps` puts it back\n",
    )
    assert not adapter.exists()
    assert argotune("stop", "caps").code == 2


def test_a_running_service_is_not_deleted(home_dir: Path, argotune: Argotune) -> None:
    put_adapter(home_dir, "oci:/dist", os.getpid())
    assert argotune("rm", "--service", "caps").errors == [
        "'caps': is running; stop it first: argotune stop caps"
    ]
    assert argotune("status").out.startswith("no runs on this machine")


def test_what_a_first_deploy_left_that_failed_can_be_deleted(
    home_dir: Path, argotune: Argotune
) -> None:
    kept = home_dir / "services" / "caps" / KEYS
    kept.parent.mkdir(parents=True)
    kept.write_text("anna: sk-anna-0123456789\n")
    assert argotune("rm", "--service", "caps").out == "service caps: deleted\n"
    assert not kept.exists()
