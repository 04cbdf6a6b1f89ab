"""WorkflowTemplate `finetune`: plan, dataset, model beside provision, tune with watch beside
it, push, deploy, and release at the end whatever happened."""

from __future__ import annotations

from hera.workflows import (
    DAG,
    ConfigMapVolume,
    Env,
    ExistingVolume,
    Parameter,
    SecretEnv,
    SecretVolume,
    Volume,
    WorkflowTemplate,
)
from hera.workflows.models import (
    KeyToPath,
    LabelValueFrom,
    Metadata,
    PodGC,
    Toleration,
    TTLStrategy,
    ValueFrom,
    VolumeClaimGC,
    WorkflowMetadata,
)

from argotune.presets.loader import model_presets
from argotune.steps.cluster.scheduling import GPU_TOLERATIONS
from argotune.steps.dataset import params as dataset_params
from argotune.steps.deploy import params as deploy_params
from argotune.steps.model import params as model_params
from argotune.steps.plan import params as plan_params
from argotune.steps.provision import params as provision_params
from argotune.steps.push import params as push_params
from argotune.steps.release import params as release_params
from argotune.steps.tune import params as tune_params
from argotune.steps.watch import params as watch_params
from argotune.workflows.templates import step as container
from argotune.workflows.templates.step import Step, output

NAME = "finetune"
_PLAN_FILE = f"{container.WORK_DIR}/plan.yaml"
_HISTORY_FILE = container.MODELS_DIR + "/history/{{workflow.parameters.name}}.json"
_CA = "argotune-ca"  # hera gives the volume the name of its ConfigMap
_CA_FILE = f"{container.CA_DIR}/ca.crt"
_PUSH_AUTH_FILE = f"{container.PUSH_SECRET_DIR}/.dockerconfigjson"
_DAY_SECONDS = 24 * 3600
_REPLACEMENT_SECONDS = 6 * 3600
_NODE_LIFETIME_SECONDS = 8 * _DAY_SECONDS  # a day more than tune may take

# Argo refuses templated quantities in `resources`; a patch is text until the pod is made.
_GPU_POD = (
    # Time for one optimizer step and a checkpoint, within the two minutes of most spot nodes.
    '{"terminationGracePeriodSeconds": 110,'
    ' "nodeSelector": {{inputs.parameters.node-selector}}, "containers": [{"name": "main",'
    ' "resources": {"requests": {"cpu": "{{workflow.parameters.tune-cpu}}",'
    ' "memory": "{{workflow.parameters.tune-memory}}"}, "limits":'
    ' {"memory": "{{workflow.parameters.tune-memory}}",'
    ' "nvidia.com/gpu": "{{inputs.parameters.gpus}}"}}}]}'
)

# What deploy needs to take back what it made.
_DEPLOY_POD = '{"terminationGracePeriodSeconds": 90}'

# The memory of the steps: their peaks with the demo's data on Linux, doubled; dataset's is the
# bound that tests/bench/dataset.py holds it to.
PLAN = Step(
    params=plan_params,
    memory="64Mi",
    fixed={"plan-file": _PLAN_FILE},
    inputs=["name", "preset", "method", "config", "instance-type", "provider", "model-source"],
    mounts={"work": container.WORK_DIR},
    # Seconds of work; the rest is for pulling. Every run's first pod: an image that is not there
    # shows here.
    timeout_seconds=180,
)
DATASET = Step(
    params=dataset_params,
    memory="512Mi",
    fixed={
        "plan-file": _PLAN_FILE,
        "work-dir": container.WORK_DIR,
        "urls-file": f"{container.URLS_SECRET_DIR}/urls.json",
        "history-file": _HISTORY_FILE,
        # Who may submit a run must not choose the internal hosts that it reaches:
        # `argotune install` writes them here.
        "allowed-hosts": "[]",
        "ca-file": _CA_FILE,
    },
    inputs=["urls", "allow-loopback", "only-if-changed"],
    mounts={
        "work": container.WORK_DIR,
        "models": container.MODELS_DIR,
        "urls-secret": container.URLS_SECRET_DIR,
        _CA: container.CA_DIR,
    },
    timeout_seconds=_DAY_SECONDS,
)
MODEL = Step(
    params=model_params,
    memory="256Mi",
    fixed={
        "plan-file": _PLAN_FILE,
        "cache-dir": container.MODELS_DIR,
        "auth-file": f"{container.MODEL_SECRET_DIR}/.dockerconfigjson",
        "access-secret": "{{workflow.parameters.model-access-secret}}",
        "ca-file": _CA_FILE,
    },
    mounts={
        "work": container.WORK_DIR,
        "models": container.MODELS_DIR,
        "model-secret": container.MODEL_SECRET_DIR,
        _CA: container.CA_DIR,
    },
    timeout_seconds=_DAY_SECONDS,
    env=[
        SecretEnv(
            name="HF_TOKEN",
            secret_name="{{workflow.parameters.model-access-secret}}",
            secret_key="HF_TOKEN",
            optional=True,
        ),
        Env(name="HF_HOME", value=f"{container.SCRATCH_DIR}/huggingface"),
    ],
)
_OF_RUN = {
    "run": "{{workflow.uid}}",
    "workflow": "{{workflow.name}}",
    "namespace": "{{workflow.namespace}}",
}
_NODE_INPUTS = (
    "provider",
    "workspace",
    "gpus",
    "gpu-memory-gb",
    "disk-gib",
    "instance-type",
    "alternative-instance-types",
    "planned-alternatives",
    "zones",
    "capacity-types",
    "spot-max-price-usd-per-hour",
    "label-selector",
    "lifetime-seconds",
    "keep-node-seconds",
    "aks-cluster-id",
    "aks-subnet-id",
    "aks-os-sku",
    "aks-gpu-driver",
    "aks-mig-profile",
    "karpenter-mode",
    "karpenter-node-class",
)
"""What provision and watch must know of the node."""
PROVISION = Step(
    params=provision_params,
    memory="192Mi",
    stays_on_its_node=True,
    fixed=_OF_RUN,
    inputs=_NODE_INPUTS,
    timeout_seconds=3600,
    uses_kubernetes=True,
    asks_the_cloud=True,
)
TUNE = Step(
    params=tune_params,
    memory_parameter="tune-memory",
    stays_on_its_node=True,
    shares_memory=True,
    fixed={"plan-file": _PLAN_FILE, "work-dir": container.WORK_DIR},
    inputs=["model-dir", "dataset-digest"],
    mounts={"work": container.WORK_DIR, "models": container.MODELS_DIR},
    timeout_seconds=7 * _DAY_SECONDS,
    # Spot nodes go away more often than registries fail; each try goes on from a checkpoint.
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
WATCH = Step(
    params=watch_params,
    home=PROVISION.name,
    memory="192Mi",
    # Machines of spot capacity come back when others have slept.
    fixed={**_OF_RUN, "timeout-seconds": str(_REPLACEMENT_SECONDS)},
    inputs=[*_NODE_INPUTS, "node-selector"],
    # It ends by itself; this is longer than tune takes with all its tries.
    timeout_seconds=(1 + TUNE.retries) * TUNE.timeout_seconds + _DAY_SECONDS,
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
        "auth-file": _PUSH_AUTH_FILE,
        "ca-file": _CA_FILE,
        "push-secret": "{{workflow.parameters.push-secret}}",
        "created": "{{workflow.creationTimestamp}}",
    },
    inputs=["image", "dataset-digest", "base-loss", "tuned-loss"],
    mounts={
        "work": container.WORK_DIR,
        "push-secret": container.PUSH_SECRET_DIR,
        _CA: container.CA_DIR,
    },
    timeout_seconds=2 * 3600,
)
DEPLOY = Step(
    params=deploy_params,
    memory="192Mi",
    fixed={
        "plan-file": _PLAN_FILE,
        "cache-dir": container.MODELS_DIR,
        "layout-dir": f"{container.WORK_DIR}/image",
        "history-file": _HISTORY_FILE,
        "auth-file": _PUSH_AUTH_FILE,
        "ca-file": _CA_FILE,
        "namespace": "{{workflow.namespace}}",
        "run-name": "{{workflow.name}}",
        "run-uid": "{{workflow.uid}}",
        "image": (
            "{{workflow.parameters.images-registry}}"
            "/argotune-serve:{{workflow.parameters.images-tag}}"
        ),
        "model-cache-claim": "{{workflow.parameters.model-cache-claim}}",
        "image-pull-secret": "{{workflow.parameters.push-secret}}",
    },
    inputs=[
        "target",
        "name",
        "reference",
        "model-dir",
        "services-dir",
        "node-selector",
        "label-selector",
        "gpus",
        "service-gpus",
        "memory",
        "adapter-from",
        "question",
        "dataset-digest",
    ],
    mounts={
        "work": container.WORK_DIR,
        "models": container.MODELS_DIR,
        "push-secret": container.PUSH_SECRET_DIR,
        _CA: container.CA_DIR,
    },
    timeout_seconds=3600,
    uses_kubernetes=True,
    pod_spec_patch=_DEPLOY_POD,
)
RELEASE = Step(
    params=release_params,
    memory="192Mi",
    # An exit handler gets no arguments of tasks.
    fixed={
        "provider": "{{workflow.parameters.provider}}",
        "run": "{{workflow.uid}}",
        "status": "{{workflow.status}}",
        "keep-node-seconds": "{{workflow.parameters.keep-node-seconds}}",
        "aks-cluster-id": "{{workflow.parameters.aks-cluster-id}}",
    },
    # A pool that is still being made can only be deleted when it is there.
    timeout_seconds=3600,
    retries=8,
    uses_kubernetes=True,
    asks_the_cloud=True,
)
STEPS = (PLAN, DATASET, MODEL, PROVISION, TUNE, WATCH, PUSH, DEPLOY, RELEASE)


def build(*, volume_size: str = "100Gi", storage_class: str | None = None) -> WorkflowTemplate:
    """The template. The volume's size and storage class are fixed when it is built: Argo reads
    a volume claim before it expands any parameter."""
    with WorkflowTemplate(
        name=NAME,
        annotations={
            "workflows.argoproj.io/title": "Fine-tune a language model",
            "workflows.argoproj.io/description": (
                "Checks a dataset, tunes a LoRA or QLoRA adapter on a GPU node, pushes it as a"
                " container image and serves it. The GPU node goes whatever happens."
            ),
        },
        labels={"app.kubernetes.io/part-of": "argotune"},
        arguments=parameters(),
        entrypoint=NAME,
        on_exit=RELEASE.name,
        security_context=container.POD_SECURITY,
        service_account_name="argotune-step",
        workflow_metadata=WorkflowMetadata(
            labels={"app.kubernetes.io/part-of": "argotune"},
            annotations={
                "workflows.argoproj.io/title": (
                    "Fine-tune {{workflow.parameters.preset}} as {{workflow.parameters.name}}"
                ),
                "workflows.argoproj.io/description": (
                    "{{workflow.parameters.method}} adapter, pushed to"
                    " {{workflow.parameters.output-image}}"
                ),
            },
            labels_from={
                "argotune.dev/workspace": LabelValueFrom(expression="workflow.parameters.name")
            },
        ),
        pod_metadata=Metadata(labels={"app.kubernetes.io/part-of": "argotune"}),
        # Pods of failed runs stay for `kubectl logs`; the volume stays for `argo retry`.
        pod_gc=PodGC(strategy="OnWorkflowSuccess"),
        volume_claim_gc=VolumeClaimGC(strategy="OnWorkflowSuccess"),
        ttl_strategy=TTLStrategy(seconds_after_completion=7 * _DAY_SECONDS),
        volumes=[
            # ReadWriteOnce is enough: the steps that mount it run one after the other. provision,
            # which runs beside model, and release mount nothing.
            Volume(name="work", size=volume_size, storage_class_name=storage_class),
            # Shared by the runs of all workspaces, on any node: the claim is ReadWriteMany.
            ExistingVolume(name="models", claim_name="{{workflow.parameters.model-cache-claim}}"),
            SecretVolume(
                name="urls-secret",
                secret_name="{{workflow.parameters.urls-secret}}",
                optional=True,
            ),
            SecretVolume(
                name="push-secret",
                secret_name="{{workflow.parameters.push-secret}}",
                optional=True,
            ),
            SecretVolume(
                name="model-secret",
                secret_name="{{workflow.parameters.model-access-secret}}",
                # Only this key: a token of the same secret is no file.
                items=[KeyToPath(key=".dockerconfigjson", path=".dockerconfigjson")],
                optional=True,
            ),
            ConfigMapVolume(name=_CA, optional=True),
        ],
    ) as template:
        for step in STEPS:
            step.template()
        _dag()
    return template


def _dag() -> None:
    changed = f"{output(DATASET, 'changed')} == true"
    digest = output(DATASET, "digest")
    node = {
        "provider": _parameter("provider"),
        "gpus": output(PLAN, "gpus"),
        "gpu_memory_gb": output(PLAN, "memory-gb"),
        "disk_gib": output(PLAN, "disk-gib"),
        "workspace": _parameter("name"),
        "instance_type": _parameter("instance-type"),
        "alternative_instance_types": _parameter("alternative-instance-types"),
        "planned_alternatives": output(PLAN, "alternatives"),
        "zones": _parameter("zones"),
        "capacity_types": _parameter("capacity-types"),
        "spot_max_price_usd_per_hour": _parameter("spot-max-price-usd-per-hour"),
        "label_selector": _parameter("label-selector"),
        "lifetime_seconds": _parameter("node-lifetime-seconds"),
        "keep_node_seconds": _parameter("keep-node-seconds"),
        "aks_cluster_id": _parameter("aks-cluster-id"),
        "aks_subnet_id": _parameter("aks-subnet-id"),
        "aks_os_sku": _parameter("aks-os-sku"),
        "aks_gpu_driver": _parameter("aks-gpu-driver"),
        "aks_mig_profile": _parameter("aks-mig-profile"),
        "karpenter_mode": _parameter("karpenter-mode"),
        "karpenter_node_class": _parameter("karpenter-node-class"),
    }
    with DAG(
        name=NAME,
        # A watch that breaks down must not keep the adapter from being pushed.
        fail_fast=False,
        outputs=[
            _result("base-loss", TUNE),
            _result("tuned-loss", TUNE),
            _result("reference", PUSH),
            _result("endpoint", DEPLOY),
            _result("answer", DEPLOY),
        ],
    ):
        PLAN.task(
            name=_parameter("name"),
            preset=_parameter("preset"),
            method=_parameter("method"),
            config=_parameter("config"),
            instance_type=_parameter("instance-type"),
            provider=_parameter("provider"),
            model_source=_parameter("model-source"),
        )
        DATASET.task(
            depends=PLAN.name,
            urls=_parameter("urls"),
            allow_loopback=_parameter("allow-loopback"),
            only_if_changed=_parameter("only-if-changed"),
        )
        MODEL.task(depends=DATASET.name, when=changed)
        PROVISION.task(depends=DATASET.name, when=changed, **node)
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
            node_selector=output(PROVISION, "node-selector"),
            gpus=output(PLAN, "gpus"),
        )
        PUSH.task(
            depends=TUNE.name,
            image=_parameter("output-image"),
            dataset_digest=digest,
            base_loss=output(TUNE, "base-loss"),
            tuned_loss=output(TUNE, "tuned-loss"),
        )
        DEPLOY.task(
            depends=PUSH.name,
            target=_parameter("deploy-to"),
            name=_parameter("name"),
            reference=output(PUSH, "reference"),
            model_dir=output(MODEL, "model-dir"),
            services_dir=_parameter("services-dir"),
            node_selector=output(PROVISION, "node-selector"),
            label_selector=_parameter("service-label-selector"),
            gpus=output(PLAN, "gpus"),
            service_gpus=_parameter("service-gpus"),
            memory=_parameter("service-memory"),
            adapter_from=_parameter("adapter-from"),
            question=_parameter("question"),
            dataset_digest=digest,
        )


def parameters() -> list[Parameter]:
    """The form that Argo's UI shows, in the order in which a person fills it."""
    presets = sorted(preset.name for preset in model_presets())
    return [
        Parameter(
            name="name",
            value="finetune",
            description="Name of the workspace, a DNS label; also of the service and the adapter",
        ),
        Parameter(
            name="preset",
            value="phi-3-mini-4k-instruct",
            enum=presets,
            description="Base model",
        ),
        Parameter(
            name="method",
            value="qlora",
            enum=["lora", "qlora"],
            description="lora tunes on 16-bit weights, qlora on 4-bit ones",
        ),
        Parameter(
            name="urls",
            value="[]",
            description='Dataset URLs as a JSON list: ["https://..."]; all of them are used',
        ),
        Parameter(
            name="urls-secret",
            value="argotune-no-urls",
            description="Secret with the key urls.json: the same URLs with tokens in their queries",
        ),
        Parameter(
            name="output-image",
            value="",
            description="Image of the adapter: REGISTRY/REPOSITORY:TAG",
        ),
        Parameter(
            name="push-secret",
            value="argotune-push",
            description="Secret of type kubernetes.io/dockerconfigjson for the output image",
        ),
        Parameter(
            name="config",
            value="",
            description="Kaito's training_config.yaml as text; empty: the preset's defaults",
        ),
        Parameter(
            name="provider",
            value="existing",
            enum=["existing", "aks", "karpenter", "local"],
            description=(
                "Where the GPU node comes from. existing: nodes of the cluster; aks: an agent pool"
                " that is made for the run; karpenter: a node that Karpenter makes for it; local:"
                " this machine, without a cluster"
            ),
        ),
        Parameter(
            name="instance-type",
            value="",
            description="Cloud SKU of the GPU node, e.g. Standard_NC24ads_A100_v4; empty: any",
        ),
        Parameter(
            name="label-selector",
            value="",
            description=(
                "Labels of the GPU node: KEY=VALUE,KEY=VALUE; a node that is made gets them; empty:"
                " any node"
            ),
        ),
        *_made_node_parameters(),
        Parameter(
            name="deploy-to",
            value="kubernetes",
            enum=["kubernetes", "process"],
            description="kubernetes: a Deployment and a Service; process: a server on this machine",
        ),
        Parameter(
            name="service-gpus",
            value="",
            description="GPUs of the service; empty: as many as tuning; 0: it runs on CPUs",
        ),
        Parameter(
            name="service-label-selector",
            value="",
            description=(
                "Labels of the node that serves: KEY=VALUE,KEY=VALUE; empty: those of the node that"
                " tuned, or any node where that one is made for the run"
            ),
        ),
        Parameter(
            name="service-memory",
            value="2Gi",
            description="Memory that the service asks for, a quantity",
        ),
        Parameter(
            name="adapter-from",
            value="auto",
            enum=["auto", "cache"],
            description=(
                "auto: the service mounts the adapter's image where the cluster can;"
                " cache: a copy in the model cache, for nodes with containerd before 2.1"
            ),
        ),
        Parameter(
            name="question",
            value="Hello! Who are you?",
            description="Asked once when the service is ready",
        ),
        Parameter(
            name="only-if-changed",
            value="false",
            enum=["false", "true"],
            description="End well before anything costs money when data and plan are unchanged",
        ),
        Parameter(name="tune-cpu", value="2", description="CPUs that the tune pod asks for"),
        Parameter(
            name="tune-memory", value="16Gi", description="Memory of the tune pod, a quantity"
        ),
        Parameter(
            name="model-source",
            value="",
            description="Weights from elsewhere than the Hub: oci:IMAGE or dir:DIRECTORY",
        ),
        Parameter(
            name="model-access-secret",
            value="argotune-model-access",
            description=(
                "Secret with the key HF_TOKEN for gated models, or .dockerconfigjson for weights"
                " in a private image; may be missing"
            ),
        ),
        Parameter(
            name="model-cache-claim",
            value="argotune-models",
            description="ReadWriteMany claim that keeps the weights between runs",
        ),
        Parameter(
            name="images-registry",
            value="registry.example.com/argotune",
            description="Registry of the step images",
        ),
        Parameter(name="images-tag", value="0.1.0", description="Tag of the step images"),
        Parameter(
            name="allow-loopback",
            value="false",
            enum=["false", "true"],
            description="Permit dataset URLs of the machine itself, for trials",
        ),
        Parameter(
            name="services-dir",
            value="",
            description="Directory for the records of server processes; with deploy-to process",
        ),
    ]


def _made_node_parameters() -> list[Parameter]:
    """What only counts where a node is made: providers aks and karpenter."""
    return [
        Parameter(
            name="alternative-instance-types",
            value="",
            description=(
                "Further SKUs, tried in order when the first is sold out: a JSON list; empty: those"
                " that the plan proposes, at no more than twice the price; []: none"
            ),
        ),
        Parameter(
            name="zones",
            value="[]",
            description='Availability zones, tried in order: ["1", "2"]; []: the cloud chooses',
        ),
        Parameter(
            name="capacity-types",
            value='["regular"]',
            enum=['["regular"]', '["spot"]', '["spot", "regular"]'],
            description="Spot machines cost less and may be taken away",
        ),
        Parameter(
            name="spot-max-price-usd-per-hour",
            value="",
            description="Most that a spot machine may cost (aks); empty: up to the regular price",
        ),
        Parameter(
            name="node-lifetime-seconds",
            value=str(_NODE_LIFETIME_SECONDS),
            description="A node that is made goes after so long, whatever became of its run",
        ),
        Parameter(
            name="keep-node-seconds",
            value="0",
            description=(
                "A node that was made waits so long for the workspace's next run, and costs money"
                " all the while; only after a run that succeeded; 0: it goes with its run"
            ),
        ),
        Parameter(
            name="aks-cluster-id",
            value="",
            description="Azure resource ID of the cluster: `az aks show --query id`",
        ),
        Parameter(
            name="aks-subnet-id",
            value="",
            description="Azure resource ID of the node's subnet; empty: as the cluster does it",
        ),
        Parameter(
            name="aks-os-sku",
            value="Ubuntu",
            enum=["Ubuntu", "AzureLinux"],
            description="Operating system of an AKS node",
        ),
        Parameter(
            name="aks-gpu-driver",
            value="Install",
            enum=["Install", "None"],
            description="None: somebody else installs the driver, such as the GPU operator",
        ),
        Parameter(
            name="aks-mig-profile",
            value="",
            description="Cut of each GPU, MIG1g to MIG7g; empty: whole GPUs",
        ),
        Parameter(
            name="karpenter-mode",
            value="nodeclaim",
            enum=["nodeclaim", "nodepool"],
            description=(
                "nodeclaim: a claim of the run's own; nodepool: an installed NodePool brings the"
                " node, and brings another when a spot machine is taken away"
            ),
        ),
        Parameter(
            name="karpenter-node-class",
            value="",
            description="Node class of claims: KIND/NAME, such as AKSNodeClass/gpu",
        ),
    ]


def _parameter(name: str) -> str:
    if name not in {parameter.name for parameter in parameters()}:
        raise ValueError(f"template {NAME} has no parameter {name}")
    return f"{{{{workflow.parameters.{name}}}}}"


def _result(name: str, step: Step) -> Parameter:
    return Parameter(name=name, value_from=ValueFrom(parameter=output(step, name), default=""))
