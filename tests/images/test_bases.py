"""images/build base-digests, and what a build makes of it; skopeo asks a registry on loopback."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes import registry as fake
from tests.images.containerfile import ROOT

INDEX = b'{"schemaVersion": 2, "manifests": []}'
DIGEST = f"sha256:{hashlib.sha256(INDEX).hexdigest()}"
_BUILDER = '#!/bin/sh\necho "$*" >> "$(dirname "$0")/calls"\n'


@pytest.fixture
def registry() -> Iterator[fake.Registry]:
    with fake.serving() as server:
        server.manifests["python", "3.12-slim"] = ("application/vnd.oci.image.index.v1+json", INDEX)
        yield server


class Checkout:
    """A copy of what images/build reads, whose base is in the registry."""

    def __init__(self, directory: Path, registry: fake.Registry) -> None:
        self.base = f"{registry.host}/python:3.12-slim"
        self.lock = directory / "images" / "bases.lock"
        self.builder = directory / "bin" / "buildah"
        (directory / "steps" / "plan").mkdir(parents=True)
        (directory / "steps" / "plan" / "__main__.py").touch()
        (directory / "images").mkdir()
        shutil.copy(ROOT / "images" / "build", directory / "images")
        (directory / "images" / "step.Containerfile").write_text(f"ARG BASE={self.base}\n")
        self.builder.parent.mkdir()
        self.builder.write_text(_BUILDER)
        self.builder.chmod(0o755)

    def run(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.lock.parent / "build"), *arguments],
            env={
                "PATH": f"{self.builder.parent}:/usr/bin:/bin",
                "BUILDER": "buildah",
                "SKOPEO_FLAGS": "--tls-verify=false",
                "TAG": "1",
                "REGISTRY": "localhost",
                **settings,
            },
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def built_from(self, **settings: str) -> str | None:
        """The base that the builder is told; None: that of the Containerfile."""
        assert self.run("build", "plan", **settings).returncode == 0
        (call,) = (self.builder.parent / "calls").read_text().splitlines()
        return call.partition("BASE=")[2].partition(" ")[0] or None


@pytest.fixture
def checkout(tmp_path: Path, registry: fake.Registry) -> Checkout:
    return Checkout(tmp_path, registry)


def test_the_digest_of_the_base_is_written_and_built_from(checkout: Checkout) -> None:
    done = checkout.run("base-digests")
    assert done.returncode == 0, done.stderr
    assert checkout.lock.read_text() == f"{checkout.base}@{DIGEST}\n"
    assert checkout.built_from() == f"{checkout.base}@{DIGEST}"


def test_the_base_of_the_containerfiles_is_held_to_a_digest() -> None:
    bases = {
        found
        for path in (ROOT / "images").glob("*.Containerfile")
        for found in re.findall(r"^ARG BASE=(\S+)$", path.read_text(), re.MULTILINE)
    }
    (base,) = bases
    locked = (ROOT / "images" / "bases.lock").read_text()
    assert re.fullmatch(rf"{re.escape(base)}@sha256:[0-9a-f]{{64}}\n", locked)


def test_a_base_of_ones_own_is_left_as_it_is(checkout: Checkout) -> None:
    checkout.run("base-digests")
    assert checkout.built_from(BASE="localhost/python:3.11") == "localhost/python:3.11"


def test_without_a_digest_the_build_says_that_the_base_may_change(checkout: Checkout) -> None:
    assert (
        f"base {checkout.base} by its tag, which may change" in checkout.run("build", "plan").stdout
    )


def test_the_digest_of_another_base_is_refused(checkout: Checkout) -> None:
    checkout.lock.write_text(f"docker.io/library/python:3.11-slim@{DIGEST}\n")
    done = checkout.run("build", "plan")
    assert done.returncode == 2
    assert done.stderr == (
        f"images/build: images/bases.lock has docker.io/library/python:3.11-slim@{DIGEST}, the "
        f"Containerfiles {checkout.base}; run `make base-digests`\n"
    )


def test_a_registry_that_does_not_say_leaves_the_lock_alone(
    checkout: Checkout, registry: fake.Registry
) -> None:
    checkout.lock.write_text("before\n")
    registry.manifests.clear()
    done = checkout.run("base-digests")
    assert done.returncode == 2
    assert "does not say what its digest is; images/bases.lock stays as it is" in done.stderr
    assert checkout.lock.read_text() == "before\n"
