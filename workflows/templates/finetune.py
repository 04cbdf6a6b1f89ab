"""WorkflowTemplate `finetune`: the DAG of a run, and its exit handler.

The order is plan, dataset, model beside provision, tune and evaluate with watch beside them, push,
the approval if one is required, deploy. Where checks are scorers', `answer` and `score` come
before evaluate. An adapter that evaluate or a person rejected is not
deployed, and `reject` records it.
`release` runs at the end in every case, and beside it `notify` if somebody is to be told.
"""

from __future__ import annotations

from hera.workflows import (
    DAG,
    Parameter,
    SecretVolume,
    Steps,
    WorkflowTemplate,
)
from hera.workflows.models import (
    ConfigMapVolumeSource,
)
from hera.workflows.models import Volume as PodVolume

from argotune.steps.contracts.approval import DECISION, REASON
from argotune.steps.contracts.in_service import DEPLOY_TO_ANNOTATION
from argotune.steps.contracts.stop_time import config_map_of
from argotune.steps.settings import run_settings
from argotune.workflows.templates import approval, scorer, volumes
from argotune.workflows.templates import step as container
from argotune.workflows.templates.finetune_steps import (
    ANSWER,
    DATASET,
    DEPLOY,
    EVALUATE,
    IS_NOTIFIED,
    MODEL,
    NOTIFY,
    PLAN,
    PROVISION,
    PUSH,
    REJECT,
    RELEASE,
    STEPS,
    STOP,
    TUNE,
    WATCH,
)
from argotune.workflows.templates.form import form_field
from argotune.workflows.templates.frame import template_of_runs
from argotune.workflows.templates.step import output, result, secret, times_of, value_of

NAME = "finetune"
_END = "end"


def build(*, volume_size: str = "100Gi", storage_class: str | None = None) -> WorkflowTemplate:
    """Build the template.

    The volume's size and storage class are fixed here, because Argo reads a volume claim before it
    expands any parameter.
    """
    with template_of_runs(
        NAME,
        title="Fine-tune a language model",
        description=(
            "Checks a dataset, tunes a LoRA or QLoRA adapter on a GPU node, pushes it as a"
            " container image and serves it. The GPU node goes whatever happens."
        ),
        run_title="{{workflow.parameters.name}}: fine-tune {{workflow.parameters.preset}}",
        run_description=(
            "{{workflow.parameters.method}} adapter, pushed to {{workflow.parameters.output-image}}"
        ),
        # Lists of runs have no more than their metadata.
        run_annotations={DEPLOY_TO_ANNOTATION: value_of("deploy-to")},
        arguments=parameters(),
        volumes=[
            *volumes.of_run(volume_size, storage_class),
            # No other step mounts it: what signs is not to be read where data or models are.
            SecretVolume(
                name="signing-secret", secret_name=secret("signing-secret"), optional=True
            ),
            volumes.api_keys(),
            volumes.presets(),
            # watch makes it where tune is to end by itself at a limit of cost.
            PodVolume(
                name=STOP,
                config_map=ConfigMapVolumeSource(
                    name=config_map_of("{{workflow.name}}"), optional=True
                ),
            ),
        ],
        entrypoint=NAME,
        on_exit=_END,
    ) as template:
        for step in STEPS:
            step.template()
        scorer.templates()
        approval.templates()
        _end()
        _dag()
    return template


def _dag() -> None:
    changed = f"{output(DATASET, 'changed')} == true"
    passed = f"{output(EVALUATE, 'verdict')} == passed"
    digest = output(DATASET, "digest")
    node = {
        "gpus": output(PLAN, "gpus"),
        "gpu_memory_gb": output(PLAN, "memory-gb"),
        "disk_gib": output(PLAN, "disk-gib"),
        "planned_alternatives": output(PLAN, "alternatives"),
    }
    with DAG(
        name=NAME,
        # A watch that fails must not keep the adapter from being pushed.
        fail_fast=False,
        outputs=[
            result("base-loss", TUNE),
            result("tuned-loss", TUNE),
            result("stopped-early", TUNE),
            result("live-loss", EVALUATE),
            result("verdict", EVALUATE),
            result("reason", EVALUATE),
            result("outcome", EVALUATE),
            result("reference", PUSH),
            result("volume", PUSH),
            result("report", PUSH),
            approval.output(DECISION),
            approval.output(REASON),
            result("endpoint", DEPLOY),
            result("answer", DEPLOY),
            result("version", DEPLOY),
        ],
    ):
        PLAN.task()
        DATASET.task(depends=PLAN.name, gate=output(PLAN, "gate"))
        MODEL.task(depends=DATASET.name, when=changed)
        PROVISION.task(
            depends=DATASET.name,
            when=changed,
            **node,
            run_tokens=output(DATASET, "run-tokens"),
            fastest_tokens_per_second=output(PLAN, "fastest-tokens-per-second"),
            serve_image=container.image_of("serve"),
            cpu_memory=output(PLAN, "cpu-memory"),
        )
        WATCH.task(
            depends=f"{PROVISION.name}.Succeeded",
            when=f"{output(PROVISION, 'watched')} == true",
            node_selector=output(PROVISION, "node-selector"),
            **node,
        )
        # Not only `when`: Argo 4.0 waits for ever for the outputs of a task that was skipped, so
        # what reads them is omitted, and what comes after it too.
        TUNE.task(
            depends=f"{MODEL.name}.Succeeded && {PROVISION.name}.Succeeded",
            model_dir=f"{container.MODELS_DIR}/{output(MODEL, 'model-dir')}",
            dataset_digest=digest,
            dataset_summary=output(DATASET, "summary"),
            node_selector=output(PROVISION, "node-selector"),
            gpus=output(PLAN, "gpus"),
        )
        ANSWER.task(
            depends=f"{TUNE.name}.Succeeded",
            when=scorer.is_wanted(PLAN),
            model_dir=f"{container.MODELS_DIR}/{output(MODEL, 'model-dir')}",
            node_selector=output(PROVISION, "node-selector"),
            gpus=output(PLAN, "gpus"),
        )
        scorer.task(PLAN, depends=f"{ANSWER.name}.Succeeded")
        EVALUATE.task(
            depends=f"{TUNE.name} && ({ANSWER.name}.Skipped || {scorer.NAME}.Succeeded)",
            model_dir=f"{container.MODELS_DIR}/{output(MODEL, 'model-dir')}",
            node_selector=output(PROVISION, "node-selector"),
            gpus=output(PLAN, "gpus"),
        )
        PUSH.task(
            depends=EVALUATE.name,
            verdict=output(EVALUATE, "verdict"),
            dataset_digest=digest,
            model_dir=output(MODEL, "model-dir"),
            base_loss=output(TUNE, "base-loss"),
            tuned_loss=output(TUNE, "tuned-loss"),
            machine=output(PROVISION, "placement"),
            node_since=output(PROVISION, "node-since"),
            price_usd_per_hour=output(PROVISION, "price-usd-per-hour"),
            step_times=times_of(PLAN, DATASET, MODEL, PROVISION, TUNE, EVALUATE),
        )
        may_go_on = approval.tasks(depends=f"{PUSH.name}.Succeeded", when=passed)
        DEPLOY.task(
            depends=f"{PUSH.name}.Succeeded && ({may_go_on})",
            when=passed,
            reference=output(PUSH, "reference"),
            model_dir=output(MODEL, "model-dir"),
            node_selector=output(PROVISION, "node-selector"),
            gpus=output(PLAN, "service-gpus"),
            engine=output(PLAN, "engine"),
            load_in_4bit=output(PLAN, "load-in-4bit"),
            max_length=output(PLAN, "max-length"),
            dataset_digest=digest,
        )
        # Deploy is skipped by the verdict alone, and what follows an approval by a no.
        REJECT.task(
            depends=f"{DEPLOY.name}.Skipped || {approval.REFUSED}",
            model_dir=f"{container.MODELS_DIR}/{output(MODEL, 'model-dir')}",
            dataset_digest=digest,
            reference=output(PUSH, "reference"),
            gate=output(PLAN, "gate"),
            verdict=output(EVALUATE, "verdict"),
            reason=output(EVALUATE, "reason"),
            outcome=output(EVALUATE, "outcome"),
        )


def _end() -> None:
    """Build the exit handler: neither of its two steps waits for the other, or fails with it.

    No DAG, because Argo 4.0 fails every DAG of a run that is stopped at once, also this one, and
    the run would end before release.
    """
    with Steps(name=_END) as end, end.parallel():
        RELEASE.in_parallel()
        NOTIFY.in_parallel(when=IS_NOTIFIED)


def parameters() -> list[Parameter]:
    """List the parameters in the order in which a person fills Argo's form."""
    return [form_field(row) for row in run_settings.parameter_settings()]
