"""The whole pipeline of preset tiny on a GPU node, from an empty namespace to a service that
answers, submitted in every way that there is."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import httpx
import pytest

from tests.e2e.cluster import CALL_SECONDS, Object, argo, wait_for
from tests.e2e.cluster import run as call
from tests.e2e.doubles import Answer
from tests.e2e.runs import ALL_WELL, STEPS, Run
from tests.e2e.site import QUESTION, RUN_SECONDS, Site, images, tag
from tests.e2e.stories import STORY_SECONDS, story

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(STORY_SECONDS)]

_ENDED_EARLY = {
    **dict.fromkeys(("plan", "dataset", "release"), "Succeeded"),
    **dict.fromkeys(("model", "provision"), "Skipped"),
    **dict.fromkeys(("tune", "watch", "push", "deploy"), "Omitted"),
}


@dataclass(frozen=True, kw_only=True)
class Submitted:
    """A run of `argotune submit --watch`, and what was looked at while it was there."""

    run: Run
    printed: str
    tune_pod: Object
    log: str
    volumes: list[str]
    status: str
    answer: Answer
    service: list[str]
    """KIND/NAME of its objects."""


@story
def submitted(site: Site) -> Submitted:
    command = ["submit", "-", "--watch", f"--namespace={site.namespace}"]
    with ThreadPoolExecutor(1) as pool:
        text = site.workspace("submitted", steps=40)
        printed = pool.submit(site.argotune, *command, text=text, seconds=RUN_SECONDS)
        return _look_at(site, printed)


def _look_at(site: Site, printed: Future[str]) -> Submitted:
    """Wait for the run's tune step, look, wait for its end, and look again."""
    run = site.run_with_label("argotune.dev/workspace=submitted")
    pod = run.running_pod("tune", seconds=RUN_SECONDS)
    run.says(pod, r" step of=\d+ ", seconds=RUN_SECONDS)
    log = site.argotune("logs", run.name, "tune", f"--namespace={site.namespace}")
    volumes = run.volumes()
    said = printed.result()
    run.ends("Succeeded", seconds=CALL_SECONDS)
    answer = site.doubles.ask("http://submitted/chat", QUESTION)
    service = site.service_objects("submitted")
    status = site.argotune("status", run.name, f"--namespace={site.namespace}")
    site.remove_service("submitted")
    return Submitted(
        run=run,
        printed=said,
        tune_pod=pod,
        log=log,
        volumes=volumes,
        status=status,
        answer=answer,
        service=service,
    )


def test_every_step_of_a_submitted_workspace_succeeds_at_once(submitted: Submitted) -> None:
    assert submitted.run.phases() == ALL_WELL
    assert [step for step in STEPS if len(submitted.run.tries(step)) != 1] == []


def test_outputs_say_what_came_of_it(submitted: Submitted, site: Site) -> None:
    outputs = submitted.run.outputs()
    assert float(outputs["tuned-loss"]) < float(outputs["base-loss"])
    assert outputs["endpoint"] == f"http://submitted.{site.namespace}.svc"
    assert outputs["answer"]
    assert re.fullmatch(
        rf"{site.registry}/{site.namespace}/submitted@sha256:[0-9a-f]{{64}}", outputs["reference"]
    )
    assert submitted.run.outputs("tune")["steps"] == "40"


def test_registry_has_the_image_under_its_tag_alone(submitted: Submitted, site: Site) -> None:
    digest = submitted.run.outputs()["reference"].partition("@")[2]
    tags = site.doubles.tags(site.registry, f"{site.namespace}/submitted")
    assert tags == {"1": digest}
    assert submitted.run.outputs("push")["digest"] == digest


def test_tune_had_the_gpu_node_and_argotunes_labels(submitted: Submitted, site: Site) -> None:
    spec = submitted.tune_pod["spec"]
    node = json.loads(call("kubectl", "get", "node", spec["nodeName"], "-o", "json"))
    key, _, value = site.node_selector.partition("=")
    assert node["metadata"]["labels"][key] == value
    taint = {"key": "sku", "value": "gpu", "effect": "NoSchedule"}
    assert taint in [{k: v for k, v in t.items() if k in taint} for t in node["spec"]["taints"]]
    (main,) = (c for c in spec["containers"] if c["name"] == "main")
    assert main["resources"]["limits"]["nvidia.com/gpu"] == "1"
    labels = submitted.tune_pod["metadata"]["labels"]
    assert labels["app.kubernetes.io/part-of"] == "argotune"
    assert submitted.run.workflow["metadata"]["labels"]["argotune.dev/workspace"] == "submitted"


def test_namespace_enforces_the_restricted_standard(site: Site) -> None:
    namespace = json.loads(call("kubectl", "get", "namespace", site.namespace, "-o", "json"))
    labels = namespace["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_events_tell_of_the_run(submitted: Submitted, site: Site) -> None:
    about = f"involvedObject.name={submitted.run.name}"
    events = site.cluster.items("v1", "events", fieldSelector=about)
    reasons = {event["reason"] for event in events}
    assert {"WorkflowRunning", "WorkflowSucceeded", "WorkflowNodeSucceeded"} <= reasons


def test_service_answers_another_pod(submitted: Submitted) -> None:
    assert submitted.answer.response
    assert submitted.service == [
        "deployments/submitted",
        "services/submitted",
        "networkpolicies/submitted",
    ]


def test_command_shows_every_step_and_the_results(submitted: Submitted) -> None:
    for step in STEPS:
        assert re.search(rf"^ *{step} .*(succeeded|Succeeded)", submitted.printed, re.MULTILINE)
    for text in (submitted.printed, submitted.status):
        for name in ("endpoint", "reference", "tuned-loss"):
            assert re.search(rf"{name}: +{re.escape(submitted.run.outputs()[name])}", text)
    assert re.search(r"^tune.* step of=40 step=\d+", submitted.log, re.MULTILINE)


def test_nothing_of_a_run_that_went_well_is_left(submitted: Submitted) -> None:
    assert len(submitted.volumes) == 1
    run = submitted.run
    wait_for("end of the pods", lambda: not run.pods(), seconds=CALL_SECONDS, explain=run.explain)
    wait_for(
        "end of the volume", lambda: not run.volumes(), seconds=CALL_SECONDS, explain=run.explain
    )


@story
def created(site: Site) -> Run:
    """kubectl create -f of a rendered workflow that stands alone."""
    rendered = site.argotune(
        "render", "-", f"--images-registry={images()}", f"--images-tag={tag()}",
        "--volume-size=1Gi", text=site.workspace("created"),
    )  # fmt: skip
    # What `argotune install --allow-host` writes into the installed template.
    assert "--allowed-hosts=[]" in rendered
    rendered = rendered.replace("--allowed-hosts=[]", f"--allowed-hosts={site.allowed_hosts}")
    site.cluster.kubectl("create", "--validate=strict", "-f", "-", text=rendered)
    run = site.run_with_label("argotune.dev/workspace=created")
    return site.completes(run, "created")


def test_rendered_workflow_is_created_by_kubectl(created: Run) -> None:
    assert created.phases() == ALL_WELL
    assert "workflowTemplateRef" not in created.workflow["spec"]


@dataclass(frozen=True, kw_only=True)
class Again:
    """A workspace that was tuned from the template, and then asked for twice by a schedule."""

    first: Run
    from_installed: Run
    from_own: Run
    served: str
    """Reference of the adapter that the service serves in the end."""


@story
def again(site: Site) -> Again:
    """argo submit --from, and then the schedules."""
    arguments = site.arguments("again")
    first = _argo_submit(site, "workflowtemplate/finetune", arguments)
    first.ends("Succeeded", seconds=RUN_SECONDS)
    unchanged = {**arguments, "only-if-changed": "true"}
    from_installed = _argo_submit(site, "cronwf/retrain", unchanged)
    from_installed.ends("Succeeded", seconds=RUN_SECONDS)
    from_own = _scheduled(site, "again")
    served = site.served("again")
    site.remove_service("again")
    return Again(first=first, from_installed=from_installed, from_own=from_own, served=served)


def test_argo_submits_from_the_template(again: Again) -> None:
    assert again.first.phases() == ALL_WELL


def test_installed_schedule_ends_early_when_nothing_has_changed(again: Again) -> None:
    assert again.from_installed.phases() == _ENDED_EARLY
    assert again.from_installed.outputs("dataset")["changed"] == "false"


def test_schedule_of_a_workspace_runs_at_its_time_and_ends_early(again: Again) -> None:
    assert again.from_own.phases() == _ENDED_EARLY
    assert again.served == again.first.outputs()["reference"]


@story
def as_the_ui(site: Site) -> Run:
    """POST of the form to the Argo server."""
    arguments = site.arguments("as-the-ui")
    body = {
        "namespace": site.namespace,
        "resourceKind": "WorkflowTemplate",
        "resourceName": "finetune",
        "submitOptions": {
            "generateName": "as-the-ui-",
            "parameters": [f"{name}={value}" for name, value in arguments.items()],
        },
    }
    with _argo_server() as server:
        response = server.post(f"/api/v1/workflows/{site.namespace}/submit", json=body)
    assert response.is_success, response.text
    run = Run(site.cluster, response.json()["metadata"]["name"])
    return site.completes(run, "as-the-ui")


def test_argo_server_takes_the_form(as_the_ui: Run) -> None:
    assert as_the_ui.phases() == ALL_WELL


def test_form_has_descriptions_and_choices(site: Site) -> None:
    with _argo_server() as server:
        answer = server.get(f"/api/v1/workflow-templates/{site.namespace}/finetune").json()
    parameters = {each["name"]: each for each in answer["spec"]["arguments"]["parameters"]}
    assert parameters
    assert [name for name, each in parameters.items() if not each.get("description")] == []
    choices = {name for name, each in parameters.items() if each.get("enum")}
    assert {"preset", "method", "provider", "deploy-to", "only-if-changed"} <= choices
    assert "tiny" in parameters["preset"]["enum"]
    assert parameters["images-registry"]["value"] == images()
    assert answer["metadata"]["annotations"]["workflows.argoproj.io/title"]


def test_ui_sees_names_progress_and_endpoint(as_the_ui: Run, site: Site) -> None:
    with _argo_server() as server:
        path = f"/api/v1/workflows/{site.namespace}/{as_the_ui.name}"
        status = server.get(path).json()["status"]
    pods = {n["displayName"]: n for n in status["nodes"].values() if n["type"] == "Pod"}
    expected = [f"{step}(0)" for step in STEPS if step != "release"]
    assert sorted(pods) == sorted([*expected, f"{as_the_ui.name}.onExit(0)"])
    # Argo reads a pod's own progress once a minute, 2/2 here; a faster pod stays one of one.
    for progress in (status["progress"], pods["tune(0)"]["progress"]):
        done, _, total = progress.partition("/")
        assert done == total != "0"
    outputs = {item["name"]: item["value"] for item in _outputs(status)}
    assert outputs["endpoint"] == f"http://as-the-ui.{site.namespace}.svc"


def _outputs(status: Object) -> Sequence[Object]:
    """Of the entrypoint, which Argo gives to the run."""
    found = [n for n in status["nodes"].values() if n.get("templateName") == "finetune"]
    return list(found[0]["outputs"]["parameters"])


def _argo_server() -> httpx.Client:
    """The server that ARGO_SERVER names, as the argo command finds it."""
    address = os.environ.get("ARGO_SERVER")
    if not address:
        pytest.skip("ARGO_SERVER is not set: there is no Argo server to ask")
    scheme = "http" if os.environ.get("ARGO_SECURE") == "false" else "https"
    token = os.environ.get("ARGO_TOKEN")
    return httpx.Client(
        base_url=f"{scheme}://{address}",
        headers={"Authorization": token} if token else {},
        verify=os.environ.get("ARGO_INSECURE_SKIP_VERIFY") != "true",
        timeout=CALL_SECONDS,
        trust_env=False,
    )


def _argo_submit(site: Site, source: str, arguments: dict[str, str]) -> Run:
    command = ["submit", f"--from={source}", "--output=name"]
    for name, value in arguments.items():
        command += ["-p", f"{name}={value}"]
    return Run(site.cluster, argo(site.namespace, *command).split()[-1])


def _scheduled(site: Site, name: str) -> Run:
    """What a schedule of every minute begins; it is suspended then."""
    rendered = site.argotune("render", "-", "--schedule=* * * * *", text=site.workspace(name))
    path = site.directory / "schedule.yaml"
    path.write_text(rendered)
    argo(site.namespace, "cron", "create", str(path))
    try:
        run = site.run_with_label(f"workflows.argoproj.io/cron-workflow=retrain-{name}")
    finally:
        argo(site.namespace, "cron", "suspend", f"retrain-{name}")
    return run.ends("Succeeded", seconds=RUN_SECONDS)
