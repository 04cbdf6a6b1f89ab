"""Models for which the Hub wants a login, with the token that the operator's pod has."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from argotune.workflows.cli.installation.operator import OPERATOR
from argotune.workflows.templates import operator
from tests.fakes.hub import FakeHub, ask_by_default, fake_hub
from tests.fakes.hub_models import LLAMA_PARAMETERS, add_model
from tests.workflows.operator.acting import Acting

MODEL = "some/Model-Instruct"
GATED = {"tuning/preset": {"name": MODEL}}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A Hub with a gated model."""
    with fake_hub() as running:
        ask_by_default(running, monkeypatch)
        add_model(running, MODEL, parameters=LLAMA_PARAMETERS, gated="manual")
        running.gated.add(MODEL)
        yield running


@pytest.fixture
def token_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where the kubelet puts the token, once there is a Secret."""
    monkeypatch.delenv("HF_TOKEN", raising=False)
    path = tmp_path / "HF_TOKEN"
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(path))
    return path


def test_the_token_that_comes_and_changes_is_used_by_the_next_look(
    acting: Acting, hub: FakeHub, token_file: Path
) -> None:
    acting.apply(GATED)
    for token in (None, "hf_wrong"):
        if token is not None:
            token_file.write_text(token)
        acting.look()
        assert acting.runs == []
        # As `argotune submit` says it.
        assert acting.condition("Planned")[2].endswith(
            f"{hub.endpoint}/{MODEL} is gated: accept its license on that page, and set HF_TOKEN"
            " to a token of the same account"
        )
    token_file.write_text(f"{hub.token}\n")
    acting.look()
    (run,) = acting.runs
    assert hub.token not in str([run, acting.workspace, acting.said])


def test_the_library_reads_the_token_where_the_pod_mounts_the_secret() -> None:
    (deployment,) = [item for item in operator.build() if item["kind"] == "Deployment"]
    assert deployment["metadata"]["name"] == OPERATOR
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    variables = {each["name"]: each["value"] for each in container["env"] if "value" in each}
    command = "from huggingface_hub import constants; print(constants.HF_TOKEN_PATH)"
    answer = subprocess.run(
        [sys.executable, "-c", command], env=variables, capture_output=True, text=True, check=True
    )
    (volume,) = [each for each in pod["volumes"] if "secret" in each]
    (mount,) = [each for each in container["volumeMounts"] if each["name"] == volume["name"]]
    (item,) = volume["secret"]["items"]
    assert answer.stdout.strip() == f"{mount['mountPath']}/{item['path']}"
    assert volume["secret"]["secretName"] == "argotune-model-access"
    assert volume["secret"]["optional"] is True
