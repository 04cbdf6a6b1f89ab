"""tuning.output: the image of the adapter, the Secret for its push, and a claim for a copy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from argotune.steps.common.values import is_dns_subdomain
from argotune.steps.registry.oci import LayoutReference, parse_reference
from argotune.steps.registry.policy import internal_registry
from argotune.steps.settings.run_settings import PREFIX
from argotune.workflows.workspace.fields import Fields
from argotune.workflows.workspace.model import OUTPUT_VOLUME
from argotune.workflows.workspace.volume_source import read_claim

_IMAGE = "tuning.output.image"
_SECRET = "tuning.output.imagePushSecret"
_CLAIM_SETTING = "output-claim"
_VOLUME_REASONS = {
    "emptyDir": "it goes with the pod",
    "image": "name the image as tuning.output.image",
    "configMap": "an adapter does not fit into one",
    "secret": "an adapter does not fit into one",
}
_ACCEPTED = "REGISTRY/REPOSITORY:TAG, or oci:DIRECTORY[:TAG] for an OCI layout on disk"


@dataclass(frozen=True, kw_only=True)
class Output:
    """The adapter's destination."""

    image: str
    push_secret: str | None


def read_output(fields: Fields, base_dir: Path) -> Output:
    """Read and check the output.

    A name whose only faults are capital letters and underscores counts as a placeholder.
    """
    accepted = _ACCEPTED
    if fields.get(OUTPUT_VOLUME) is not None:
        accepted += (
            f"; the service and its versions are made of the image, and {OUTPUT_VOLUME} is a copy"
        )
    text = fields.required_text(_IMAGE, accepted, flag="output-image")
    secret = fields.text(_SECRET, flag="push-secret")
    if text is None:
        return Output(image="", push_secret=secret)
    if text.startswith("oci:"):
        if secret is not None:
            fields.warnings.append(f"{fields.shown(_SECRET, 'push-secret')}: not needed for oci:")
        return Output(image=_layout(text, base_dir, fields), push_secret=None)
    _check_image(text, fields)
    warn_of_internal_registry(text, fields, fields.shown(_IMAGE, "output-image"))
    _check_secret(secret, fields)
    return Output(image=text, push_secret=secret)


def read_output_claim(fields: Fields, annotated: str | None) -> str | None:
    """Read tuning.output.volumeSource, or the annotation or flag that stands for it; None: neither.

    The annotation is for a file that Kaito reads too: there an image excludes a volumeSource.
    """
    if fields.get(OUTPUT_VOLUME) is None:
        return annotated
    if annotated and _CLAIM_SETTING not in fields.overrides:
        fields.problems.append(
            f"{OUTPUT_VOLUME} and metadata.annotations.{PREFIX}{_CLAIM_SETTING}: both are given;"
            " keep one"
        )
    claim = read_claim(fields, OUTPUT_VOLUME, _VOLUME_REASONS)
    return annotated or claim


def warn_of_internal_registry(image: str, fields: Fields, place: str) -> None:
    """Warn of a registry that a cluster's pods reach only where the installation permits it."""
    host = internal_registry(image)
    if host is not None:
        fields.host_warnings.append(
            f"{place}: {host} is inside a private network; a cluster's pods reach it only where"
            f" `argotune install --allow-host {host}` permits it, or where the step images are"
        )


def _layout(text: str, base_dir: Path, fields: Fields) -> str:
    try:
        reference = parse_reference(text)
    except ValueError as error:
        fields.problems.append(f"{fields.shown(_IMAGE, 'output-image')}: {error}")
        return ""
    if not isinstance(reference, LayoutReference) or reference.digest is not None:
        fields.problems.append(
            f"{fields.shown(_IMAGE, 'output-image')}: {text!r}; accepted is a tag, because "
            "the digest is not known before"
        )
        return ""
    directory = (base_dir / reference.directory).resolve()
    return str(LayoutReference(directory=directory, tag=reference.tag))


def _check_image(text: str, fields: Fields) -> None:
    path = fields.shown(_IMAGE, "output-image")
    try:
        reference = parse_reference(text)
    except ValueError as error:
        found = fields.placeholders if is_filled_in_image(text) else fields.problems
        found.append(f"{path}: {error}")
        return
    if reference.digest is not None:
        fields.problems.append(
            f"{path}: {text!r}; accepted is a tag, because the digest is not known before"
        )


def _check_secret(secret: str | None, fields: Fields) -> None:
    path = fields.shown(_SECRET, "push-secret")
    if secret is None:
        fields.problems.append(
            f"{path}: missing; accepted is the name of a Secret of type "
            "kubernetes.io/dockerconfigjson (not needed for oci:DIRECTORY)"
        )
    elif not is_dns_subdomain(secret):
        found = fields.placeholders if is_dns_subdomain(_filled_in(secret)) else fields.problems
        found.append(
            f"{path}: {secret!r} is not the name of a Secret, which has lower-case letters, "
            "digits, '-' and '.'"
        )


def _filled_in(text: str) -> str:
    return text.lower().replace("_", "-")


def is_filled_in_image(text: str) -> bool:
    """Whether only capital letters and underscores keep a text from being an image."""
    try:
        parse_reference(_filled_in(text))
    except ValueError:
        return False
    return True
