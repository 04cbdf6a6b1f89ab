"""A workspace compared with the installed template.

The settings that the installer decides must be as installed, and Secrets and hosts among those that
are allowed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from argotune.presets.clouds import cloud_of_size
from argotune.steps.common.fields import text_of
from argotune.steps.nodes.providers import PROVIDERS
from argotune.steps.settings.clouds import cloud_of
from argotune.steps.settings.run_settings import PREFIX, SETTINGS
from argotune.steps.settings.step_params import (
    CLAIMS,
    claim_problem,
    is_allowed,
    priority_problem,
    secret_problem,
)
from argotune.workflows.workspace import manifests
from argotune.workflows.workspace.allowed_hosts import host_problems
from argotune.workflows.workspace.fields import WorkspaceError
from argotune.workflows.workspace.model import Workspace, provider_of
from argotune.workflows.workspace.nodes import node_is_of_run


def check_installed(
    workspace: Workspace, template: Mapping[str, Any], *, allow_loopback: bool = False
) -> None:
    """Raise WorkspaceError with everything that the installed template does not permit or lacks."""
    values = manifests.decided_values(template)
    problems = [
        *_conflicts(workspace, values, allow_loopback),
        *_forbidden_secrets(workspace, values),
        *_forbidden_priority(workspace, values),
        *_forbidden_claims(workspace, values),
        *host_problems(workspace, values),
        *_missing(workspace.options, values),
        *_of_another_cloud(workspace, values),
    ]
    if problems:
        raise WorkspaceError(problems)


def check_node_settings(workspace: Workspace, values: Mapping[str, str]) -> None:
    """Raise WorkspaceError where neither the file nor the values have what the provider needs."""
    problems = list(_missing(workspace.options, values))
    if problems:
        raise WorkspaceError(problems)


def left_to_the_installer(workspace: Workspace) -> list[str]:
    """List warnings for settings of the file that a Workflow of arguments cannot contain."""
    return [
        f"{workspace.place_of(name)}: left out, the installed template decides it"
        for name in workspace.options
        if SETTINGS[name].decided_by == "installer"
    ]


def secrets_to_be_allowed(workspace: Workspace) -> list[str]:
    """List warnings for Secrets that an installation allows only where it was told to.

    For a Workflow that refers to a template which cannot be asked.
    """
    allowed = json.loads(manifests.install_defaults()["allowed-secrets"])
    return [
        f"{workspace.place_of(name)}: {secret!r} must be among the Secrets that the installation"
        " allows, or the run fails; an administrator adds it by `argotune install --allow-secret"
        f" {secret}`"
        for name, secret in named_secrets(workspace)
        if not is_allowed(secret, allowed)
    ]


def _conflicts(
    workspace: Workspace, values: Mapping[str, str], allow_loopback: bool
) -> Iterator[str]:
    for name, text in workspace.options.items():
        row = SETTINGS[name]
        if row.decided_by == "installer" and text != values[name]:
            yield (
                f"{workspace.place_of(name)}: {text!r}; the installation decides it, as "
                f"{values[name]!r}: leave it out, or set it for all runs by `argotune install "
                f"--{name} {text}`"
            )
    if text_of(allow_loopback) != values["allow-loopback"]:
        yield (
            "--allow-loopback: only with --standalone; the installed template reaches no address of"
            " its own pod"
        )


def _forbidden_secrets(workspace: Workspace, values: Mapping[str, str]) -> Iterator[str]:
    allowed = json.loads(values["allowed-secrets"])
    for name, secret in named_secrets(workspace):
        problem = secret_problem(secret, allowed)
        if problem is not None:
            yield f"{workspace.place_of(name)}: {problem}"


def _forbidden_priority(workspace: Workspace, values: Mapping[str, str]) -> Iterator[str]:
    name = workspace.options.get("priority-class")
    allowed = json.loads(values["allowed-priority-classes"])
    problem = priority_problem(name, allowed) if name else None
    if problem is not None:
        yield f"{workspace.place_of('priority-class')}: {problem}"


def _forbidden_claims(workspace: Workspace, values: Mapping[str, str]) -> Iterator[str]:
    named = {
        "data-claim": workspace.data_claim,
        "output-claim": workspace.options.get("output-claim"),
    }
    for setting, name in named.items():
        allowed = json.loads(values[CLAIMS[setting][0]])
        problem = claim_problem(setting, name, allowed) if name else None
        if problem is not None:
            yield f"{workspace.place_of(setting)}: {problem}"


def named_secrets(workspace: Workspace) -> Iterator[tuple[str, str]]:
    """Yield the settings of the file that name a Secret, with its name."""
    if workspace.push_secret is not None:
        yield "push-secret", workspace.push_secret
    if workspace.model_access_secret is not None:
        yield "model-access-secret", workspace.model_access_secret
    if workspace.data_secret is not None:
        yield "data-secret", workspace.data_secret
    for name in ("signing-secret", "notify-secret", "api-keys-secret"):
        if workspace.options.get(name):
            yield name, workspace.options[name]


def _of_another_cloud(workspace: Workspace, values: Mapping[str, str]) -> Iterator[str]:
    """Report a machine that the installation's node class does not make."""
    machine = workspace.instance_type or ""
    found, made = cloud_of_size(machine), cloud_of({**values, **workspace.options})
    if found and made and found != made:
        node_class = values.get("karpenter-node-class")
        yield (
            f"{workspace.place_of('instance-type')}: {machine} is a machine of {found}; the "
            f"installation's node class {node_class} makes machines of {made}"
        )


def _missing(options: Mapping[str, str], values: Mapping[str, str]) -> Iterator[str]:
    if not node_is_of_run(options):
        return
    provider = provider_of(options)
    name = PROVIDERS[provider].needed_setting
    if name not in options and not values.get(name):
        yield (
            f"metadata.annotations.{PREFIX}{name}: missing; provider {provider} needs it: set it "
            f"for all runs by `argotune install --{name}`, or here for a Workflow with --standalone"
        )
