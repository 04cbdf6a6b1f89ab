"""Trust on a real API server: what a person with `argotune-user` alone may submit, change and
delete. Almost all of it is asked for as a dry run of the server."""

from __future__ import annotations

import copy
import functools
import json
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from argotune.steps.contracts.in_service import SUBMITTER_ANNOTATION
from argotune.steps.settings.run_settings import SECRET_SETTINGS, SETTINGS
from argotune.workflows.templates.golden import RENDERED_DIR
from argotune.workflows.templates.step import FORBIDDEN
from argotune.workflows.workspace.manifests import dump, parameters_of, read_rendered, template
from tests.e2e.cluster import (
    CALL_SECONDS,
    Cluster,
    Object,
    argo,
    kubeconfig_of,
    run,
    wait_for,
)
from tests.e2e.site import argotune, workflow
from tests.e2e.stand_in import IMAGE, play

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

PERSON = "ann"
OPERATOR = "with-the-operators-role"
ALLOWED = "team-push"
PATCH = 'x"}], "serviceAccountName": "argotune-provision", "containers": [{"name": "main'
EXPRESSION = "{{=workflow.parameters.name}}"
QUESTION = "{{=workflow.parameters.question}}"
FREE = {
    "alternative-instance-types",
    "config",
    "cors-origins",
    "full-retrain-every",
    "gate-answer-tokens",
    "gate-answers",
    "gate-confidence",
    "instance-type",
    "keep-node-seconds",
    "label-selector",
    "max-cost-usd",
    "min-improvement",
    "min-improvement-over-live",
    "model-source",
    "name",
    "node-lifetime-seconds",
    "output-image",
    "own-preset",
    "preset",
    "question",
    "requests-per-minute",
    "service-gpus",
    "service-instance-type",
    "service-label-selector",
    "service-max-replicas",
    "service-replicas",
    "spot-max-price-usd-per-hour",
    "start-from",
    "urls",
    "validation-urls",
    "zones",
}
"""Parameters that a step checks: their values are flags of steps, and nothing else."""
FREE_IN_OTHERS = {"dry-run", "load-in-4bit", "max-length", "node-selector"}
NAMING = {"queue", "serve-with", "service-host"}
"""Parameters that name what everyone in the namespace may use: an object, a service, a host of
the domain that the installation allows."""
GOOD = {
    "name": "good",
    "urls": '["https://example.com/data.parquet"]',
    "output-image": "registry.example.com/good:1",
    "push-secret": ALLOWED,
    "urls-secret": "good-urls-0123456789",
    "tune-memory": "64Mi",
    "tune-cpu": "10m",
}


@pytest.fixture(scope="module")
def installed(api: httpx.Client) -> Iterator[Cluster]:
    """An installation in a namespace of its own, and a person who may submit."""
    cluster = Cluster(f"argotune-trust-{secrets.token_hex(3)}", api)
    registry = os.environ.get("E2E_REGISTRY", "registry.example.org/argotune")
    try:
        argotune(
            *("install", "-n", cluster.namespace, "--create-namespace", "--no-digests"),
            *("--images-registry", registry, "--models-size=1Gi", "--volume-size=10Mi"),
            f"--allow-secret={ALLOWED}",
        )
        cluster.kubectl("create", "rolebinding", PERSON, "--role=argotune-user", f"--user={PERSON}")
        wait_for(
            "refusal by the policy",
            lambda: "accepted are" in refusal(cluster, {**workflow(GOOD), "spec": {"hooks": {}}}),
            seconds=60,
        )
        yield cluster
    finally:
        argotune("uninstall", "-n", cluster.namespace, "--delete-models", "--force")
        run("kubectl", "delete", "namespace", cluster.namespace, "--wait=false")


def refusal(cluster: Cluster, manifest: Object, *, person: str | None = PERSON) -> str:
    """Why the server does not create the object; empty where it would."""
    answer = cluster.try_create(manifest, person=person)
    return "" if answer.is_success else str(answer.json()["message"])


def changed(spec: Object, **metadata: object) -> Object:
    """A good Workflow with more in its spec."""
    good = workflow(GOOD)
    return {**good, "metadata": {**good["metadata"], **metadata}, "spec": {**good["spec"], **spec}}


def cron(name: str, spec: Object) -> Object:
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "CronWorkflow",
        "metadata": {"name": name},
        "spec": {"schedules": ["0 3 * * *"], "workflowSpec": spec},
    }


@pytest.mark.smoke
def test_arguments_of_the_installed_template_are_accepted(installed: Cluster) -> None:
    assert refusal(installed, workflow(GOOD)) == ""
    assert refusal(installed, cron("good", workflow(GOOD)["spec"])) == ""
    # As `argotune submit` names all of them, the default Secrets too.
    known = parameters_of(template())
    defaults = {name: item["value"] for name, item in known.items() if "value" in item}
    assert refusal(installed, workflow({**GOOD, **defaults})) == ""
    own = {**GOOD, "urls-secret": "run-of-ann-urls"}
    named = {**workflow(own), "metadata": {"name": "run-of-ann"}}
    assert refusal(installed, named) == ""


def rollback(reference: str, **others: str) -> Object:
    given = {"name": "good", "reference": reference, "push-secret": ALLOWED, **others}
    arguments = {"parameters": [{"name": key, "value": text} for key, text in given.items()]}
    return changed({"workflowTemplateRef": {"name": "rollback"}, "arguments": arguments})


@pytest.mark.smoke
def test_a_rollback_names_an_adapter_of_a_registry(installed: Cluster) -> None:
    repository = "registry.example.com/good"
    for version in (":v3", f"@sha256:{64 * 'a'}"):
        assert refusal(installed, rollback(f"{repository}{version}")) == ""
    for other in (f"{repository}:live", repository, "oci:/argotune/models:v1", "/tmp:v1 "):
        assert "parameter reference: " in refusal(installed, rollback(other))
    refused = refusal(installed, rollback(f"{repository}:v3", **{"push-secret": "payroll"}))
    assert "parameter push-secret: " in refused


def evaluation(models: list[str], **others: str) -> Object:
    urls = json.dumps(["https://example.com/rows.jsonl"])
    given = {"models": json.dumps(models), "urls": urls, "push-secret": ALLOWED, **others}
    arguments = {"parameters": [{"name": key, "value": text} for key, text in given.items()]}
    return changed({"workflowTemplateRef": {"name": "evaluate"}, "arguments": arguments})


@pytest.mark.smoke
def test_an_evaluation_names_presets_and_adapters_of_a_registry(installed: Cluster) -> None:
    image = "registry.example.com/good:v1"
    assert refusal(installed, evaluation(["tiny", image, f"mine={image}"])) == ""
    for other in ("oci:/argotune/models:v1", "mine=oci:/argotune/models:v1", 'a"b', "a\\b"):
        assert "parameter models: " in refusal(installed, evaluation(["tiny", other]))
    for name, text in {"push-secret": "payroll", "shown-answers": "many"}.items():
        assert f"parameter {name}: " in refusal(installed, evaluation(["tiny"], **{name: text}))


@pytest.mark.smoke
def test_nobody_submits_in_the_name_of_somebody_else(installed: Cluster) -> None:
    by, others = ({SUBMITTER_ANNOTATION: name} for name in (PERSON, "somebody.else"))
    assert refusal(installed, changed({}, annotations=by)) == ""
    assert f"annotation {SUBMITTER_ANNOTATION}: " in refusal(
        installed, changed({}, annotations=others)
    )
    scheduled = cron("good", workflow(GOOD)["spec"])
    scheduled["spec"]["workflowMetadata"] = {"annotations": by}
    assert f"annotation {SUBMITTER_ANNOTATION}: " in refusal(installed, scheduled)


@pytest.mark.smoke
def test_a_run_takes_no_directory_of_the_pod(installed: Cluster) -> None:
    for name in ("output-image", "start-from"):
        refused = refusal(installed, with_value(name, "oci:/argotune/models:v1"))
        assert f"parameter {name}: a directory" in refused


@pytest.mark.smoke
def test_argo_submits_stops_and_deletes_for_the_person(installed: Cluster, tmp_path: Path) -> None:
    account = f"--serviceaccount={installed.namespace}:clerk"
    installed.kubectl("create", "serviceaccount", "clerk")
    installed.kubectl("create", "rolebinding", "clerk", "--role=argotune-user", account)
    person = {"KUBECONFIG": kubeconfig_of(installed, "clerk", tmp_path)}
    flags = [f"-p={name}={text}" for name, text in GOOD.items()]
    submit = ("submit", "--from=workflowtemplate/finetune", "--output=name", *flags)
    name = argo(installed.namespace, *submit, **person).strip()
    argo(installed.namespace, "stop", name, **person)
    argo(installed.namespace, "delete", name, **person)


@pytest.mark.smoke
@pytest.mark.parametrize("hostile", [EXPRESSION, PATCH, "payroll"])
def test_a_hostile_value_of_a_parameter_is_a_flag_or_refused(
    installed: Cluster, hostile: str
) -> None:
    names = list(parameters_of(template()))
    assert len(names) > 20
    refusals = {name: refusal(installed, with_value(name, hostile)) for name in names}
    assert [
        name for name, text in refusals.items() if text and f"parameter {name}: " not in text
    ] == []
    accepted = {name for name, text in refusals.items() if not text}
    expected = {EXPRESSION: set(), PATCH: FREE, "payroll": FREE | NAMING}
    assert accepted == expected[hostile]


@pytest.mark.smoke
@pytest.mark.parametrize("other", ["evaluate", "gc", "rollback", "serve"])
def test_no_parameter_of_the_other_templates_is_freer(installed: Cluster, other: str) -> None:
    for name in parameters_of(template(name=other)):
        for hostile in (EXPRESSION, PATCH, "payroll"):
            said = refusal(installed, with_value(name, hostile, template_name=other))
            is_free = hostile != EXPRESSION and name in FREE | FREE_IN_OTHERS
            assert is_free or name in NAMING or f"parameter {name}: " in said, (hostile, said)


def with_value(name: str, text: str, *, template_name: str = "finetune") -> Object:
    """A Workflow with another value of one parameter."""
    arguments = {key: value for key, value in GOOD.items() if key != "urls-secret"}
    parameters = [{"name": key, "value": value} for key, value in {**arguments, name: text}.items()]
    reference = {"workflowTemplateRef": {"name": template_name}}
    return changed({**reference, "arguments": {"parameters": parameters}})


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (
            {"workflowTemplateRef": {"name": "other"}},
            "accepted are the templates evaluate, finetune, gc, rollback and serve",
        ),
        (
            {"workflowTemplateRef": {"name": "finetune", "clusterScope": True}},
            "accepted are the templates",
        ),
        ({"entrypoint": "deploy"}, "spec: accepted are"),
        ({"serviceAccountName": "argotune-provision"}, "spec: accepted are"),
        ({"podSpecPatch": "{}"}, "spec: accepted are"),
        ({"volumes": [{"name": "models", "emptyDir": {}}]}, "spec: accepted are"),
        ({"templates": [{"name": "x", "suspend": {}}]}, "spec: accepted are"),
        ({"hooks": {"exit": {"template": "deploy"}}}, "spec: accepted are"),
        ({"onExit": "deploy"}, "spec: accepted are"),
        (
            {"arguments": {"parameters": [{"name": "images-registry", "value": "evil.example"}]}},
            "parameter images-registry: there is no such parameter",
        ),
        (
            {
                "arguments": {
                    "parameters": [{"name": "push-secret", "value": "x", "enum": ["x", "y"]}]
                }
            },
            "accepted are parameters of a name and a text",
        ),
        (
            {"arguments": {"artifacts": [{"name": "x", "raw": {"data": "x"}}]}},
            "accepted are parameters of a name and a text",
        ),
        (
            {
                "volumeClaimTemplates": [
                    {
                        "metadata": {"name": "work"},
                        "spec": {
                            "accessModes": ["ReadWriteOnce"],
                            "resources": {"requests": {"storage": "1Gi"}},
                            "dataSource": {"kind": "PersistentVolumeClaim", "name": "payroll"},
                        },
                    }
                ]
            },
            "accepted of a claim's spec are",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_workflow_of_more_than_arguments_is_refused(
    installed: Cluster, spec: Object, words: str
) -> None:
    assert words in refusal(installed, changed(spec))
    assert words in refusal(installed, cron("bad", changed(spec)["spec"]))


@pytest.mark.smoke
def test_a_workflow_with_a_state_of_its_own_is_refused(installed: Cluster) -> None:
    stored = {"storedWorkflowTemplateSpec": {"templates": []}}
    assert "the controller alone writes it" in refusal(
        installed, {**workflow(GOOD), "status": stored}
    )


@pytest.mark.smoke
def test_a_workflow_that_is_there_can_be_stopped_and_not_changed(installed: Cluster) -> None:
    made = installed.create(changed({"suspend": True}))["metadata"]["name"]
    hostile: dict[str, Object] = {
        "podSpecPatch": {"spec": {"podSpecPatch": "{}"}},
        "arguments": {"spec": {"arguments": {"parameters": []}}},
        "status": {"status": {"storedTemplates": {"x": {"name": "x"}}}},
    }
    try:
        for patch in hostile.values():
            assert installed.try_patch("workflows", made, patch, person=PERSON).status_code == 422
        stop = {"spec": {"shutdown": "Stop"}}
        assert installed.try_patch("workflows", made, stop, person=PERSON).is_success
    finally:
        installed.kubectl("delete", "workflow", made)


@pytest.mark.smoke
def test_what_is_the_installers_can_be_neither_changed_nor_deleted(installed: Cluster) -> None:
    gc = {"spec": {"suspend": True}}
    assert installed.try_patch("cronworkflows", "gc", gc, person=PERSON).status_code == 422
    installed.kubectl("apply", "-f", str(RENDERED_DIR / "retrain.yaml"))
    resume = {"spec": {"suspend": False}}
    assert installed.try_patch("cronworkflows", "retrain", resume, person=PERSON).is_success
    assert delete(installed, "argoproj.io/v1alpha1", "cronworkflows", "gc") == 422
    assert delete(installed, "networking.k8s.io/v1", "networkpolicies", "argotune-runs") == 422


@pytest.mark.smoke
def test_only_services_of_runs_can_be_deleted(installed: Cluster) -> None:
    installed.kubectl("create", "service", "clusterip", "theirs", "--tcp=80")
    installed.kubectl("create", "deployment", "theirs", "--image=x", "--replicas=0")
    assert delete(installed, "v1", "services", "theirs") == 422
    assert delete(installed, "apps/v1", "deployments", "theirs") == 422
    labels = ("argotune.dev/service=theirs", "app.kubernetes.io/managed-by=argotune")
    installed.kubectl("label", "services,deployments", "--all", *labels)
    assert delete(installed, "v1", "services", "theirs") == 200
    assert delete(installed, "apps/v1", "deployments", "theirs") == 200


@pytest.mark.smoke
def test_only_secrets_of_a_schedule_can_be_deleted(installed: Cluster) -> None:
    name, secret = "kept-urls-0a1b", ("create", "secret", "generic")
    installed.kubectl(*secret, name, "--from-literal=urls.json=[]")
    assert delete(installed, "v1", "secrets", name) == 422
    installed.kubectl("apply", "-f", str(RENDERED_DIR / "retrain.yaml"))
    cron = installed.read("argoproj.io/v1alpha1", "cronworkflows", "retrain")
    assert cron is not None
    owner = {key: cron[key] for key in ("apiVersion", "kind")}
    owner |= {key: cron["metadata"][key] for key in ("name", "uid")}
    owned = json.dumps({"metadata": {"ownerReferences": [owner]}})
    installed.kubectl("patch", "secret", name, "--type=merge", f"--patch={owned}")
    assert delete(installed, "v1", "secrets", name) == 200


def delete(
    cluster: Cluster, api_version: str, plural: str, name: str, *, person: str = PERSON
) -> int:
    """The status of the answer to a deletion by the person."""
    return cluster.try_delete(api_version, plural, name, person=person).status_code


@pytest.mark.smoke
def test_the_operators_account_is_bound_as_a_person_is(installed: Cluster) -> None:
    """What it deletes, others may have written into a Workspace or a schedule."""
    (role,) = [item for item in read_rendered("operator") if item["kind"] == "Role"]
    installed.kubectl("apply", "-f", "-", text=dump(role))
    name = role["metadata"]["name"]
    installed.kubectl("create", "rolebinding", name, f"--role={name}", f"--user={OPERATOR}")
    wait_for(
        "rights of the operator's role",
        lambda: delete(installed, "v1", "secrets", "missing", person=OPERATOR) == 404,
        seconds=60,
    )
    installed.kubectl("create", "secret", "generic", "payroll", "--from-literal=urls.json=[]")
    installed.kubectl("create", "deployment", "payroll", "--image=x", "--replicas=0")
    assert delete(installed, "v1", "secrets", "payroll", person=OPERATOR) == 422
    assert delete(installed, "apps/v1", "deployments", "payroll", person=OPERATOR) == 422
    hostile = changed({"podSpecPatch": "{}"})
    assert "accepted are" in refusal(installed, hostile, person=OPERATOR)
    assert refusal(installed, workflow(GOOD), person=OPERATOR) == ""


@pytest.mark.smoke
def test_a_secret_of_another_kind_is_refused(installed: Cluster) -> None:
    def secret(name: str, key: str, kind: str) -> Object:
        annotations = {"kubernetes.io/service-account.name": "argotune-provision"}
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "annotations": annotations},
            "type": kind,
            "stringData": {key: "[]"},
        }

    assert refusal(installed, secret("mine-urls", "urls.json", "Opaque")) == ""
    assert refusal(installed, secret("mine-urls-0a1b", "urls.json", "Opaque")) == ""
    for hostile in [
        secret("argotune-push", "urls.json", "Opaque"),
        secret("mine-urls", "HF_TOKEN", "Opaque"),
        secret("mine-urls", "urls.json", "kubernetes.io/service-account-token"),
    ]:
        assert "Secrets of runs are called NAME-urls" in refusal(installed, hostile)


@pytest.mark.smoke
def test_who_may_create_pods_is_not_restricted(installed: Cluster) -> None:
    assert refusal(installed, changed({"podSpecPatch": "{}"}), person=None) == ""


@pytest.mark.shard1
def test_hostile_values_reach_no_image_account_secret_or_node(installed: Cluster) -> None:
    """All at once, past the policy: by an administrator. It costs three runs of steps that
    do nothing, a minute."""
    play(installed)
    wait_for("controller that knows the new steps", lambda: knows_played(installed), seconds=60)
    good = {**GOOD, "notify-secret": ALLOWED}
    hostile = {
        **good,
        **dict.fromkeys(FREE - {"name"}, PATCH),
        **dict.fromkeys(SECRET_SETTINGS, "payroll"),
    }
    expressions = {**GOOD, "question": '64Mi"}}, "x": {"', "tune-memory": QUESTION}
    manifests = {
        "good": workflow(good),
        "hostile": {**workflow(hostile), "status": {"storedTemplates": forged_templates()}},
        "bad": workflow(expressions),
    }
    runs = {
        name: installed.create(manifest)["metadata"]["name"] for name, manifest in manifests.items()
    }
    for name in runs.values():
        done = functools.partial(is_done, installed, name)
        wait_for(f"end of {name}", done, seconds=CALL_SECONDS)
    pods = {name: pods_of(installed, run_name) for name, run_name in runs.items()}
    assert set(pods["good"]) >= {"plan", "dataset", "model", "provision", "tune", "push", "deploy"}
    assert forbidden(pods["good"]) == pods["hostile"]
    assert pods["bad"] == {name: pod for name, pod in pods["good"].items() if name in pods["bad"]}
    assert "tune" not in pods["bad"]


def forged_templates() -> Object:
    """Templates in a Workflow's status, under the names by which argo stores them there."""
    container = {"image": "evil.example/x:1", "command": ["python"]}
    names = [item["name"] for item in template()["spec"]["templates"]]
    return {f"namespaced/finetune/{name}": {"name": name, "container": container} for name in names}


def knows_played(cluster: Cluster) -> bool:
    """Whether the controller, which keeps a copy of templates, takes the new one for a run."""
    probe = cluster.create(changed({"suspend": True}))["metadata"]["name"]
    stored = wait_for(f"spec of {probe}", lambda: stored_spec(cluster, probe), seconds=60)
    cluster.kubectl("delete", "workflow", probe, "--wait=false")
    return IMAGE in json.dumps(stored)


def stored_spec(cluster: Cluster, name: str) -> Object:
    found = cluster.read("argoproj.io/v1alpha1", "workflows", name) or {}
    stored: Object = (found.get("status") or {}).get("storedWorkflowTemplateSpec") or {}
    return stored


def is_done(cluster: Cluster, name: str) -> bool:
    """Whether the run has ended, or its tune pod was refused twice: that is tried again for long.

    Once is no answer: a busy API server may fail to take a pod that it takes the next time.
    """
    found = cluster.read("argoproj.io/v1alpha1", "workflows", name) or {}
    status = found.get("status") or {}
    tune = [n for n in (status.get("nodes") or {}).values() if n["displayName"] == "tune(1)"]
    return bool(status.get("finishedAt")) or any(node["phase"] == "Error" for node in tune)


def pods_of(cluster: Cluster, run_name: str) -> dict[str, Object]:
    """Step -> what its pod may reach: everything of its spec but the values of flags."""
    label = f"workflows.argoproj.io/workflow={run_name}"
    found = {}
    for pod in cluster.items("v1", "pods", labelSelector=label):
        spec = copy.deepcopy(pod["spec"])
        for container in [*spec["containers"], *spec["initContainers"]]:
            for key in ("args", "env"):
                container[key] = [_without_value(item) for item in container.get(key) or []]
        spec.pop("nodeName", None)
        text = json.dumps(spec).replace(pod["metadata"]["name"], "POD").replace(run_name, "RUN")
        text = re.sub("kube-api-access-[a-z0-9]{5}", "kube-api-access", text)
        found[pod["metadata"]["labels"]["argotune.dev/step"]] = json.loads(text)
    return found


def _without_value(item: object) -> object:
    if isinstance(item, str):
        return item.partition("=")[0]
    assert isinstance(item, dict)
    return {key: value for key, value in item.items() if key != "value"}


def forbidden(pods: dict[str, Object]) -> dict[str, Object]:
    """The same pods with a Secret that does not exist in place of those that were named."""
    text = json.dumps(pods)
    for name in (GOOD.get(setting, SETTINGS[setting].default) for setting in SECRET_SETTINGS):
        text = text.replace(f'"{name}"', f'"{FORBIDDEN}"')
    found: dict[str, Object] = json.loads(text)
    return found
