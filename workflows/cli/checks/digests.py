"""The digests to which the installation holds the step images, and where their tag points now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from argotune.workflows.cli.checks.finding import Finding, info, ok, unknown, warning
from argotune.workflows.cli.checks.installation import PLACEHOLDER
from argotune.workflows.cli.checks.subject import Subject
from argotune.workflows.cli.installation.digests import look_up
from argotune.workflows.cli.installation.objects import CA_CONFIG_MAP, CA_KEY
from argotune.workflows.workspace.images import LARGE, SMALL, digests_of, short_digest
from argotune.workflows.workspace.manifests import install_defaults, installed_values


def digests(subject: Subject) -> Iterator[Finding]:
    """Show the digests, and compare them with those that the registry has for the tag."""
    if not subject.has_argo or subject.template is None:
        return
    values = {**install_defaults(), **installed_values(subject.template)}
    registry, tag = values["images-registry"], values["images-tag"]
    if registry.partition("/")[0] == PLACEHOLDER:
        return
    installed = digests_of(values)
    by_tag = [step for step in (*SMALL, *LARGE) if step not in installed]
    if by_tag and installed:
        yield from _left_by_tag(subject, values, by_tag)
    elif by_tag:
        yield info(
            f"images by tag {tag} alone: {', '.join(by_tag)}; they change when somebody pushes to"
            f" {registry}",
            "install where the registry can be reached, and with skopeo",
            subject.install_command("--digests"),
        )
    if installed:
        yield ok(f"images of {registry} by digest: {_listed(installed)}")
        yield from _moved(subject, values, installed)


def _left_by_tag(
    subject: Subject, values: Mapping[str, str], by_tag: Sequence[str]
) -> Iterator[Finding]:
    """Say why images have no digest where the others were found: mostly nobody pushed them."""
    text = f"images by tag {values['images-tag']} alone: {', '.join(by_tag)}"
    now = look_up(values, _authority(subject), steps=by_tag)
    if now.failure is None:
        yield info(
            f"{text}; the registry has them now",
            "install again, to hold runs to them",
            subject.install_command("--digests"),
        )
        return
    yield warning(
        f"{text}; steps and services that need them fail: {now.failure}",
        "push the images that are missing, and install again",
        subject.install_command("--digests"),
    )


def _moved(
    subject: Subject, values: Mapping[str, str], installed: Mapping[str, str]
) -> Iterator[Finding]:
    """Report images whose tag points elsewhere now."""
    tag = values["images-tag"]
    now = look_up(values, _authority(subject), steps=list(installed))
    moved = {step: each for step, each in now.found.items() if each != installed[step]}
    if moved:
        yield warning(
            f"tag {tag} points elsewhere now: {_listed(moved)}; runs keep to what is installed",
            "install again to take what the tag points to, or push the images under a tag of"
            " their own",
            subject.install_command(),
        )
    if now.failure is not None:
        yield unknown(f"whether tag {tag} still points to them: {now.failure}")


def _authority(subject: Subject) -> str | None:
    found = subject.get("ConfigMap", CA_CONFIG_MAP) or {}
    return (found.get("data") or {}).get(CA_KEY)


def _listed(digests: Mapping[str, str]) -> str:
    return ", ".join(f"{step} {short_digest(each)}" for step, each in digests.items())
