"""argotune install, against an API server on loopback that knows server-side apply."""

from __future__ import annotations

import copy
import json
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from argotune.presets.loader import PRESETS_DIR
from argotune.steps.common.yaml_limits import SafeLoader
from argotune.steps.provenance.keys import line_of
from argotune.workflows.cli.installation.objects import MANAGER
from argotune.workflows.workspace.manifests import installed_values
from tests.fakes.apply import ApiServer, Refusal
from tests.fakes.signing import new_keys
from tests.workflows.cli.command import Answer, Argotune
from tests.workflows.cli.conftest import INSTALL, REGISTRY, Write

MADE = [
    "serviceaccount/argotune-step",
    "serviceaccount/argotune-provision",
    "serviceaccount/argotune-release",
    "serviceaccount/argotune-deploy",
    "serviceaccount/argotune-dataset",
    "secret/argotune-step.service-account-token",
    "secret/argotune-provision.service-account-token",
    "secret/argotune-release.service-account-token",
    "secret/argotune-deploy.service-account-token",
    "secret/argotune-dataset.service-account-token",
    "role.rbac.authorization.k8s.io/argotune-executor",
    "rolebinding.rbac.authorization.k8s.io/argotune-executor",
    "role.rbac.authorization.k8s.io/argotune-deploy",
    "rolebinding.rbac.authorization.k8s.io/argotune-deploy",
    "role.rbac.authorization.k8s.io/argotune-provision",
    "rolebinding.rbac.authorization.k8s.io/argotune-provision",
    "role.rbac.authorization.k8s.io/argotune-release",
    "rolebinding.rbac.authorization.k8s.io/argotune-release",
    "role.rbac.authorization.k8s.io/argotune-user",
    "clusterrole.rbac.authorization.k8s.io/argotune-provision-team-a",
    "clusterrolebinding.rbac.authorization.k8s.io/argotune-provision-team-a",
    "clusterrole.rbac.authorization.k8s.io/argotune-release-team-a",
    "clusterrolebinding.rbac.authorization.k8s.io/argotune-release-team-a",
    "validatingadmissionpolicy.admissionregistration.k8s.io/argotune-runs-team-a",
    "validatingadmissionpolicybinding.admissionregistration.k8s.io/argotune-runs-team-a",
    "validatingadmissionpolicy.admissionregistration.k8s.io/argotune-users-team-a",
    "validatingadmissionpolicybinding.admissionregistration.k8s.io/argotune-users-team-a",
    "networkpolicy.networking.k8s.io/argotune-runs",
    "networkpolicy.networking.k8s.io/argotune-scorers",
    "persistentvolumeclaim/argotune-models",
    "workflowtemplate.argoproj.io/finetune",
    "workflowtemplate.argoproj.io/evaluate",
    "workflowtemplate.argoproj.io/serve",
    "workflowtemplate.argoproj.io/rollback",
    "workflowtemplate.argoproj.io/gc",
    "cronworkflow.argoproj.io/gc",
]
CHECK = "check it: argotune doctor -n team-a"
CORE = "/api/v1/namespaces/team-a"
ARGO = "/apis/argoproj.io/v1alpha1/namespaces/team-a"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
CLIENT_ID = "66666666-7777-8888-9999-000000000000"
CLUSTER_ID = (
    "/subscriptions/26fe00f8-9173-4872-9134-bb1d2e00343a/resourceGroups/team/providers/"
    "Microsoft.ContainerService/managedClusters/prod"
)
NO_CA = "-----BEGIN CERTIFICATE-----\nbm8=\n-----END CERTIFICATE-----\n"


def install(argotune: Argotune, *flags: str) -> Answer:
    return argotune(*INSTALL, *flags)


def outcomes(answer: Answer) -> dict[str, str]:
    """Object -> what was done with it."""
    lines = [line for line in answer.out.splitlines() if "/" in line.split()[0]]
    return {line.partition(" ")[0]: line.partition(" ")[2] for line in lines}


def template_of(api: ApiServer) -> dict[str, Any]:
    spec: dict[str, Any] = api.named("workflowtemplates/finetune")["spec"]
    return spec


def decided(api: ApiServer, template: str = "finetune") -> dict[str, str]:
    """What the template says that the installer decided."""
    return installed_values(api.named(f"workflowtemplates/{template}"))


def allowed_hosts(api: ApiServer) -> list[str]:
    (dag,) = (item["dag"] for item in template_of(api)["templates"] if item["name"] == "finetune")
    (dataset,) = (task for task in dag["tasks"] if task["name"] == "dataset")
    given = {item["name"]: item["value"] for item in dataset["arguments"]["parameters"]}
    hosts: list[str] = json.loads(given["allowed-hosts"])
    assert json.dumps(hosts) == decided(api)["allowed-hosts"]
    return hosts


def test_everything_is_made_in_the_order_in_which_it_is_needed(
    argotune: Argotune, api: ApiServer
) -> None:
    answer = install(argotune)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.splitlines() == [*(f"{name} created" for name in MADE), CHECK]
    placed = [item for path, item in api.objects.items() if "/namespaces/team-a/" in path]
    assert len(placed) == len([name for name in MADE if not name.endswith("-team-a")])
    assert {item["metadata"]["namespace"] for item in placed} == {"team-a"}


@pytest.mark.usefixtures("installed")
def test_a_second_time_nothing_changes(argotune: Argotune, api: ApiServer) -> None:
    before = copy.deepcopy(api.objects)
    answer = argotune("install")
    assert (answer.code, answer.err) == (0, "")
    assert outcomes(answer) == dict.fromkeys(MADE, "unchanged")
    assert api.objects == before


def test_a_dry_run_keeps_nothing(argotune: Argotune, api: ApiServer) -> None:
    answer = install(argotune, "--dry-run")
    assert answer.code == 0
    assert answer.out.splitlines() == [f"{name} created (dry run)" for name in MADE]
    assert api.names() == ["namespaces/team-a"]


@pytest.mark.usefixtures("installed")
def test_a_change_is_told_apart(argotune: Argotune, api: ApiServer) -> None:
    before = copy.deepcopy(api.objects)
    tried = argotune("install", "--volume-size", "7Gi", "--dry-run")
    assert [k for k, v in outcomes(tried).items() if v != "unchanged (dry run)"] == [
        "workflowtemplate.argoproj.io/finetune",
        "workflowtemplate.argoproj.io/evaluate",
        "workflowtemplate.argoproj.io/serve",
    ]
    assert api.objects == before
    done = argotune("install", "--volume-size", "7Gi")
    assert outcomes(done)["workflowtemplate.argoproj.io/finetune"] == "configured"
    (claim,) = template_of(api)["volumeClaimTemplates"]
    assert claim["spec"]["resources"]["requests"]["storage"] == "7Gi"


def test_options_reach_the_objects(argotune: Argotune, api: ApiServer, tmp_path: Path) -> None:
    answer = install(
        argotune,
        "--images-tag=1.2.3",
        "--volume-size=50Gi",
        "--storage-class=fast",
        "--models-size=1Ti",
        "--models-storage-class=files",
        "--models-access-mode=ReadWriteOnce",
        "--allow-host=data.team-a.svc:8080",
        "--allow-host=mirror.example.org",
    )
    assert answer.code == 0, answer.err
    assert decided(api)["images-registry"] == REGISTRY
    assert decided(api)["images-tag"] == "1.2.3"
    assert allowed_hosts(api) == ["data.team-a.svc:8080", "mirror.example.org"]
    (run,) = template_of(api)["volumeClaimTemplates"]
    assert run["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "50Gi"}},
        "storageClassName": "fast",
    }
    assert api.named("persistentvolumeclaims/argotune-models")["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Ti"}},
        "storageClassName": "files",
    }


def test_what_is_not_said_stays(argotune: Argotune, api: ApiServer) -> None:
    flags = ["--volume-size=50Gi", "--storage-class=fast", "--allow-host=a.example"]
    install(argotune, *flags, "--images-tag=1.2.3", "--models-size=1Ti")
    answer = argotune("install")
    assert answer.code == 0
    assert decided(api)["images-tag"] == "1.2.3"
    assert decided(api)["images-registry"] == REGISTRY
    assert allowed_hosts(api) == ["a.example"]
    (run,) = template_of(api)["volumeClaimTemplates"]
    assert run["spec"]["resources"]["requests"]["storage"] == "50Gi"
    assert run["spec"]["storageClassName"] == "fast"


def changes(answer: Answer) -> list[str]:
    return [line for line in answer.out.splitlines() if " -> " in line]


def test_the_first_install_changes_no_tag(argotune: Argotune, api: ApiServer) -> None:
    answer = argotune("install", "--images-registry=registry.test/argotune", "--images-tag=walk")
    assert answer.code == 0
    assert changes(answer) == []


def test_a_tag_of_ones_own_stays_and_that_of_the_version_follows_it(
    argotune: Argotune, api: ApiServer
) -> None:
    ours = version("argotune")
    install(argotune, "--images-tag=walk")
    assert changes(argotune("install")) == []
    labels = api.named("workflowtemplates/finetune")["metadata"]["labels"]
    labels["app.kubernetes.io/version"] = "0.0.9"
    answer = argotune("install")
    assert answer.err == (
        f"warning: images-tag walk stays, and the templates become those of argotune {ours}: push"
        f" its images under that tag, or take --images-tag {ours}\n"
    )
    assert changes(argotune("install", f"--images-tag={ours}")) == [f"images-tag: walk -> {ours}"]
    argotune("install", "--images-tag=0.0.9")
    labels = api.named("workflowtemplates/finetune")["metadata"]["labels"]
    labels["app.kubernetes.io/version"] = "0.0.9"
    answer = argotune("install")
    assert (answer.err, changes(answer)) == ("", [f"images-tag: 0.0.9 -> {ours}"])
    assert decided(api)["images-tag"] == ours


def test_what_changes_of_the_settings_is_printed(argotune: Argotune, api: ApiServer) -> None:
    install(argotune, "--storage-class=fast", "--models-size=1Gi", "--allow-claim=data")
    emptied = ("--storage-class=", "--models-size=2Gi", "--no-allow-claims")
    answer = argotune("install", *emptied, "--allow-output-claim=out-*")
    assert changes(answer) == [
        "allowed-claims: data -> none",
        "allowed-output-claims: none -> out-*",
        "storage-class: fast -> none",
        "models-size: 1Gi -> 2Gi",
    ]


def test_what_is_allowed_is_added_to_what_is_installed(argotune: Argotune, api: ApiServer) -> None:
    install(argotune, "--allow-host=a", "--allow-secret=b")
    answer = argotune("install", "--allow-host=c:80", "--allow-host=a", "--allow-secret=d")
    own = (
        "argotune-push, argotune-model-access, argotune-data, argotune-signing, argotune-notify,"
        " argotune-api-keys"
    )
    assert changes(answer) == [
        "allowed-hosts: a -> a, c:80",
        f"allowed-secrets: {own}, b -> {own}, b, d",
    ]
    answer = argotune("install", "--no-allow-hosts", "--allow-host=e")
    assert changes(answer) == ["allowed-hosts: a, c:80 -> e"]
    assert allowed_hosts(api) == ["e"]


def test_an_empty_tag_is_refused(argotune: Argotune, api: ApiServer) -> None:
    answer = argotune("install", "--images-tag=")
    assert answer.code == 2
    assert answer.errors[0].startswith("--images-tag '': ")


def test_what_nodes_of_clouds_need_is_said_once(argotune: Argotune, api: ApiServer) -> None:
    flags = {
        "aks-cluster-id": CLUSTER_ID,
        "karpenter-node-class": "AKSNodeClass/gpu",
        "azure-client-id": CLIENT_ID,
    }
    assert install(argotune, *(f"--{name}={value}" for name, value in flags.items())).code == 0
    assert argotune("install").code == 0
    assert decided(api)["aks-cluster-id"] == CLUSTER_ID
    assert decided(api)["karpenter-node-class"] == "AKSNodeClass/gpu"
    identities = {
        account: api.named(f"serviceaccounts/argotune-{account}")["metadata"].get("annotations")
        for account in ("provision", "release", "deploy", "step")
    }
    identity = {"azure.workload.identity/client-id": CLIENT_ID}
    assert identities == {
        "provision": identity,
        "release": identity,
        "deploy": None,
        "step": None,
    }
    assert argotune("install", *(f"--{name}=" for name in flags)).code == 0
    assert decided(api)["aks-cluster-id"] == decided(api)["karpenter-node-class"] == ""
    account = api.named("serviceaccounts/argotune-provision")
    assert not account["metadata"].get("annotations")


def test_the_identity_that_reads_the_data_stays(argotune: Argotune, api: ApiServer) -> None:
    def annotations(account: str) -> dict[str, str]:
        metadata = api.named(f"serviceaccounts/argotune-{account}")["metadata"]
        return dict(metadata.get("annotations") or {})

    role = "arn:aws:iam::123456789012:role/team/reads-data"
    clouds = {
        "azure.workload.identity/client-id": CLIENT_ID,
        "eks.amazonaws.com/role-arn": role,
    }
    install(argotune, f"--data-aws-role-arn={role}", f"--data-azure-client-id={CLIENT_ID}")
    assert annotations("dataset") == clouds
    assert annotations("provision") == annotations("step") == {}
    answer = argotune("install", "--volume-size", "50Gi")
    assert (answer.code, answer.err) == (0, "")
    assert annotations("dataset") == clouds
    assert argotune("install", "--data-azure-client-id=").code == 0
    assert annotations("dataset") == {"eks.amazonaws.com/role-arn": role}
    answer = argotune("install", "--data-aws-role-arn=reads-data")
    assert answer.errors == [
        "--data-aws-role-arn 'reads-data': accepted is arn:aws:iam::ACCOUNT:role/NAME"
    ]


@pytest.mark.usefixtures("installed")
def test_an_identity_that_kubectl_gave_stays(argotune: Argotune, api: ApiServer) -> None:
    role = {"eks.amazonaws.com/role-arn": "arn:aws:iam::123456789012:role/reads-data"}
    api.named("serviceaccounts/argotune-dataset")["metadata"]["annotations"] = dict(role)
    assert argotune("install", "--volume-size", "50Gi").code == 0
    assert api.named("serviceaccounts/argotune-dataset")["metadata"]["annotations"] == role


@pytest.mark.usefixtures("installed")
def test_nodes_that_runs_left_are_looked_for_where_nodes_are_made(
    argotune: Argotune, api: ApiServer
) -> None:
    def suspended() -> bool:
        return bool(api.named("cronworkflows/gc")["spec"]["suspend"])

    assert suspended()
    argotune("install", f"--aks-cluster-id={CLUSTER_ID}")
    assert not suspended()
    assert decided(api, "gc")["aks-cluster-id"] == CLUSTER_ID
    assert decided(api, "gc")["images-registry"] == REGISTRY
    argotune("install", "--aks-cluster-id=", "--karpenter-node-class=AKSNodeClass/gpu")
    assert not suspended()
    argotune("install", "--karpenter-node-class=")
    assert suspended()


def test_what_the_installer_decides_is_text_and_no_parameter(
    argotune: Argotune, api: ApiServer
) -> None:
    flags = (f"--aks-cluster-id={CLUSTER_ID}", "--model-cache-claim=weights")
    flags = (*flags, "--allow-secret=team-push", "--allow-secret=urls-*")
    install(argotune, *flags, "--allow-priority-class=batch-low")
    for name in ("finetune", "gc"):
        template = api.named(f"workflowtemplates/{name}")
        parameters = {item["name"] for item in template["spec"]["arguments"]["parameters"]}
        assert parameters & installed_values(template).keys() == set()
        text = json.dumps(template["spec"])
        assert "{{install." not in text
        assert f"{REGISTRY}/argotune-" in text
        assert CLUSTER_ID in text
    volumes = {volume["name"]: volume for volume in template_of(api)["volumes"]}
    assert volumes["models"]["persistentVolumeClaim"]["claimName"] == "weights"
    assert not any("argotune-models" in name for name in api.names())
    secret = volumes["push-secret"]["secret"]["secretName"]
    own = (
        "argotune-push|argotune-model-access|argotune-data|argotune-signing|argotune-notify"
        "|argotune-api-keys"
    )
    pattern = f"^({own}|team-push|urls-[a-z0-9.-]*)$"
    assert f"matches '{pattern}'" in secret
    policy = api.named("validatingadmissionpolicies/argotune-runs-team-a")
    assert pattern in json.dumps(policy)
    assert "p.value.matches('^(batch-low)$')" in json.dumps(policy)
    argotune("install", "--no-allow-secrets", "--no-allow-priority-classes")
    assert json.loads(decided(api)["allowed-secrets"]) == [
        "argotune-push",
        "argotune-model-access",
        "argotune-data",
        "argotune-signing",
        "argotune-notify",
        "argotune-api-keys",
    ]
    assert decided(api)["allowed-priority-classes"] == "[]"


def test_limits_are_set_on_every_container_and_kept(argotune: Argotune, api: ApiServer) -> None:
    install(argotune, "--limits=true")
    argotune("install")
    steps = [
        item
        for name in ("finetune", "gc")
        for item in api.named(f"workflowtemplates/{name}")["spec"]["templates"]
        if "container" in item
    ]
    on_gpus = [item for item in steps if item["name"] in ("tune", "answer", "evaluate")]
    others = [item["container"]["resources"]["limits"] for item in steps if item not in on_gpus]
    assert {limits["cpu"] for limits in others} == {"2"}
    assert all(limits["memory"] for limits in others)
    assert len(on_gpus) == 3
    for item in on_gpus:
        asked = re.findall(r'"cpu": (\{\{.*?\}\})', item["podSpecPatch"])
        assert len(asked) == 2
        assert asked[0] == asked[1]
    argotune("install", "--limits=false")
    assert '"limits": {"memory"' in json.dumps(template_of(api)).replace('\\"', '"')
    answer = argotune("install", "--limits=often")
    assert (answer.code, answer.errors) == (2, ["--limits 'often': accepted is false or true"])


@pytest.mark.usefixtures("installed")
def test_the_admission_policies_are_in_force_in_the_namespace_alone(
    argotune: Argotune, api: ApiServer
) -> None:
    for name in ("argotune-runs-team-a", "argotune-users-team-a"):
        binding = api.named(f"validatingadmissionpolicybindings/{name}")["spec"]
        assert binding["policyName"] == name
        assert binding["validationActions"] == ["Deny"]
        assert binding["matchResources"]["namespaceSelector"] == {
            "matchLabels": {"kubernetes.io/metadata.name": "team-a"}
        }


def test_what_is_wrong_of_nodes_is_told_at_once(argotune: Argotune, api: ApiServer) -> None:
    flags = ("--azure-client-id=me", "--aks-cluster-id=prod", "--karpenter-node-class=gpu")
    answer = install(argotune, *flags)
    assert answer.code == 2
    assert [error.split()[0].rstrip(":") for error in answer.errors] == [
        "--azure-client-id",
        "--aks-cluster-id",
        "--karpenter-node-class",
    ]
    assert api.requests == []


def test_hosts_and_storage_class_can_be_taken_back(argotune: Argotune, api: ApiServer) -> None:
    install(argotune, "--allow-host=a.example", "--storage-class=fast")
    answer = argotune("install", "--no-allow-hosts", "--storage-class=")
    assert answer.code == 0
    assert allowed_hosts(api) == []
    (run,) = template_of(api)["volumeClaimTemplates"]
    assert "storageClassName" not in run["spec"]


def test_the_registry_has_to_be_named_once(argotune: Argotune, api: ApiServer) -> None:
    answer = argotune("install")
    assert answer.code == 2
    assert answer.errors == [
        "--images-registry: missing; name the registry that holds the step images, such as"
        " registry.example.org/argotune (`make images` builds them)"
    ]
    assert api.names() == ["namespaces/team-a"]


def test_no_namespace_is_made_for_an_installation_that_lacks_the_registry(
    argotune: Argotune, api: ApiServer
) -> None:
    answer = argotune("install", "-n", "new", "--create-namespace")
    assert answer.code == 2
    assert answer.errors[0].startswith("--images-registry: missing; ")
    assert api.names() == ["namespaces/team-a"]


def test_a_quota_that_the_models_exceed_is_told_with_the_flag(
    argotune: Argotune, api: ApiServer
) -> None:
    said = 'persistentvolumeclaims "argotune-models" is forbidden: exceeded quota: small'
    api.refusals.append(Refusal("PATCH", "/persistentvolumeclaims/", 403, said))
    assert install(argotune).errors == [
        f"persistentvolumeclaim/argotune-models: {said}; --models-size takes less, or let an"
        " administrator raise that ResourceQuota"
    ]


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("status", "said"),
    [
        (422, "spec.resources.requests.storage: Forbidden: field can not be less than status.cap"),
        (403, "the storageclass that provisions the pvc must support resize"),
    ],
)
def test_a_claim_of_the_models_that_cannot_change_is_told_with_what_to_do(
    argotune: Argotune, api: ApiServer, status: int, said: str
) -> None:
    api.refusals.append(Refusal("PATCH", "/persistentvolumeclaims/", status, said))
    (problem,) = install(argotune, "--models-size=1Gi").errors
    assert problem.startswith(
        f"persistentvolumeclaim/argotune-models: {said}; a claim that is there can only grow, "
    )
    assert "by `kubectl delete pvc argotune-models` in the namespace" in problem


def test_all_that_is_wrong_with_the_options_is_told_at_once(
    argotune: Argotune, api: ApiServer, write: Write
) -> None:
    answer = argotune(
        "install",
        "--images-registry=https://r.example",
        "--images-tag=latest",
        "--volume-size=many",
        "--models-size=-1Gi",
        "--storage-class=Fast!",
        "--models-access-mode=ReadWrite",
        "--allow-host=https://a.example/x",
        "--allow-host={{workflow.name}}",
        "--allow-secret=Team",
        "--allow-secret=*",
        "--allow-priority-class=Low",
        "--no-allow-priority-classes",
        "--no-allow-secrets",
        "--no-allow-hosts",
        f"--ca-file={write('ca.crt', NO_CA)}",
    )
    assert answer.code == 2
    assert answer.errors == [
        "--images-registry 'https://r.example': 'https:' is not a registry's HOST or HOST:PORT",
        "--images-tag 'latest': name a version; runs would change under way",
        "--volume-size 'many': accepted is a quantity such as 100Gi",
        "--models-size '-1Gi': accepted is a quantity such as 100Gi",
        "--storage-class 'Fast!': accepted is the name of a storage class",
        "--models-access-mode 'ReadWrite': accepted is ReadWriteMany or ReadWriteOnce",
        "--allow-host 'https://a.example/x': accepted is HOST or HOST:PORT, in lower case",
        "--allow-host '{{workflow.name}}': accepted is HOST or HOST:PORT, in lower case",
        *(
            f"--allow-secret {name!r}: accepted is the name of a Secret, or the beginning of names"
            " followed by *"
            for name in ("Team", "*")
        ),
        "--allow-priority-class 'Low': accepted is the name of a PriorityClass, or the beginning of"
        " names followed by *",
        "--ca-file: accepted are certificates in PEM, -----BEGIN CERTIFICATE-----",
    ]
    assert api.requests == []


def test_a_missing_ca_file_is_told_with_the_rest(argotune: Argotune, tmp_path: Path) -> None:
    missing = tmp_path / "ca.crt"
    answer = argotune("install", "--ca-file", missing, "--volume-size", "many")
    assert answer.code == 2
    assert answer.errors == [
        f"--ca-file: {missing}: No such file or directory",
        "--volume-size 'many': accepted is a quantity such as 100Gi",
    ]


def test_a_namespace_that_is_missing_is_made_on_request_only(
    argotune: Argotune, api: ApiServer
) -> None:
    answer = install(argotune, "-n", "new")
    assert answer.code == 3
    assert answer.errors == ["namespace new: there is none; --create-namespace makes it"]
    assert api.names() == ["namespaces/team-a"]
    answer = install(argotune, "-n", "new", "--create-namespace")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.splitlines()[0] == "namespace/new created"
    assert api.named("namespaces/new")["metadata"]["labels"] == {
        "pod-security.kubernetes.io/enforce": "restricted"
    }


def test_a_dry_run_before_the_namespace_is_there_says_what_it_could_not_try(
    argotune: Argotune, api: ApiServer
) -> None:
    answer = install(argotune, "-n", "new", "--create-namespace", "--dry-run")
    assert answer.code == 0
    assert answer.out.splitlines() == [
        "namespace/new created (dry run)",
        *(f"{name.replace('team-a', 'new')} created (dry run)" for name in MADE),
    ]
    assert answer.err == (
        "warning: the namespace is not there yet: what goes into it was not tried on the server\n"
    )
    assert api.names() == ["namespaces/team-a"]


@pytest.mark.parametrize(
    ("labels", "level"),
    [({}, "no"), ({"pod-security.kubernetes.io/enforce": "baseline"}, "baseline")],
)
def test_a_namespace_that_permits_more_than_restricted_is_a_warning(
    argotune: Argotune, api: ApiServer, labels: dict[str, str], level: str
) -> None:
    api.add_namespace("lax", **labels)
    answer = install(argotune, "-n", "lax")
    assert answer.code == 0
    assert answer.err == (
        f"warning: namespace lax enforces {level} Pod Security Standard; all that argotune runs"
        " satisfies restricted: kubectl label --overwrite namespace lax"
        " pod-security.kubernetes.io/enforce=restricted\n"
    )


def test_who_may_not_see_the_namespace_can_still_install(
    argotune: Argotune, api: ApiServer
) -> None:
    api.refusals.append(Refusal("GET", r"/namespaces/team-a$", 403, "no namespaces for you"))
    answer = install(argotune)
    assert answer.code == 0
    assert answer.err == (
        "warning: cannot see whether the namespace enforces `restricted`: namespace/team-a: no"
        " namespaces for you; it takes an administrator of the namespace\n"
    )


@pytest.mark.usefixtures("installed")
def test_what_others_have_changed_is_not_overwritten_unasked(
    argotune: Argotune, api: ApiServer
) -> None:
    api.put(f"{CORE}/serviceaccounts/argotune-step", {"automountServiceAccountToken": True}, "ann")
    api.put(f"{ARGO}/workflowtemplates/finetune", {"spec": {"onExit": "mine"}}, "bob")
    before = copy.deepcopy(api.objects)
    answer = argotune("install", "--volume-size", "7Gi")
    assert answer.code == 3
    assert answer.errors == [
        'serviceaccount/argotune-step: .automountServiceAccountToken (conflict with "ann" using'
        " v1); --force-conflicts takes these fields over",
        'workflowtemplate.argoproj.io/finetune: .spec.onExit (conflict with "bob" using v1);'
        " --force-conflicts takes these fields over",
    ]
    assert api.objects == before
    assert argotune("install", "--force-conflicts").code == 0
    assert api.named("serviceaccounts/argotune-step")["automountServiceAccountToken"] is False


@pytest.mark.usefixtures("installed")
def test_a_schedule_that_somebody_resumed_stays(argotune: Argotune, api: ApiServer) -> None:
    resumed = {"kind": "CronWorkflow", "spec": {"suspend": False}}
    api.put(f"{ARGO}/cronworkflows/gc", resumed, "kubectl-edit")
    answer = argotune("install")
    assert answer.code == 0
    assert outcomes(answer)["cronworkflow.argoproj.io/gc"] == (
        "unchanged, for kubectl-edit changed it"
    )
    assert api.named("cronworkflows/gc")["spec"]["suspend"] is False
    assert argotune("install", "--force-conflicts").code == 0
    assert api.named("cronworkflows/gc")["spec"]["suspend"] is True


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("is_filled_in", [False, True])
def test_the_sample_schedule_of_an_older_version_goes_unless_somebody_filled_it_in(
    argotune: Argotune, api: ApiServer, is_filled_in: bool
) -> None:
    labels = {"app.kubernetes.io/managed-by": MANAGER}
    sample = {"kind": "CronWorkflow", "metadata": {"labels": labels}, "spec": {"suspend": True}}
    api.put(f"{ARGO}/cronworkflows/retrain", sample, MANAGER)
    if is_filled_in:
        api.put(f"{ARGO}/cronworkflows/retrain", {"spec": {"suspend": False}}, "kubectl-edit")
    answer = argotune("install")
    assert answer.code == 0
    assert outcomes(answer)["cronworkflow.argoproj.io/retrain"] == (
        "stays, for kubectl-edit changed it" if is_filled_in else "pruned"
    )
    assert ("cronworkflows/retrain" in api.names()) is is_filled_in


def test_the_accounts_pull_the_step_images_with_the_named_secret(
    argotune: Argotune, api: ApiServer
) -> None:
    install(argotune, "--image-pull-secret", "images")
    assert argotune("install").code == 0
    names = ("step", "provision", "release", "deploy")
    accounts = [api.named(f"serviceaccounts/argotune-{name}") for name in names]
    assert [account["imagePullSecrets"] for account in accounts] == 4 * [[{"name": "images"}]]
    template = api.named("workflowtemplates/finetune")
    assert installed_values(template)["image-pull-secret"] == "images"
    (dag,) = [each["dag"] for each in template["spec"]["templates"] if each["name"] == "finetune"]
    (deploy,) = [task for task in dag["tasks"] if task["name"] == "deploy"]
    given = deploy["arguments"]["parameters"]
    assert {"name": "image-pull-secret", "value": "images"} in given
    assert argotune("install", "--image-pull-secret", "").code == 0
    assert "imagePullSecrets" not in api.named("serviceaccounts/argotune-step")
    answer = argotune("install", "--image-pull-secret", "No Name")
    assert (answer.code, answer.errors) == (
        2,
        ["--image-pull-secret 'No Name': accepted is the name of a Secret"],
    )


def test_a_claim_of_somebody_else_is_used_as_it_is(argotune: Argotune, api: ApiServer) -> None:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "5Gi"}}}
    claim = {"kind": "PersistentVolumeClaim", "spec": spec}
    api.put(f"{CORE}/persistentvolumeclaims/argotune-models", claim)
    answer = install(argotune, "--models-size", "9Gi")
    assert answer.code == 0
    assert outcomes(answer)["persistentvolumeclaim/argotune-models"] == (
        "unchanged, for it is not of argotune install"
    )
    assert api.named("persistentvolumeclaims/argotune-models")["spec"] == spec


def test_a_claim_is_left_alone_until_it_is_spoken_of(argotune: Argotune, api: ApiServer) -> None:
    install(argotune, "--models-size=1Gi")
    api.requests.clear()
    assert argotune("install", "--volume-size=2Gi").code == 0
    claim = f"{CORE}/persistentvolumeclaims/argotune-models"
    assert [request for request in api.requests if request == f"PATCH {claim}"] == []
    answer = argotune("install", "--models-size=2Gi")
    assert outcomes(answer)["persistentvolumeclaim/argotune-models"] == "configured"
    assert api.objects[claim]["spec"] == {
        "accessModes": ["ReadWriteMany"],
        "resources": {"requests": {"storage": "2Gi"}},
    }


@pytest.mark.usefixtures("installed")
def test_what_an_older_version_installed_goes(argotune: Argotune, api: ApiServer) -> None:
    ours = {"app.kubernetes.io/managed-by": "argotune-install"}
    old = {"metadata": {"labels": ours}}
    of_here = {"metadata": {"labels": {**ours, "argotune.dev/namespace": "team-a"}}}
    of_there = {"metadata": {"labels": {**ours, "argotune.dev/namespace": "team-b"}}}
    api.put(f"{ARGO}/workflowtemplates/old", old, "argotune-install")
    api.put(f"{ARGO}/workflowtemplates/a-copy", old, "kubectl")
    api.put(f"{RBAC}/clusterroles/old-here", of_here, "argotune-install")
    api.put(f"{RBAC}/clusterroles/old-there", of_there, "argotune-install")
    tried = outcomes(argotune("install", "--dry-run"))
    assert tried["workflowtemplate.argoproj.io/old"] == "pruned (dry run)"
    assert "workflowtemplates/old" in api.names()
    done = outcomes(argotune("install"))
    assert [name for name, outcome in done.items() if outcome == "pruned"] == [
        "clusterrole.rbac.authorization.k8s.io/old-here",
        "workflowtemplate.argoproj.io/old",
    ]
    assert {"workflowtemplates/a-copy", "clusterroles/old-there"} <= {*api.names()}
    assert {"workflowtemplates/old", "clusterroles/old-here"} & {*api.names()} == set()


def test_every_refusal_is_told_and_nothing_is_applied(argotune: Argotune, api: ApiServer) -> None:
    api.refusals += [
        Refusal("PATCH", "/clusterroles/.*dryRun=All", 403, "only\n admins"),
        Refusal("PATCH", "/roles/argotune-user.*dryRun=All", 403, "not you"),
        Refusal(
            "PATCH", "/workflowtemplates/finetune", 404, "page not found", kind_is_missing=True
        ),
    ]
    answer = install(argotune)
    assert answer.code == 3
    assert answer.errors == [
        "role.rbac.authorization.k8s.io/argotune-user: not you; it takes an administrator of the"
        " namespace",
        *(
            f"clusterrole.rbac.authorization.k8s.io/{account}-team-a: only admins; it takes an"
            " administrator of the cluster; --no-cluster-roles leaves it to one"
            for account in ("argotune-provision", "argotune-release")
        ),
        "workflowtemplate.argoproj.io/finetune: page not found; is Argo Workflows installed in"
        " this cluster?",
    ]
    assert api.names() == ["namespaces/team-a"]


def test_a_binding_is_not_tried_before_its_role_is_there(
    argotune: Argotune, api: ApiServer
) -> None:
    api.refusals.append(
        Refusal("PATCH", "/rolebindings/.*dryRun=All", 404, 'roles "argotune-deploy" not found')
    )
    answer = install(argotune)
    assert answer.code == 0
    assert {"rolebindings/argotune-executor", "rolebindings/argotune-deploy"} <= {*api.names()}


def test_an_administrator_of_the_namespace_alone_leaves_the_cluster_roles(
    argotune: Argotune, api: ApiServer
) -> None:
    api.refusals += [
        Refusal(method, path, 403, "no")
        for method in ("GET", "PATCH", "DELETE")
        for path in ("/clusterrole", "/validatingadmission")
    ]
    answer = install(argotune, "--no-cluster-roles")
    assert (answer.code, answer.err) == (0, "")
    assert [*outcomes(answer)] == [name for name in MADE if not name.endswith("-team-a")]


def test_the_authority_is_installed_and_stays(
    argotune: Argotune, api: ApiServer, authority: Path
) -> None:
    assert install(argotune, "--ca-file", str(authority)).code == 0
    assert api.named("configmaps/argotune-ca")["data"] == {"ca.crt": authority.read_text()}
    assert argotune("install").code == 0
    assert "configmaps/argotune-ca" in api.names()


def test_a_private_key_is_no_authority(argotune: Argotune, api: ApiServer, authority: Path) -> None:
    authority.write_text(f"{authority.read_text()}-----BEGIN PRIVATE KEY-----\n")
    answer = install(argotune, "--ca-file", str(authority))
    assert answer.code == 2
    assert answer.errors[0] == "--ca-file: it holds a private key; accepted are certificates only"


def test_the_yaml_is_what_is_installed(
    argotune: Argotune, api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ["-n", "team-a", "--allow-host=a.example", "--volume-size=7Gi"]
    assert install(argotune, *flags).code == 0
    monkeypatch.delenv("KUBECONFIG")
    requests = len(api.requests)
    answer = install(argotune, *flags, "--output", "yaml")
    assert (answer.code, answer.err) == (0, "")
    assert len(api.requests) == requests
    documents = list(yaml.load_all(answer.out, Loader=SafeLoader))
    assert len(documents) == len(MADE)
    installed = [
        {**item, "metadata": {k: v for k, v in item["metadata"].items() if k != "managedFields"}}
        for item in list(api.objects.values())[1:]
    ]
    assert documents == installed


def test_the_yaml_takes_a_namespace_and_a_registry(argotune: Argotune) -> None:
    assert install(argotune, "--output", "yaml").errors == [
        "--namespace: missing; --output looks at no cluster for the current one"
    ]
    answer = argotune("install", "-n", "team-a", "--output", "yaml")
    assert answer.code == 2
    assert answer.errors[0].startswith("--images-registry: missing; ")


def test_the_yaml_for_an_administrator_of_the_namespace(argotune: Argotune) -> None:
    answer = install(
        argotune, "-n", "new", "--create-namespace", "--no-cluster-roles", "--output", "yaml"
    )
    kinds = [item["kind"] for item in yaml.load_all(answer.out, Loader=SafeLoader)]
    assert kinds[0] == "Namespace"
    assert not {"ClusterRole", "ClusterRoleBinding"} & {*kinds}


def test_two_namespaces_share_nothing_of_the_cluster(argotune: Argotune, api: ApiServer) -> None:
    api.add_namespace("team-b", **{"pod-security.kubernetes.io/enforce": "restricted"})
    assert install(argotune).code == 0
    assert install(argotune, "-n", "team-b").code == 0
    bindings = {
        path.rpartition("/")[2]: item
        for path, item in api.objects.items()
        if "/clusterrolebindings/" in path
    }
    assert {
        name: (item["roleRef"]["name"], item["subjects"][0]["namespace"])
        for name, item in bindings.items()
    } == {
        "argotune-provision-team-a": ("argotune-provision-team-a", "team-a"),
        "argotune-provision-team-b": ("argotune-provision-team-b", "team-b"),
        "argotune-release-team-a": ("argotune-release-team-a", "team-a"),
        "argotune-release-team-b": ("argotune-release-team-b", "team-b"),
    }


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """A certificate authority's certificate, PEM; anyone's will do."""
    path = tmp_path / "authority.crt"
    path.write_text((Path(__file__).parent / "authority.crt").read_text())
    return path


def arguments_of_deploy(api: ApiServer) -> dict[str, str]:
    """Flag -> value of the task deploy: constants, or tags of the run's parameters."""
    (dag,) = (item["dag"] for item in template_of(api)["templates"] if item["name"] == "finetune")
    (deploy,) = (task for task in dag["tasks"] if task["name"] == "deploy")
    return {item["name"]: item["value"] for item in deploy["arguments"]["parameters"]}


def test_the_installer_decides_whose_signature_counts(
    argotune: Argotune, api: ApiServer, tmp_path: Path
) -> None:
    keys = new_keys()
    public = tmp_path / "cosign.pub"
    public.write_bytes(keys.public_pem)
    line = line_of(keys.public_pem)
    install(argotune, "--require-signature", "--verification-key", str(public))
    given = arguments_of_deploy(api)
    assert (given["require-signature"], given["verification-key"]) == ("true", line)
    # For a rotation: both, and then the new one alone.
    new = tmp_path / "new.pub"
    new.write_bytes(new_keys().public_pem)
    both = ("--verification-key", str(new), "--verification-key", str(public))
    install(argotune, *both)
    new_line = line_of(new.read_bytes())
    assert arguments_of_deploy(api)["verification-key"] == f"{new_line},{line}"
    install(argotune, "--verification-key", str(public))
    assert arguments_of_deploy(api)["verification-key"] == line
    # It stays, and ends by its own flag; the key is still there for `argotune verify -n`.
    install(argotune)
    assert arguments_of_deploy(api)["require-signature"] == "true"
    answer = install(argotune, "--no-require-signature")
    assert changes(answer) == ["require-signature: true -> false"]
    given = arguments_of_deploy(api)
    assert (given["require-signature"], given["verification-key"]) == ("false", line)
    parameters = {item["name"] for item in template_of(api)["arguments"]["parameters"]}
    assert not parameters & {"require-signature", "verification-key"}


def test_signatures_cannot_be_required_without_a_public_key(
    argotune: Argotune, api: ApiServer, tmp_path: Path
) -> None:
    answer = install(argotune, "--require-signature")
    assert answer.code == 2
    assert answer.errors == [
        "--verification-key: missing; --require-signature needs the public key of who may sign,"
        " such as cosign.pub"
    ]
    private = tmp_path / "cosign.key"
    private.write_bytes(new_keys().private_pem)
    answer = install(argotune, "--verification-key", str(private))
    assert answer.errors == [
        f"--verification-key {private}: it is a private key; give the public one, cosign.pub"
    ]
    assert "workflowtemplates/finetune" not in api.names()


SCORER = f"tone=registry.example.org/tone@sha256:{64 * 'a'}"


def test_scorers_reach_nothing_but_the_api_server(argotune: Argotune, api: ApiServer) -> None:
    core, discovery = "/api/v1/namespaces/default", "/apis/discovery.k8s.io/v1/namespaces/default"
    api.objects[f"{core}/services/kubernetes"] = {
        "metadata": {"name": "kubernetes"},
        "spec": {"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "fd00::1"]},
    }
    api.objects[f"{discovery}/endpointslices/kubernetes"] = {
        "metadata": {"name": "kubernetes", "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "endpoints": [{"addresses": ["192.0.2.7"]}],
    }
    answer = install(argotune, f"--scorer-image={SCORER}")
    assert (answer.code, answer.err) == (0, "")
    (rule,) = api.named("networkpolicies/argotune-scorers")["spec"]["egress"]
    assert rule == {
        "to": [
            {"ipBlock": {"cidr": cidr}} for cidr in ("10.0.0.1/32", "fd00::1/128", "192.0.2.7/32")
        ],
        "ports": [{"protocol": "TCP"}],
    }
    (score,) = [each for each in template_of(api)["templates"] if each["name"] == "scorer"]
    assert json.dumps(dict([SCORER.split("=", 1)])) in score["container"]["image"]
    # It stays, and its policy too.
    assert argotune("install", "--volume-size=9Gi").code == 0
    assert api.named("networkpolicies/argotune-scorers")["spec"]["egress"] == [rule]
    answer = argotune("install", "--no-scorer-images")
    assert changes(answer) == [f"scorer-images: {SCORER} -> none"]
    assert "egress" not in api.named("networkpolicies/argotune-scorers")["spec"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("tone=registry.example.org/tone:1", "accepted is an image by its digest"),
        (f"To_ne=registry.example.org/tone@sha256:{64 * 'a'}", "accepted is a name of lower-case"),
        ("tone", "--scorer-image tone=: "),
    ],
)
def test_scorer_without_name_or_digest_is_refused(
    argotune: Argotune, api: ApiServer, text: str, problem: str
) -> None:
    answer = install(argotune, f"--scorer-image={text}")
    assert (answer.code, [path for path in api.objects if "/workflowtemplates/" in path]) == (2, [])
    assert problem in answer.err


def test_presets_of_ones_own_are_installed_and_stay(
    argotune: Argotune, api: ApiServer, tmp_path: Path
) -> None:
    directory = tmp_path / "presets"
    directory.mkdir()
    text = (PRESETS_DIR / "models" / "tiny.yaml").read_text().replace("name: tiny", "name: mine")
    (directory / "mine.yaml").write_text(text)
    answer = install(argotune, "--presets", str(directory))
    assert answer.code == 0, answer.err
    assert outcomes(answer)["configmap/argotune-presets"] == "created"
    assert api.named("configmaps/argotune-presets")["data"] == {"mine.yaml": text}
    assert install(argotune).code == 0
    assert api.named("configmaps/argotune-presets")["data"] == {"mine.yaml": text}


def test_presets_that_are_wrong_are_all_refused(
    argotune: Argotune, api: ApiServer, tmp_path: Path
) -> None:
    directory = tmp_path / "presets"
    directory.mkdir()
    text = (PRESETS_DIR / "models" / "tiny.yaml").read_text()
    (directory / "tiny.yaml").write_text(text)
    (directory / "other.yaml").write_text(text.replace("name: tiny", "name: mine"))
    answer = install(argotune, "--presets", str(directory))
    assert (answer.code, answer.errors) == (
        2,
        [
            "--presets: other.yaml: name: 'mine'; accepted is the file's name",
            "--presets: tiny.yaml: name: 'tiny' is a preset of argotune; give yours another name",
        ],
    )
    (directory / "notes.txt").write_text("")
    assert (
        "notes.txt; accepted are files NAME.yaml"
        in install(argotune, "--presets", str(directory)).err
    )
    assert "no such directory" in install(argotune, "--presets", str(tmp_path / "none")).err
