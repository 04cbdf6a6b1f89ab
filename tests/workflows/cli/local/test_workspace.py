"""A workspace as a run of this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from argotune.workflows.cli.errors import InputError
from argotune.workflows.cli.home import Home
from argotune.workflows.cli.local.workspace import from_workspace
from tests.workflows.cli.command import Argotune
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
