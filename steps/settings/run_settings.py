"""The settings of a run: the one table.

A row is a parameter of the WorkflowTemplate, an annotation of the workspace file, or both. Argo's
form, the annotations and their checks, `--set`, the arguments of a Workflow, the arguments of the
steps and the reference page come from the table. Rows of a provider are in its own package
(steps/nodes/PROVIDER/settings.py). To add a setting that a step has as a flag, add one row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from argotune.presets.clouds import cloud_names
from argotune.presets.names import is_model_name
from argotune.steps.common.setting import Setting
from argotune.steps.common.values import (
    BYTES,
    CLAIM,
    COUNT,
    CPUS,
    HOST,
    NAMES,
    NAMES_OR_NONE,
    NATS,
    OBJECT_NAME,
    OBJECT_PLACE,
    ORIGINS,
    PORT,
    PRICE,
    PRIORITY_CLASS,
    QUEUE,
    SECONDS,
    SECONDS_OR_ZERO,
    SECRET,
    SERVICE,
    SHARE,
    STORAGE_CLASS,
    URLS,
    WHOLE_SECONDS,
    ValueType,
    reads,
)
from argotune.steps.contracts.approval import DECISIONS
from argotune.steps.contracts.in_service import DeployTo
from argotune.steps.contracts.service_note import DuringTuning
from argotune.steps.contracts.start_adapter import LIVE, NONE
from argotune.steps.nodes.labels import labels_in
from argotune.steps.nodes.providers import MAKING_NODES, PROVIDERS, provider_settings
from argotune.steps.registry.oci import parse_reference

SCORERS = "scorer-images"
"""The setting with the scorers that an installation allows."""
PREFIX = "argotune.dev/"
"""Before a setting's name in metadata.annotations."""

_LABELS = ValueType(accepted="KEY=VALUE,KEY=VALUE", check=reads(labels_in))
_MODEL = ValueType(
    accepted="one of `argotune presets`, OWNER/NAME of the Hub, dir:DIRECTORY or oci:IMAGE",
    check=is_model_name,
)


def _is_image(text: str) -> bool:
    # A wrong word alone would be one of Docker's.
    return ("/" in text or text.startswith("oci:")) and reads(parse_reference)(text)


_START_FROM = ValueType(
    accepted="none, live, or an image such as registry.example.com/me/adapter:v3",
    check=lambda text: text in (NONE, LIVE) or _is_image(text),
)
_TRUTH = ("false", "true")
_APPROVAL_TIMEOUT_SECONDS = 3 * 24 * 3600
_NODE_LIFETIME_SECONDS = 8 * 24 * 3600  # a day more than tune may take

_OF_THE_FILE = (
    Setting(
        name="name",
        place="metadata.name",
        description="Name of the workspace, a DNS label; also of the service and the adapter",
        default="finetune",
        feeds=(
            "plan.name",
            "deploy.name",
            "reject.name",
            "provision.workspace",
            "watch.workspace",
            "release.workspace",
            "notify.workspace",
        ),
    ),
    Setting(
        name="preset",
        place="tuning.preset.name",
        description=(
            "Base model: one of `argotune presets`, a preset of the installation, or OWNER/NAME or"
            " OWNER/NAME@REVISION of the Hub"
        ),
        value=_MODEL,
        default="phi-3-mini-4k-instruct",
        feeds=("plan.preset",),
    ),
    Setting(
        name="own-preset",
        place="tuning.preset.name",
        description=(
            "The preset itself as JSON, with the commit of its model, where `preset` is none of"
            " argotune's; empty: the plan step makes it of the model's files"
        ),
        feeds=("plan.own-preset",),
        is_annotation=False,
    ),
    Setting(
        name="model-source",
        description="Where the weights come from: hub, oci:IMAGE, dir:DIRECTORY or cache",
        default_meaning="the preset's",
        feeds=("plan.model-source",),
    ),
    Setting(
        name="model-access-secret",
        place="tuning.preset.presetOptions.modelAccessSecret",
        description=(
            "Secret with the key HF_TOKEN for gated models, or .dockerconfigjson for weights in a"
            " private image; may be missing"
        ),
        default="argotune-model-access",
        used_by="model's environment, and the volume model-secret",
    ),
    Setting(
        name="method",
        place="tuning.method",
        description="lora tunes on 16-bit weights, qlora on 4-bit ones",
        default="qlora",
        choices=("lora", "qlora"),
        feeds=("plan.method",),
    ),
    Setting(
        name="config",
        place="tuning.config",
        description="Kaito's training_config.yaml as text; empty: the preset's defaults",
        feeds=("plan.config",),
    ),
    Setting(
        name="urls",
        place="tuning.input.urls",
        description='Dataset URLs as a JSON list: ["https://..."]; all of them are used',
        is_required=True,
        feeds=("dataset.urls",),
    ),
    Setting(
        name="validation-urls",
        description=(
            "URLs of files whose rows are all held out, also as tuning.input.validationUrls; then"
            " all others are trained on, but for those that ask the same"
        ),
        value=URLS,
        default="[]",
        default_meaning="none, a share of the rows is held out",
        feeds=("plan.validation-urls", "dataset.validation-urls"),
    ),
    Setting(
        name="urls-secret",
        place="tuning.input.urls",
        description=(
            "Secret with the keys urls.json and validation-urls.json: the same URLs with tokens in"
            " their queries"
        ),
        default="argotune-no-urls",
        used_by="the volume urls-secret",
    ),
    Setting(
        name="data-secret",
        description=(
            "Secret for the dataset: keys such as HF_TOKEN and AWS_ACCESS_KEY_ID become variables"
            " of the dataset step, .dockerconfigjson is the login for oci URLs; may be missing"
        ),
        value=SECRET,
        default="argotune-data",
        feeds=("dataset.data-secret",),
    ),
    Setting(
        name="data-claim",
        place="tuning.input.volumeSource",
        description=(
            "PersistentVolumeClaim that the dataset step mounts read-only for volume URLs, one that"
            " the installation allows"
        ),
        value=CLAIM,
        default_meaning="none",
        used_by="the pod of dataset",
    ),
    Setting(
        name="start-from",
        description=(
            "Adapter with whose weights training begins, also as tuning.input.adapter; its rank,"
            " alpha, layers and base must be the run's. live: the one in service, if there is one;"
            " none: a new one"
        ),
        value=_START_FROM,
        default=NONE,
        feeds=("plan.start-from",),
    ),
    Setting(
        name="full-retrain-every",
        description=(
            "With start-from: N lets every Nth run begin with a new adapter all the same; 0: none"
            " does"
        ),
        value=COUNT,
        default="0",
        feeds=("model.full-retrain-every",),
    ),
    Setting(
        name="output-image",
        place="tuning.output.image",
        description=(
            "Image of the adapter: REGISTRY/REPOSITORY:TAG, in a repository of the workspace's own;"
            " the tags vN, live, previous and candidate there are argotune's"
        ),
        is_required=True,
        feeds=("plan.output-image", "model.output-image", "push.image"),
    ),
    Setting(
        name="output-claim",
        description=(
            "PersistentVolumeClaim that gets a copy of the adapter beside the image, in the"
            " directory WORKSPACE/sha256-HEX, also as tuning.output.volumeSource; one that the"
            " installation allows, and not the data's"
        ),
        value=CLAIM,
        default_meaning="no copy",
        feeds=("plan.output-claim", "push.output-claim"),
    ),
    Setting(
        name="push-secret",
        place="tuning.output.imagePushSecret",
        description="Secret of type kubernetes.io/dockerconfigjson for the output image",
        default="argotune-push",
        used_by="the volume push-secret",
    ),
    Setting(
        name="signing-secret",
        description=(
            "Secret with the private key that signs adapter and statement: cosign.key, and"
            " cosign.password where that is encrypted, as `cosign generate-key-pair k8s://` makes"
            " it; argotune-signing may be missing, then nothing is signed"
        ),
        value=SECRET,
        default="argotune-signing",
        feeds=("push.signing-secret",),
    ),
)
_NODE = (
    Setting(
        name="provider",
        description=(
            "Where the GPU node comes from. "
            + "; ".join(
                f"{name}: {each.summary}" for name, each in PROVIDERS.items() if each.is_on_cluster
            )
        ),
        default="existing",
        default_meaning="existing for `argotune submit`, local (this machine) for `argotune run`",
        choices=tuple(PROVIDERS),
        local_choices=tuple(name for name, each in PROVIDERS.items() if not each.is_on_cluster),
        feeds=("plan.provider", "provision.provider", "watch.provider", "release.provider"),
    ),
    Setting(
        name="cloud",
        description=(
            "Cloud whose machines are planned with and proposed; another cloud's instance type is"
            " refused"
        ),
        default_meaning=(
            "that of provider and node class, of the cluster's nodes, or of the instance type"
        ),
        choices=cloud_names(),
        feeds=("plan.cloud",),
    ),
    Setting(
        name="instance-type",
        place="resource.instanceType",
        description=(
            "Cloud SKU of the GPU node, e.g. Standard_NC24ads_A100_v4 or g5.4xlarge; empty: any"
        ),
        feeds=("plan.instance-type", "provision.instance-type", "watch.instance-type"),
    ),
    Setting(
        name="label-selector",
        place="resource.labelSelector.matchLabels",
        description=(
            "Labels of the GPU node: KEY=VALUE,KEY=VALUE; a node that is made gets them; empty:"
            " any node"
        ),
        feeds=("provision.label-selector", "watch.label-selector"),
    ),
    Setting(
        name="alternative-instance-types",
        description="Further SKUs, tried in order when the first is sold out",
        value=NAMES_OR_NONE,
        default_meaning=(
            "up to three on which the plan runs, at no more than twice the price, as `argotune"
            " plan` shows them"
        ),
        feeds=("provision.alternative-instance-types", "watch.alternative-instance-types"),
        providers=MAKING_NODES,
    ),
    Setting(
        name="zones",
        description="Availability zones, tried in order; any: the cloud chooses",
        value=NAMES,
        default="[]",
        default_meaning="any",
        feeds=("provision.zones", "watch.zones"),
        providers=MAKING_NODES,
    ),
    Setting(
        name="capacity-types",
        description=(
            "Spot machines cost less and may be reclaimed; spot,regular takes a regular one where"
            " there is no spot one"
        ),
        value=NAMES,
        choices=("regular", "spot", "spot,regular"),
        default='["regular"]',
        default_meaning="regular",
        feeds=("provision.capacity-types", "watch.capacity-types"),
        providers=MAKING_NODES,
    ),
    Setting(
        name="spot-max-price-usd-per-hour",
        description="Highest price of a spot machine, for clouds with such a limit",
        value=PRICE,
        default_meaning="the regular price",
        feeds=("provision.spot-max-price-usd-per-hour", "watch.spot-max-price-usd-per-hour"),
        providers=MAKING_NODES,
    ),
    Setting(
        name="node-lifetime-seconds",
        description=(
            "How long a run may have nodes that are made, from when it first asked for one; then it"
            " is stopped, and they are deleted"
        ),
        value=SECONDS,
        default=str(_NODE_LIFETIME_SECONDS),
        default_meaning=f"{_NODE_LIFETIME_SECONDS}, eight days",
        feeds=("provision.lifetime-seconds", "watch.lifetime-seconds"),
        providers=MAKING_NODES,
    ),
    Setting(
        name="max-cost-usd",
        description=(
            "Most that all nodes together may cost that are made for a run, by the known prices, of"
            " spot machines by the regular one; shortly before, the run is stopped or ended as"
            " at-cost-limit says, and `argo retry RUN -p max-cost-usd=USD` with more goes on from"
            " the last checkpoint of one that was stopped"
        ),
        value=PRICE,
        default_meaning="no limit but node-lifetime-seconds",
        feeds=("provision.max-cost-usd", "watch.max-cost-usd"),
    ),
    Setting(
        name="at-cost-limit",
        description=(
            "What becomes of a run shortly before max-cost-usd is spent. stop: it is stopped, and"
            " its checkpoint stays; push: tuning ends with the adapter as trained so far, which is"
            " pushed and deployed"
        ),
        default="stop",
        choices=("stop", "push"),
        feeds=("provision.at-cost-limit", "watch.at-cost-limit"),
    ),
    Setting(
        name="keep-node-seconds",
        description=(
            "A node that was made waits so long for the workspace's next run, and costs money"
            " meanwhile; at most half of node-lifetime-seconds, and only after a run that succeeded"
        ),
        value=SECONDS_OR_ZERO,
        default="0",
        default_meaning="0, the node is deleted with its run",
        feeds=(
            "provision.keep-node-seconds",
            "watch.keep-node-seconds",
            "release.keep-node-seconds",
        ),
    ),
)
_QUEUE = (
    Setting(
        name="queue",
        description=(
            "LocalQueue of Kueue in which provision, before any node is made, tune and evaluate"
            " wait to be admitted"
        ),
        value=QUEUE,
        default_meaning="no queue",
        used_by="the label kueue.x-k8s.io/queue-name of the pods of provision, tune and evaluate",
    ),
    Setting(
        name="priority-class",
        description=(
            "PriorityClass of the pods of provision, tune and evaluate, one that the installation"
            " allows; by it Kueue orders its queue, and Kueue and the scheduler preempt"
        ),
        value=PRIORITY_CLASS,
        default_meaning="the cluster's default",
        used_by="the pods of provision, tune and evaluate",
    ),
)
_TUNE = (
    Setting(
        name="tune-cpu",
        description="CPUs that the pods of tune and evaluate ask for",
        value=CPUS,
        default="2",
        # Also tune's podSpecPatch.
        feeds=("plan.tune-cpu", "provision.tune-cpu", "watch.tune-cpu"),
    ),
    Setting(
        name="tune-memory",
        description="Memory of the pods of tune and evaluate",
        value=BYTES,
        default="16Gi",
        feeds=("plan.tune-memory", "provision.tune-memory", "watch.tune-memory"),
    ),
    Setting(
        name="allow-cpu",
        description="Use the CPU where torch can use none of the planned GPUs, at the GPUs' price",
        default="false",
        choices=_TRUTH,
        feeds=("plan.allow-cpu", "tune.allow-cpu", "evaluate.allow-cpu", "deploy.allow-cpu"),
    ),
)
_GATE = (
    Setting(
        name="gate",
        description=(
            "on: only an adapter goes into service that is better than the base model and the"
            " adapter in service on the held-out rows, and answers them; off: each does"
        ),
        default="on",
        choices=("on", "off"),
        feeds=("evaluate.gate",),
    ),
    Setting(
        name="on-rejected",
        description=(
            "What becomes of the run of an adapter that the gate rejects. keep: it succeeds, and"
            " what is in service stays; fail: it fails. The adapter is pushed with its report, by a"
            " tag rejected-HEX of its own"
        ),
        default="keep",
        choices=("keep", "fail"),
        feeds=("reject.on-rejected",),
    ),
    Setting(
        name="min-improvement",
        description=(
            "By how many nats per token the loss has to be below the base model's on the held-out"
            " rows, at the lower end of the confidence interval"
        ),
        value=NATS,
        default="0",
        feeds=("evaluate.min-improvement",),
    ),
    Setting(
        name="min-improvement-over-live",
        description=(
            "By how many nats per token the loss has to be below that of the adapter in service; a"
            " negative number accepts a loss that is so much higher"
        ),
        value=NATS,
        default="0",
        feeds=("evaluate.min-improvement-over-live",),
    ),
    Setting(
        name="gate-confidence",
        description="Confidence of these intervals, 0.5 to below 1",
        value=SHARE,
        default="0.95",
        feeds=("evaluate.confidence",),
    ),
    Setting(
        name="without-held-out-rows",
        description="What the gate does where no row is held out, so that nothing can be measured",
        default="pass",
        choices=("pass", "reject"),
        feeds=("evaluate.without-rows",),
    ),
    Setting(
        name="gate-answers",
        description=(
            "Number of held-out rows whose prompts the gate has answered; an answer that is empty"
            " or loops rejects the adapter"
        ),
        value=COUNT,
        default="8",
        feeds=("evaluate.answers",),
    ),
    Setting(
        name="gate-answer-tokens",
        description="Longest of these answers, tokens",
        value=COUNT,
        default="128",
        feeds=("evaluate.answer-tokens",),
    ),
)
_SERVICE = (
    Setting(
        name="deploy-to",
        description=(
            "kubernetes: a Deployment and a Service; process: a server on this machine; none: no"
            " service, the adapter is pushed and gets a version"
        ),
        default="kubernetes",
        default_meaning="kubernetes for `argotune submit`, process for `argotune run`",
        choices=get_args(DeployTo),
        local_choices=("process",),
        feeds=(
            "plan.deploy-to",
            "dataset.deploy-to",
            "push.deploy-to",
            "deploy.target",
            "reject.target",
        ),
    ),
    Setting(
        name="serve-with",
        description=(
            "Name of a service that is there, of the same base and revision: its servers take the"
            " adapter beside their own, and answer with it where `model` in a request has the"
            " workspace's name. Of another base the command line warns, and leaves it out"
        ),
        value=SERVICE,
        default_meaning="a service of its own",
        feeds=("plan.serve-with", "deploy.serve-with"),
    ),
    Setting(
        name="service-instance-type",
        description=(
            "Cloud SKU of the machine that serves, one of the cluster's nodes; the plan sizes the"
            " service for it"
        ),
        default_meaning="a machine with a GPU as tuning has",
        feeds=("plan.service-instance-type", "deploy.instance-type"),
    ),
    Setting(
        name="service-gpus",
        description="GPUs of each server of the service; 0: it runs on CPUs",
        value=COUNT,
        default_meaning="one, if its machine has any",
        feeds=("plan.service-gpus", "deploy.service-gpus"),
    ),
    Setting(
        name="service-during-tuning",
        description=(
            "What the workspace's service does where a run of it finds no GPU but the service's."
            " wait: it keeps the GPU, and the run waits for another; cpu: it answers on a CPU until"
            " the run is over, slowly; hand-over: it is down until then. A run that fails, or whose"
            " adapter is rejected, brings the old servers back"
        ),
        default="wait",
        choices=get_args(DuringTuning),
        feeds=(
            "provision.service-during-tuning",
            "deploy.service-during-tuning",
            "release.service-during-tuning",
        ),
        providers=("existing",),
    ),
    Setting(
        name="engine",
        description=(
            "What the servers of the service compute with. auto: vLLM on GPUs, and transformers on"
            " CPUs, with service-load-in-4bit or allow-cpu, for DoRA adapters, and where vLLM needs"
            " more than the GPU has"
        ),
        default="auto",
        choices=("auto", "transformers", "vllm"),
        # deploy has what the plan made of it.
        feeds=("plan.engine",),
    ),
    Setting(
        name="service-load-in-4bit",
        description=(
            "Whether the service has the base model in 4 bits: a quarter of the memory, but slower"
            " answers. auto: where tuning has, and 16 bits do not fit the service's GPU"
        ),
        default="auto",
        choices=("auto", *_TRUTH),
        feeds=("plan.load-in-4bit",),
    ),
    Setting(
        name="service-port",
        description=(
            "Port of the service on this machine, which must be free; a cluster's Service has 80"
        ),
        value=PORT,
        default="0",
        default_meaning="any that is free, and the same after each deploy",
        feeds=("deploy.port",),
    ),
    Setting(
        name="service-replicas",
        description=(
            "Servers of the service; from two on, a drain of a node interrupts nobody. With"
            " service-max-replicas it is the least number"
        ),
        value=COUNT,
        default_meaning="one, or as many as somebody scaled the service to",
        feeds=("deploy.replicas",),
    ),
    Setting(
        name="service-max-replicas",
        description=(
            "Largest number of servers, to which a HorizontalPodAutoscaler goes by the requests"
            " that wait; needs an adapter of custom metrics, such as prometheus-adapter"
        ),
        value=COUNT,
        default_meaning="no autoscaler",
        feeds=("deploy.max-replicas",),
    ),
    Setting(
        name="service-host",
        description=(
            "Host by which the service is reached from outside the cluster, in the domain of the"
            " installation"
        ),
        value=HOST,
        default_meaning="not reached from outside",
        feeds=("deploy.host",),
    ),
    Setting(
        name="service-domain",
        is_annotation=False,
        description="Domain in which services may have hosts, such as models.example.com",
        value=HOST,
        default_meaning="none, services are not reached from outside",
        decided_by="installer",
        is_installable=True,
        feeds=("deploy.domain",),
    ),
    Setting(
        name="ingress-class",
        is_annotation=False,
        description="IngressClass of the services' hosts",
        value=OBJECT_NAME,
        default_meaning="no Ingress",
        decided_by="installer",
        is_installable=True,
        feeds=("deploy.ingress-class",),
    ),
    Setting(
        name="service-tls-secret",
        is_annotation=False,
        description="Secret of type kubernetes.io/tls of the services' Ingress",
        value=SECRET,
        default_meaning="none, or what the ingress controller brings",
        decided_by="installer",
        is_installable=True,
        feeds=("deploy.tls-secret",),
    ),
    Setting(
        name="service-gateway",
        is_annotation=False,
        description="Gateway of the services' hosts, NAMESPACE/NAME, in place of an Ingress",
        value=OBJECT_PLACE,
        default_meaning="no route",
        decided_by="installer",
        is_installable=True,
        feeds=("deploy.gateway",),
    ),
    Setting(
        name="service-monitor",
        is_annotation=False,
        description=(
            "auto: services and the operator have a ServiceMonitor where the cluster knows them;"
            " none: they have none"
        ),
        default="auto",
        choices=("auto", "none"),
        decided_by="installer",
        is_installable=True,
        feeds=("deploy.monitor",),
    ),
    Setting(
        name="service-monitor-labels",
        is_annotation=False,
        description=(
            "Labels of these ServiceMonitors, KEY=VALUE,KEY=VALUE, by which a Prometheus selects"
            " them"
        ),
        value=_LABELS,
        default_meaning="none",
        decided_by="installer",
        is_installable=True,
        feeds=("deploy.monitor-labels",),
    ),
    Setting(
        name="service-label-selector",
        description="Labels of the node that serves: KEY=VALUE,KEY=VALUE",
        value=_LABELS,
        default_meaning=(
            "those of the node that tuned, or any node where that one is made for the run"
        ),
        feeds=("deploy.label-selector",),
    ),
    Setting(
        name="service-memory",
        description="Memory that the service asks for",
        value=BYTES,
        default_meaning="2Gi, on vLLM 8Gi",
        feeds=("plan.service-memory", "deploy.memory"),
    ),
    Setting(
        name="adapter-from",
        description=(
            "auto: the service mounts the adapter's image where the cluster can; cache: a copy in"
            " the model cache, for nodes with containerd before 2.1"
        ),
        default="auto",
        choices=("auto", "cache"),
        feeds=("deploy.adapter-from",),
    ),
    Setting(
        name="api-keys-secret",
        description=(
            "Secret with the keys of the service's clients: its key `keys` has lines NAME: KEY, or"
            " is a JSON object; the service then answers only who presents one as OpenAI's clients"
            " do, and counts and queues by these names"
        ),
        value=SECRET,
        default_meaning="everybody who can connect may ask",
        feeds=("deploy.api-keys-secret",),
    ),
    Setting(
        name="requests-per-minute",
        description=(
            "Most questions of one client in a minute, also all at once, and each answer that a"
            " request asks for counts; a client is the name of its key, or its address. 0: any"
            " number"
        ),
        value=COUNT,
        default="0",
        feeds=("deploy.requests-per-minute",),
    ),
    Setting(
        name="cors-origins",
        description=(
            "Origins of the pages of other hosts that may ask the service from a browser, such as"
            " https://app.example.com"
        ),
        value=ORIGINS,
        default="[]",
        default_meaning="none",
        feeds=("deploy.cors-origins",),
    ),
    Setting(
        name="question",
        description="Asked once when the service is ready",
        default="Hello! Who are you?",
        feeds=("deploy.question",),
    ),
)
_APPROVAL = (
    Setting(
        name="approval",
        description=(
            "required: after push the run gives its GPU node back and waits until somebody approves"
            " or rejects the adapter; then it is deployed, or what is in service stays"
        ),
        default="none",
        choices=("none", "required"),
        used_by="the task approval",
    ),
    Setting(
        name="approval-timeout-seconds",
        description="How long a run waits for its approval",
        value=WHOLE_SECONDS,
        default=str(_APPROVAL_TIMEOUT_SECONDS),
        default_meaning=f"{_APPROVAL_TIMEOUT_SECONDS}, three days",
        used_by="the task approve",
    ),
    Setting(
        name="on-approval-timeout",
        description="What becomes of an adapter on which nobody has decided in that time",
        default="reject",
        choices=DECISIONS[::-1],
        used_by="the task approve",
    ),
)
_NOTIFY = (
    Setting(
        name="notify-secret",
        description=(
            "Secret with the key url of a webhook, which is told when the run has finished, failed,"
            " was rejected or awaits its approval, and format: slack or cloudevents"
        ),
        value=SECRET,
        default_meaning="nobody is told",
        used_by="notify's environment",
    ),
    Setting(
        name="run-record",
        is_annotation=False,
        description="File with the Workflow of a run on one machine",
        decided_by="installer",
        feeds=("deploy.run-record", "reject.run-record", "notify.run-record"),
    ),
)
_RUN = (
    Setting(
        name="only-if-changed",
        is_annotation=False,
        description="End the run before anything costs money when data and plan are unchanged",
        default="false",
        choices=_TRUTH,
        feeds=("dataset.only-if-changed",),
    ),
    Setting(
        name="model-cache-claim",
        description="ReadWriteMany PersistentVolumeClaim that keeps the weights between runs",
        value=CLAIM,
        default="argotune-models",
        decided_by="installer",
        is_installable=True,
        used_by="the volume models, and deploy",
    ),
    Setting(
        name="keep-report",
        is_annotation=False,
        description=(
            "Where the report of a run stays when its volume is gone; registry: beside the adapter"
        ),
        default="registry",
        choices=("registry", "none"),
        decided_by="installer",
        is_installable=True,
        feeds=("push.keep-report",),
    ),
    Setting(
        name="images-registry",
        is_annotation=False,
        description="Registry of the step images",
        decided_by="installer",
        default="registry.example.com/argotune",
        used_by="every container",
    ),
    Setting(
        name="images-tag",
        is_annotation=False,
        description="Tag of the step images",
        decided_by="installer",
        default="0.1.0",
        used_by="every container",
    ),
    Setting(
        name="image-pull-secret",
        description=(
            "Secret of type kubernetes.io/dockerconfigjson for the registry of the step images; the"
            " accounts of the steps and the service pull with it"
        ),
        value=SECRET,
        default_meaning="none, the nodes pull without a login or with their own",
        decided_by="installer",
        is_installable=True,
        feeds=("deploy.image-pull-secret",),
    ),
    Setting(
        name="images-digests",
        is_annotation=False,
        description="Digests of the step images, a JSON object by step; null: by tag",
        decided_by="installer",
        default="{}",
        used_by="every container",
    ),
    Setting(
        name="allow-loopback",
        is_annotation=False,
        description="Permit URLs of datasets and judges on the machine itself, for trials",
        decided_by="installer",
        default="false",
        choices=_TRUTH,
        feeds=("dataset.allow-loopback", "evaluate.allow-loopback", "notify.allow-loopback"),
    ),
    Setting(
        name="allow-files",
        is_annotation=False,
        description="Permit dataset files of the machine itself",
        decided_by="installer",
        default="false",
        choices=_TRUTH,
        feeds=("dataset.allow-files",),
    ),
    Setting(
        name="allowed-hosts",
        is_annotation=False,
        description=(
            "Internal hosts that datasets may come from, and registries, judges and webhooks may"
            " be, HOST or HOST:PORT; a JSON list"
        ),
        decided_by="installer",
        default="[]",
        feeds=("dataset.allowed-hosts", "evaluate.allowed-hosts", "notify.allowed-hosts"),
    ),
    Setting(
        name="allowed-secrets",
        is_annotation=False,
        description="Secrets that runs may use, NAME or PREFIX*; a JSON list",
        decided_by="installer",
        default=(
            '["argotune-push", "argotune-model-access", "argotune-data", "argotune-signing",'
            ' "argotune-notify", "argotune-api-keys"]'
        ),
        used_by=(
            "the volumes of Secrets, the service, the environment of model, dataset and notify,"
            " and the admission policy"
        ),
    ),
    Setting(
        name="allowed-claims",
        is_annotation=False,
        description=(
            "PersistentVolumeClaims that runs may read data from, NAME or PREFIX*; a JSON list"
        ),
        decided_by="installer",
        default="[]",
        used_by="the pod of dataset, and the admission policy",
    ),
    Setting(
        name="allowed-output-claims",
        is_annotation=False,
        description=(
            "PersistentVolumeClaims that runs may write copies of adapters to, NAME or PREFIX*; a"
            " JSON list"
        ),
        decided_by="installer",
        default="[]",
        used_by="the pods of plan and push, and the admission policy",
    ),
    Setting(
        name=SCORERS,
        is_annotation=False,
        description=(
            "Images of the scorers that runs may name, by digest, as a JSON object by name; on one"
            " machine programs"
        ),
        decided_by="installer",
        default="{}",
        used_by="the pod of score",
    ),
    Setting(
        name="limits",
        is_annotation=False,
        description=(
            "Whether every container has limits of CPUs and memory, as a ResourceQuota on limits"
            " demands; then tune and the service get no more than they ask for"
        ),
        decided_by="installer",
        is_installable=True,
        default="false",
        choices=_TRUTH,
        feeds=("deploy.limits",),
    ),
    Setting(
        name="allowed-priority-classes",
        is_annotation=False,
        description="PriorityClasses that runs may use, NAME or PREFIX*; a JSON list",
        decided_by="installer",
        default="[]",
        used_by="the pods of provision, tune and evaluate, and the admission policy",
    ),
    Setting(
        name="require-signature",
        is_annotation=False,
        description="Whether only adapters that a verification key signed are deployed",
        decided_by="installer",
        default="false",
        choices=_TRUTH,
        feeds=("deploy.require-signature",),
    ),
    Setting(
        name="verification-key",
        is_annotation=False,
        description=(
            "Public keys of those who may sign adapters, the base64 of the DER of each, with commas"
            " between them"
        ),
        decided_by="installer",
        default_meaning="none",
        feeds=("deploy.verification-key",),
    ),
    Setting(
        name="services-dir",
        is_annotation=False,
        decided_by="installer",
        description="Directory for the records of server processes; with deploy-to process",
        feeds=("deploy.services-dir", "reject.services-dir"),
    ),
)
_VOLUME = (
    Setting(
        name="volume-size",
        is_in_template=False,
        description="Size of the run's volume",
        value=BYTES,
        default_meaning=(
            "what the plan needs, 20 GiB of it for data; `argotune install --volume-size` sets"
            " another one; a run that Argo's form or `render --schedule` starts has 100Gi"
        ),
        used_by="the run's volume claim, which Argo reads before it expands parameters",
    ),
    Setting(
        name="ttl-seconds-after-failure",
        is_in_template=False,
        description="How long a run that failed stays, with its volume, for `argo retry`",
        value=COUNT,
        default_meaning=(
            "604800, seven days; the volume of a run that succeeds goes at once, its Workflow after"
            " as long"
        ),
        used_by="the Workflow's ttlStrategy, whose numbers Argo takes no parameters for",
    ),
    Setting(
        name="storage-class",
        is_in_template=False,
        description="Storage class of the run's volume",
        value=STORAGE_CLASS,
        default_meaning="the cluster's",
        used_by="the run's volume claim",
    ),
)
SETTINGS: Mapping[str, Setting] = {
    row.name: row
    for row in (
        *_OF_THE_FILE,
        *_TUNE,
        *_NODE,
        *provider_settings(),
        *_QUEUE,
        *_GATE,
        *_SERVICE,
        *_APPROVAL,
        *_NOTIFY,
        *_RUN,
        *_VOLUME,
    )
}
"""Every row by its name, in the order in which a person fills in Argo's form: the workspace, model
and method, data, output, what tuning and its node need, the gate, the service, and the rest."""


IMAGE_SETTINGS = ("output-image", "start-from")
"""Settings that name an adapter's image, on one machine also as a directory `oci:DIRECTORY`."""
SECRET_SETTINGS = (
    "urls-secret",
    "push-secret",
    "model-access-secret",
    "data-secret",
    "signing-secret",
    "notify-secret",
    "api-keys-secret",
)
"""Settings that name a Secret of the namespace."""


def parameter_settings() -> list[Setting]:
    """List the rows that are parameters of the template."""
    return [row for row in SETTINGS.values() if row.is_parameter]


def installer_settings() -> list[Setting]:
    """List the rows that are text in the installed template."""
    return [row for row in SETTINGS.values() if row.decided_by == "installer"]


def annotation_settings() -> dict[str, Setting]:
    """List the rows that the workspace file has as annotations."""
    return {name: row for name, row in SETTINGS.items() if row.is_annotation and not row.place}


_OF_RUNS = ("deploy-to", "service-during-tuning")
"""Settings beside a service's own that say something of a run without a service too."""
OF_JOINED = ("serve-with", "api-keys-secret", "question")
"""Settings of a service that an adapter has too which joins another one."""


def service_settings() -> list[str]:
    """List the names of the annotations that only a service reads."""
    return [
        row.name
        for row in _SERVICE
        if row.is_annotation and row.is_parameter and row.name not in _OF_RUNS
    ]


def flags_of(step: str) -> dict[str, str]:
    """Return the flags of the step that a setting fills unchanged: flag to name of the setting.

    A step below another's package, STEP.NAME, has those of STEP that it knows.
    """
    owner = step.partition(".")[0]
    return {
        feed.partition(".")[2]: row.name
        for row in SETTINGS.values()
        for feed in row.feeds
        if feed.partition(".")[0] == owner
    }


def place_of(name: str) -> str:
    """Return where the workspace file has the setting."""
    return SETTINGS[name].place or f"metadata.annotations.{PREFIX}{name}"
