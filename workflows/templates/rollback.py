"""WorkflowTemplate `rollback`: step deploy alone, with an adapter that is in the registry.

What the installer decides is text in it, as in `finetune`. The step takes the model and the digest
of the data from the adapter's image, and refuses that of another workspace.
"""

from __future__ import annotations

from dataclasses import replace

from hera.workflows import (
    ConfigMapVolume,
    ExistingVolume,
    Parameter,
    SecretVolume,
    WorkflowTemplate,
)

from argotune.steps.settings import run_settings
from argotune.workflows.templates import finetune_steps as steps
from argotune.workflows.templates import volumes
from argotune.workflows.templates.form import form_field
from argotune.workflows.templates.frame import template_of_runs
from argotune.workflows.templates.step import secret, value_of
from argotune.workflows.workspace import rollback

NAME = rollback.NAME
_OF_A_RUN = ("plan-file", "work-dir", "layout-dir")
"""Flags of deploy about the run that made the adapter."""
_OF_THE_SERVICE = (
    "engine",
    "gpus",
    "leave",
    "load-in-4bit",
    "max-length",
    "node-selector",
    "reference",
    "start",
)
"""Flags of deploy that in `finetune` are outputs of other steps."""

DEPLOY = replace(
    steps.DEPLOY,
    is_called_by_task=False,
    fixed={
        **{flag: text for flag, text in steps.DEPLOY.fixed.items() if flag not in _OF_A_RUN},
        **{flag: f"{{{{workflow.parameters.{flag}}}}}" for flag in _OF_THE_SERVICE},
        "target": "kubernetes",
    },
    inputs=(),
    mounts={name: path for name, path in steps.DEPLOY.mounts.items() if name != "work"},
)


def build() -> WorkflowTemplate:
    """Build the template of one step."""
    with template_of_runs(
        NAME,
        title="Roll back a service to an earlier adapter",
        description=(
            "Serves an adapter that the registry has, without training. What is in service"
            " stays until the other one answers."
        ),
        run_title="{{workflow.parameters.name}}: roll back",
        run_description="To {{workflow.parameters.reference}}",
        arguments=parameters(),
        volumes=[
            ExistingVolume(name="models", claim_name=value_of("model-cache-claim")),
            SecretVolume(name="push-secret", secret_name=secret("push-secret"), optional=True),
            volumes.api_keys(),
            ConfigMapVolume(name=steps.CA, optional=True),
        ],
        entrypoint=DEPLOY.name,
    ) as template:
        DEPLOY.template()
    return template


def parameters() -> list[Parameter]:
    """List the parameters: the settings of a service, and what its runs find out themselves."""
    flags = run_settings.flags_of(DEPLOY.name)
    names = [*(name for flag, name in flags.items() if flag not in DEPLOY.fixed), "push-secret"]
    rows = [run_settings.SETTINGS[name] for name in names]
    return [
        Parameter(
            name="reference",
            description=(
                "The adapter's image: REGISTRY/REPOSITORY:vN, a version that was in service, or"
                " REGISTRY/REPOSITORY@sha256:HEX"
            ),
        ),
        *(form_field(row) for row in rows if row.is_parameter),
        Parameter(
            name="start",
            value="false",
            enum=["false", "true"],
            description="Whether a service is started that was scaled to 0 replicas",
        ),
        Parameter(
            name="leave",
            value="false",
            enum=["false", "true"],
            description="Whether the adapter is taken out of the service that it joined",
        ),
        Parameter(
            name="engine",
            value="auto",
            enum=["auto", "transformers", "vllm"],
            description="What its servers computed with",
        ),
        Parameter(
            name="load-in-4bit",
            value="false",
            enum=["false", "true"],
            description="Whether they had the base model in 4 bits",
        ),
        Parameter(
            name="max-length",
            value="",
            description="Longest question and answer together that they held, tokens",
        ),
        Parameter(name="gpus", value="0", description="GPUs that each of its servers had"),
        Parameter(
            name="node-selector",
            value="{}",
            description="Labels of the node that tuned it, a JSON object",
        ),
    ]
