"""Measuring models beside each other on a cluster: a Workflow of the template `evaluate`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

from argotune.steps.cluster.kube import Object
from argotune.steps.common.errors import StepError
from argotune.steps.contracts.in_service import SERVES
from argotune.steps.contracts.side_by_side import SideBySide, parse_side_by_side
from argotune.steps.registry.oci import with_digest
from argotune.steps.settings.run_settings import SETTINGS
from argotune.steps.settings.step_params import (
    EVALUATION_STEPS,
    evaluation_settings,
    settings_problems,
)
from argotune.workflows.cli.errors import CliError, InputError
from argotune.workflows.cli.evaluation_input import Asked, Place, no_own_adapter
from argotune.workflows.cli.login import Login
from argotune.workflows.cli.overrides import read_settings
from argotune.workflows.cli.remote.cluster import Cluster
from argotune.workflows.cli.remote.runs import deployments
from argotune.workflows.cli.remote.submission import (
    begun_by_person,
    check_collection,
    create_with_secret,
)
from argotune.workflows.cli.show.in_service import described, find_version
from argotune.workflows.cli.show.workflow_json import Workflow, step_output
from argotune.workflows.cli.versions_of import place_of
from argotune.workflows.workspace import manifests
from argotune.workflows.workspace.evaluation import (
    NAME,
    TEMPLATE,
    evaluation_arguments,
    evaluation_workflow,
)
from argotune.workflows.workspace.own_presets import INSTALLED_PRESETS, text_of_this_machine

_BY_FLAGS = ("name", "own-preset", "urls", "urls-secret", "config", "allow-cpu")
"""Settings for which the command has flags of its own, or none."""


def namespace_of(cluster: Cluster) -> Place:
    """Return the cluster's namespace as the place of an evaluation."""

    def find_service(name: str) -> str | None:
        deployment = deployments(cluster).get(name)
        if deployment is None:
            return None
        annotations = deployment["metadata"].get("annotations") or {}
        if annotations.get(SERVES):
            raise no_own_adapter(name)
        return described(name, annotations).adapter

    def find_version_there(name: str, version: str) -> str:
        image = place_of(name, cluster).image
        with Login(cluster=cluster).registry() as registry:
            try:
                found = find_version(name, version, image, registry, cluster.flags)
            except StepError as error:
                # The run's own login may reach a registry that this person's does not.
                print(
                    f"warning: {name}:{version} was not looked up before the run: {error}",
                    file=sys.stderr,
                )
                return str(replace(image, tag=version))
        return str(with_digest(image, found.digest))

    def find_preset(name: str) -> str | None:
        installed = cluster.find_config_map(None, INSTALLED_PRESETS, f"{name}.yaml")
        return installed or text_of_this_machine(name)

    return Place(
        title=f"namespace {cluster.namespace}",
        is_here=False,
        find_service=find_service,
        find_version=find_version_there,
        find_preset=find_preset,
    )


def read_evaluation_settings(
    pairs: Sequence[str], *, allow_cpu: bool
) -> tuple[dict[str, str], list[str]]:
    """Return what `--set` says, as parameters of the template, and what is wrong with it."""
    known = [row.name for row in evaluation_settings() if row.name not in _BY_FLAGS]
    try:
        given = read_settings(pairs, known)
    except InputError as error:
        return {}, error.problems
    settings = {name: SETTINGS[name].value.parameter(text) for name, text in given.items()}
    return {**settings, **({"allow-cpu": "true"} if allow_cpu else {})}, []


def begin_evaluation(
    cluster: Cluster, asked: Asked, settings: Mapping[str, str], *, answers: int
) -> str:
    """Create the Workflow, and return its name.

    Raises InputError with all that its plan step would refuse of the settings, CliError where the
    template is not installed.
    """
    template = _installed(cluster)
    always = evaluation_arguments(
        asked.models, asked.urls, asked.config, answers, own_preset=asked.own_preset
    )
    arguments = {**settings, **always}
    known = {**manifests.decided_values(template), **arguments}
    problems = [
        f"--set {found.setting}: {found.text}" if found.setting in settings else found.text
        for found in settings_problems(known, None, EVALUATION_STEPS)
    ]
    if problems:
        raise InputError(problems)
    check_collection(cluster, settings)
    run = manifests.random_name(NAME)
    secret, document = evaluation_workflow(template, run, arguments)
    create_with_secret(cluster, begun_by_person(cluster, document), secret)
    return run


def found_by(run: Workflow) -> SideBySide | None:
    """Read what an evaluation found; None where it did not get so far."""
    text = step_output(run, "evaluate", "found")
    return parse_side_by_side(text.encode()) if text else None


def _installed(cluster: Cluster) -> Object:
    template = cluster.get("WorkflowTemplate", TEMPLATE)
    if template is None:
        cluster.check_namespace()
        raise CliError(
            f"WorkflowTemplate {TEMPLATE} is not in namespace {cluster.namespace}:"
            f" `argotune install {cluster.flags}` puts it there"
        )
    return template
