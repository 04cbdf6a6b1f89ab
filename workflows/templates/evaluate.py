"""WorkflowTemplate `evaluate`: several models side by side on the same rows; nothing is deployed.

The order is plan, which finds the models, dataset, model beside provision, evaluate with watch
beside it, and push, which keeps the report. `release` runs at the end in every case. The steps are
those of `finetune`, or packages below theirs; what the installer decides is text as there.
"""

from __future__ import annotations

from dataclasses import replace

from hera.workflows import DAG, Parameter, Steps, WorkflowTemplate

from argotune.steps.evaluate.side_by_side import params as evaluate_params
from argotune.steps.plan.side_by_side import params as plan_params
from argotune.steps.push.side_by_side import params as push_params
from argotune.steps.settings.step_params import EVALUATION_WITHOUT, evaluation_settings
from argotune.workflows.templates import finetune_steps as steps
from argotune.workflows.templates import step as container
from argotune.workflows.templates import volumes
from argotune.workflows.templates.form import form_fields
from argotune.workflows.templates.frame import template_of_runs
from argotune.workflows.templates.step import (
    Step,
    output,
    result,
    settings_of_later_steps,
    value_of,
)
from argotune.workflows.workspace import evaluation

NAME = evaluation.TEMPLATE
_DAG, _END = "side-by-side", "end"
_LOGIN = {"push-auth-file": steps.PUSH_AUTH_FILE, "push-secret": value_of("push-secret")}
_OTHER_WORDS = {
    "name": "Name of the evaluation, a DNS label; lists of runs have it as their workspace",
    "push-secret": (
        "Secret of type kubernetes.io/dockerconfigjson for the registry of the adapters, beside the"
        " first of which the report is kept"
    ),
}
"""Descriptions of settings that mean something else in a run."""
_OF_ADAPTERS = ("work-dir", "push-auth-file", "push-secret")
"""Flags of model about the adapters of a training."""

PLAN = replace(
    steps.PLAN,
    params=plan_params,
    template_name="plan",
    # It deploys nothing.
    fixed={
        **{
            flag: text
            for flag, text in steps.PLAN.fixed.items()
            if flag not in ("api-keys-file", "output-dir")
        },
        **_LOGIN,
        "work-dir": container.WORK_DIR,
        "models": "{{workflow.parameters.models}}",
        "settings": settings_of_later_steps(evaluation_settings()),
    },
    mounts={
        **{name: path for name, path in steps.PLAN.mounts.items() if name != "api-keys"},
        "push-secret": container.PUSH_SECRET_DIR,
    },
    # It also pulls the adapters, which are megabytes or a few gigabytes.
    timeout_seconds=900,
    pod_spec_patch=None,
)
DATASET = replace(
    steps.DATASET,
    without=EVALUATION_WITHOUT["dataset"],
    # What was deployed, and which rows a training holds out, does not matter.
    fixed={
        flag: text
        for flag, text in steps.DATASET.fixed.items()
        if flag not in ("history-file", "validation-urls-file")
    },
    mounts={name: path for name, path in steps.DATASET.mounts.items() if name != "models"},
    inputs=(),
)
MODEL = replace(
    steps.MODEL,
    without=EVALUATION_WITHOUT["model"],
    # The plan step has brought the adapters.
    fixed={flag: text for flag, text in steps.MODEL.fixed.items() if flag not in _OF_ADAPTERS},
    mounts={name: path for name, path in steps.MODEL.mounts.items() if name != "push-secret"},
)
PROVISION = replace(
    steps.PROVISION, without=EVALUATION_WITHOUT["provision"], inputs=steps.NODE_INPUTS
)
WATCH = replace(
    steps.WATCH,
    without=EVALUATION_WITHOUT["watch"],
    fixed={**steps.WATCH.fixed, "steps": '["evaluate"]'},
)
EVALUATE = replace(
    steps.EVALUATE,
    params=evaluate_params,
    template_name="evaluate",
    fixed={**steps.EVALUATE.fixed, "shown-answers": "{{workflow.parameters.shown-answers}}"},
)
PUSH = Step(
    params=push_params,
    template_name="push",
    memory=steps.PUSH.memory,
    fixed={
        "work-dir": container.WORK_DIR,
        "run": steps.OF_RUN["run"],
        "created": "{{workflow.creationTimestamp}}",
        "auth-file": steps.PUSH_AUTH_FILE,
        "push-secret": value_of("push-secret"),
        "ca-file": steps.CA_FILE,
        "allowed-hosts": steps.REGISTRIES,
    },
    mounts={
        "work": container.WORK_DIR,
        "push-secret": container.PUSH_SECRET_DIR,
        steps.CA: container.CA_DIR,
    },
    timeout_seconds=steps.PUSH.timeout_seconds,
)
RELEASE = replace(steps.RELEASE, without=EVALUATION_WITHOUT["release"])
STEPS = (PLAN, DATASET, MODEL, PROVISION, EVALUATE, WATCH, PUSH, RELEASE)


def build(*, volume_size: str = "100Gi", storage_class: str | None = None) -> WorkflowTemplate:
    """Build the template."""
    with template_of_runs(
        NAME,
        title="Evaluate models side by side",
        description=(
            "Measures base models and adapters on the same rows: losses, checks, answers."
            " Nothing is deployed."
        ),
        run_title="{{workflow.parameters.name}}",
        run_description="{{workflow.parameters.models}}",
        arguments=parameters(),
        volumes=[*volumes.of_run(volume_size, storage_class), volumes.presets()],
        entrypoint=_DAG,
        on_exit=_END,
    ) as template:
        for step in STEPS:
            step.template()
        # No DAG: Argo 4.0 fails every DAG of a run that is stopped at once. The step has the name
        # by which the command line finds what the node cost.
        with Steps(name=_END):
            RELEASE.in_parallel()
        _dag()
    return template


def _dag() -> None:
    node = {
        "gpus": output(PLAN, "gpus"),
        "gpu_memory_gb": output(PLAN, "memory-gb"),
        "disk_gib": output(PLAN, "disk-gib"),
        "planned_alternatives": output(PLAN, "alternatives"),
    }
    with DAG(
        name=_DAG,
        # A watch that fails must not keep the models from being measured.
        fail_fast=False,
        outputs=[result("summary", EVALUATE), result("report", PUSH)],
    ):
        PLAN.task()
        DATASET.task(depends=PLAN.name)
        MODEL.task(depends=DATASET.name)
        PROVISION.task(depends=DATASET.name, **node)
        WATCH.task(
            depends=f"{PROVISION.name}.Succeeded",
            when=f"{output(PROVISION, 'watched')} == true",
            node_selector=output(PROVISION, "node-selector"),
            **node,
        )
        EVALUATE.task(
            depends=f"{MODEL.name}.Succeeded && {PROVISION.name}.Succeeded",
            model_dir=f"{container.MODELS_DIR}/{output(MODEL, 'model-dir')}",
            node_selector=output(PROVISION, "node-selector"),
            gpus=output(PLAN, "gpus"),
        )
        PUSH.task(depends=f"{EVALUATE.name}.Succeeded")


def parameters() -> list[Parameter]:
    """List the parameters: the models, and the settings of a run that an evaluation has too."""
    return [
        Parameter(
            name="models",
            description=(
                "The models, all of one base, a JSON list: presets, and adapters' images"
                " REGISTRY/REPOSITORY:TAG or by digest, without both the one in service;"
                " NAME=IMAGE gives one another name"
            ),
        ),
        *form_fields(evaluation_settings(), evaluation.NAME, _OTHER_WORDS),
        Parameter(
            name="shown-answers", value="3", description="Number of rows whose answers are shown"
        ),
    ]
