from __future__ import annotations

from pathlib import Path

import pytest

from argotune.steps.registry.oci import (
    ImageReference,
    LayoutReference,
    parse_image,
    parse_reference,
)

DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("text", "registry", "repository", "tag", "digest"),
    [
        ("acr.azurecr.io/team/phi:0.0.1", "acr.azurecr.io", "team/phi", "0.0.1", None),
        ("localhost/phi", "localhost", "phi", None, None),
        ("127.0.0.1:5000/phi:v1", "127.0.0.1:5000", "phi", "v1", None),
        ("[::1]:5000/phi:v1", "[::1]:5000", "phi", "v1", None),
        (f"r.io/a/b@{DIGEST}", "r.io", "a/b", None, DIGEST),
        (f"r.io/a/b:v1@{DIGEST}", "r.io", "a/b", "v1", DIGEST),
        ("user/phi:1", "docker.io", "user/phi", "1", None),
        ("busybox", "docker.io", "library/busybox", None, None),
    ],
)
def test_images_are_parsed_as_docker_does(
    text: str, registry: str, repository: str, tag: str | None, digest: str | None
) -> None:
    assert parse_image(text) == ImageReference(
        registry=registry, repository=repository, tag=tag, digest=digest
    )


@pytest.mark.parametrize(
    ("text", "directory", "tag", "digest"),
    [
        ("oci:out", "out", None, None),
        ("oci:/data/out:1.0", "/data/out", "1.0", None),
        ("oci:C:/odd/out", "C:/odd/out", None, None),
        (f"oci:/data/out@{DIGEST}", "/data/out", None, DIGEST),
        (f"oci:/home/ann@example.com/out@{DIGEST}", "/home/ann@example.com/out", None, DIGEST),
        ("oci:/home/ann@example.com/out:v1", "/home/ann@example.com/out", "v1", None),
    ],
)
def test_layouts_are_parsed(text: str, directory: str, tag: str | None, digest: str | None) -> None:
    reference = parse_reference(text)
    assert reference == LayoutReference(directory=Path(directory), tag=tag, digest=digest)
    assert str(reference) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "acr.io/Team/phi:1",
            "'acr.io/Team/phi:1': 'Team' is not a component of a repository name; use lower-case "
            "letters and digits, with single '.', '_' or '-' between them",
        ),
        (
            "acr.io/phi:-1",
            "'acr.io/phi:-1': '-1' is not a tag; use up to 128 letters, digits, '_', '.' or "
            "'-', and neither '.' nor '-' first",
        ),
        (
            "acr.io/phi@sha256:12",
            "'acr.io/phi@sha256:12': 'sha256:12' is not sha256: and 64 lower-case hex digits",
        ),
        ("-a.io/phi:1", "'-a.io/phi:1': '-a.io' is not a registry's HOST or HOST:PORT"),
        (
            "169.254.169.254:80/phi:1",
            "'169.254.169.254:80/phi:1': 169.254.169.254 is a link-local or metadata address, "
            "which is never allowed",
        ),
        (
            "[fe80::1]/phi",
            "'[fe80::1]/phi': fe80::1 is a link-local or metadata address, which is never allowed",
        ),
        ("oci:", "'oci:': a directory is missing; write oci:DIRECTORY or oci:DIRECTORY:TAG"),
        (
            "",
            "'': '' is not a component of a repository name; use lower-case letters and digits, "
            "with single '.', '_' or '-' between them",
        ),
    ],
)
def test_what_is_wrong_with_a_reference_is_said(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse_reference(text)
    assert str(caught.value) == message
