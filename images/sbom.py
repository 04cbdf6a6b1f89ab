"""Write what is in the step images as SPDX: images/sbom.py [options] STEP...

One file per image, dist/sbom/argotune-STEP.spdx.json, has every Python distribution that the image
installs: version, license, and the wheel with its SHA-256, as its lock file has them for Linux on
this machine's architecture. Debian's packages and the base, which are not in it, are found by
scanners of images.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import re
import subprocess
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from license_expression import ExpressionError, ExpressionParseError, get_spdx_licensing
from packaging.markers import Environment
from packaging.pylock import Package, PackageWheel, Pylock
from packaging.tags import Tag, compatible_tags, cpython_tags
from spdx_tools.spdx import model as spdx
from spdx_tools.spdx.writer.write_anything import write_file

ROOT = Path(__file__).parent.parent
CUDA = ("tune", "serve")
VLLM = "vllm"
"""It has a lock file of its own."""
_GLIBC_MINOR = 36
"""Of Debian 12, the oldest base."""
_OLD_NAMES = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
"""Names of manylinux tags before they had glibc's version in them."""
_BASE_PYTHON = re.compile(r"python:(\d+\.\d+)")
_CLASSIFIERS = {
    "License :: OSI Approved :: Apache Software License": "Apache-2.0",
    "License :: OSI Approved :: ISC License (ISCL)": "ISC",
    "License :: OSI Approved :: MIT License": "MIT",
    "License :: OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "License :: OSI Approved :: Python Software Foundation License": "PSF-2.0",
}
"""Classifiers that mean one license."""
_LICENSES = get_spdx_licensing()
_NOTHING = spdx.SpdxNoAssertion()


@dataclass(frozen=True, kw_only=True)
class License:
    """A distribution's license as SPDX has it."""

    expression: Any
    """Parsed expression, or SpdxNoAssertion where this machine does not have the distribution."""
    text: str = ""
    """What the expression's LicenseRef stands for; empty where SPDX knows the license."""


def groups_of(step: str, extras: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the dependency groups of a step's image, and the names that are pruned from them.

    The Containerfiles decide both for the image; a test compares.
    """
    if step in CUDA:
        chosen = extras if step == "tune" else ()
        compiles = {"liger", "compile"} & set(chosen)
        groups = ["image-torch", "image-cuda", *(f"image-{extra}" for extra in chosen)]
        return groups, [] if compiles else ["triton"]
    if step == VLLM:
        return ["image-torch", "image-vllm"], []
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    name = f"image-{step}"
    return [name if name in groups else "image-step"], []


def project_of(step: str) -> Path:
    """Return the directory of the lock file that a step's image is made by."""
    return ROOT / "images" / VLLM if step == VLLM else ROOT


def locked(
    uv: str, groups: Sequence[str], pruned: Sequence[str], python: str, project: Path = ROOT
) -> Iterator[tuple[Package, PackageWheel]]:
    """Yield the distributions of the groups with the wheels that uv takes for the image."""
    command = [uv, "export", "--quiet", "--frozen", "--format=pylock.toml", f"--project={project}"]
    command += [f"--only-group={group}" for group in groups]
    command += [f"--prune={name}" for name in pruned]
    exported = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    lock = Pylock.from_dict(tomllib.loads(exported))
    for package, archive in lock.select(environment=_environment(python), tags=_tags(python)):
        if not isinstance(archive, PackageWheel):
            raise SystemExit(f"images/sbom.py: {package.name} has no wheel for Python {python}")
        yield package, archive


def python_of(base: str) -> str:
    """Read the version of Python from a base's name; an empty one is that of the Containerfiles."""
    text = base or (ROOT / "images" / "step.Containerfile").read_text()
    found = _BASE_PYTHON.search(text)
    if found is None:
        raise SystemExit(
            f"images/sbom.py: BASE is {base!r}, which does not name its version of Python, and the"
            " wheels differ by it; give it as BASE_PYTHON=3.12"
        )
    return found[1]


def license_of(name: str) -> License:
    """Read a distribution's license from what is installed here."""
    try:
        distribution = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return License(expression=_NOTHING)
    said = distribution.metadata
    classifiers = said.get_all("Classifier") or []
    classified = [_CLASSIFIERS[each] for each in classifiers if each in _CLASSIFIERS]
    candidates = [*(said.get_all("License-Expression") or []), *(said.get_all("License") or [])]
    # Two classifiers do not say whether both licenses hold or one may be chosen.
    candidates += classified if len(classified) == 1 else []
    for text in candidates:
        expression = _parsed(text)
        if expression is not None:
            return License(expression=expression)
    text = _license_file(distribution) or "".join(said.get_all("License") or [])
    if not text:
        return License(expression=_NOTHING)
    return License(expression=_LICENSES.parse(f"LicenseRef-{name}"), text=text)


def document(
    step: str, version: str, found: Sequence[tuple[Package, PackageWheel]], created: datetime
) -> spdx.Document:
    """Build the SPDX document of an image."""
    image = spdx.Package(
        spdx_id="SPDXRef-image",
        name=f"argotune-{step}",
        version=version,
        download_location=_NOTHING,
        files_analyzed=False,
        license_declared=_LICENSES.parse("Apache-2.0"),
        primary_package_purpose=spdx.PackagePurpose.CONTAINER,
    )
    creation = spdx.CreationInfo(
        spdx_version="SPDX-2.3",
        spdx_id="SPDXRef-DOCUMENT",
        name=image.name,
        # Other content under the same version has another namespace.
        document_namespace=f"https://argotune.dev/sbom/{image.name}-{version}-{_digest(found)}",
        creators=[spdx.Actor(spdx.ActorType.TOOL, "argotune-images-sbom")],
        created=created,
    )
    licenses = {package.name: license_of(package.name) for package, _ in found}
    describes = spdx.Relationship(
        "SPDXRef-DOCUMENT", spdx.RelationshipType.DESCRIBES, image.spdx_id
    )
    return spdx.Document(
        creation,
        packages=[image, *(_package(*each, licenses[each[0].name]) for each in found)],
        relationships=[
            describes,
            *(
                spdx.Relationship(
                    image.spdx_id, spdx.RelationshipType.CONTAINS, f"SPDXRef-{package.name}"
                )
                for package, _ in found
            ),
        ],
        extracted_licensing_info=[
            spdx.ExtractedLicensingInfo(license_id=f"LicenseRef-{name}", extracted_text=each.text)
            for name, each in licenses.items()
            if each.text
        ],
    )


def _package(package: Package, wheel: PackageWheel, license_: License) -> spdx.Package:
    return spdx.Package(
        spdx_id=f"SPDXRef-{package.name}",
        name=package.name,
        version=str(package.version),
        download_location=str(wheel.url),
        files_analyzed=False,
        checksums=[spdx.Checksum(spdx.ChecksumAlgorithm.SHA256, wheel.hashes["sha256"])],
        license_concluded=_NOTHING,
        license_declared=license_.expression,
        copyright_text=_NOTHING,
        external_references=[
            spdx.ExternalPackageRef(
                spdx.ExternalPackageRefCategory.PACKAGE_MANAGER,
                "purl",
                f"pkg:pypi/{package.name}@{package.version}",
            )
        ],
    )


def _digest(found: Sequence[tuple[Package, PackageWheel]]) -> str:
    text = "\n".join(wheel.hashes["sha256"] for _, wheel in found)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _parsed(text: str) -> Any:
    """Return the SPDX expression; None where the text is none."""
    try:
        return _LICENSES.parse(text, validate=True)
    except (ExpressionError, ExpressionParseError):
        # Whole texts of licenses, and names such as BSD, stand in the field License too.
        return None


def _license_file(distribution: metadata.Distribution) -> str:
    for file in distribution.files or []:
        if re.search(r"\.dist-info/(.*/)?(LICEN[SC]E|COPYING)", str(file), re.IGNORECASE):
            return Path(str(file.locate())).read_text(errors="replace")
    return ""


def _environment(python: str) -> Environment:
    return Environment(
        implementation_name="cpython",
        implementation_version=f"{python}.0",
        os_name="posix",
        platform_machine=platform.machine(),
        platform_python_implementation="CPython",
        platform_release="",
        platform_system="Linux",
        platform_version="",
        python_full_version=f"{python}.0",
        python_version=python,
        sys_platform="linux",
    )


def _tags(python: str) -> list[Tag]:
    """List what pip accepts in the image, the most wanted first."""
    machine = platform.machine()
    names = []
    for minor in range(_GLIBC_MINOR, 4, -1):
        names.append(f"manylinux_2_{minor}_{machine}")
        names += [f"{_OLD_NAMES[minor]}_{machine}"] if minor in _OLD_NAMES else []
    names.append(f"linux_{machine}")
    version = [int(part) for part in python.split(".")]
    interpreter = f"cp{python.replace('.', '')}"
    return [
        *cpython_tags(version, platforms=names),
        *compatible_tags(version, interpreter, platforms=names),
    ]


def main() -> None:
    """Write a file for each step."""
    parser = argparse.ArgumentParser(prog="images/sbom.py")
    parser.add_argument("steps", nargs="+", metavar="STEP")
    parser.add_argument("--uv", default="uv")
    parser.add_argument("--version", required=True, help="the images' tag")
    parser.add_argument("--base", default="", help="empty: that of the Containerfiles")
    parser.add_argument("--python", default="", help="its version of Python; empty: as it is named")
    parser.add_argument("--extras", default="", help='of tune, such as "track liger"')
    parser.add_argument("--directory", type=Path, default=ROOT / "dist" / "sbom")
    given = parser.parse_args()
    given.directory.mkdir(parents=True, exist_ok=True)
    seconds = float(os.environ.get("SOURCE_DATE_EPOCH") or int(time.time()))
    created = datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)
    python = given.python or python_of(given.base)
    for step in given.steps:
        groups, pruned = groups_of(step, given.extras.split())
        found = list(locked(given.uv, groups, pruned, python, project_of(step)))
        path = given.directory / f"argotune-{step}.spdx.json"
        write_file(document(step, given.version, found, created), str(path))
        print(f"images/sbom.py: {path}, {len(found)} distributions")


if __name__ == "__main__":
    main()
