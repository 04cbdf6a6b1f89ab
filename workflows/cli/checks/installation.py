"""The objects of `argotune install` in the namespace: present, complete, and of this version."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import Any

from argotune.steps.cluster.errors import MissingRight
from argotune.steps.cluster.kinds import ARGO, KINDS
from argotune.steps.nodes.providers import MAKING_NODES, PROVIDERS
from argotune.workflows.cli.checks.finding import Finding, ok, problem, unknown, warning
from argotune.workflows.cli.checks.subject import Subject
from argotune.workflows.cli.installation.objects import objects as installed_objects
from argotune.workflows.cli.installation.settings import (
    Object,
    installed_settings,
    version_of,
)
from argotune.workflows.workspace.collection import NAME as GC
from argotune.workflows.workspace.collection import collection_problems
from argotune.workflows.workspace.fields import WorkspaceError
from argotune.workflows.workspace.images import digests_of
from argotune.workflows.workspace.manifests import installed_values

PLACEHOLDER = "registry.example.com"
PULL_SECRET = "image-pull-secret"
"""Setting that names the Secret for the registry of the step images."""
_MOST_NAMED = 4
_TOKEN = "kubernetes.io/service-account-token"
_KINDS = (
    "ServiceAccount",
    "Role",
    "RoleBinding",
    "ClusterRole",
    "ClusterRoleBinding",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "NetworkPolicy",
    "CronWorkflow",
)
"""The kinds that `objects` checks; other checks cover the rest."""


def template(subject: Subject) -> Iterator[Finding]:
    """Check whether the WorkflowTemplate is present, and names usable images."""
    if not subject.has_argo:
        return
    found = subject.template
    if found is None:
        yield problem(
            f"WorkflowTemplate finetune is not in namespace {subject.namespace}",
            "install it",
            subject.install_command(),
        )
        return
    ours = version("argotune")
    theirs = version_of(found)
    if theirs != ours:
        yield warning(
            f"WorkflowTemplate finetune is of argotune {theirs or 'without a version'}, this "
            f"command of {ours}",
            "install it again with this command, or take the command of that version",
            subject.install_command(),
        )
    try:
        registry = installed_values(found).get("images-registry", "")
    except WorkspaceError as error:
        said, _, advice = str(error).partition("; ")
        yield problem(said, advice)
        return
    if registry.partition("/")[0] == PLACEHOLDER:
        yield problem(
            f"the template takes its images from {registry}, which is no registry",
            "say where the images are",
            subject.install_command("--images-registry REGISTRY"),
        )
    elif theirs == ours:
        yield _content(subject, found)


def _content(subject: Subject, found: Object) -> Finding:
    """Compare the installed templates with those that this version installs with their settings.

    Two builds may have one version, and a person may have edited a template.
    """
    values = installed_values(found)
    settings = dataclasses.replace(
        installed_settings(found, None, {}),
        images_tag=values.get("images-tag"),
        images_digests=digests_of(values),
        # Without those that the next `install` would add.
        allowed_secrets=tuple(json.loads(values["allowed-secrets"])),
    )
    different = []
    for item in installed_objects(settings, subject.namespace):
        if item["kind"] == "WorkflowTemplate":
            name = item["metadata"]["name"]
            there = subject.get("WorkflowTemplate", name) or {}
            paths = _differences(item["spec"], there.get("spec"), "spec")
            different += [f"{name} {path}" for path in paths]
    if not different:
        return ok(f"WorkflowTemplate finetune of argotune {version('argotune')} is there")
    return warning(
        f"the installed templates are not those of this command, though of its version: "
        f"{_first(different)}",
        "install again; --force-conflicts takes back what somebody changed",
        subject.install_command(),
    )


def _differences(wanted: Any, found: Any, path: str) -> Iterator[str]:
    """Yield the paths at which an installed object is not as wanted."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        for key in sorted(wanted.keys() | found.keys()):
            yield from _differences(wanted.get(key), found.get(key), f"{path}.{key}")
    elif isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        for place, (one, other) in enumerate(zip(wanted, found, strict=True)):
            name = one.get("name", place) if isinstance(one, dict) else place
            yield from _differences(one, other, f"{path}[{name}]")
    elif wanted != found and (wanted or found):
        # The API server drops empty objects and lists.
        yield path


def objects(subject: Subject) -> Iterator[Finding]:
    """Check whether accounts, roles, policies and the schedule are present."""
    missing, unseen, there = [], [], 0
    for item in subject.expected:
        kind, name = item["kind"], item["metadata"]["name"]
        if kind not in _KINDS or (KINDS[kind].group == ARGO and not subject.has_argo):
            continue
        try:
            found = subject.get(kind, name)
        except MissingRight as error:
            unseen.append(error.right)
            continue
        if found is None:
            missing.append(f"{kind} {name}")
        else:
            there += 1
    if unseen:
        yield unknown(
            f"{len(unseen)} of the objects that `argotune install` makes cannot be seen: it takes "
            f"the right to {' and '.join(sorted(set(unseen)))}"
        )
    if missing:
        yield problem(
            f"missing of what `argotune install` makes: {_first(missing)}",
            "install it",
            subject.install_command(),
        )
    elif there:
        yield ok(f"the {there} accounts, roles, bindings, policies and schedules are there")


def tokens(subject: Subject) -> Iterator[Finding]:
    """Check whether the Secrets with which Argo's executor reports have their tokens."""
    missing, empty, filled = [], [], 0
    for item in subject.expected_of("Secret"):
        name = item["metadata"]["name"]
        found = subject.get("Secret", name)
        if found is None:
            missing.append(name)
        elif found.get("type") != _TOKEN or not (found.get("data") or {}).get("token"):
            empty.append(name)
        else:
            filled += 1
    if missing:
        yield problem(
            f"missing of the secrets with the accounts' tokens: {_first(missing)}",
            "install them",
            subject.install_command(),
        )
    if empty:
        delete = f"kubectl -n {subject.namespace} delete secret {' '.join(empty)}"
        yield problem(
            f"{', '.join(empty)}: no token in it; a run's steps cannot report their results",
            "delete and install again: the cluster fills a secret of type "
            f"{_TOKEN} while its account is there",
            f"{delete}; {subject.install_command()}",
        )
    if filled and not missing and not empty:
        yield ok(f"the {filled} secrets with the accounts' tokens are filled")


def collection(subject: Subject) -> Iterator[Finding]:
    """Whether nodes that runs lose are found, where runs make nodes."""
    if not subject.has_argo or subject.template is None:
        return
    template = subject.get("WorkflowTemplate", GC)
    chosen = [name for name in MAKING_NODES if _makes_nodes(subject, name)]
    for provider in chosen:
        reasons = "; ".join(
            collection_problems(
                subject.get("CronWorkflow", GC),
                template,
                provider=provider,
                settings=subject.needs.provider_settings,
            )
        )
        if reasons:
            yield problem(
                f"a node of provider {provider} whose run is deleted or terminated stays, and "
                f"costs money: {reasons}",
                "install it, with what says where the nodes are, which resumes it",
                subject.install_command(f"--{PROVIDERS[provider].needed_setting} ..."),
            )
        else:
            yield ok(f"CronWorkflow {GC} looks for nodes of provider {provider}")


def _makes_nodes(subject: Subject, provider: str) -> bool:
    """Whether the workspace or the installation makes nodes by the provider."""
    if subject.needs.workspace is not None:
        return subject.needs.makes_node and subject.needs.provider == provider
    return bool(setting_of(subject, PROVIDERS[provider].needed_setting))


def setting_of(subject: Subject, name: str) -> str:
    """Return a setting: the file's, where it is a provider's, else the installation's."""
    template = subject.template if subject.has_argo else None
    installed = installed_values(template).get(name, "") if template else ""
    return subject.needs.provider_settings.get(name) or installed


def _first(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return f"{', '.join(names[:_MOST_NAMED])}{f' and {more} more' if more > 0 else ''}"
