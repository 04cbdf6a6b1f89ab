"""The one way from a step's Params and Result to the container template that runs it.

Hera checks none of the names that it gets, so all of them come from the dataclasses: no template
can contain a flag, an input or an output that the step does not have.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from hera.workflows import (
    Container,
    EmptyDirVolume,
    Env,
    Parameter,
    Resources,
    RetryStrategy,
    SecretEnv,
)
from hera.workflows import Step as HeraStep
from hera.workflows import Task as HeraTask
from hera.workflows.models import (
    Backoff,
    Capabilities,
    ContinueOn,
    ExecutorConfig,
    PodSecurityContext,
    SeccompProfile,
    SecurityContext,
    Toleration,
    ValueFrom,
    VolumeMount,
)
from hera.workflows.models.io.k8s.apimachinery.pkg.api.resource import Quantity
from hera.workflows.models.io.k8s.apimachinery.pkg.util.intstr import IntOrString

from argotune.steps.cluster.scheduling import QUEUE_LABEL
from argotune.steps.common.fields import fields_of
from argotune.steps.common.log_files import TAIL
from argotune.steps.common.main import NAMESPACE_VARIABLE
from argotune.steps.common.setting import Setting
from argotune.steps.nodes.labels import STEP_POD_LABEL
from argotune.steps.settings import run_settings
from argotune.workflows.workspace import images, manifests, tags

# Paths inside the containers. The local engine maps each to a directory of this machine wherever
# it is written, so they must not be paths that a user's own values could begin with.
WORK_DIR = "/argotune/work"
MODELS_DIR = "/argotune/models"
LOGS_DIR = f"{WORK_DIR}/logs"
OUTPUTS_DIR = "/argotune/outputs"
SCRATCH_DIR = "/argotune/scratch"
URLS_SECRET_DIR = "/argotune/secrets/urls"
PUSH_SECRET_DIR = "/argotune/secrets/push"
SIGNING_SECRET_DIR = "/argotune/secrets/signing"
API_KEYS_DIR = "/argotune/secrets/api-keys"
MODEL_SECRET_DIR = "/argotune/secrets/model"
DATA_SECRET_DIR = "/argotune/secrets/data"
DATA_DIR = "/argotune/data"
OUTPUT_DIR = "/argotune/output"
CA_DIR = "/argotune/ca"
PRESETS_DIR = "/argotune/presets"
STOP_DIR = "/argotune/stop"

_WORK = "work"

# nonroot in the distroless images, and no user of any base image that we know.
_USER = 65532

# The kubelet's messages about a pod that the node ended or rejected: eviction, shutdown,
# preemption, and devices that vanished between scheduling and start (OutOfnvidia.com/gpu,
# UnexpectedAdmissionError); and Argo's messages about a pod or a container whose node was lost
# (ContainerStatusUnknown, with 137 as if it had been killed for its memory). Argo calls these
# Failed. Faults of the pod itself are not among them: its deadline, or a volume that it overfilled.
_TAKEN_DOWN = (
    "^(Pod was (rejected|terminated)|Pod (Node didn.t|Allocate failed|Predicate)"
    "|The node (was low on resource|had condition)|Preempt|pod failed: |can.t find failed message"
    "|(init|main|wait): ContainerStatusUnknown )"
)
# The API server's messages about a pod that it will not have, such as one without the limits that a
# quota demands: the next try would get the same answer. Where a quota is only used up, Argo itself
# asks again until the pod is there.
_REFUSED = "is (forbidden|invalid): "
# 75 is argotune.steps.common.errors.TransientError; Error is Argo's phase of a lost pod.
_RETRY = (
    "asInt(lastRetry.exitCode) == 75"
    f' || (lastRetry.status == "Error" && !(lastRetry.message matches "{_REFUSED}"))'
    f' || lastRetry.message matches "{_TAKEN_DOWN}"'
)
# Where the kubelet reads the last message; the engine maps it like any other path.
_TERMINATION_LOG = "/dev/termination-log"
_CPU = "100m"
NOT_A_QUANTITY = "not-a-quantity"
FORBIDDEN = "argotune-not-allowed"
# How many times the memory that it asks for a step may take. Without a limit an input that asks for
# too much takes the node's, and the kernel ends whatever pods are there; with one the step ends
# alone. It is far above the measured peaks, for inputs differ in size: dataset's 4 GiB hold the
# digests of 100 million rows, 27 bytes each and half as much again while their table grows.
_LIMIT = 8
# `argotune run`, for which the dataset may be files of the machine, has no namespace to name.
_NAMESPACE_OF_A_CLUSTER = (
    f"{{{{='{manifests.install_tag('allow-files')}' == 'true' ? '' : workflow.namespace}}}}"
)
# Argo keeps results in the Workflow, of which etcd takes 1.5 MiB.
_OUTPUTS_SIZE = Quantity(root="16Mi")
_SHARED_MEMORY = EmptyDirVolume(name="shared-memory", mount_path="/dev/shm", medium="Memory")
_STAY_ANNOTATIONS = {
    "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
    "karpenter.sh/do-not-disrupt": "true",
}
WORKSPACE_LABELS = {"argotune.dev/workspace": "{{workflow.parameters.name}}"}
# With it Azure's webhook gives the pod a token of its account; other clouds ignore it.
_CLOUD_LABELS = {"azure.workload.identity/use": "true"}
# Kueue refuses a pod whose label is empty, so without a queue the label has a name of ours.
_QUEUE_LABEL = (
    f"{{{{=workflow.parameters['queue'] == '' ? 'argotune.dev/queue' : '{QUEUE_LABEL}'}}}}"
)

POD_SECURITY = PodSecurityContext(
    run_as_non_root=True,
    run_as_user=_USER,
    run_as_group=_USER,
    fs_group=_USER,
    seccomp_profile=SeccompProfile(type="RuntimeDefault"),
)
CONTAINER_SECURITY = SecurityContext(
    allow_privilege_escalation=False,
    capabilities=Capabilities(drop=["ALL"]),
    read_only_root_filesystem=True,
    run_as_non_root=True,
)


@dataclass(frozen=True, kw_only=True)
class Step:
    """A step as a container template, and as tasks that call it."""

    params: ModuleType
    """The step's params module; its package names the step, the image and the template."""
    template_name: str | None = None
    """Name of the template and its task where another template runs the same step; None: the
    step's."""
    fixed: Mapping[str, str] = field(default_factory=dict)
    """Flags with the same value in every run: kebab-case name to text."""
    without: Sequence[str] = ()
    """Flags of settings that the template does not give, so that they have the step's defaults."""
    inputs: Sequence[str] = ()
    """Flags that tasks fill with outputs of other steps: kebab-case names."""
    is_called_by_task: bool = True
    """Whether a task of a DAG fills its inputs; not of the exit handler, or a step alone."""
    may_fail: bool = False
    """Whether its task does not fail its DAG; Argo takes that only where no task has `depends`."""
    mounts: Mapping[str, str] = field(default_factory=dict)
    """Volume name to path in the container."""
    timeout_seconds: int
    """Time limit of the pod, in seconds."""
    retries: int = 3
    """Further tries on exit code 75 and on lost pods."""
    uses_kubernetes: bool = False
    """Whether the step talks to the API server; the others get no token."""
    memory: str | None = None
    """Memory that the pod requests, NUMBERMi; its limit is _LIMIT times as much. None: in
    pod_spec_patch."""
    memory_parameter: str | None = None
    """Workflow parameter of the memory limit, for the message of a pod that is killed for it."""
    home: str | None = None
    """Step whose image and account it uses; None: its own."""
    is_of_workspace: bool = True
    """Whether its pods have the label with the run's workspace."""
    asks_the_cloud: bool = False
    """Whether the step may log in to the cloud by the workload identity of its account."""
    reads_data: bool = False
    """Whether it has the account whose identity may read the data of the runs."""
    is_queued: bool = False
    """Whether its pods wait in the run's queue and have the run's priority."""
    stays_on_its_node: bool = False
    """Whether autoscalers must not drain the pod's node to save money."""
    shares_memory: bool = False
    """Whether /dev/shm has more than the 64 MiB of container runtimes, as NCCL needs between GPUs.
    Its content counts as the pod's memory, so the pod's limit bounds it."""
    env: Sequence[Env | SecretEnv] = ()
    tolerations: Sequence[Toleration] = ()
    pod_spec_patch: str | None = None
    pod_inputs: Sequence[str] = ()
    """Inputs of the pod that are not flags of the step."""

    @property
    def name(self) -> str:
        """Name of the template and its task."""
        return self.template_name or self.step

    @property
    def module(self) -> str:
        """The step's package below argotune.steps: `tune`, or `plan.side_by_side`."""
        return self.params.__name__.removeprefix("argotune.steps.").removesuffix(".params")

    @property
    def step(self) -> str:
        """The step's name; a package below another's is that one's step for other Workflows."""
        return self.module.partition(".")[0]

    @property
    def settings(self) -> Mapping[str, str]:
        """Flags that the table of settings fills: flag to tag."""
        known = {item.kebab for item in fields_of(self.params.Params)} - set(self.without)
        flags = run_settings.flags_of(self.module)
        return {flag: value_of(name) for flag, name in flags.items() if flag in known}

    @property
    def all_fixed(self) -> Mapping[str, str]:
        """Flags whose value is written into the template: flag to text."""
        return {**self.settings, **self.fixed} if not self.is_called_by_task else self.fixed

    @property
    def all_inputs(self) -> Sequence[str]:
        """Flags that tasks fill."""
        return [*(self.settings if self.is_called_by_task else ()), *self.inputs]

    def task(self, depends: str | None = None, when: str | None = None, **arguments: str) -> None:
        """Call the step from the open DAG, with the settings of the run.

        The names of `arguments` are snake_case inputs.
        """
        HeraTask(depends=depends, **self._call(when, arguments))

    def in_parallel(self, when: str | None = None, **arguments: str) -> None:
        """Call the step likewise from the open group of a template of steps."""
        HeraStep(**self._call(when, arguments))

    def _call(self, when: str | None, arguments: Mapping[str, str]) -> dict[str, Any]:
        outputs = {name.replace("_", "-"): value for name, value in arguments.items()}
        given = {**(self.settings if self.is_called_by_task else {}), **outputs}
        self._refuse_differences("task arguments", given, [*self.all_inputs, *self.pod_inputs])
        return {
            "name": self.name,
            "template": self.name,
            "when": when,
            "continue_on": ContinueOn(failed=True, error=True) if self.may_fail else None,
            "arguments": [Parameter(name=name, value=value) for name, value in given.items()],
        }

    def template(self) -> Container:
        """Build the container template; the workflow must be open."""
        fields = {item.kebab: item for item in fields_of(self.params.Params)}
        self._refuse_unknown(fields, [*self.all_fixed, *self.all_inputs])
        missing = [
            item.kebab
            for item in fields.values()
            if item.default is None and item.kebab not in {*self.all_fixed, *self.all_inputs}
        ]
        if missing:
            raise ValueError(f"step {self.name}: nothing fills {', '.join(missing)}")
        home = self.home or self.step
        has_account = self.uses_kubernetes or self.reads_data
        account = f"argotune-{home}" if has_account else "argotune-step"
        return Container(
            name=self.name,
            image=image_of(home),
            command=["python", "-m", f"argotune.steps.{self.module}"],
            args=[
                f"--outputs-dir={OUTPUTS_DIR}",
                *([f"--logs-dir={LOGS_DIR}"] if _WORK in self.mounts else []),
                "--retries={{retries}}",
                f"--termination-log={_TERMINATION_LOG}",
                *([f"--memory-parameter={self.memory_parameter}"] if self.memory_parameter else []),
                *(f"--{name}={tags.literal(value)}" for name, value in self.all_fixed.items()),
                *(
                    f"--{name}={tags.literal(f'{{{{inputs.parameters.{name}}}}}')}"
                    for name in self.all_inputs
                ),
            ],
            inputs=[
                *(Parameter(name=name, description=fields[name].doc) for name in self.all_inputs),
                *(Parameter(name=name) for name in self.pod_inputs),
            ],
            outputs=[
                *(self._output(item.kebab) for item in fields_of(self.params.Result)),
                self._output(TAIL),
            ],
            env=[
                Env(name="HOME", value=SCRATCH_DIR),
                Env(name="TMPDIR", value=SCRATCH_DIR),
                Env(name=NAMESPACE_VARIABLE, value=_NAMESPACE_OF_A_CLUSTER),
                *self.env,
            ],
            volumes=[
                EmptyDirVolume(name="outputs", mount_path=OUTPUTS_DIR, size_limit=_OUTPUTS_SIZE),
                EmptyDirVolume(name="scratch", mount_path=SCRATCH_DIR),
                *([_SHARED_MEMORY] if self.shares_memory else []),
            ],
            # Hera mounts the volumes above.
            volume_mounts=[
                VolumeMount(name=name, mount_path=path) for name, path in self.mounts.items()
            ],
            active_deadline_seconds=self.timeout_seconds,
            retry_strategy=retry(self.retries),
            # For a process that ends before it can write the file.
            termination_message_policy="FallbackToLogsOnError",
            resources=self._resources(),
            labels={
                STEP_POD_LABEL: self.name,
                **(WORKSPACE_LABELS if self.is_of_workspace else {}),
                **(_CLOUD_LABELS if self.asks_the_cloud or self.reads_data else {}),
                **({_QUEUE_LABEL: value_of("queue")} if self.is_queued else {}),
            },
            annotations=dict(_STAY_ANNOTATIONS) if self.stays_on_its_node else None,
            security_context=CONTAINER_SECURITY,
            service_account_name=account,
            automount_service_account_token=self.uses_kubernetes,
            executor=ExecutorConfig(service_account_name=account),
            priority_class_name=_priority_class() if self.is_queued else None,
            tolerations=list(self.tolerations) or None,
            pod_spec_patch=self.pod_spec_patch,
        )

    def _resources(self) -> Resources | None:
        """Limit memory and not CPU, because the steps wait more than they compute."""
        if self.memory is None:
            return None
        most = int(self.memory.removesuffix("Mi")) * _LIMIT
        return Resources(cpu_request=_CPU, memory_request=self.memory, memory_limit=f"{most}Mi")

    @staticmethod
    def _output(name: str) -> Parameter:
        # Without a default, Argo fails the readers of a skipped or failed step's output.
        path = str(Path(OUTPUTS_DIR) / name)
        return Parameter(name=name, value_from=ValueFrom(path=path, default=""))

    def _refuse_unknown(self, known: Mapping[str, object], names: Sequence[str]) -> None:
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ValueError(f"step {self.name} has no parameter {', '.join(unknown)}")

    def _refuse_differences(
        self, what: str, given: Mapping[str, str], expected: Sequence[str]
    ) -> None:
        if set(given) != set(expected):
            difference = ", ".join(sorted(set(given) ^ set(expected)))
            raise ValueError(f"step {self.name}: {what} differ from its inputs in {difference}")


def retry(limit: int) -> RetryStrategy:
    """Return what has a pod tried again, at most so many times: exit code 75, and lost pods."""
    return RetryStrategy(
        limit=str(limit),
        retry_policy="Always",
        expression=_RETRY,
        backoff=Backoff(duration="5s", factor=IntOrString(root=3), cap="5m"),
    )


def value_of(name: str) -> str:
    """Return the tag of a setting.

    That is a parameter of the Workflow or, for a setting that the installer decides, the
    placeholder that `manifests` fills in before the template reaches Argo.
    """
    row = run_settings.SETTINGS[name]
    if row.decided_by == "installer":
        return manifests.install_tag(name)
    if not row.is_parameter:
        raise ValueError(f"setting {name} is not a parameter of the template")
    return f"{{{{workflow.parameters.{name}}}}}"


def quantity(name: str) -> str:
    """Return the tag of a setting as a JSON string for a patch, if its value looks like a quantity.

    Argo expands a tag within a value too, after it encoded the value: text in the patch must not
    contain one. Any other value becomes NOT_A_QUANTITY, which Kubernetes refuses.
    """
    value_of(name)  # refuses an unknown one
    value, pattern = f"workflow.parameters['{name}']", run_settings.SETTINGS[name].value.pattern
    return f"{{{{=toJson({value} matches '{pattern}' ? {value} : '{NOT_A_QUANTITY}')}}}}"


def secret(name: str, *others: str) -> str:
    """Return the tag of a setting that names a Secret.

    It is the Secret's name where the installation allows that Secret or one of the other conditions
    holds, and otherwise FORBIDDEN, which does not exist.
    """
    return _allowed(name, manifests.ALLOWED_SECRETS_PATTERN, *others)


def _priority_class() -> str:
    """Return the tag of the run's priority class; an empty one is the cluster's default."""
    name = "priority-class"
    is_empty = f"workflow.parameters['{name}'] == ''"
    return _allowed(name, manifests.ALLOWED_PRIORITY_CLASSES_PATTERN, is_empty)


def _allowed(name: str, pattern: str, *others: str) -> str:
    value_of(name)
    value = f"workflow.parameters['{name}']"
    allowed = f"{value} matches '{manifests.install_tag(pattern)}'"
    condition = " || ".join([allowed, *others])
    return f"{{{{={condition} ? {value} : '{FORBIDDEN}'}}}}"


def data_volume() -> str:
    """Return the tag of a patch that mounts the claim of data, if the installation allows it."""
    return _claim_volume("data-claim", manifests.ALLOWED_CLAIMS_PATTERN, DATA_DIR, read_only=True)


def output_volume() -> str:
    """Return the tag of a patch that mounts the claim for a copy of the adapter, likewise."""
    pattern = manifests.ALLOWED_OUTPUT_CLAIMS_PATTERN
    return _claim_volume("output-claim", pattern, OUTPUT_DIR, read_only=False)


def _claim_volume(setting: str, allowed: str, directory: str, *, read_only: bool) -> str:
    """Return the tag of a patch that mounts the claim that a setting names.

    Volumes of the template cannot be optional unless they are Secrets or ConfigMaps.
    """
    value_of(setting)  # refuses an unknown one
    value = f"workflow.parameters['{setting}']"
    pattern = manifests.install_tag(allowed)
    volume = setting.removesuffix("-claim")
    claim = {"claimName": "CLAIM", "readOnly": read_only}
    mount = {"name": volume, "mountPath": directory, "readOnly": read_only}
    patch = {
        "volumes": [{"name": volume, "persistentVolumeClaim": claim}],
        "containers": [{"name": "main", "volumeMounts": [mount]}],
    }
    # Two braces would end the tag.
    text = re.sub(r"\}(?=\})", "} ", json.dumps(patch)).replace("CLAIM", f"' + {value} + '")
    # The pattern of no names matches no name.
    return f"{{{{={value} != '' && {value} matches '{pattern}' ? '{text}' : '{{}}'}}}}"


def settings_of_later_steps(rows: Iterable[Setting] | None = None) -> str:
    """Return the tag of a JSON object of a template's parameters.

    Those of the plan step alone are left out. The parameters are those of `finetune` without
    `rows`.
    """
    names = [
        row.name
        for row in (run_settings.parameter_settings() if rows is None else rows)
        if not row.feeds or any(not feed.startswith("plan.") for feed in row.feeds)
    ]
    pairs = ", ".join(f"'{name}': workflow.parameters['{name}']" for name in names)
    # Kubernetes makes `$$` of an argument into `$`.
    return f"{{{{=replace(toJson({{{pairs}}}), '$', '$$')}}}}"


def image_of(step: str) -> str:
    """Return the image of a step; behind its tag is the digest, if the installation has it."""
    name = f"{value_of('images-registry')}/argotune-{step}:{value_of('images-tag')}"
    return name + manifests.install_tag(images.digest_tag(step))


def output(step: Step, name: str) -> str:
    """Return the tag of an output of a step's task, checked against the step's Result."""
    if name not in {item.kebab for item in fields_of(step.params.Result)}:
        raise ValueError(f"step {step.name} has no result {name}")
    return f"{{{{tasks.{step.name}.outputs.parameters.{name}}}}}"


def result(name: str, step: Step) -> Parameter:
    """Return an output of the whole run: that of a step's task, empty where it did not run."""
    return Parameter(name=name, value_from=ValueFrom(parameter=output(step, name), default=""))


def times_of(*steps: Step) -> str:
    """Return a JSON object with the tags of when each step's task began and ended."""
    times = {
        step.name: [f"{{{{tasks.{step.name}.{each}}}}}" for each in ("startedAt", "finishedAt")]
        for step in steps
    }
    return json.dumps(times)
