"""The rendered YAML: what `make golden` wrote, made of Argo's own fields and defined references."""

from __future__ import annotations

import copy
import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hera.workflows import models

from argotune.steps.common.fields import fields_of
from argotune.steps.dataset import params as dataset_params
from argotune.steps.provision import params as provision_params
from argotune.steps.release import params as release_params
from argotune.steps.settings.run_settings import SETTINGS, installer_settings
from argotune.steps.settings.step_params import CLAIMS, settings_problems
from argotune.workflows.engine.controller.retry import retry_scope
from argotune.workflows.engine.language.expr import evaluate, evaluate_bool
from argotune.workflows.engine.language.substitute import Scope, substitute
from argotune.workflows.engine.model import Node, NodeType, Phase
from argotune.workflows.templates import finetune
from argotune.workflows.templates.golden import RENDERED_DIR, golden
from argotune.workflows.templates.step import FORBIDDEN
from argotune.workflows.workspace import manifests
from argotune.workflows.workspace.fields import WorkspaceError
from tests.workflows.templates.references import undefined_references
from tests.workflows.templates.schema import unknown_fields

KINDS = {
    "WorkflowTemplate": models.WorkflowTemplate,
    "CronWorkflow": models.CronWorkflow,
    "Workflow": models.Workflow,
}
RENDERED = sorted(RENDERED_DIR.glob("*.yaml"))
ARGO = [RENDERED_DIR / f"{name}.yaml" for name in ("finetune", "evaluate", "retrain")]


def load(path: Path) -> dict[str, Any]:
    """The only document of a rendered file, for all tests the same."""
    (document,) = manifests.read_rendered(path.stem)
    return document


@pytest.fixture(scope="module")
def built() -> dict[str, str]:
    return golden()


def test_every_template_is_rendered_and_nothing_else(built: dict[str, str]) -> None:
    assert [path.name for path in RENDERED] == sorted(built)


@pytest.mark.parametrize("path", RENDERED, ids=lambda path: path.name)
def test_rendered_file_is_what_the_template_builds(path: Path, built: dict[str, str]) -> None:
    assert path.read_text() == built[path.name], "run `make golden`"


@pytest.mark.parametrize("path", ARGO, ids=lambda path: path.name)
def test_rendered_file_has_only_fields_that_argo_knows(path: Path) -> None:
    document = load(path)
    assert unknown_fields(KINDS[document["kind"]], document) == []


@pytest.mark.parametrize(
    ("path", "key"),
    [
        (("spec",), "entrypiont"),
        (("spec", "templates", 0), "activeDeadlineSecond"),
        (("spec", "templates", 0, "container"), "volumeMount"),
        (("spec", "templates", 0, "container", "securityContext", "capabilities"), "dorp"),
        (("spec", "templates", 0, "retryStrategy", "backoff"), "maxDurations"),
        (("spec", "volumeClaimTemplates", 0, "spec", "resources"), "request"),
    ],
)
def test_a_field_that_argo_does_not_know_is_found_at_any_depth(
    path: tuple[str | int, ...], key: str
) -> None:
    document = copy.deepcopy(load(RENDERED_DIR / "finetune.yaml"))
    place: Any = document
    for part in path:
        place = place[part]
    place[key] = "x"
    found = unknown_fields(models.WorkflowTemplate, document)
    assert [problem.rpartition(".")[2] for problem in found] == [key]


def test_every_reference_of_the_template_is_defined() -> None:
    assert undefined_references(load(RENDERED_DIR / "finetune.yaml")["spec"]) == []


def test_what_reads_a_task_that_may_be_skipped_runs_only_when_it_succeeded() -> None:
    """Argo 4.0 waits for ever for an output of a skipped task. A task that is not skipped but
    omitted keeps what depends on it, directly or not, from running."""
    spec = load(RENDERED_DIR / "finetune.yaml")["spec"]
    (dag,) = [each["dag"] for each in spec["templates"] if each["name"] == spec["entrypoint"]]
    skipped = {task["name"] for task in dag["tasks"] if "when" in task}
    guards: dict[str, set[str]] = {}
    """Task -> tasks that may be skipped, and were not where this one runs."""
    assert skipped
    # In the order of the file, each task stands after what it depends on.
    for task in dag["tasks"]:
        arguments = json.dumps([task.get("arguments"), task.get("when")])
        read = set(re.findall(r"\{\{tasks\.([a-z-]+)\.", arguments))
        depends = task.get("depends", "")
        succeeded = set(re.findall(r"([a-z-]+)\.Succeeded", depends))
        before = set(re.findall(r"(?<![\w.])[a-z][a-z-]*", depends))
        known = (succeeded & skipped).union(*(guards[name] for name in before))
        guards[task["name"]] = known
        assert (read & skipped).union(*(guards[name] for name in read)) <= known
    assert any(guards.values())


@pytest.mark.parametrize(
    "tag",
    ["workflow.parameters.prest", "inputs.parameters.x", "tasks.plan.outputs.parameters.gpu"],
)
def test_a_reference_that_nothing_defines_is_found(tag: str) -> None:
    spec = copy.deepcopy(load(RENDERED_DIR / "finetune.yaml")["spec"])
    spec["templates"][-1]["dag"]["tasks"][0]["arguments"]["parameters"][0]["value"] = (
        f"{{{{{tag}}}}}"
    )
    assert undefined_references(spec) == [f"finetune: {tag}"]


def test_gc_is_of_fields_that_argo_knows_and_its_schedule_of_its_template() -> None:
    template, schedule = manifests.read_rendered("gc")
    assert unknown_fields(models.WorkflowTemplate, template) == []
    assert unknown_fields(models.CronWorkflow, schedule) == []
    assert undefined_references(template["spec"]) == []
    assert schedule["spec"]["suspend"] is True
    reference = schedule["spec"]["workflowSpec"]["workflowTemplateRef"]
    assert reference == {"name": template["metadata"]["name"]}


def test_gc_runs_in_the_image_and_as_the_account_of_release() -> None:
    template, _ = manifests.read_rendered("gc")
    (step,) = template["spec"]["templates"]
    assert "/argotune-release:" in step["container"]["image"]
    assert step["container"]["command"] == ["python", "-m", "argotune.steps.gc"]
    assert step["serviceAccountName"] == step["executor"]["serviceAccountName"]
    assert step["serviceAccountName"] == "argotune-release"
    labels = step["metadata"]["labels"]
    assert labels == {"argotune.dev/step": "gc", "azure.workload.identity/use": "true"}


def test_the_schedule_gc_names_every_parameter_of_its_template() -> None:
    """Otherwise `argo retry -p` of its runs loses the others (argo-workflows 11631)."""
    template, cron = manifests.read_rendered("gc")
    known = template["spec"]["arguments"]["parameters"]
    given = cron["spec"]["workflowSpec"]["arguments"]["parameters"]
    assert {item["name"] for item in given} == {item["name"] for item in known}


def test_parameters_have_descriptions_and_choices_for_the_form() -> None:
    parameters = load(RENDERED_DIR / "finetune.yaml")["spec"]["arguments"]["parameters"]
    assert parameters
    assert [item["name"] for item in parameters if not item.get("description")] == []
    enums = {item["name"]: item["enum"] for item in parameters if "enum" in item}
    assert set(enums) >= {"method", "provider", "adapter-from"}
    values = {item["name"]: item.get("value") for item in parameters}
    assert [name for name, choices in enums.items() if values[name] not in choices] == []


@pytest.mark.parametrize("steps", [{"provision", "watch", "release"}, {"deploy"}])
def test_settings_of_node_and_service_stand_together_in_the_form(steps: set[str]) -> None:
    """Argo's UI shows parameters in the template's order, without headings."""
    names = list(manifests.parameters_of(load(RENDERED_DIR / "finetune.yaml")))
    assert names[:2] == ["name", "preset"]
    fed = [{each.partition(".")[0] for each in SETTINGS[name].feeds} for name in names]
    places = [place for place, found in enumerate(fed) if found and found <= steps]
    assert len(places) > 5
    among = range(places[0], places[-1])
    assert [names[place] for place in among if not fed[place] & steps] == []


def test_the_form_does_not_offer_what_means_this_machine() -> None:
    form = manifests.parameters_of(load(RENDERED_DIR / "finetune.yaml"))["provider"]
    assert form["enum"] == ["existing", "aks", "karpenter"]
    assert "local" not in form["description"]
    given = {"name": "a", "preset": "tiny", "provider": "local"}
    assert "local" in manifests.parameters_of(manifests.workflow(given))["provider"]["enum"]
    with pytest.raises(WorkspaceError, match="'local' is not one of existing, aks, karpenter"):
        manifests.workflow_from_template(given)


@pytest.mark.parametrize(("allow_files", "said"), [("false", "team-a"), ("true", "")])
def test_steps_know_the_namespace_of_a_cluster_and_none_of_this_machine(
    allow_files: str, said: str
) -> None:
    filled = manifests.template({"allow-files": allow_files})
    texts = {
        each["value"]
        for template in filled["spec"]["templates"]
        for each in template.get("container", {}).get("env", [])
        if each["name"] == "ARGOTUNE_NAMESPACE"
    }
    (text,) = texts
    variables = {"workflow": {"namespace": "team-a"}}
    assert evaluate(text.removeprefix("{{=").removesuffix("}}"), variables) == said


def test_the_form_has_no_default_that_cannot_work() -> None:
    """Where Argo has no value it refuses to submit the run; the plan step takes all defaults."""
    parameters = load(RENDERED_DIR / "finetune.yaml")["spec"]["arguments"]["parameters"]
    required = [item["name"] for item in parameters if "value" not in item]
    assert required == ["urls", "output-image"]
    given = {item["name"]: item["value"] for item in parameters if "value" in item}
    assert {problem.setting for problem in settings_problems(given)} == set(required)


CONTAINERS = [
    template
    for template in load(RENDERED_DIR / "finetune.yaml")["spec"]["templates"]
    if "container" in template
]
OURS = [template for template in CONTAINERS if template["name"] != "scorer"]
"""Those whose program argotune knows."""


def test_every_step_has_a_template() -> None:
    assert [template["name"] for template in OURS] == [step.name for step in finetune.STEPS]


@pytest.mark.parametrize("template", CONTAINERS, ids=lambda template: template["name"])
def test_container_is_what_the_restricted_standard_asks_for(template: dict[str, Any]) -> None:
    security = template["container"]["securityContext"]
    assert security["allowPrivilegeEscalation"] is False
    assert security["runAsNonRoot"] is True
    assert security["readOnlyRootFilesystem"] is True
    assert security["capabilities"] == {"drop": ["ALL"]}
    pod = load(RENDERED_DIR / "finetune.yaml")["spec"]["securityContext"]
    assert pod["runAsUser"] > 0
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}


@pytest.mark.parametrize("template", OURS, ids=lambda template: template["name"])
def test_container_has_a_deadline_retries_and_never_a_shell(template: dict[str, Any]) -> None:
    assert template["activeDeadlineSeconds"] > 0
    assert "75" in template["retryStrategy"]["expression"]
    assert template["container"]["command"][:2] == ["python", "-m"]


@pytest.mark.parametrize("template", OURS, ids=lambda template: template["name"])
def test_outputs_have_defaults_for_steps_that_were_left_out(template: dict[str, Any]) -> None:
    outputs = template["outputs"]["parameters"]
    assert outputs
    assert [item["name"] for item in outputs if "default" not in item["valueFrom"]] == []


def mounts(template: dict[str, Any], volume: str) -> bool:
    return any(mount["name"] == volume for mount in template["container"]["volumeMounts"])


def may_run_together(dag: dict[str, Any], first: str, second: str) -> bool:
    """Whether neither task waits for the other, be it over several tasks between."""
    waits_for = {
        task["name"]: set(re.findall(r"(?<![\w.])[a-z][a-z-]*", task.get("depends", "")))
        for task in dag["tasks"]
    }

    def waits(task: str, other: str) -> bool:
        return any(before == other or waits(before, other) for before in waits_for[task])

    return not waits(first, second) and not waits(second, first)


def test_no_two_pods_that_may_run_together_mount_the_read_write_once_volume() -> None:
    """Two of them on two nodes would wait for one disk for ever. A retry begins when the pod
    before it has ended, and the exit handler when all tasks have."""
    spec = load(RENDERED_DIR / "finetune.yaml")["spec"]
    claims = spec["volumeClaimTemplates"]
    modes = {claim["metadata"]["name"]: claim["spec"]["accessModes"] for claim in claims}
    assert modes == {"work": ["ReadWriteOnce"]}
    dags = {each["name"]: each["dag"] for each in spec["templates"] if "dag" in each}
    main = dags.pop(spec["entrypoint"])
    # A loop would run one task as several pods.
    loops = {"withItems", "withParam", "withSequence", "onExit", "hooks"}
    assert [task["name"] for task in main["tasks"] if loops & task.keys()] == []
    mounting = [template["name"] for template in CONTAINERS if mounts(template, "work")]
    assert len(mounting) > 2
    assert spec["onExit"] not in mounting
    inner = {task["template"] for dag in dags.values() for task in dag["tasks"]}
    assert inner & set(mounting) == set()
    in_steps = {
        each["name"]: each.get("parallelism")
        for each in spec["templates"]
        for step in itertools.chain(*each.get("steps", []))
        if step["template"] in mounting
    }
    assert in_steps == {"score": 1}
    tasks = [task["name"] for task in main["tasks"] if task["template"] in {*mounting, *in_steps}]
    together = [pair for pair in itertools.combinations(tasks, 2) if may_run_together(main, *pair)]
    assert together == []


def test_the_steps_beside_each_other_are_seen_as_such() -> None:
    dag = {"tasks": [{"name": "a"}, {"name": "b", "depends": "a"}, {"name": "c", "depends": "a"}]}
    assert may_run_together(dag, "b", "c")
    dag["tasks"].append({"name": "d", "depends": "b && c"})
    assert not may_run_together(dag, "a", "d")


def flags_of(step: str) -> list[str]:
    template = next(template for template in CONTAINERS if template["name"] == step)
    flags: list[str] = template["container"]["args"]
    return flags


def test_what_the_installer_decides_is_no_parameter() -> None:
    spec = load(RENDERED_DIR / "finetune.yaml")["spec"]
    parameters = {item["name"] for item in spec["arguments"]["parameters"]}
    decided = {row.name for row in installer_settings()}
    assert decided >= {"images-registry", "allowed-hosts", "allowed-secrets", "aks-cluster-id"}
    assert decided & parameters == set()


def test_a_filled_in_template_has_no_place_left() -> None:
    filled = manifests.template()
    assert "{{install." not in json.dumps(filled)
    assert undefined_references(filled["spec"]) == []


def test_what_reaches_registries_and_hosts_of_runs_mounts_the_private_authority() -> None:
    spec = load(RENDERED_DIR / "finetune.yaml")["spec"]
    volume = next(volume for volume in spec["volumes"] if volume["name"] == "argotune-ca")
    assert volume["configMap"] == {"name": "argotune-ca", "optional": True}
    mounting = [
        template["name"]
        for template in CONTAINERS
        if any(mount["name"] == "argotune-ca" for mount in template["container"]["volumeMounts"])
    ]
    assert mounting == [
        *("plan", "dataset", "model", "answer", "evaluate", "push", "deploy", "reject"),
        *("notify", "notify-waiting"),
    ]
    for step in mounting:
        assert "--ca-file=/argotune/ca/ca.crt" in flags_of(step)


def test_keys_of_clients_are_mounted_by_what_looks_at_them() -> None:
    mounting = [template["name"] for template in CONTAINERS if mounts(template, "api-keys")]
    assert mounting == ["plan", "deploy"]
    for step in mounting:
        assert "--api-keys-file=/argotune/secrets/api-keys/keys" in flags_of(step)


def test_registries_inside_the_network_are_those_of_the_installation() -> None:
    hosts = ["data.team-a.svc:8080", "registry.corp.example"]
    values = {"images-registry": "images.svc:5001/argotune", "allowed-hosts": json.dumps(hosts)}
    spec = manifests.template(values)["spec"]
    allowed = {
        template["name"]: arg
        for template in spec["templates"]
        for arg in template.get("container", {}).get("args", [])
        if arg.startswith("--allowed-hosts=") and "inputs." not in arg
    }
    # A webhook is no registry.
    assert json.dumps(hosts) in allowed.pop("notify")
    assert allowed == dict.fromkeys(
        ("plan", "model", "push", "deploy", "reject"),
        f"--allowed-hosts={json.dumps([*hosts, 'images.svc:5001'])}",
    )


@pytest.mark.parametrize("name", ["urls-secret", "push-secret", "model-secret", "data-secret"])
def test_secrets_may_be_missing(name: str) -> None:
    spec = load(RENDERED_DIR / "finetune.yaml")["spec"]
    volume = next(volume for volume in spec["volumes"] if volume["name"] == name)
    assert volume["secret"]["optional"] is True


@pytest.mark.parametrize(
    ("given", "used"), [("", ""), ("batch-low", "batch-low"), ("system", FORBIDDEN)]
)
def test_what_needs_a_node_waits_in_the_runs_queue_with_an_allowed_priority(
    given: str, used: str
) -> None:
    """So that no node is made before its run is admitted."""
    filled = manifests.template({"allowed-priority-classes": '["batch-low"]'})["spec"]
    queued = {
        item["name"]: item["priorityClassName"]
        for item in filled["templates"]
        if any("queue" in key for key in item.get("metadata", {}).get("labels", {}))
    }
    assert queued.keys() == {"provision", "tune", "answer", "evaluate"}
    environment = {"workflow": {"parameters": {"priority-class": given}}}
    for tag in queued.values():
        expression = tag.removeprefix("{{=").removesuffix("}}")
        assert evaluate(expression, environment) == used


@pytest.mark.parametrize(
    ("queue", "key"), [("", "argotune.dev/queue"), ("gpus", "kueue.x-k8s.io/queue-name")]
)
@pytest.mark.parametrize("path", ["finetune", "evaluate", "serve"])
def test_only_a_run_with_a_queue_has_kueues_label(path: str, queue: str, key: str) -> None:
    """Kueue's webhook refuses pods on which it is empty."""
    scope = Scope({"workflow.parameters.queue": queue})
    found = [
        substitute({name: text}, scope)
        for item in load(RENDERED_DIR / f"{path}.yaml")["spec"]["templates"]
        for name, text in item.get("metadata", {}).get("labels", {}).items()
        if "queue" in name
    ]
    assert found
    assert all(labels == {key: queue} for labels in found)


@pytest.mark.parametrize(
    ("setting", "steps", "directory", "is_read_only"),
    [
        ("data-claim", ["dataset"], "/argotune/data", True),
        ("output-claim", ["plan", "push"], "/argotune/output", False),
    ],
)
@pytest.mark.parametrize(
    ("allowed", "given", "mounted"),
    [
        ('["rows-*"]', "rows-2024", "rows-2024"),
        ('["rows-*"]', "other", None),
        ('["rows-*"]', "", None),
        ("[]", "", None),
    ],
)
def test_only_the_steps_that_use_a_claim_mount_it_if_it_is_allowed(
    setting: str,
    steps: list[str],
    directory: str,
    is_read_only: bool,
    allowed: str,
    given: str,
    mounted: str | None,
) -> None:
    filled = manifests.template({CLAIMS[setting][0]: allowed})["spec"]
    patches = {item["name"]: item.get("podSpecPatch", "") for item in filled["templates"]}
    assert [name for name, patch in patches.items() if setting in patch] == steps
    (tag,) = {patches[step] for step in steps}
    assert tag.index("}}") == len(tag) - 2, "Argo ends a tag at the first braces"
    environment = {"workflow": {"parameters": {setting: given}}}
    patch = json.loads(str(evaluate(tag.removeprefix("{{=").removesuffix("}}"), environment)))
    if mounted is None:
        assert patch == {}
        return
    (volume,), (container,) = patch["volumes"], patch["containers"]
    assert volume["persistentVolumeClaim"] == {"claimName": mounted, "readOnly": is_read_only}
    assert container["name"] == "main"
    (mount,) = container["volumeMounts"]
    assert mount == {"name": volume["name"], "mountPath": directory, "readOnly": is_read_only}


def test_keys_of_the_datas_secret_become_variables_of_dataset_alone() -> None:
    named = {
        item["name"]: [
            variable["name"]
            for variable in item["container"].get("env", [])
            if "data-secret" in json.dumps(variable)
        ]
        for item in CONTAINERS
    }
    assert named.pop("dataset") == list(dataset_params.SECRET_VARIABLES)
    assert not any(named.values())


def retry_expression() -> str:
    expressions = {template["retryStrategy"]["expression"] for template in CONTAINERS}
    assert len(expressions) == 1
    return str(expressions.pop())


def is_retried(message: str, *, phase: Phase = Phase.FAILED, exit_code: int | None = None) -> bool:
    node = Node(id="x", name="x", display_name="x", type=NodeType.POD, phase=phase, message=message)
    if exit_code is not None:
        node.outputs = {"exitCode": str(exit_code)}
    return evaluate_bool(retry_expression(), retry_scope([node]).environment())


@pytest.mark.parametrize(
    "message",
    [
        "Pod was terminated in response to imminent node shutdown.",
        "main: ContainerStatusUnknown (exit code 137): The container could not be located when the"
        " pod was terminated",
        "Pod was rejected: Pod was rejected as the node is shutting down.",
        "Pod was rejected: Node didn't have enough resource: nvidia.com/gpu, requested: 1, used: 1,"
        " capacity: 1",
        "Pod was rejected: Allocate failed due to no healthy devices present; cannot allocate"
        " unhealthy devices nvidia.com/gpu, which is unexpected",
        "Pod Node didn't have enough resource: nvidia.com/gpu, requested: 1, used: 1, capacity: 1",
        "Pod Allocate failed due to requested number of devices unavailable, which is unexpected",
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 80Mi. ",
        "The node had condition: [DiskPressure]. ",
        "Preempted in order to admit critical pod",
        "pod failed: neither main nor wait container completed successfully",
        "can't find failed message for pod a namespace b",
    ],
)
def test_a_pod_that_its_node_took_down_is_tried_again(message: str) -> None:
    assert is_retried(message)


@pytest.mark.parametrize(
    ("message", "exit_code"),
    [
        ("main: Error (exit code 3): error: the dataset has no rows", 3),
        ("main: Error (exit code 3): error: Pod was rejected: Evicted, Preempted", 3),
        ("main: Error (exit code 3): error: main: ContainerStatusUnknown (exit code 137)", 3),
        ("main: OOMKilled (exit code 137)", 137),
        ("main: OOMKilled (exit code 137): host memory: 16.0 GiB used of 16.0 GiB", 137),
        ("Pod was active on the node longer than the specified deadline", None),
        ('Usage of EmptyDir volume "outputs" exceeds the limit "16Mi". ', None),
        ("Pod ephemeral local storage usage exceeds the total limit of containers 1Gi. ", None),
    ],
)
def test_a_pods_own_fault_is_not_tried_again(message: str, exit_code: int | None) -> None:
    assert not is_retried(message, exit_code=exit_code)


@pytest.mark.parametrize(
    "message",
    [
        'pods "a-1" is forbidden: failed quota: q: must specify limits.cpu for: init,wait',
        'pods "a-1" is forbidden: maximum memory usage per Container is 64Mi, but limit is 100Mi',
        'Pod "a-1" is invalid: spec.containers[0].resources.limits: Invalid value: "x"',
    ],
)
def test_a_pod_that_the_cluster_refuses_is_not_tried_again(message: str) -> None:
    assert not is_retried(message, phase=Phase.ERROR)


def test_a_lost_pod_and_a_transient_error_are_tried_again() -> None:
    assert is_retried("pod deleted", phase=Phase.ERROR)
    assert is_retried("main: Error (exit code 75): error: 503", exit_code=75)


def patch_of(step: str) -> dict[str, Any]:
    template = next(template for template in CONTAINERS if template["name"] == step)
    tags = {"node-selector": "{}", "gpus": "1", "tune-cpu": "2", "tune-memory": "16Gi"}
    text = re.sub(r"\{\{[a-z.]+\.([a-z-]+)\}\}", lambda tag: tags[tag[1]], template["podSpecPatch"])
    text = re.sub(
        r"\{\{=toJson\(workflow\.parameters\['([a-z-]+)'\] matches .*?\)\}\}",
        lambda tag: json.dumps(tags[tag[1]]),
        text,
    )
    patch: dict[str, Any] = json.loads(text)
    return patch


def test_tuning_has_the_time_to_save_and_deploying_the_time_to_take_back() -> None:
    assert patch_of("tune")["terminationGracePeriodSeconds"] == 110
    assert patch_of("deploy") == {"terminationGracePeriodSeconds": 90}


@pytest.mark.parametrize("step", ["provision", "tune", "answer", "evaluate"])
def test_autoscalers_leave_the_nodes_of_the_costly_steps(step: str) -> None:
    template = next(template for template in CONTAINERS if template["name"] == step)
    assert template["metadata"]["annotations"] == {
        "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
        "karpenter.sh/do-not-disrupt": "true",
    }


@pytest.mark.parametrize("template", CONTAINERS, ids=lambda template: template["name"])
def test_pod_says_its_step_and_workspace(template: dict[str, Any]) -> None:
    labels = template["metadata"]["labels"]
    assert labels["argotune.dev/step"] == template["name"]
    assert labels["argotune.dev/workspace"] == "{{workflow.parameters.name}}"


def test_only_the_steps_that_make_nodes_or_read_data_are_somebody_for_azure() -> None:
    label = "azure.workload.identity/use"
    labelled = [item["name"] for item in CONTAINERS if label in item["metadata"]["labels"]]
    assert labelled == ["dataset", "provision", "watch", "release", "release-node"]


def test_what_is_chosen_of_a_node_that_is_made_reaches_the_steps() -> None:
    """Every flag of provision but those that have a sensible default for all."""
    given = {flag.partition("=")[0].removeprefix("--") for flag in flags_of("provision")}
    params = {field.kebab for field in fields_of(provision_params.Params)}
    assert params - given == {
        "timeout-seconds",
        "launch-timeout-seconds",
        "gpu-timeout-seconds",
        "aks-location",
    }


def test_defaults_of_the_form_are_those_of_provision() -> None:
    spec = load(RENDERED_DIR / "finetune.yaml")["spec"]
    form = {item["name"]: item for item in spec["arguments"]["parameters"]}
    fields = {
        field.kebab: field
        for field in fields_of(provision_params.Params)
        if field.kebab in form and field.kebab != "provider"
    }
    assert len(fields) > 10
    for name, field in fields.items():
        assert form[name]["value"] == (field.default or ""), name
        if "enum" in form[name] and field.choices:
            assert form[name]["enum"] == list(field.choices), name
    provider = next(f for f in fields_of(provision_params.Params) if f.name == "provider")
    assert sorted([*form["provider"]["enum"], "local"]) == sorted(provider.choices)


def test_release_has_the_time_that_it_gives_itself() -> None:
    release = next(template for template in CONTAINERS if template["name"] == "release")
    timeout = next(f for f in fields_of(release_params.Params) if f.name == "timeout_seconds")
    assert release["activeDeadlineSeconds"] > float(str(timeout.default))


@pytest.mark.parametrize("template", CONTAINERS, ids=lambda template: template["name"])
def test_pod_asks_for_cpu_and_memory(template: dict[str, Any]) -> None:
    """So that the scheduler counts with it, and a namespace with a quota takes it."""
    container = template["container"]
    if template["name"] in ("tune", "answer", "evaluate"):
        container = patch_of(template["name"])["containers"][0]
    assert set(container["resources"]["requests"]) == {"cpu", "memory"}


@pytest.mark.parametrize("template", OURS, ids=lambda template: template["name"])
def test_log_outlives_the_pod(template: dict[str, Any]) -> None:
    outputs = {item["name"]: item["valueFrom"] for item in template["outputs"]["parameters"]}
    assert outputs["log"] == {"path": "/argotune/outputs/log", "default": ""}
    flags = template["container"]["args"]
    assert "--termination-log=/dev/termination-log" in flags
    assert ("--logs-dir=/argotune/work/logs" in flags) == mounts(template, "work")


@pytest.mark.parametrize("template", CONTAINERS, ids=lambda template: template["name"])
def test_pod_that_takes_too_much_memory_ends_alone(template: dict[str, Any]) -> None:
    if template["name"] in ("tune", "answer", "evaluate"):
        resources = patch_of(template["name"])["containers"][0]["resources"]
        assert resources["limits"]["memory"] == resources["requests"]["memory"]
        return
    resources = template["container"]["resources"]
    request, limit = (int(resources[kind]["memory"][:-2]) for kind in ("requests", "limits"))
    assert limit == 8 * request


def test_only_what_runs_on_gpus_has_a_memory_limit_that_a_parameter_sets() -> None:
    naming = [
        template["name"]
        for template in OURS
        if "--memory-parameter=tune-memory" in template["container"]["args"]
    ]
    assert naming == ["tune", "answer", "evaluate"]


@pytest.mark.parametrize(
    ("template", "what"),
    [
        ("finetune", ": fine-tune {{workflow.parameters.preset}}"),
        ("serve", ": serve {{workflow.parameters.preset}}"),
        ("rollback", ": roll back"),
        ("evaluate", ""),
    ],
)
def test_a_run_is_titled_by_its_workspace_and_what_it_does(template: str, what: str) -> None:
    annotations = load(RENDERED_DIR / f"{template}.yaml")["spec"]["workflowMetadata"]["annotations"]
    assert annotations["workflows.argoproj.io/title"] == f"{{{{workflow.parameters.name}}}}{what}"


@pytest.mark.parametrize("template", ["finetune", "serve", "rollback", "evaluate"])
def test_a_run_of_every_client_has_the_label_of_its_workspace(template: str) -> None:
    """The command line labels its runs itself; `argo submit --from` leaves it to the template."""
    labels = load(RENDERED_DIR / f"{template}.yaml")["spec"]["workflowMetadata"]["labelsFrom"]
    assert labels["argotune.dev/workspace"] == {"expression": "workflow.parameters.name"}
