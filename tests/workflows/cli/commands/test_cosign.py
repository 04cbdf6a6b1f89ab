"""The real cosign before what push has signed, and argotune before what cosign has signed.

`make test-cosign` runs it: Go compiles cosign for it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.registry import Registry, docker_config, serving
from tests.fakes.signing import KeyPair, new_keys
from tests.steps.push.test_run import push, work_dir
from tests.workflows.cli.command import Argotune

__all__ = ["work_dir"]

pytestmark = pytest.mark.cosign

NAME = "team/phi"
PASSWORD = "pass word"
_PROGRAM = shutil.which("cosign")


class Cosign:
    """The program, in a directory of its own, with the login of the fake registry."""

    def __init__(self, directory: Path, registry: Registry) -> None:
        if _PROGRAM is None:
            pytest.fail("no cosign is here; `make test-cosign` has Go compile it")
        self._program = _PROGRAM
        self.directory = directory
        (directory / "config.json").write_text(docker_config(registry.host))

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        # With a Rekor's key of the user's own it does not ask Sigstore's servers for one.
        rekor = self.directory / "rekor.pub"
        rekor.write_bytes(new_keys().public_pem)
        return subprocess.run(
            [self._program, *map(str, arguments)],
            cwd=self.directory,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.directory),
                "DOCKER_CONFIG": str(self.directory),
                "COSIGN_PASSWORD": PASSWORD,
                "SIGSTORE_REKOR_PUBLIC_KEY": str(rekor),
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def verified(self, command: str, key: Path, image: str, *flags: str) -> list[dict[str, Any]]:
        """What it prints of an image that it verified; nothing if it did not."""
        done = self.run(command, "--key", key, "--insecure-ignore-tlog", *flags, image)
        if done.returncode:
            assert "no matching" in done.stderr, done.stderr
            return []
        found = [json.loads(line) for line in done.stdout.splitlines() if line.strip()]
        return found[0] if found and isinstance(found[0], list) else found


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    made = tmp_path / "cosign"
    made.mkdir()
    return made


def public(directory: Path, keys: KeyPair) -> Path:
    path = directory / "cosign.pub"
    path.write_bytes(keys.public_pem)
    return path


@pytest.mark.parametrize("kind", ["ecdsa", "ed25519"])
def test_cosign_verifies_adapter_and_statement(work_dir: Path, secret: Path, kind: str) -> None:
    keys = new_keys(kind)
    signing_dir = keys.write_secret(work_dir / "signing")
    with serving(login=True) as registry:
        result = push(work_dir, registry, signing_dir=signing_dir)
        cosign, key = Cosign(secret, registry), public(secret, keys)
        image = f"{registry.host}/{NAME}@{result.digest}"
        (signature,) = cosign.verified("verify", key, image)
        (statement,) = cosign.verified("verify-attestation", key, image, "--type=slsaprovenance1")
        other = public(work_dir, new_keys(kind))
        refused = [
            cosign.verified("verify", other, image),
            cosign.verified("verify-attestation", other, image, "--type=slsaprovenance1"),
        ]
    assert signature["critical"]["image"] == {"docker-manifest-digest": result.digest}
    assert statement["payloadType"] == "application/vnd.in-toto+json"
    assert refused == [[], []]


def test_a_key_that_cosign_made_signs_what_cosign_verifies(work_dir: Path, secret: Path) -> None:
    with serving(login=True) as registry:
        cosign = Cosign(secret, registry)
        assert cosign.run("generate-key-pair").returncode == 0
        (secret / "cosign.password").write_text(PASSWORD)
        result = push(work_dir, registry, signing_dir=secret)
        image = f"{registry.host}/{NAME}@{result.digest}"
        assert len(cosign.verified("verify", secret / "cosign.pub", image)) == 1


def test_what_cosign_signed_is_verified(
    work_dir: Path, secret: Path, argotune: Argotune, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = new_keys()
    with serving(login=True) as registry:
        result = push(work_dir, registry)
        cosign, key = Cosign(secret, registry), public(secret, keys)
        image = f"{registry.host}/{NAME}@{result.digest}"
        keys.write_secret(secret)
        assert cosign.run("import-key-pair", "--key", secret / "cosign.key").returncode == 0
        # cosign 3 has another form, and signs by a service, unless it is told not to.
        old = ("--new-bundle-format=false", "--use-signing-config=false", "--tlog-upload=false")
        signed = cosign.run("sign", "--key", "import-cosign.key", *old, "--yes", image)
        assert signed.returncode == 0, signed.stderr
        monkeypatch.setenv("DOCKER_CONFIG", str(secret))
        answer = argotune("verify", image, "--key", key)
    assert re.search("^signature +ok +by key", answer.out, re.MULTILINE)
    # cosign signs the image; a statement that nobody signed is said to be none.
    (error,) = answer.errors
    assert error.endswith(" does not hold: statement: it is not signed")
