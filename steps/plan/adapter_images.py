"""Finding an adapter's image by its tag, which may move, before it is used by its digest."""

from __future__ import annotations

from argotune.steps.contracts.versions import LIVE
from argotune.steps.registry.oci import ImageReference, LayoutReference, with_digest
from argotune.steps.registry.skopeo import Registry
from argotune.steps.registry.versions import repository_of

Image = ImageReference | LayoutReference


def with_found_digest(image: Image, registry: Registry) -> Image:
    """Return the image by digest; without tag and digest it is the one in service.

    Raises ValueError where there is no such tag, TransientError where the registry does not answer.
    """
    if image.digest is not None:
        return image
    tag = image.tag or LIVE
    found = repository_of(image, registry).find(tag)
    if found is None:
        there = with_digest(image, None)
        raise ValueError(
            f"there is no image with the tag {tag}; name one that is there:"
            f" {there}:TAG, or {there}@sha256:HEX"
        )
    return with_digest(image, found.digest)
