"""The whole pipeline of preset tiny on a GPU node, from an empty namespace to a service that
answers, and then to a schedule that finds nothing to do."""

from __future__ import annotations

import json
import re
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from argotune.steps.contracts.report import report_tag
from argotune.workflows.workspace.manifests import installed_values
from tests.e2e.cluster import CALL_SECONDS, Object, argo_server, wait_for
from tests.e2e.cluster import run as call
from tests.e2e.doubles import Answer
from tests.e2e.runs import ALL_WELL, ARGO, ENDED_EARLY, STEPS, Run, run_with_label
from tests.e2e.site import QUESTION, RUN_SECONDS, Site, images
from tests.e2e.stories import STORY_SECONDS, story

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(STORY_SECONDS)]

TUNE_STEPS = 40


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
        text = site.workspace("submitted", steps=TUNE_STEPS, gate="on")
        printed = pool.submit(site.argotune, *command, text=text, seconds=RUN_SECONDS)
        return _look_at(site, printed)


def _look_at(site: Site, printed: Future[str]) -> Submitted:
    """Wait for the run's tune step, look, wait for its end, and look again."""
    run = run_with_label(site.cluster, "argotune.dev/workspace=submitted")
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


@pytest.mark.smoke
def test_every_step_of_a_submitted_workspace_succeeds_at_once(submitted: Submitted) -> None:
    assert submitted.run.phases() == ALL_WELL
    assert [step for step in STEPS if len(submitted.run.tries(step)) != 1] == []


@pytest.mark.smoke
def test_outputs_say_what_came_of_it(submitted: Submitted, site: Site) -> None:
    outputs = submitted.run.outputs()
    assert float(outputs["tuned-loss"]) < float(outputs["base-loss"])
    assert (outputs["verdict"], outputs["outcome"]) == ("passed", "")
    assert outputs["endpoint"] == f"http://submitted.{site.namespace}.svc"
    assert outputs["answer"]
    assert re.fullmatch(
        rf"{site.registry}/{site.namespace}/submitted@sha256:[0-9a-f]{{64}}", outputs["reference"]
    )
    assert re.fullmatch(
        rf"{site.registry}/{site.namespace}/submitted@sha256:[0-9a-f]{{64}}", outputs["report"]
    )
    assert submitted.run.outputs("tune")["steps"] == str(TUNE_STEPS)


@pytest.mark.smoke
def test_registry_has_the_image_under_its_tag_and_the_report_beside_it(
    submitted: Submitted, site: Site
) -> None:
    digest = submitted.run.outputs()["reference"].partition("@")[2]
    tags = site.doubles.tags(site.registry, f"{site.namespace}/submitted")
    of_adapter = ("1", "candidate", "live", "v1")
    assert {tag: tags[tag] for tag in of_adapter} == dict.fromkeys(of_adapter, digest)
    assert report_tag(digest) in tags
    assert submitted.run.outputs("push")["digest"] == digest


@pytest.mark.smoke
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


@pytest.mark.smoke
def test_namespace_enforces_the_restricted_standard(site: Site) -> None:
    namespace = json.loads(call("kubectl", "get", "namespace", site.namespace, "-o", "json"))
    labels = namespace["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.smoke
def test_events_tell_of_the_run(submitted: Submitted, site: Site) -> None:
    about = f"involvedObject.name={submitted.run.name}"
    events = site.cluster.items("v1", "events", fieldSelector=about)
    reasons = {event["reason"] for event in events}
    assert {"WorkflowRunning", "WorkflowSucceeded", "WorkflowNodeSucceeded"} <= reasons


@pytest.mark.smoke
def test_service_answers_another_pod(submitted: Submitted) -> None:
    assert submitted.answer.response
    assert submitted.service == [
        "networkpolicies/submitted",
        "services/submitted",
        "deployments/submitted",
        "poddisruptionbudgets/submitted",
    ]


@pytest.mark.smoke
def test_command_shows_every_step_and_the_results(submitted: Submitted) -> None:
    for step in STEPS:
        assert re.search(rf"^ *{step} .*(succeeded|Succeeded)", submitted.printed, re.MULTILINE)
    for text in (submitted.printed, submitted.status):
        for name in ("endpoint", "reference", "tuned-loss"):
            assert re.search(rf"{name}: +{re.escape(submitted.run.outputs()[name])}", text)
    assert re.search(rf"^tune.* step of={TUNE_STEPS} step=\d+", submitted.log, re.MULTILINE)


@pytest.mark.smoke
def test_nothing_of_a_run_that_went_well_is_left(submitted: Submitted) -> None:
    assert len(submitted.volumes) == 1
    run = submitted.run
    wait_for("end of the pods", lambda: not run.pods(), seconds=CALL_SECONDS, explain=run.explain)
    wait_for(
        "end of the volume", lambda: not run.volumes(), seconds=CALL_SECONDS, explain=run.explain
    )


@pytest.mark.smoke
def test_form_has_descriptions_and_choices(site: Site) -> None:
    with argo_server() as server:
        answer = server.get(f"/api/v1/workflow-templates/{site.namespace}/finetune").json()
    parameters = {each["name"]: each for each in answer["spec"]["arguments"]["parameters"]}
    assert parameters
    assert [name for name, each in parameters.items() if not each.get("description")] == []
    choices = {name for name, each in parameters.items() if each.get("enum")}
    assert {"method", "provider", "adapter-from", "only-if-changed"} <= choices
    decided = installed_values(answer)
    assert decided["images-registry"] == images()
    assert decided.keys() & parameters.keys() == set()
    assert answer["metadata"]["annotations"]["workflows.argoproj.io/title"]


@pytest.mark.shard1
def test_schedule_of_a_workspace_ends_early_when_nothing_has_changed(
    submitted: Submitted, site: Site
) -> None:
    text = site.workspace("submitted", steps=TUNE_STEPS, gate="on")
    where = f"--namespace={site.namespace}"
    site.argotune("schedule", "-", "--cron=@yearly", where, text=text)
    try:
        begun = site.argotune("trigger", "submitted", where)
        run = Run(site.cluster, begun.split()[0].removeprefix("workflow.argoproj.io/"))
        run.ends("Succeeded", seconds=RUN_SECONDS)
        assert run.phases() == ENDED_EARLY
        assert run.outputs("dataset")["changed"] == "false"
        # The controller counts it as one of the schedule's.
        wait_for(
            "the schedule's count of the triggered run",
            lambda: _runs_of_schedule(site) == (0, 1),
            seconds=CALL_SECONDS,
        )
    finally:
        site.argotune("unschedule", "submitted", where)


def _runs_of_schedule(site: Site) -> tuple[int, int]:
    """How many runs the controller says that go on, and have succeeded."""
    cron = site.cluster.read(ARGO, "cronworkflows", "retrain-submitted")
    status = cron.get("status") or {}
    return len(status.get("active") or []), int(status.get("succeeded") or 0)
