"""References of container images in a registry or in an OCI layout on disk.

The grammar is that of Docker's and skopeo's reference parsers: the first component is a registry
if it contains a dot or a port, or is localhost.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from argotune.steps.common.addresses import address_of, never_problem

DEFAULT_TAG = "latest"

_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_REGISTRY = re.compile(
    r"(?:(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
    r"(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?"
)
_REPOSITORY_PART = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_LAYOUT = "oci:"


@dataclass(frozen=True, kw_only=True)
class ImageReference:
    """An image in a registry."""

    registry: str
    """HOST or HOST:PORT; without a port it is 443."""
    repository: str
    tag: str | None = None
    digest: str | None = None
    """sha256:HEX of the manifest."""

    @property
    def name(self) -> str:
        """Registry and repository, without tag and digest."""
        return f"{self.registry}/{self.repository}"

    def __str__(self) -> str:
        return _with_version(self.name, self.tag, self.digest)


@dataclass(frozen=True, kw_only=True)
class LayoutReference:
    """An image in an OCI layout directory."""

    directory: Path
    tag: str | None = None
    digest: str | None = None
    """sha256:HEX of the manifest."""

    def __str__(self) -> str:
        return _with_version(f"{_LAYOUT}{self.directory}", self.tag, self.digest)


Reference = TypeVar("Reference", bound=ImageReference | LayoutReference)


def with_digest(reference: Reference, digest: str | None) -> Reference:
    """Refer to another image of the same repository or layout; None: to no image of it."""
    return replace(reference, tag=None, digest=digest)


def parse_reference(text: str) -> ImageReference | LayoutReference:
    """Parse REGISTRY/REPOSITORY:TAG or oci:DIRECTORY[:TAG], each optionally with @sha256:HEX.

    Raises ValueError that names the wrong part and what is accepted.
    """
    if text.startswith(_LAYOUT):
        return _parse_layout(text)
    return parse_image(text)


def parse_image_or_layout(text: str) -> ImageReference | LayoutReference:
    """Parse an image, or the path of a layout with an optional tag.

    A path begins with / or a dot. Raises ValueError as `parse_image` does.
    """
    return _parse_layout(f"{_LAYOUT}{text}") if text.startswith(("/", ".")) else parse_image(text)


def parse_image(text: str) -> ImageReference:
    """Parse [REGISTRY/]REPOSITORY[:TAG][@sha256:HEX]; the default registry is docker.io.

    Raises ValueError that names the wrong part and what is accepted.
    """
    rest, digest = _split_digest(text)
    rest, tag = _split_tag(rest)
    registry, repository = _split_registry(rest)
    if not _REGISTRY.fullmatch(registry):
        raise ValueError(f"{text!r}: {registry!r} is not a registry's HOST or HOST:PORT")
    problem = _address_problem(registry)
    if problem is not None:
        raise ValueError(f"{text!r}: {problem}")
    for part in repository.split("/"):
        if not _REPOSITORY_PART.fullmatch(part):
            raise ValueError(
                f"{text!r}: {part!r} is not a component of a repository name; use lower-case "
                "letters and digits, with single '.', '_' or '-' between them"
            )
    return ImageReference(registry=registry, repository=repository, tag=tag, digest=digest)


def _address_problem(registry: str) -> str | None:
    """Why no registry has the address that stands in place of a name; None for names."""
    host = re.sub(r":[0-9]+$", "", registry) if not registry.endswith("]") else registry
    try:
        return never_problem(address_of(host.strip("[]")))
    except ValueError:
        return None


def _parse_layout(text: str) -> LayoutReference:
    rest, digest = _split_digest(text.removeprefix(_LAYOUT))
    directory, tag = _split_tag(rest)
    if not directory:
        raise ValueError(
            f"{text!r}: a directory is missing; write oci:DIRECTORY or oci:DIRECTORY:TAG"
        )
    return LayoutReference(directory=Path(directory), tag=tag, digest=digest)


def _split_digest(text: str) -> tuple[str, str | None]:
    rest, at, digest = text.rpartition("@")
    # A directory may have an @ in its name.
    if not at or "/" in digest:
        return text, None
    if not _DIGEST.fullmatch(digest):
        raise ValueError(f"{text!r}: {digest!r} is not sha256: and 64 lower-case hex digits")
    return rest, digest


def _split_tag(text: str) -> tuple[str, str | None]:
    rest, colon, tag = text.rpartition(":")
    if not colon or "/" in tag:
        return text, None
    if not _TAG.fullmatch(tag):
        raise ValueError(
            f"{text!r}: {tag!r} is not a tag; use up to 128 letters, digits, '_', '.' or '-', "
            "and neither '.' nor '-' first"
        )
    return rest, tag


def _split_registry(text: str) -> tuple[str, str]:
    first, slash, rest = text.partition("/")
    if slash and (first == "localhost" or "." in first or ":" in first):
        return first, rest
    return "docker.io", text if slash else f"library/{text}"


def _with_version(name: str, tag: str | None, digest: str | None) -> str:
    return f"{name}{f':{tag}' if tag else ''}{f'@{digest}' if digest else ''}"
