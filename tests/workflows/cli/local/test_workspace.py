"""A workspace as a run of this machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from argotune.presets.loader import model_preset
from argotune.workflows.cli.errors import InputError
from argotune.workflows.cli.home import Home
from argotune.workflows.cli.local.runnable import Runnable
from argotune.workflows.cli.local.workspace import _scorers, from_workspace
from tests.workflows.cli.command import Argotune
from tests.workflows.cli.commands.test_status import write_service
from tests.workflows.cli.conftest import Write
from tests.workflows.workspace.helpers import changed

LOCAL = {"resource/instanceType": None, "tuning/preset/name": "tiny", "tuning/method": "lora"}


def test_files_of_this_machine_are_permitted_here_and_not_in_containers(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").touch()
    text = changed({**LOCAL, "tuning/input/urls": [f"{tmp_path}/rows.csv"]})
    with pytest.raises(InputError, match="files of this machine are not in containers"):
        from_workspace(
            [("one.yaml", text)],
            Home(tmp_path),
            overrides={},
            allow_loopback=False,
            runtime="docker",
            scorers={},
        )


@pytest.mark.parametrize("given", [{}, {"clients": "nowhere"}, {"clients": "other"}])
def test_keys_of_clients_that_deploy_would_miss_are_asked_for_before_the_run(
    tmp_path: Path, given: dict[str, str]
) -> None:
    (tmp_path / "other").touch()
    text = changed({**LOCAL, "metadata/annotations": {"argotune.dev/api-keys-secret": "clients"}})
    with pytest.raises(InputError) as caught:
        from_workspace(
            [("one.yaml", text)],
            Home(tmp_path),
            overrides={},
            allow_loopback=False,
            runtime="docker",
            secrets={name: tmp_path / path for name, path in given.items()},
        )
    assert str(caught.value) == (
        "metadata.annotations.argotune.dev/api-keys-secret: 'clients' is not on this machine; give"
        " --secret clients=DIRECTORY with the file 'keys', in which a line NAME: KEY stands for"
        " each client"
    )


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("hooks.example.com/T0/secret", "is no https URL"),
        (
            "http://hooks.example.com/T0/secret",
            "of hooks.example.com is without TLS; accepted is https, and http of a host that"
            " `argotune install --allow-host` permits",
        ),
        (
            "https://chat.corp.internal/secret",
            "is refused: chat.corp.internal is inside a private network; `argotune install"
            " --allow-host chat.corp.internal` permits it to all runs of the namespace",
        ),
        (
            "http://127.0.0.1:9/secret",
            "is refused: this machine; --allow-loopback permits it",
        ),
    ],
)
def test_a_webhook_that_notify_would_refuse_is_refused_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, problem: str
) -> None:
    monkeypatch.setenv("ARGOTUNE_NOTIFY_URL", url)
    monkeypatch.setenv("ARGOTUNE_NOTIFY_FORMAT", "teams")
    text = changed({**LOCAL, "metadata/annotations": {"argotune.dev/notify-secret": "hook"}})
    with pytest.raises(InputError) as caught:
        from_workspace(
            [("one.yaml", text)],
            Home(tmp_path),
            overrides={},
            allow_loopback=False,
            runtime="docker",
        )
    place = "metadata.annotations.argotune.dev/notify-secret: 'hook': its"
    assert caught.value.problems == [
        f"{place} url {problem}",
        f"{place} format is 'teams'; accepted are slack and cloudevents",
    ]


def test_a_service_that_is_to_be_joined_has_to_run_with_the_base(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = changed({**LOCAL, "metadata/annotations": {"argotune.dev/serve-with": "phi"}})
    place = "metadata.annotations.argotune.dev/serve-with: 'phi': "

    def read() -> Runnable:
        return from_workspace(
            [("one.yaml", text)],
            Home(tmp_path),
            overrides={},
            allow_loopback=False,
            runtime="docker",
        )

    def refused() -> list[str]:
        with pytest.raises(InputError) as caught:
            read()
        return caught.value.problems

    assert refused() == [f"{place}no running service of this name on this machine; none is running"]
    write_service(tmp_path, "my-model", os.getpid())
    tiny = model_preset("tiny")
    write_service(tmp_path, "phi", os.getpid(), model=f"{tiny.repository}@{tiny.revision}")
    assert refused() == [
        f"{place}my-model has a service of its own; `argotune stop my-model` ends it"
    ]
    # Of another base it has a service of its own, which replaces the one that is there.
    write_service(tmp_path, "phi", os.getpid())
    (workflow,) = read().documents
    given = {each["name"]: each["value"] for each in workflow["spec"]["arguments"]["parameters"]}
    assert given.get("serve-with", "") == ""
    warned = capsys.readouterr().err
    assert f"warning: {place}it serves the base argotune/tiny@main, and the run's is " in warned
    assert "; so the adapter gets a service of its own" in warned


def test_plan_warns_of_a_path_which_a_cluster_does_not_reach(
    argotune: Argotune, write: Write, tmp_path: Path
) -> None:
    (tmp_path / "rows.csv").touch()
    # Preset tiny comes from the cache alone, so that no hub is asked for its tokenizer.
    preset = {"tuning/preset/name": "tiny"}
    text = changed({**preset, "tuning/input/urls": [f"{tmp_path}/rows.csv"]})
    answer = argotune("plan", write("one.yaml", text))
    assert answer.code == 0
    assert "rows.csv': a file of this machine, which `argotune run` reads" in answer.err
    refused = argotune("render", write("one.yaml", text))
    assert refused.code == 2
    assert "tuning.input.volumeSource names" in refused.err


SCORED = """\
---
apiVersion: v1
kind: ConfigMap
metadata: {name: mine}
data:
  training_config.yaml: |
    training_config:
      Argotune:
        checks: [{kind: scorer, scorer: tone, min: 0.5}]
"""


def scored(tmp_path: Path, runtime: str = "docker", **scorers: str) -> Runnable:
    """The run of a workspace whose answers the scorer `tone` scores."""
    text = changed({**LOCAL, "tuning/config": "mine"})
    return from_workspace(
        [("one.yaml", text + SCORED)],
        Home(tmp_path),
        overrides={},
        allow_loopback=False,
        runtime=runtime,
        scorers=scorers,
    )


def test_scorer_without_its_program_is_refused_before_the_first_step(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        scored(tmp_path)
    assert caught.value.problems == [
        "check tone: 'tone' is not among the scorers that the installation allows: none; name its"
        " program, `argotune run --scorer tone=PROGRAM`"
    ]
    assert not (tmp_path / "runs").exists()


def test_scorer_is_a_program_here_and_an_image_in_containers(tmp_path: Path) -> None:
    made = scored(tmp_path, tone="registry.example.com/tone:1")
    (spec,) = [document["spec"] for document in made.documents]
    (score,) = [each for each in spec["templates"] if each["name"] == "scorer"]
    assert '"tone": "registry.example.com/tone:1"' in score["container"]["image"]
    with pytest.raises(InputError, match="--scorer other: no check of the file names it"):
        scored(tmp_path, tone="registry.example.com/tone:1", other="registry.example.com/o:1")
    with pytest.raises(InputError, match="'UP' is not a component of a repository"):
        scored(tmp_path, tone="UP/tone:1")
    assert _scorers({"tone": "/bin/sh"}, "process") == {"tone": "/bin/sh"}
    with pytest.raises(InputError, match="is it there, with chmod"):
        _scorers({"tone": str(tmp_path / "tone")}, "process")
