"""The steps of WorkflowTemplate `finetune`: volumes, time limits, and inputs of each.

The settings of the run are added by `Step`.
"""

from __future__ import annotations

import json
from dataclasses import replace

from hera.workflows import Env, SecretEnv
from hera.workflows.models import Toleration

from argotune.steps.cluster.scheduling import GPU_TOLERATIONS
from argotune.steps.contracts import client_keys
from argotune.steps.contracts.history import DIRECTORY as HISTORY
from argotune.steps.contracts.stop_time import KEY as STOP_KEY
from argotune.steps.dataset import params as dataset_params
from argotune.steps.deploy import params as deploy_params
from argotune.steps.evaluate import params as evaluate_params
from argotune.steps.model import params as model_params
from argotune.steps.notify import params as notify_params
from argotune.steps.plan import params as plan_params
from argotune.steps.provision import params as provision_params
from argotune.steps.push import params as push_params
from argotune.steps.reject import params as reject_params
from argotune.steps.release import params as release_params
from argotune.steps.tune import params as tune_params
from argotune.steps.watch import params as watch_params
from argotune.workflows.templates import step as container
from argotune.workflows.templates.step import (
    Step,
    data_volume,
    output_volume,
    quantity,
    secret,
    settings_of_later_steps,
    value_of,
)
from argotune.workflows.workspace import manifests

_PLAN_FILE = f"{container.WORK_DIR}/plan.yaml"
_TOKENIZER_DIR = f"{container.WORK_DIR}/tokenizer"
_API_KEYS_FILE = f"{container.API_KEYS_DIR}/{client_keys.FILE_NAME}"
_HISTORY_FILE = f"{container.MODELS_DIR}/{HISTORY}/{{{{workflow.parameters.name}}}}.json"
PRESETS = "argotune-presets"  # hera gives the volumes the names of their ConfigMaps
CA = "argotune-ca"
CA_FILE = f"{container.CA_DIR}/ca.crt"
STOP = "stop"
PUSH_AUTH_FILE = f"{container.PUSH_SECRET_DIR}/.dockerconfigjson"
REGISTRIES = manifests.install_tag(manifests.ALLOWED_REGISTRIES)
DAY_SECONDS = 24 * 3600
_REPLACEMENT_SECONDS = 6 * 3600

# Argo refuses templated quantities in `resources`; a patch is text until the pod is made.
_TUNE_CPU, _TUNE_MEMORY = quantity("tune-cpu"), quantity("tune-memory")
_GPU_POD = (
    # Time for one optimizer step and a checkpoint, within the two minutes of most spot nodes.
    '{"terminationGracePeriodSeconds": 110,'
    ' "nodeSelector": {{inputs.parameters.node-selector}}, "containers": [{"name": "main",'
    f' "resources": {{"requests": {{"cpu": {_TUNE_CPU}, "memory": {_TUNE_MEMORY}}},'
    f' "limits": {{"memory": {_TUNE_MEMORY},'
    ' "nvidia.com/gpu": "{{inputs.parameters.gpus}}"}}}]}'
)

# Time that deploy needs to delete what it made.
_DEPLOY_POD = '{"terminationGracePeriodSeconds": 90}'

# Where weights come from: plan takes the tokenizer from there, and model all.
_MODEL_ACCESS = {
    "cache-dir": container.MODELS_DIR,
    "auth-file": f"{container.MODEL_SECRET_DIR}/.dockerconfigjson",
    "access-secret": value_of("model-access-secret"),
    "ca-file": CA_FILE,
    "allowed-hosts": REGISTRIES,
}
_MODEL_MOUNTS = {
    "work": container.WORK_DIR,
    "models": container.MODELS_DIR,
    "model-secret": container.MODEL_SECRET_DIR,
    CA: container.CA_DIR,
}
MODEL_ENV = (
    SecretEnv(
        name="HF_TOKEN",
        secret_name=secret("model-access-secret"),
        secret_key="HF_TOKEN",
        optional=True,
    ),
    Env(name="HF_HOME", value=f"{container.SCRATCH_DIR}/huggingface"),
)

# The memory of the steps: twice their peaks with the demo's data on Linux; dataset's is the bound
# that tests/bench/dataset.py checks.
PLAN = Step(
    params=plan_params,
    memory="128Mi",
    fixed={
        "plan-file": _PLAN_FILE,
        "presets-dir": container.PRESETS_DIR,
        "tokenizer-dir": _TOKENIZER_DIR,
        **_MODEL_ACCESS,
        "api-keys-file": _API_KEYS_FILE,
        "output-dir": container.OUTPUT_DIR,
        "settings": settings_of_later_steps(),
        "installed": manifests.install_tag(manifests.ALL_SETTINGS),
    },
    mounts={
        **_MODEL_MOUNTS,
        "api-keys": container.API_KEYS_DIR,
        PRESETS: container.PRESETS_DIR,
    },
    env=MODEL_ENV,
    # Seconds of work; the rest is for pulling. Every run's first pod: an image that is not there
    # shows here.
    timeout_seconds=180,
    # So that a claim that is missing, or in another zone than the run's volume, shows here too.
    pod_spec_patch=output_volume(),
)
DATASET = Step(
    params=dataset_params,
    memory="512Mi",
    fixed={
        "plan-file": _PLAN_FILE,
        "work-dir": container.WORK_DIR,
        "tokenizer-dir": _TOKENIZER_DIR,
        **{
            f"{flag}-file": f"{container.URLS_SECRET_DIR}/{key}"
            for flag, key in manifests.URL_KEYS.items()
        },
        "auth-file": f"{container.DATA_SECRET_DIR}/.dockerconfigjson",
        "volume-dir": container.DATA_DIR,
        "allowed-registries": REGISTRIES,
        "history-file": _HISTORY_FILE,
        "ca-file": CA_FILE,
    },
    mounts={
        "work": container.WORK_DIR,
        "models": container.MODELS_DIR,
        "urls-secret": container.URLS_SECRET_DIR,
        "data-secret": container.DATA_SECRET_DIR,
        CA: container.CA_DIR,
    },
    inputs=["gate"],
    timeout_seconds=DAY_SECONDS,
    reads_data=True,
    pod_spec_patch=data_volume(),
    env=[
        SecretEnv(name=name, secret_name=secret("data-secret"), secret_key=name, optional=True)
        for name in dataset_params.SECRET_VARIABLES
    ],
)
MODEL = Step(
    params=model_params,
    memory="256Mi",
    fixed={
        "plan-file": _PLAN_FILE,
        **_MODEL_ACCESS,
        "work-dir": container.WORK_DIR,
        "push-auth-file": PUSH_AUTH_FILE,
        "push-secret": value_of("push-secret"),
    },
    mounts={**_MODEL_MOUNTS, "push-secret": container.PUSH_SECRET_DIR},
    timeout_seconds=DAY_SECONDS,
    env=MODEL_ENV,
)
OF_RUN = {
    "run": "{{workflow.uid}}",
    "workflow": "{{workflow.name}}",
    "namespace": "{{workflow.namespace}}",
}
_STATED_IMAGES = ("plan", "dataset", "model", "tune", "push")
"""Those on which an adapter depends; the others only carry and serve it."""
NODE_INPUTS = ("gpus", "gpu-memory-gb", "disk-gib", "planned-alternatives")
"""The plan's outputs about the node, which provision and watch get."""
PROVISION = Step(
    params=provision_params,
    memory="192Mi",
    is_queued=True,
    stays_on_its_node=True,
    fixed=OF_RUN,
    inputs=[
        *NODE_INPUTS,
        "run-tokens",
        "fastest-tokens-per-second",
        "serve-image",
        "cpu-memory",
    ],
    timeout_seconds=3600,
    uses_kubernetes=True,
    asks_the_cloud=True,
)
TUNE = Step(
    params=tune_params,
    memory_parameter="tune-memory",
    is_queued=True,
    stays_on_its_node=True,
    shares_memory=True,
    fixed={
        "plan-file": _PLAN_FILE,
        "work-dir": container.WORK_DIR,
        "run-name": "{{workflow.name}}",
        "created": "{{workflow.creationTimestamp}}",
        "stop-at-file": f"{container.STOP_DIR}/{STOP_KEY}",
    },
    inputs=["model-dir", "dataset-digest", "dataset-summary"],
    mounts={
        "work": container.WORK_DIR,
        "models": container.MODELS_DIR,
        STOP: container.STOP_DIR,
    },
    timeout_seconds=7 * DAY_SECONDS,
    # Spot nodes are reclaimed more often than registries fail; each try resumes from a checkpoint.
    retries=8,
    tolerations=[Toleration.model_validate(toleration) for toleration in GPU_TOLERATIONS],
    pod_spec_patch=_GPU_POD,
    pod_inputs=["node-selector", "gpus"],
    env=[
        Env(name="HF_HOME", value=f"{container.SCRATCH_DIR}/huggingface"),
        *(
            SecretEnv(name=name, secret_name="argotune-tracking", secret_key=name, optional=True)
            for name in tune_params.TRACKER_VARIABLES
        ),
    ],
)
EVALUATE = Step(
    params=evaluate_params,
    # The node has that image already, and the same GPUs are needed.
    home=TUNE.name,
    memory_parameter="tune-memory",
    is_queued=True,
    stays_on_its_node=True,
    fixed={
        "plan-file": _PLAN_FILE,
        "work-dir": container.WORK_DIR,
        "ca-file": CA_FILE,
    },
    inputs=["model-dir"],
    mounts={
        "work": container.WORK_DIR,
        "models": container.MODELS_DIR,
        CA: container.CA_DIR,
    },
    timeout_seconds=DAY_SECONDS,
    # As tune's: it begins anew on another node.
    retries=8,
    tolerations=TUNE.tolerations,
    pod_spec_patch=_GPU_POD,
    pod_inputs=["node-selector", "gpus"],
    env=[
        Env(name="HF_HOME", value=f"{container.SCRATCH_DIR}/huggingface"),
        *(
            SecretEnv(name=name, secret_name="argotune-judge", secret_key=name, optional=True)
            for name in evaluate_params.JUDGE_VARIABLES
        ),
    ],
)
ANSWER = replace(
    EVALUATE,
    template_name="answer",
    fixed={**EVALUATE.fixed, "part": "answers"},
    # It asks no judge.
    env=EVALUATE.env[:1],
)
WATCH = Step(
    params=watch_params,
    home=PROVISION.name,
    memory="192Mi",
    # Machines of spot capacity come back when others have slept.
    fixed={**OF_RUN, "timeout-seconds": str(_REPLACEMENT_SECONDS)},
    inputs=[*NODE_INPUTS, "node-selector"],
    # It ends by itself; this is longer than those steps take with all their tries.
    timeout_seconds=sum(
        (1 + step.retries) * step.timeout_seconds for step in (TUNE, ANSWER, EVALUATE)
    )
    + DAY_SECONDS,
    # No harm is done where its own node goes: another pod watches on.
    retries=100,
    uses_kubernetes=True,
    asks_the_cloud=True,
)
PUSH = Step(
    params=push_params,
    memory="192Mi",
    fixed={
        "plan-file": _PLAN_FILE,
        "work-dir": container.WORK_DIR,
        "auth-file": PUSH_AUTH_FILE,
        "ca-file": CA_FILE,
        "allowed-hosts": REGISTRIES,
        "push-secret": value_of("push-secret"),
        "created": "{{workflow.creationTimestamp}}",
        "output-dir": container.OUTPUT_DIR,
        "signing-dir": container.SIGNING_SECRET_DIR,
        "urls": value_of("urls"),
        "validation-urls": value_of("validation-urls"),
        "step-images": json.dumps([container.image_of(step) for step in _STATED_IMAGES]),
        **OF_RUN,
    },
    inputs=[
        "dataset-digest",
        "model-dir",
        "base-loss",
        "tuned-loss",
        "verdict",
        "machine",
        "node-since",
        "price-usd-per-hour",
        "step-times",
    ],
    mounts={
        "work": container.WORK_DIR,
        "push-secret": container.PUSH_SECRET_DIR,
        "signing-secret": container.SIGNING_SECRET_DIR,
        CA: container.CA_DIR,
    },
    timeout_seconds=2 * 3600,
    pod_spec_patch=output_volume(),
)
DEPLOY = Step(
    params=deploy_params,
    memory="192Mi",
    fixed={
        "plan-file": _PLAN_FILE,
        "cache-dir": container.MODELS_DIR,
        "work-dir": container.WORK_DIR,
        "layout-dir": f"{container.WORK_DIR}/image",
        "history-file": _HISTORY_FILE,
        "auth-file": PUSH_AUTH_FILE,
        "ca-file": CA_FILE,
        "allowed-hosts": REGISTRIES,
        "namespace": "{{workflow.namespace}}",
        "run-name": "{{workflow.name}}",
        "run-uid": "{{workflow.uid}}",
        "image": container.image_of("serve"),
        "vllm-image": container.image_of("vllm"),
        "model-cache-claim": value_of("model-cache-claim"),
        "adapter-pull-secret": secret("push-secret"),
        "api-keys-file": _API_KEYS_FILE,
    },
    inputs=[
        "reference",
        "model-dir",
        "node-selector",
        "gpus",
        "engine",
        "load-in-4bit",
        "max-length",
        "dataset-digest",
    ],
    mounts={
        "work": container.WORK_DIR,
        "models": container.MODELS_DIR,
        "push-secret": container.PUSH_SECRET_DIR,
        "api-keys": container.API_KEYS_DIR,
        CA: container.CA_DIR,
    },
    timeout_seconds=3600,
    uses_kubernetes=True,
    pod_spec_patch=_DEPLOY_POD,
)
REJECT = Step(
    params=reject_params,
    # Its account may read the Workflow, for who answered. Push itself mounts no models: it has the
    # key that signs.
    home=DEPLOY.name,
    memory="192Mi",
    fixed={
        "plan-file": _PLAN_FILE,
        "work-dir": container.WORK_DIR,
        "history-file": _HISTORY_FILE,
        "auth-file": PUSH_AUTH_FILE,
        "push-secret": value_of("push-secret"),
        "ca-file": CA_FILE,
        "allowed-hosts": REGISTRIES,
        "namespace": "{{workflow.namespace}}",
        "workflow": "{{workflow.name}}",
    },
    inputs=["model-dir", "dataset-digest", "reference", "gate", "verdict", "reason", "outcome"],
    mounts={
        "work": container.WORK_DIR,
        "models": container.MODELS_DIR,
        "push-secret": container.PUSH_SECRET_DIR,
        CA: container.CA_DIR,
    },
    timeout_seconds=600,
    uses_kubernetes=True,
)
RELEASE = Step(
    params=release_params,
    memory="192Mi",
    is_called_by_task=False,
    fixed={**OF_RUN, "status": "{{workflow.status}}"},
    # A pool that is still being made can only be deleted when it is there.
    timeout_seconds=3600,
    retries=8,
    uses_kubernetes=True,
    asks_the_cloud=True,
)
RELEASE_NODE = replace(
    RELEASE,
    template_name="release-node",
    is_called_by_task=True,
    # Tuning has: the node may be kept for the workspace's next run.
    fixed={**OF_RUN, "status": "Succeeded"},
)
IS_NOTIFIED = f"'{value_of('notify-secret')}' != ''"
NOTIFY = Step(
    params=notify_params,
    home=RELEASE.name,
    memory="128Mi",
    is_called_by_task=False,
    may_fail=True,
    fixed={**OF_RUN, "status": "{{workflow.status}}", "ca-file": CA_FILE},
    mounts={CA: container.CA_DIR},
    # Three tries of ten seconds, on a node that has the image.
    timeout_seconds=300,
    retries=1,
    uses_kubernetes=True,
    env=[
        SecretEnv(name=name, secret_name=secret("notify-secret"), secret_key=key, optional=True)
        for key, name in notify_params.SECRET_VARIABLES.items()
    ],
)
NOTIFY_WAITING = replace(
    NOTIFY,
    template_name="notify-waiting",
    is_called_by_task=True,
    may_fail=False,
    fixed={**OF_RUN, "ca-file": CA_FILE},
)
STEPS = (
    PLAN,
    DATASET,
    MODEL,
    PROVISION,
    TUNE,
    ANSWER,
    EVALUATE,
    WATCH,
    PUSH,
    DEPLOY,
    REJECT,
    RELEASE,
    RELEASE_NODE,
    NOTIFY,
    NOTIFY_WAITING,
)
