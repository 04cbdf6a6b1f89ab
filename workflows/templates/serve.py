"""WorkflowTemplate `serve`: a model in service without training.

The order is plan, which fetches the adapters, model beside provision, and deploy. A node that is
made stays when the run succeeds, for it is the service's; `release` gives back that of a run that
did not. The steps are those of `finetune`, and plan's a package below it; what the installer
decides is text as there.
"""

from __future__ import annotations

from dataclasses import replace

from hera.workflows import (
    DAG,
    Parameter,
    SecretVolume,
    Steps,
    WorkflowTemplate,
)

from argotune.steps.contracts.served import SERVER_CPU
from argotune.steps.contracts.service_plan import PLAN as PLAN_FILE
from argotune.steps.plan.service import params as plan_params
from argotune.steps.settings.step_params import SERVICE_WITHOUT, service_settings
from argotune.workflows.templates import finetune_steps as steps
from argotune.workflows.templates import step as container
from argotune.workflows.templates import volumes
from argotune.workflows.templates.form import form_fields
from argotune.workflows.templates.frame import AnyVolume, template_of_runs
from argotune.workflows.templates.step import (
    Step,
    data_volume,
    output,
    result,
    settings_of_later_steps,
    value_of,
)
from argotune.workflows.workspace.model import SERVICE_TEMPLATE

NAME = SERVICE_TEMPLATE
_END = "end"
_PLAN_FILE = f"{container.WORK_DIR}/{PLAN_FILE}"
_NODE_LIFETIME_SECONDS = 100 * 365 * steps.DAY_SECONDS
"""The service ends its node, and no time does."""
_OTHER_WORDS = {
    "name": "Name of the workspace, a DNS label; also of the service, whose requests mean the base"
    " model by it",
    "config": "Kaito's inference_config.yaml as text; of it max-model-len counts",
    "data-claim": "PersistentVolumeClaim with the files of the adapter that has no image, one that"
    " the installation allows",
    "push-secret": "Secret of type kubernetes.io/dockerconfigjson for the registries of the"
    " adapters; may be missing",
    "service-label-selector": "Labels of another node that serves: KEY=VALUE,KEY=VALUE; no node is"
    " to be made then",
}
"""Descriptions of settings that mean something else in a run."""
_OF_ADAPTERS = ("work-dir", "push-auth-file", "push-secret")
"""Flags of model about the adapters of a training."""
_OF_TRAINING = ("plan-file", "work-dir", "layout-dir", "history-file")
"""Flags of deploy about a run that made an adapter."""

PLAN = Step(
    params=plan_params,
    template_name="plan",
    memory=steps.PLAN.memory,
    fixed={
        "adapters": "{{workflow.parameters.adapters}}",
        "work-dir": container.WORK_DIR,
        "volume-dir": container.DATA_DIR,
        "push-auth-file": steps.PUSH_AUTH_FILE,
        "push-secret": value_of("push-secret"),
        "ca-file": steps.CA_FILE,
        "allowed-hosts": steps.REGISTRIES,
        "api-keys-file": steps.PLAN.fixed["api-keys-file"],
        "settings": settings_of_later_steps(service_settings()),
        "installed": steps.PLAN.fixed["installed"],
        "presets-dir": steps.PLAN.fixed["presets-dir"],
    },
    mounts={
        "work": container.WORK_DIR,
        steps.PRESETS: container.PRESETS_DIR,
        "push-secret": container.PUSH_SECRET_DIR,
        "api-keys": container.API_KEYS_DIR,
        steps.CA: container.CA_DIR,
    },
    # It also pulls the adapters, which are megabytes or a few gigabytes.
    timeout_seconds=900,
    env=steps.MODEL_ENV,
    pod_spec_patch=data_volume(),
)
MODEL = replace(
    steps.MODEL,
    without=SERVICE_WITHOUT["model"],
    fixed={
        flag: _PLAN_FILE if flag == "plan-file" else text
        for flag, text in steps.MODEL.fixed.items()
        if flag not in _OF_ADAPTERS
    },
    mounts={name: path for name, path in steps.MODEL.mounts.items() if name != "push-secret"},
)
PROVISION = replace(
    steps.PROVISION,
    without=SERVICE_WITHOUT["provision"],
    inputs=[*steps.NODE_INPUTS, "tune-memory"],
    fixed={
        **steps.PROVISION.fixed,
        "tune-cpu": SERVER_CPU,
        "lifetime-seconds": str(_NODE_LIFETIME_SECONDS),
    },
)
DEPLOY = replace(
    steps.DEPLOY,
    without=SERVICE_WITHOUT["deploy"],
    fixed={
        **{flag: text for flag, text in steps.DEPLOY.fixed.items() if flag not in _OF_TRAINING},
        "service-plan": _PLAN_FILE,
        "own-node": "true",
        # Who serves a model wants it to answer, also where somebody had scaled it to none.
        "start": "true",
    },
    inputs=[
        "model-dir",
        "node-selector",
        "gpus",
        "machine",
        "node-since",
        "price-usd-per-hour",
    ],
)
RELEASE = replace(steps.RELEASE, without=SERVICE_WITHOUT["release"])
STEPS = (PLAN, MODEL, PROVISION, DEPLOY, RELEASE)


def build(*, volume_size: str = "100Gi", storage_class: str | None = None) -> WorkflowTemplate:
    """Build the template; the volume holds the adapters alone."""
    with template_of_runs(
        NAME,
        title="Serve a model without training",
        description=(
            "A base model with adapters of images, at an address. A node that is made for it"
            " lives as long as the service."
        ),
        run_title="{{workflow.parameters.name}}: serve {{workflow.parameters.preset}}",
        run_description="{{workflow.parameters.adapters}}",
        arguments=parameters(),
        volumes=[*_volumes(volume_size, storage_class), volumes.api_keys(), volumes.presets()],
        entrypoint=NAME,
        on_exit=_END,
    ) as template:
        for step in STEPS:
            step.template()
        # No DAG: Argo 4.0 fails every DAG of a run that is stopped at once.
        with Steps(name=_END):
            RELEASE.in_parallel(when="{{workflow.status}} != Succeeded")
        _dag()
    return template


def _volumes(size: str, storage_class: str | None) -> list[AnyVolume]:
    """Those of a run that reads models, without the data's."""
    unused = ("urls-secret", "data-secret")
    return [
        each
        for each in volumes.of_run(size, storage_class)
        if not (isinstance(each, SecretVolume) and each.name in unused)
    ]


def _dag() -> None:
    with DAG(
        name=NAME,
        outputs=[
            result("adapters", PLAN),
            result("endpoint", DEPLOY),
            result("answer", DEPLOY),
        ],
    ):
        PLAN.task()
        MODEL.task(depends=f"{PLAN.name}.Succeeded")
        PROVISION.task(
            depends=f"{PLAN.name}.Succeeded",
            gpus=output(PLAN, "gpus"),
            gpu_memory_gb=output(PLAN, "memory-gb"),
            disk_gib=output(PLAN, "disk-gib"),
            tune_memory=output(PLAN, "server-memory"),
            planned_alternatives=output(PLAN, "alternatives"),
        )
        DEPLOY.task(
            depends=f"{MODEL.name}.Succeeded && {PROVISION.name}.Succeeded",
            model_dir=output(MODEL, "model-dir"),
            node_selector=output(PROVISION, "node-selector"),
            gpus=output(PLAN, "gpus"),
            machine=output(PROVISION, "placement"),
            node_since=output(PROVISION, "node-since"),
            price_usd_per_hour=output(PROVISION, "price-usd-per-hour"),
        )


def parameters() -> list[Parameter]:
    """List the parameters: the adapters, and the settings of a run that a service has too."""
    return [
        *form_fields(service_settings(), NAME, _OTHER_WORDS),
        Parameter(
            name="adapters",
            value="[]",
            description=(
                "Adapters beside the base model, a JSON list of objects: name, by which requests"
                " mean it; image, REGISTRY/REPOSITORY:TAG or by digest, without one its files are"
                " on data-claim; strength, 0 to 1"
            ),
        ),
    ]
