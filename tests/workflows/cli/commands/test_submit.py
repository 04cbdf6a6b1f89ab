"""argotune submit, against an API server on loopback."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from argotune.presets.loader import PRESETS_DIR
from tests.fakes.hub_models import model_files
from tests.fakes.kube import Cluster, Fault
from tests.workflows.cli.cluster_workflows import NAME, run_of, step
from tests.workflows.cli.command import Answer, Argotune
from tests.workflows.cli.conftest import Write, install, storage_class
from tests.workflows.cli.kubeconfig import use_kubeconfig
from tests.workflows.workspace.helpers import CONFIG_MAP, QUICK_START, WORKSPACE, changed

TEMPLATE = "/apis/argoproj.io/v1alpha1/namespaces/{}/workflowtemplates/finetune"
WHO = (
    "/apis/authentication.k8s.io/v1/selfsubjectreviews?fieldManager=argotune&fieldValidation=Strict"
)
CREATE = (
    "/apis/argoproj.io/v1alpha1/namespaces/{}/workflows"
    "?fieldManager=argotune&fieldValidation=Strict"
)
RUNS = (
    "/apis/argoproj.io/v1alpha1/namespaces/{}/workflows?labelSelector=argotune.dev/workspace"
    "%3Dmy-model%2Cworkflows.argoproj.io/completed%21%3Dtrue&limit=500"
)
URL_WITH_TOKEN = "https://example.com/a.parquet?sig=hunter2"
WITH_TOKEN = changed({"tuning/input": {"urls": [URL_WITH_TOKEN]}})


def submit(argotune: Argotune, write: Write, text: str = WORKSPACE, *flags: str) -> Answer:
    return argotune("submit", write("workspace.yaml", text), *flags)


def arguments_of(workflow: dict[str, Any]) -> dict[str, str]:
    return {item["name"]: item["value"] for item in workflow["spec"]["arguments"]["parameters"]}


def test_the_workflow_refers_to_the_installed_template(
    argotune: Argotune, write: Write, cluster: Cluster
) -> None:
    answer = submit(argotune, write)
    assert (answer.code, answer.err) == (0, "")
    (created,) = cluster.of_kind("Workflow")
    name = created["metadata"]["name"]
    assert re.fullmatch(r"my-model-[a-z0-9]{5}", name)
    assert answer.out == (
        f"workflow.argoproj.io/{name} created in namespace team-a\n"
        f"watch it: argotune status {name} -n team-a --watch\n"
    )
    assert cluster.requests == [
        f"GET {RUNS.format('team-a')}",
        f"GET {TEMPLATE.format('team-a')}",
        "GET /apis/storage.k8s.io/v1/storageclasses?limit=500",
        f"POST {WHO}",
        f"POST {CREATE.format('team-a')}",
    ]
    assert created["metadata"]["annotations"]["argotune.dev/submitted-by"] == "ann"
    assert created["metadata"]["labels"]["argotune.dev/workspace"] == "my-model"
    assert created["spec"].keys() == {"workflowTemplateRef", "arguments", "volumeClaimTemplates"}
    assert created["spec"]["workflowTemplateRef"] == {"name": "finetune"}


def test_a_run_of_the_same_workspace_that_goes_on_is_told_of(
    argotune: Argotune, write: Write, cluster: Cluster
) -> None:
    cluster.put(run_of(*step("tune", "Succeeded"), phase="Succeeded", name="my-model-ended"))
    cluster.put(run_of(*step("tune", "Running")))
    answer = submit(argotune, write)
    assert answer.code == 0
    assert answer.err == (
        f"warning: {NAME} of the same workspace goes on; each replaces the service my-model when it"
        " deploys, and with a gate the later one is refused there, after its training; give one"
        f" another metadata.name, or stop the other: argotune stop {NAME} -n team-a\n"
    )


def test_one_that_is_only_pushed_replaces_no_service(
    argotune: Argotune, write: Write, cluster: Cluster
) -> None:
    cluster.put(run_of(*step("tune", "Running")))
    answer = submit(
        argotune, write, changed({"metadata/annotations": {"argotune.dev/deploy-to": "none"}})
    )
    assert answer.code == 0
    assert "goes on" not in answer.err


def test_who_may_not_list_runs_may_submit(
    argotune: Argotune, write: Write, cluster: Cluster
) -> None:
    cluster.put(run_of(*step("tune", "Running")))
    cluster.faults = [Fault("GET", "/workflows?", 403, "workflows is forbidden")]
    answer = submit(argotune, write)
    assert (answer.code, answer.err) == (0, "")


@pytest.mark.parametrize("status", [403, 404])
def test_a_server_that_does_not_say_who_submits_is_no_obstacle(
    argotune: Argotune, write: Write, cluster: Cluster, status: int
) -> None:
    cluster.faults = [Fault("POST", "selfsubjectreviews", status)]
    answer = submit(argotune, write)
    assert (answer.code, answer.err) == (0, "")
    (created,) = cluster.of_kind("Workflow")
    assert "argotune.dev/submitted-by" not in created["metadata"]["annotations"]


@pytest.mark.parametrize(
    ("in_file", "flags", "namespace"),
    [
        (None, (), "team-a"),
        (None, ("--context", "second"), "team-b"),
        ("research", (), "research"),
        ("research", ("--namespace", "other"), "other"),
    ],
)
def test_namespace_is_the_flags_then_the_files_then_the_contexts(
    argotune: Argotune,
    write: Write,
    cluster: Cluster,
    in_file: str | None,
    flags: tuple[str, ...],
    namespace: str,
) -> None:
    install(cluster, namespace)
    answer = submit(argotune, write, changed({"metadata/namespace": in_file}), *flags)
    assert answer.code == 0
    assert cluster.requests[-1] == f"POST {CREATE.format(namespace)}"


def test_a_run_names_every_parameter_as_the_installed_template_has_it(
    argotune: Argotune, write: Write, cluster: Cluster
) -> None:
    """Otherwise `argo retry RUN -p NAME=VALUE` loses the others (argo-workflows 11631)."""
    template = cluster.objects["WorkflowTemplate", "team-a", "finetune"]
    known = template["spec"]["arguments"]["parameters"]
    known.append({"name": "of-an-older-version", "value": "its default"})
    assert submit(argotune, write).code == 0
    given = arguments_of(cluster.of_kind("Workflow")[0])
    assert given.keys() == {item["name"] for item in known}
    assert given["of-an-older-version"] == "its default"


def test_without_the_template_nothing_is_made(
    argotune: Argotune, write: Write, cluster: Cluster
) -> None:
    answer = submit(argotune, write, WORKSPACE, "-n", "empty", "--context", "second")
    assert answer.code == 3
    assert answer.errors == [
        "WorkflowTemplate finetune is not in namespace empty: `argotune install -n empty --context"
        " second` puts it there, and `argotune submit --standalone --images-registry REGISTRY`"
        " does without"
    ]
    assert cluster.of_kind("Workflow") == []


@pytest.mark.parametrize(
    ("flags", "default", "problem"),
    [
        (("--storage-class", "fast"), True, "storage class fast of the run's volume is not there"),
        ((), False, "the cluster has no default storage class"),
    ],
)
def test_a_storage_class_that_is_missing_is_told_at_once(
    argotune: Argotune,
    write: Write,
    cluster: Cluster,
    flags: tuple[str, ...],
    default: bool,
    problem: str,
) -> None:
    cluster.put(storage_class("standard", default=default))
    answer = submit(argotune, write, WORKSPACE, *flags)
    assert answer.code == 0
    assert answer.err == (
        f"warning: {problem}; there are: standard; the run waits for its volume: name one with"
        " `argotune install -n team-a --storage-class NAME` for all runs, or --storage-class NAME"
        " for this one\n"
    )


def test_who_may_not_see_storage_classes_hears_nothing_of_them(
    argotune: Argotune, write: Write, cluster: Cluster
) -> None:
    cluster.faults.append(Fault("GET", "/storageclasses", 403, message="cannot list"))
    assert submit(argotune, write).err == ""


WITH_KEYS = WORKSPACE.replace(
    "argotune.dev/provider: existing",
    "argotune.dev/provider: existing, argotune.dev/api-keys-secret: my-secret",
)


def clients(**files: str) -> dict[str, Any]:
    data = {name: base64.b64encode(text.encode()).decode() for name, text in files.items()}
    metadata = {"name": "my-secret", "namespace": "team-a"}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}


@pytest.mark.parametrize("command", [("submit",), ("schedule", "--cron", "@daily")])
def test_keys_of_clients_that_deploy_would_miss_are_told_at_once(
    argotune: Argotune, write: Write, cluster: Cluster, command: tuple[str, ...]
) -> None:
    name, *flags = command
    ask = (name, write("workspace.yaml", WITH_KEYS), *flags)
    missing = argotune(*ask)
    assert missing.code != 0
    told = "api-keys-secret: secret my-secret with the key keys is not in namespace team-a; make it"
    assert told in missing.err
    cluster.put(clients(keys="sk-anna-0123456789"))
    wrong = argotune(*ask)
    assert "api-keys-secret: secret my-secret: entry 1 has no name" in wrong.err
    assert "sk-anna" not in wrong.err
    assert cluster.of_kind("Workflow") == cluster.of_kind("CronWorkflow") == []
    cluster.put(clients(keys="anna: sk-anna-0123456789"))
    assert argotune(*ask).code == 0


def test_who_may_not_read_secrets_hears_nothing_of_the_keys(
    argotune: Argotune, write: Write, cluster: Cluster
) -> None:
    cluster.faults.append(Fault("GET", "/secrets/my-secret", 403, message="cannot get"))
    answer = submit(argotune, write, WITH_KEYS)
    assert (answer.code, answer.err) == (0, "")


@pytest.mark.parametrize(
    "command",
    [
        ("submit", "WORKSPACE"),
        ("schedule", "WORKSPACE", "--cron", "@daily"),
        ("schedules",),
        ("status",),
    ],
    ids=lambda command: command[0],
)
def test_a_missing_namespace_is_told(
    argotune: Argotune, write: Write, cluster: Cluster, command: tuple[str, ...]
) -> None:
    cluster.missing_namespaces.add("nosuch")
    file = write("workspace.yaml", WORKSPACE)
    answer = argotune(*(file if word == "WORKSPACE" else word for word in command), "-n", "nosuch")
    assert answer.code == 3
    assert answer.errors == [
        "namespace nosuch does not exist: name another by -n, or let an administrator make it by"
        " `argotune install -n nosuch --create-namespace --images-registry REGISTRY`"
    ]


def test_what_the_installation_has_to_permit_is_told_with_the_namespace(
    argotune: Argotune, write: Write, cluster: Cluster
) -> None:
    install(cluster, "team-b")
    text = changed({"tuning/input": {"urls": ["https://data.svc:8080/a.parquet"]}})
    answer = submit(argotune, write, text, "--context", "second")
    assert answer.code == 2
    assert answer.errors == [
        "tuning.input.urls[0]: data.svc:8080 is inside a private network; `argotune install"
        " -n team-b --context second --allow-host data.svc:8080` permits it to all runs of the"
        " namespace"
    ]
    install(cluster, "team-b", allowed_hosts='["data.svc:8080"]')
    answer = submit(argotune, write, text, "--context", "second")
    assert (answer.code, answer.err) == (0, "")


def test_a_template_of_another_version_is_told(
    argotune: Argotune, write: Write, cluster: Cluster
) -> None:
    template = cluster.objects["WorkflowTemplate", "team-a", "finetune"]
    parameters = template["spec"]["arguments"]["parameters"]
    template["spec"]["arguments"]["parameters"] = [
        item for item in parameters if item["name"] in ("name", "preset")
    ]
    answer = submit(argotune, write)
    assert answer.code == 3
    assert "parameter method: unknown; known are name, preset" in answer.errors
    assert answer.errors[-1] == (
        "WorkflowTemplate finetune in namespace team-a is of another version than this command:"
        " `argotune install -n team-a` brings this one's"
    )
    assert cluster.of_kind("Workflow") == []


def test_volume_size_and_storage_class_replace_the_templates_claim(
    argotune: Argotune, write: Write, cluster: Cluster
) -> None:
    assert submit(argotune, write, WORKSPACE, "--volume-size", "7Gi").code == 0
    (created,) = cluster.of_kind("Workflow")
    (claim,) = created["spec"]["volumeClaimTemplates"]
    assert claim["metadata"] == {"name": "work"}
    assert claim["spec"]["resources"]["requests"] == {"storage": "7Gi"}
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]
    assert "storageClassName" not in claim["spec"]


@pytest.mark.parametrize("flags", [(), ("--standalone", "--images-registry=r.example.org/x")])
def test_the_volume_is_as_large_as_the_plan_needs(
    argotune: Argotune, write: Write, cluster: Cluster, flags: tuple[str, ...]
) -> None:
    assert submit(argotune, write, WORKSPACE, *flags).code == 0
    (created,) = cluster.of_kind("Workflow")
    (claim,) = created["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["resources"]["requests"] == {"storage": "24Gi"}


def test_the_volume_is_as_large_as_the_installation_says(
    argotune: Argotune, write: Write, cluster: Cluster
) -> None:
    template = cluster.objects["WorkflowTemplate", "team-a", "finetune"]
    (claim,) = template["spec"]["volumeClaimTemplates"]
    claim["spec"]["resources"]["requests"]["storage"] = "50Gi"
    assert submit(argotune, write).code == 0
    (created,) = cluster.of_kind("Workflow")
    assert "volumeClaimTemplates" not in created["spec"]


@pytest.mark.parametrize(
    ("flags", "kept"),
    [((), {}), (("--standalone", "--images-registry=r.example.org/x"), {"secondsAfterCompletion"})],
)
def test_a_failed_run_stays_as_long_as_its_file_says(
    argotune: Argotune, write: Write, cluster: Cluster, flags: tuple[str, ...], kept: set[str]
) -> None:
    setting = ("--set", "ttl-seconds-after-failure=3600")
    assert submit(argotune, write, WORKSPACE, *setting, *flags).code == 0
    (created,) = cluster.of_kind("Workflow")
    strategy = created["spec"]["ttlStrategy"]
    assert strategy.pop("secondsAfterFailure") == 3600
    assert strategy.keys() == set(kept)


def test_standalone_has_the_whole_template_and_these_images(
    argotune: Argotune, write: Write, cluster: Cluster
) -> None:
    flags = ("--standalone", "--images-registry", "registry.example.org/ours", "--images-tag", "2")
    assert submit(argotune, write, WORKSPACE, "-n", "empty", *flags).code == 0
    (created,) = cluster.of_kind("Workflow")
    assert len(created["spec"]["templates"]) > 1
    (plan,) = [each for each in created["spec"]["templates"] if each["name"] == "plan"]
    assert plan["container"]["image"] == "registry.example.org/ours/argotune-plan:2"
    assert cluster.requests[2:] == [f"POST {WHO}", f"POST {CREATE.format('empty')}"]


@pytest.mark.parametrize(
    ("flags", "errors"),
    [
        (
            ("--standalone",),
            ["--standalone: --images-registry is missing; the step images are there"],
        ),
        (
            ("--images-registry", "a", "--images-tag", "b"),
            [
                f"--{flag}: for a workflow with the whole template in it; the installed template's"
                " is set by `argotune install`"
                for flag in ("images-registry", "images-tag")
            ],
        ),
    ],
)
def test_images_are_for_standalone(
    argotune: Argotune, write: Write, cluster: Cluster, flags: tuple[str, ...], errors: list[str]
) -> None:
    answer = submit(argotune, write, WORKSPACE, *flags)
    assert (answer.code, answer.errors) == (2, errors)
    assert cluster.requests == []


def test_the_config_map_is_found_in_the_cluster(
    argotune: Argotune, write: Write, cluster: Cluster
) -> None:
    cluster.objects["ConfigMap", "team-a", "my-config"] = yaml.safe_load(CONFIG_MAP)
    answer = submit(argotune, write, changed({"tuning/config": "my-config"}))
    assert (answer.code, answer.err) == (0, "")
    assert cluster.requests[0] == "GET /api/v1/namespaces/team-a/configmaps/my-config"
    (created,) = cluster.of_kind("Workflow")
    assert "LoraConfig" in arguments_of(created)["config"]


def test_a_config_map_that_is_nowhere(argotune: Argotune, write: Write, cluster: Cluster) -> None:
    answer = submit(argotune, write, changed({"tuning/config": "my-config"}))
    assert answer.code == 2
    assert len(answer.errors) == 1
    assert answer.errors[0].startswith("tuning.config: ")
    assert "my-config" in answer.errors[0]
    assert cluster.of_kind("Workflow") == []


def test_tokens_of_urls_are_in_a_secret_that_goes_with_the_run(
    argotune: Argotune, write: Write, cluster: Cluster
) -> None:
    assert submit(argotune, write, WITH_TOKEN).code == 0
    (secret,), (workflow,) = cluster.of_kind("Secret"), cluster.of_kind("Workflow")
    name = workflow["metadata"]["name"]
    assert json.loads(secret["stringData"]["urls.json"]) == [URL_WITH_TOKEN]
    assert secret["metadata"]["name"] == arguments_of(workflow)["urls-secret"] == f"{name}-urls"
    assert secret["metadata"]["ownerReferences"] == [
        {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Workflow",
            "name": name,
            "uid": f"uid-of-{name}",
        }
    ]
    assert "hunter2" not in json.dumps(workflow)


def test_the_run_waits_for_its_secret(argotune: Argotune, write: Write, cluster: Cluster) -> None:
    before = len(cluster.changes)
    assert submit(argotune, write, WITH_TOKEN).code == 0
    states = [change.item for change in cluster.changes[before:]]
    assert [(item["kind"], item.get("spec", {}).get("suspend")) for item in states] == [
        ("Workflow", True),
        ("Secret", None),
        ("Workflow", None),
    ]


def test_a_run_whose_secret_is_refused_is_taken_back(
    argotune: Argotune, write: Write, cluster: Cluster
) -> None:
    cluster.faults.append(Fault("POST", "/secrets", 403, message="forbidden"))
    answer = submit(argotune, write, WITH_TOKEN)
    assert answer.code == 3
    assert "the cluster answers 403: forbidden; ask for that right" in answer.err
    assert cluster.of_kind("Workflow") == cluster.of_kind("Secret") == []


def test_the_quick_start_is_refused_until_it_is_filled_in(
    argotune: Argotune, write: Write, cluster: Cluster
) -> None:
    answer = submit(argotune, write, QUICK_START)
    assert answer.code == 2
    assert [error.partition(":")[0] for error in answer.errors] == [
        "tuning.output.image",
        "tuning.output.imagePushSecret",
    ]
    assert all(request.startswith("GET ") for request in cluster.requests)


def test_a_retired_sku_is_replaced_only_on_request(
    argotune: Argotune, write: Write, cluster: Cluster
) -> None:
    text = QUICK_START.replace("ACR_REPO_HERE", "repo").replace("IMAGE_NAME_HERE", "image")
    text = text.replace("ACR_REGISTRY_SECRET_HERE", "my-secret")
    answer = submit(argotune, write, text)
    assert answer.code == 2
    assert answer.errors == [
        "resource.instanceType: Standard_NC6s_v3 cannot be used: retired by the cloud on"
        " 2025-09-30; the nearest that fits is Standard_NC24ads_A100_v4 (A100 80GB, 80 GiB, 3.673"
        " USD/h in eastus); take it with --substitute or --instance-type Standard_NC24ads_A100_v4"
    ]
    assert all(request.startswith("GET ") for request in cluster.requests)
    answer = submit(argotune, write, text, "--substitute")
    assert answer.code == 0
    assert "3.673 USD/h in eastus); taken instead" in answer.err


def test_what_is_of_this_machine_is_refused(
    argotune: Argotune, write: Write, cluster: Cluster
) -> None:
    text = changed(
        {
            "tuning/output": {"image": "oci:/data/out"},
            "tuning/input/adapter": "oci:/data/old:live",
            "metadata/annotations": {
                "argotune.dev/provider": "local",
                "argotune.dev/deploy-to": "process",
                "argotune.dev/service-port": "5005",
            },
        }
    )
    answer = submit(argotune, write, text)
    assert answer.code == 2
    assert answer.errors == [
        "tuning.output.image: 'oci:/data/out' is a directory of this machine, and the pods run"
        " elsewhere; name an image of a registry, or use `argotune run`",
        "tuning.input.adapter (start-from): 'oci:/data/old:live' is a directory of this machine,"
        " and the pods run elsewhere; name an image of a registry, or use `argotune run`",
        "metadata.annotations.argotune.dev/provider: 'local' is this machine; accepted on a"
        " cluster are existing, aks and karpenter",
        "metadata.annotations.argotune.dev/deploy-to: 'process' is this machine; accepted on a"
        " cluster are kubernetes and none",
        "metadata.annotations.argotune.dev/service-port: 5005 is for a server on this machine; a"
        " Service has port 80",
    ]
    assert cluster.requests == []


def test_data_of_this_machine_are_refused_with_all_that_pods_do_not_reach(
    argotune: Argotune, write: Write, cluster: Cluster
) -> None:
    url = "http://127.0.0.1:8000/rows.jsonl"
    text = changed({"tuning/input": {"urls": [url]}, "tuning/output": {"image": "oci:/data/out"}})
    answer = submit(argotune, write, text)
    assert answer.code == 2
    assert answer.errors == [
        f"tuning.input.urls[0]: {url!r}: this machine, which `argotune run --allow-loopback`"
        " reaches and a cluster's pods do not; put it where they reach it, as https, hf, s3, gs,"
        " abfs or oci URL, or on a claim that tuning.input.volumeSource names",
        "tuning.output.image: 'oci:/data/out' is a directory of this machine, and the pods run"
        " elsewhere; name an image of a registry, or use `argotune run`",
    ]
    (problem,) = submit(argotune, write, WORKSPACE, "--url", url).errors
    assert problem.startswith(f"--url[0]: {url!r}: this machine, which `argotune run")
    assert cluster.requests == []


RIGHT = "ask for that right; the Role argotune-user of `argotune install` has what is needed"


@pytest.mark.parametrize(
    ("status", "message", "advice"),
    [
        (401, "Unauthorized", "; log in again"),
        (403, 'User "me" cannot create resource "workflows"', f"; {RIGHT}"),
        (404, 'namespaces "team-a" not found', "; `argotune install --create-namespace` makes it"),
        (
            404,
            "the server could not find the requested resource",
            "; is Argo Workflows installed in this cluster?",
        ),
        (422, "spec.entrypoint: Invalid value", ""),
        (500, "etcdserver: request timed out", ""),
    ],
)
def test_what_the_cluster_refuses_is_told_in_one_line(
    argotune: Argotune, write: Write, cluster: Cluster, status: int, message: str, advice: str
) -> None:
    cluster.faults.append(Fault("POST", "/workflows", status, message=message))
    answer = submit(argotune, write)
    assert answer.code == 3
    (error,) = answer.errors
    what, _, said = error.partition(": ")
    assert what.startswith("Workflow my-model-")
    assert said == f"the cluster answers {status}: {message}{advice}"


def test_a_config_map_that_may_not_be_read(
    argotune: Argotune, write: Write, cluster: Cluster
) -> None:
    cluster.faults.append(Fault("GET", "/configmaps/my-config", 403, message="forbidden"))
    answer = submit(argotune, write, changed({"tuning/config": "my-config"}))
    assert answer.code == 3
    assert answer.errors == ["ConfigMap my-config: the cluster answers 403: forbidden; " + RIGHT]


def test_no_server_at_all(
    argotune: Argotune, write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Port 9, discard: nothing listens there.
    use_kubeconfig(monkeypatch, tmp_path, "http://127.0.0.1:9")
    answer = submit(argotune, write)
    assert answer.code == 3
    assert answer.errors == [
        "cluster http://127.0.0.1:9 does not answer: Failed to establish a new connection:"
        " [Errno 111] Connection refused"
    ]


def test_a_context_that_is_not_there(argotune: Argotune, write: Write, cluster: Cluster) -> None:
    answer = submit(argotune, write, WORKSPACE, "--context", "third")
    assert answer.code == 3
    assert len(answer.errors) == 1
    assert "Expected object with name third" in answer.errors[0]


@pytest.mark.parametrize("content", [b"", b"a: [", b"\x7fELF\xff", b"apiVersion: v1\n", None])
def test_a_kubeconfig_that_is_none(
    argotune: Argotune,
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    content: bytes | None,
) -> None:
    path = tmp_path / "kubeconfig"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv("KUBECONFIG", str(path))
    answer = submit(argotune, write)
    assert answer.code == 3
    assert len(answer.errors) == 1
    assert answer.errors[0].startswith("no cluster: ")
    assert answer.errors[0].endswith("; set KUBECONFIG or make ~/.kube/config")


def test_a_preset_of_the_installation_goes_with_the_run(
    argotune: Argotune, write: Write, cluster: Cluster
) -> None:
    text = (
        (PRESETS_DIR / "models" / "phi-4.yaml").read_text().replace("name: phi-4\n", "name: mine\n")
    )
    presets = {
        "kind": "ConfigMap",
        "metadata": {"name": "argotune-presets", "namespace": "team-a"},
        "data": {"mine.yaml": text.replace("aliases:", "# aliases:")},
    }
    cluster.put(presets)
    answer = submit(argotune, write, changed({"tuning/preset": {"name": "mine"}}))
    assert answer.code == 0, answer.err
    (created,) = cluster.of_kind("Workflow")
    arguments = arguments_of(created)
    assert arguments["preset"] == "mine"
    assert json.loads(arguments["own-preset"])["repository"] == "microsoft/phi-4"


def test_a_model_of_this_machine_is_refused_for_pods(
    argotune: Argotune, write: Write, cluster: Cluster, tmp_path: Path
) -> None:
    directory = tmp_path / "model"
    directory.mkdir()
    for name, content in model_files().items():
        (directory / name).write_bytes(content)
    text = changed({"tuning/preset": {"name": f"dir:{directory}"}})
    answer = submit(argotune, write, text)
    assert answer.code == 2
    assert f"'dir:{directory}' is a directory of this machine" in answer.err
    assert cluster.of_kind("Workflow") == []
