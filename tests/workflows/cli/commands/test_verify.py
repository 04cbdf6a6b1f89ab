"""argotune verify of layouts, and of a registry through the real skopeo."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.fakes.registry import docker_config, serving
from tests.fakes.signing import new_keys
from tests.steps.provenance.pushed import Pushed, pushed
from tests.workflows.cli.api import api_server
from tests.workflows.cli.command import Argotune

KEYS = new_keys()


@pytest.fixture
def adapter(tmp_path: Path) -> Pushed:
    return pushed(tmp_path, KEYS)


@pytest.fixture
def public_key(tmp_path: Path) -> Path:
    path = tmp_path / "cosign.pub"
    path.write_bytes(KEYS.public_pem)
    return path


def test_it_says_what_was_checked(argotune: Argotune, adapter: Pushed, public_key: Path) -> None:
    answer = argotune("verify", f"oci:{adapter.layout}:1", "--key", public_key)
    assert answer.code == 0
    rows = [line.split(maxsplit=1) for line in answer.out.splitlines()]
    assert rows[0] == ["manifest", f"ok  {adapter.digest}"]
    assert [name for name, _ in rows[1:]] == [
        "files",
        "statement",
        "its",
        "signature",
        "annotations",
    ]


def test_it_says_what_was_not_checked(argotune: Argotune, adapter: Pushed) -> None:
    answer = argotune("verify", adapter.reference)
    assert answer.code == 0
    assert "signature      not checked  the image is signed; give the public key" in answer.out


def test_what_does_not_hold_is_an_error(
    argotune: Argotune, adapter: Pushed, public_key: Path
) -> None:
    adapter.forget("sig")
    answer = argotune("verify", adapter.reference, "--key", public_key)
    assert answer.code == 3
    assert "signature      failed  there is none: no tag" in answer.out
    assert answer.errors == [
        f"{adapter.reference} does not hold: signature: there is none: no tag"
        f" {adapter.tag('sig')} is beside the image"
    ]


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")
def test_it_asks_a_registry(
    argotune: Argotune, tmp_path: Path, adapter: Pushed, public_key: Path
) -> None:
    with serving(login=True) as registry:
        auth_file = tmp_path / "config.json"
        auth_file.write_text(docker_config(registry.host))
        image = f"{registry.host}/team/phi:1"
        pushed(tmp_path, KEYS, image=image, auth_file=auth_file)
        login = ("--auth-file", auth_file)
        assert argotune("verify", image, "--key", public_key, *login).code == 0
        # Somebody who may push changes the image that the tag stands for.
        media_type, text = registry.manifests["team/phi", "1"]
        changed = json.loads(text)
        changed["annotations"]["sh.argotune.tuned-loss"] = "0.1"
        registry.manifests["team/phi", "1"] = (media_type, json.dumps(changed).encode())
        digest = adapter.write(json.dumps(changed).encode())["digest"]
        registry.manifests["team/phi", digest] = registry.manifests["team/phi", "1"]
        answer = argotune("verify", image, "--key", public_key, *login)
    assert answer.code == 3
    assert f"statement: there is none: no tag {adapter.tag('att', digest)}" in answer.err


def test_the_key_is_that_of_an_installation(
    argotune: Argotune,
    adapter: Pushed,
    public_key: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    with api_server(monkeypatch, tmp_path):
        argotune("install", "--images-registry", "r.io/a", "--no-digests")
        answer = argotune("verify", adapter.reference, "-n", "team-a")
        assert answer.errors == [
            "the installation in namespace team-a has no verification key; give --key FILE, or"
            " leave the namespace out"
        ]
        argotune("install", "--verification-key", public_key)
        assert "not checked" not in argotune("verify", adapter.reference, "-n", "team-a").out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["registry/UPPER"], "'UPPER' is not a component of a repository name"),
        (["oci:nowhere"], "OCI layout nowhere has no tag latest; it has nothing"),
        (["oci:nowhere", "--allow-loopback"], "--allow-loopback: for --replay"),
        (["oci:nowhere", "--key", "missing.pub"], "--key missing.pub: No such file"),
    ],
)
def test_what_cannot_be_looked_at_is_named(
    argotune: Argotune, arguments: list[str], said: str
) -> None:
    answer = argotune("verify", *arguments)
    assert answer.code in (2, 3)
    assert said in answer.err
    assert answer.out == ""
