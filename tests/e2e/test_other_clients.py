"""Runs that others than `argotune submit` begin: kubectl, argo, the Argo server as its UI asks it,
and schedules. Their steps do nothing, for this is Argo's work and our YAML's; but the plan step is
the real one where it stands for the command line's checks."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import yaml

from tests.e2e.cluster import CALL_SECONDS, Cluster, Object, argo, argo_server, run, wait_for
from tests.e2e.runs import ALL_WELL, ARGO, ENDED_EARLY, STEPS, Run, run_with_label
from tests.e2e.site import RUN_SECONDS, argotune, images, tag, workflow
from tests.e2e.stand_in import ENDPOINT, UNCHANGED, WORKSPACE, arguments_of, stand_in

pytestmark = [pytest.mark.cluster, pytest.mark.shard1, pytest.mark.timeout(1500)]

_AT_ONCE = 3


@pytest.fixture(scope="module")
def runs(
    cluster: Cluster, stand_ins: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, Future[Run]]]:
    """A run of each client, at its end."""
    directory = tmp_path_factory.mktemp("other-clients")
    clients: dict[str, Callable[[Cluster, Path], Run]] = {
        "kubectl": _by_kubectl,
        "argo": _by_argo,
        "ui": _by_the_server,
        "schedule": _by_a_schedule,
        "schedule-now": _by_a_schedule_now,
    }

    def ended(begin: Callable[[Cluster, Path], Run]) -> Run:
        return begin(cluster, directory).ends("Succeeded", seconds=RUN_SECONDS)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        yield {name: pool.submit(ended, begin) for name, begin in clients.items()}


def _by_kubectl(cluster: Cluster, directory: Path) -> Run:
    rendered = yaml.safe_load(argotune("render", "-", text=WORKSPACE.format(name="by-kubectl")))
    text = json.dumps(stand_in(rendered))
    cluster.kubectl("create", "--validate=strict", "-f", "-", text=text)
    return run_with_label(cluster, "argotune.dev/workspace=by-kubectl")


def _by_argo(cluster: Cluster, directory: Path) -> Run:
    return _argo_submit(cluster, "workflowtemplate/finetune", arguments_of("by-argo"))


def _by_the_server(cluster: Cluster, directory: Path) -> Run:
    return _server_submit(cluster, arguments_of("by-the-ui"))


def _server_submit(cluster: Cluster, arguments: Mapping[str, str]) -> Run:
    parameters = [f"{name}={value}" for name, value in arguments.items()]
    body = {
        "namespace": cluster.namespace,
        "resourceKind": "WorkflowTemplate",
        "resourceName": "finetune",
        "submitOptions": {"generateName": f"{arguments['name']}-", "parameters": parameters},
    }
    path = f"/api/v1/workflows/{cluster.namespace}/submit"

    def answer() -> httpx.Response | None:
        """Its answer, once its cache has the template, which was installed just now."""
        with argo_server() as server:
            response = server.post(path, json=body)
        return None if response.status_code == httpx.codes.NOT_FOUND else response

    response = wait_for("the Argo server's answer", answer, seconds=CALL_SECONDS)
    assert response.is_success, response.text
    return Run(cluster, response.json()["metadata"]["name"])


def _by_a_schedule(cluster: Cluster, directory: Path) -> Run:
    """What a schedule of every minute begins; it is suspended then."""
    path = directory / "schedule.yaml"
    text = WORKSPACE.format(name=UNCHANGED)
    path.write_text(argotune("render", "-", "--schedule=* * * * *", text=text))
    return _first_of_schedule(cluster, path, f"retrain-{UNCHANGED}")


def _first_of_schedule(cluster: Cluster, path: Path, name: str) -> Run:
    argo(cluster.namespace, "cron", "create", str(path))
    try:
        return run_with_label(cluster, f"workflows.argoproj.io/cron-workflow={name}")
    finally:
        argo(cluster.namespace, "cron", "suspend", name)


def _by_a_schedule_now(cluster: Cluster, directory: Path) -> Run:
    """What a schedule of once a year begins when somebody asks it to."""
    text = WORKSPACE.format(name=UNCHANGED)
    schedule = yaml.safe_load(argotune("render", "-", "--schedule=@yearly", text=text))
    schedule["metadata"]["name"] = "retrain-now"
    cluster.kubectl("apply", "-f", "-", text=json.dumps(schedule))
    return _argo_submit(cluster, "cronwf/retrain-now", {})


def _argo_submit(cluster: Cluster, source: str, arguments: Mapping[str, str]) -> Run:
    command = ["submit", f"--from={source}", "--output=name"]
    for name, value in arguments.items():
        command += ["-p", f"{name}={value}"]
    return Run(cluster, argo(cluster.namespace, *command).split()[-1])


def test_kubectl_creates_a_rendered_workflow(runs: Mapping[str, Future[Run]]) -> None:
    run = runs["kubectl"].result()
    assert run.phases() == ALL_WELL
    assert "workflowTemplateRef" not in run.workflow["spec"]


def test_argo_submits_from_the_template(runs: Mapping[str, Future[Run]]) -> None:
    assert runs["argo"].result().phases() == ALL_WELL


@pytest.mark.parametrize("schedule", ["schedule", "schedule-now"])
def test_a_schedule_ends_early_when_nothing_has_changed(
    runs: Mapping[str, Future[Run]], schedule: str
) -> None:
    assert runs[schedule].result().phases() == ENDED_EARLY


def test_the_argo_server_takes_the_form(runs: Mapping[str, Future[Run]]) -> None:
    assert runs["ui"].result().phases() == ALL_WELL


def test_the_ui_sees_names_progress_and_endpoint(
    runs: Mapping[str, Future[Run]], cluster: Cluster
) -> None:
    run = runs["ui"].result()
    with argo_server() as server:
        path = f"/api/v1/workflows/{cluster.namespace}/{run.name}"
        status = server.get(path).json()["status"]
    pods = {n["displayName"]: n for n in status["nodes"].values() if n["type"] == "Pod"}
    assert sorted(pods) == sorted(f"{step}(0)" for step in STEPS)
    # Argo reads a pod's own progress once a minute, 2/2 here; a faster pod stays one of one.
    for progress in (status["progress"], pods["tune(0)"]["progress"]):
        done, _, total = progress.partition("/")
        assert done == total != "0"
    outputs = {item["name"]: item["value"] for item in _outputs(status)}
    assert outputs["endpoint"] == ENDPOINT


def _outputs(status: Object) -> Sequence[Object]:
    """Of the entrypoint, which Argo gives to the run."""
    found = [n for n in status["nodes"].values() if n.get("templateName") == "finetune"]
    return list(found[0]["outputs"]["parameters"])


@pytest.fixture(scope="module")
def installed(api: httpx.Client) -> Iterator[Cluster]:
    """An installation with the real steps."""
    cluster = Cluster(f"argotune-doors-{secrets.token_hex(3)}", api)
    try:
        argotune(
            *("install", "-n", cluster.namespace, "--create-namespace", "--no-digests"),
            *("--images-registry", images(), "--images-tag", tag()),
            *("--models-size=1Gi", "--volume-size=10Mi"),
        )
        yield cluster
    finally:
        argotune("uninstall", "-n", cluster.namespace, "--delete-models", "--force")
        run("kubectl", "delete", "namespace", cluster.namespace, "--wait=false")


@pytest.fixture(scope="module")
def without_image(
    installed: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, Future[Run]]]:
    """A run with an empty output-image by each door of Argo's, at its end."""
    path = tmp_path_factory.mktemp("without-image") / "schedule.yaml"
    doors: dict[str, Callable[[], Run]] = {
        "argo": lambda: _argo_submit(installed, "workflowtemplate/finetune", _imageless("by-argo")),
        "ui": lambda: _server_submit(installed, _imageless("by-the-ui")),
        "schedule": lambda: _by_an_imageless_schedule(installed, path),
    }

    def ended(door: Callable[[], Run]) -> Run:
        return door().ends("Failed", seconds=RUN_SECONDS)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        yield {name: pool.submit(ended, door) for name, door in doors.items()}


def _imageless(name: str) -> dict[str, str]:
    return {**arguments_of(name), "push-secret": "argotune-push", "output-image": ""}


def _by_an_imageless_schedule(cluster: Cluster, path: Path) -> Run:
    """Written by hand, for `argotune render` refuses it."""
    name = "retrain-imageless"
    spec = {"schedules": ["* * * * *"], "workflowSpec": workflow(_imageless("scheduled"))["spec"]}
    made = {"apiVersion": ARGO, "kind": "CronWorkflow", "metadata": {"name": name}, "spec": spec}
    path.write_text(json.dumps(made))
    return _first_of_schedule(cluster, path, name)


@pytest.mark.parametrize("door", ["argo", "ui", "schedule"])
def test_an_empty_image_ends_in_the_plan_step_at_every_door(
    without_image: Mapping[str, Future[Run]], door: str
) -> None:
    run = without_image[door].result()
    assert "output-image: empty; give REGISTRY/REPOSITORY:TAG" in run.tries("plan")[0]["message"]
    assert [len(run.tries(step)) for step in ("plan", "release")] == [1, 1], "nothing is retried"
    began = {name for name, phase in run.phases().items() if phase not in ("Omitted", "Skipped")}
    assert began == {"plan", "release"}, run.explain()


def test_argo_refuses_a_run_without_its_image(installed: Cluster) -> None:
    """The form has no default for it that cannot work."""
    arguments = _imageless("without")
    del arguments["output-image"]
    with pytest.raises(AssertionError, match=r"spec\.arguments\.output-image\.value or "):
        _argo_submit(installed, "workflowtemplate/finetune", arguments)
