"""images/sbom.py: what an image holds, as SPDX."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from spdx_tools.spdx.model import Document
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from tests.images import lock
from tests.images.containerfile import EXTRAS, IMAGES, ROOT, needs_of

SCRIPT = ROOT / "images" / "sbom.py"
UV = shutil.which("uv") or str(ROOT / ".tools" / "bin" / "uv")


@pytest.fixture(scope="module")
def sbom() -> ModuleType:
    spec = importlib.util.spec_from_file_location("images_sbom", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def run(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--uv", UV, "--version", "1.2.3"]
    return subprocess.run(
        [*command, "--directory", str(directory), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Document]:
    """Those of a small image, of one that shares a group, and of the largest, by step."""
    directory = tmp_path_factory.mktemp("sbom")
    done = run(directory, "plan", "deploy", "tune")
    assert done.returncode == 0, done.stderr
    return {
        step: parse_file(str(directory / f"argotune-{step}.spdx.json"))
        for step in ("plan", "deploy", "tune")
    }


@pytest.mark.parametrize("step", ["plan", "deploy", "tune"])
def test_it_is_valid_and_has_all_that_the_image_installs(
    documents: dict[str, Document], step: str
) -> None:
    assert validate_full_spdx_document(documents[step]) == []
    image, *packages = documents[step].packages
    assert (image.name, image.version) == (f"argotune-{step}", "1.2.3")
    needs = needs_of(step)
    names = lock.closure(f"image-{needs.groups[-1]}", needs.pruned)
    assert {package.name for package in packages} == names


@pytest.mark.parametrize("step", ["plan", "deploy", "tune"])
def test_every_distribution_has_the_version_hash_and_license_of_its_wheel(
    documents: dict[str, Document], step: str
) -> None:
    for package in documents[step].packages[1:]:
        (locked,) = lock.packages(package.name, package.version)
        wheels = {wheel["url"]: wheel["hash"] for wheel in locked["wheels"]}
        (checksum,) = package.checksums
        assert wheels[package.download_location] == f"sha256:{checksum.value}"
        # NVIDIA's list of its own packages says nothing of a license.
        assert package.license_declared is not None
        if package.name != "cuda-toolkit":
            assert str(package.license_declared) != "NOASSERTION", package.name


def test_a_wheel_is_that_of_the_bases_python(documents: dict[str, Document]) -> None:
    (yaml,) = (each for each in documents["plan"].packages if each.name == "pyyaml")
    assert "-cp312-" in str(yaml.download_location)


@pytest.mark.parametrize(
    ("base", "python"),
    [
        ("", "3.12"),
        ("localhost/python:3.11", "3.11"),
        ("mirror.example.com/python:3.13-slim@sha256:0", "3.13"),
    ],
)
def test_the_base_names_its_python(sbom: ModuleType, base: str, python: str) -> None:
    assert sbom.python_of(base) == python


def test_a_base_that_does_not_is_refused(sbom: ModuleType) -> None:
    with pytest.raises(SystemExit, match=r"BASE is 'debian:12', .* give it as BASE_PYTHON=3.12"):
        sbom.python_of("debian:12")


@pytest.mark.parametrize("step", IMAGES)
def test_the_groups_are_those_of_the_containerfiles(sbom: ModuleType, step: str) -> None:
    groups, pruned = sbom.groups_of(step, [])
    needs = needs_of(step)
    assert groups == [f"image-{group}" for group in needs.groups]
    assert set(pruned) == needs.pruned


@pytest.mark.parametrize("extra", EXTRAS)
def test_extras_are_those_of_tune_alone(sbom: ModuleType, extra: str) -> None:
    groups, pruned = sbom.groups_of("tune", [extra])
    assert groups[-1] == f"image-{extra}"
    assert pruned == ([] if extra in ("liger", "compile") else ["triton"])
    assert sbom.groups_of("serve", [extra]) == sbom.groups_of("serve", [])


def test_a_license_that_spdx_does_not_know_comes_with_its_text(sbom: ModuleType) -> None:
    found: Any = sbom.license_of("jinja2")
    assert str(found.expression) == "LicenseRef-jinja2"
    assert "Redistribution and use in source and binary forms" in found.text
    assert str(sbom.license_of("no-such-distribution").expression) == "NOASSERTION"
