from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from argotune.steps.common.clock import Clock
from argotune.steps.common.errors import Interrupted, PermanentError, StepError, TransientError
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.service_note import NOTE, Note, read_note
from argotune.steps.deploy import kubernetes
from argotune.steps.deploy.manifests.deployment import AdapterImage
from argotune.steps.deploy.manifests.labels import owned_by_run
from argotune.steps.deploy.manifests.network import network_policy
from argotune.steps.deploy.manifests.network import service as service_of
from argotune.steps.deploy.manifests.objects import KINDS, serving_objects
from argotune.steps.deploy.params import Params, Result
from argotune.steps.push.layout import write_image
from tests.fakes.adapter import write_adapter
from tests.fakes.kube import Cluster, Fault, Object, serving
from tests.fakes.listening import listening

DIGEST = "sha256:" + "a" * 64
REFERENCE = f"acr.io/team/phi@{DIGEST}"
_CACHE = TemporaryDirectory()
"""A model cache without adapters."""


def params(**changes: Any) -> Params:
    values: dict[str, Any] = {
        "name": "phi",
        "reference": REFERENCE,
        "plan_file": Path("plan.yaml"),
        "model_dir": "microsoft--Phi-3/abc",
        "cache_dir": Path(_CACHE.name),
        "namespace": "team",
        "image": "acr.io/argotune-serve:1",
        "vllm_image": "acr.io/argotune-vllm:1",
        "model_cache_claim": "models",
        "question": "Hello?",
        "timeout_seconds": 60.0,
        "dataset_digest": "sha256:" + "d" * 64,
    }
    return Params(**values | changes)


@pytest.fixture
def service() -> Iterator[str]:
    """What the Service's address leads to: answers every question with its prompt."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            prompt = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["prompt"]
            body = json.dumps({"response": f"You said {prompt}"}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    with listening(Handler) as port:
        yield f"http://127.0.0.1:{port}"


@contextmanager
def saying(*statuses: int) -> Iterator[tuple[str, list[int]]]:
    """A service that answers its questions with these statuses, the last one for ever; the list
    has those that it said."""
    said: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            status = statuses[min(len(said), len(statuses) - 1)]
            said.append(status)
            body = json.dumps({"response": "Well."}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    with listening(Handler) as port:
        yield f"http://127.0.0.1:{port}", said


class Time:
    """A clock that a test's sleep moves on."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def deploy(cluster: Cluster, endpoint: str, wanted: Params | None = None) -> Result:
    time = Time()
    with serving(cluster) as kube:
        return kubernetes.deploy_service(
            wanted or params(),
            kube=kube,
            progress=Progress(),
            clock=Clock(now=lambda: time.now, sleep=time.sleep),
            endpoint=lambda _: endpoint,
        )


def error(cluster: Cluster, wanted: Params | None = None) -> StepError:
    with pytest.raises(StepError) as caught:
        deploy(cluster, "http://127.0.0.1:1", wanted)
    return caught.value


def rolls_out(cluster: Cluster, applied: Object) -> None:
    """A controller for which all goes well."""
    applied["status"] = {
        "observedGeneration": applied["metadata"]["generation"],
        "replicas": 1,
        "updatedReplicas": 1,
        "availableReplicas": 1,
    }


def scales(cluster: Cluster, applied: Object) -> None:
    """The same, with as many pods as are asked for."""
    numbers = ("replicas", "updatedReplicas", "availableReplicas")
    applied["status"] = dict.fromkeys(numbers, applied["spec"].get("replicas", 0))
    applied["status"]["observedGeneration"] = applied["metadata"]["generation"]


def hangs(status: Object) -> Callable[[Cluster, Object], None]:
    """A controller whose one pod stays with this status."""

    def make_pod(cluster: Cluster, applied: Object) -> None:
        if applied["kind"] != "Deployment":
            return
        applied["status"] = {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1}
        metadata = copy.deepcopy(applied["spec"]["template"]["metadata"]) | {"name": "phi-1"}
        cluster.pods = [{"metadata": metadata, "status": status}]

    return make_pod


def waiting(reason: str, message: str = "") -> Object:
    state = {"waiting": {"reason": reason, "message": message}}
    return {"phase": "Pending", "containerStatuses": [{"state": state}]}


def running_before(cluster: Cluster) -> Object:
    """An older deploy's objects; gives the Deployment."""
    cluster.on_apply = rolls_out
    old = params(reference=f"acr.io/team/phi@sha256:{'b' * 64}")
    with serving(cluster) as kube:
        adapter = AdapterImage(reference=old.reference)
        for manifest in serving_objects(old, adapter, replicas=1):
            kube.apply(manifest)
    deployment = cluster.objects["Deployment", "team", "phi"]
    deployment["spec"]["template"]["metadata"]["creationTimestamp"] = None
    cluster.requests.clear()
    return copy.deepcopy(deployment)


def test_a_service_is_applied_watched_and_asked(service: str) -> None:
    cluster = Cluster(on_apply=rolls_out)
    result = deploy(cluster, service)
    assert result == Result(endpoint=service, answer="You said Hello?")
    assert {kind for kind, _, _ in cluster.objects} == {
        "Deployment",
        "Service",
        "NetworkPolicy",
        "PodDisruptionBudget",
    }
    applies = [request for request in cluster.requests if request.startswith("PATCH")]
    assert all("fieldManager=argotune" in request for request in applies)
    assert all("fieldValidation=Strict" in request for request in applies)
    assert "dryRun=All" in applies[0]


def test_the_services_address_is_the_clusters() -> None:
    assert kubernetes._service_url(params()) == "http://phi.team.svc"


def test_the_adapter_is_an_image_volume_where_the_cluster_has_them(service: str) -> None:
    cluster = Cluster(on_apply=rolls_out)
    deploy(cluster, service)
    pod = cluster.objects["Deployment", "team", "phi"]["spec"]["template"]["spec"]
    assert pod["volumes"][2] == {
        "name": "adapter",
        "image": {"reference": REFERENCE, "pullPolicy": "IfNotPresent"},
    }


def test_without_image_volumes_the_adapter_comes_from_the_model_cache(
    service: str, tmp_path: Path
) -> None:
    adapter = write_adapter(tmp_path / "adapter")
    files = list(adapter.iterdir())
    layout = tmp_path / "image"
    digest = write_image(layout, files, tag="1", created="2026", annotations={}).digest
    older = tmp_path / "cache" / "adapters" / "phi" / "older"
    older.mkdir(parents=True)
    cluster = Cluster(on_apply=rolls_out, image_volumes=False)
    wanted = params(
        reference=f"acr.io/team/phi@{digest}", layout_dir=layout, cache_dir=tmp_path / "cache"
    )
    deploy(cluster, service, wanted)
    directory = f"adapters/phi/{digest[7:23]}"
    assert (tmp_path / "cache" / directory / "adapter_model.safetensors").is_file()
    assert not older.exists()
    pod = cluster.objects["Deployment", "team", "phi"]["spec"]["template"]["spec"]
    assert f"--adapter-dir=/argotune/models/{directory}" in pod["containers"][0]["args"]
    assert [volume["name"] for volume in pod["volumes"]] == ["models", "scratch"]


def test_an_object_of_somebody_else_is_left_alone() -> None:
    cluster = Cluster()
    cluster.objects["Service", "team", "phi"] = {"metadata": {"name": "phi"}, "spec": {}}
    assert str(error(cluster)) == (
        "Service team/phi exists and is not argotune's; give the workspace another name"
    )
    assert list(cluster.objects) == [("Service", "team", "phi")]


@pytest.mark.parametrize("kind", KINDS)
def test_no_kind_of_object_of_somebody_else_is_overwritten(kind: str) -> None:
    cluster = Cluster()
    cluster.apis["monitoring.coreos.com/v1"] = ["servicemonitors"]
    cluster.objects[kind, "team", "phi"] = {"metadata": {"name": "phi"}, "spec": {}}
    exposed = {"gateway": "edge/public", "ingress_class": ""} if kind == "HTTPRoute" else {}
    wanted = params(**AROUND | exposed)
    assert f"{kind} team/phi exists and is not argotune's" in str(error(cluster, wanted))
    assert not [each for each in cluster.requests if each.startswith(("PATCH", "DELETE"))]


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (
            waiting("ErrImagePull", "acr.io/argotune-serve:1: not found"),
            "pod phi-1 cannot start: ErrImagePull: acr.io/argotune-serve:1: not found",
        ),
        (
            waiting("ImagePullBackOff", "Back-off pulling image"),
            "pod phi-1 cannot start: ImagePullBackOff: Back-off pulling image",
        ),
        (
            waiting("InvalidImageName", "couldn't parse image name"),
            "pod phi-1 cannot start: InvalidImageName: couldn't parse image name",
        ),
        (
            waiting("CreateContainerConfigError", 'secret "x" not found'),
            'pod phi-1 cannot start: CreateContainerConfigError: secret "x" not found',
        ),
        (
            {
                "containerStatuses": [
                    {
                        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                        "lastState": {"terminated": {"reason": "Error", "exitCode": 1}},
                        "restartCount": 1,
                    }
                ]
            },
            "the server of pod phi-1 exited with code 1; its log ends with: loading | "
            "RuntimeError: no CUDA",
        ),
        (
            {
                "containerStatuses": [
                    {
                        "state": {"running": {}},
                        "lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137}},
                        "restartCount": 1,
                    }
                ]
            },
            "the server of pod phi-1 ran out of memory; it requests 2Gi (parameter service-memory)",
        ),
        (
            {
                "phase": "Pending",
                "conditions": [
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.",
                    }
                ],
            },
            "service phi was not ready within 60 s: Unschedulable: 0/1 nodes are available: 1 "
            "Insufficient nvidia.com/gpu.",
        ),
        (
            {
                "phase": "Running",
                "containerStatuses": [{"state": {"running": {}}, "started": False}],
            },
            "service phi was not ready within 60 s: loading the model",
        ),
        (
            waiting("ContainerCreating"),
            "service phi was not ready within 60 s: ContainerCreating (FailedMount: no claim)",
        ),
        (
            {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
            "service phi was not ready within 60 s: the new pods are ready, old ones are stopping",
        ),
        (
            {"phase": "Failed", "reason": "UnexpectedAdmissionError", "message": "no GPU"},
            "service phi was not ready within 60 s: pod phi-1 failed: UnexpectedAdmissionError "
            "no GPU",
        ),
    ],
)
def test_what_keeps_the_pod_from_serving_is_said(status: Object, message: str) -> None:
    cluster = Cluster(on_apply=hangs(status), logs={"phi-1": "loading\nRuntimeError: no CUDA\n"})
    cluster.events = [
        {
            "metadata": {},
            "involvedObject": {"name": name},
            "type": kind,
            "reason": "FailedMount",
            "message": text,
            "lastTimestamp": "2026-01-01T00:00:00Z",
        }
        for name, kind, text in (
            ("phi-1", "Warning", "no claim"),
            ("phi-1", "Normal", "pulled"),
            ("other", "Warning", "other"),
        )
    ]
    found = error(cluster)
    assert isinstance(found, PermanentError)
    assert str(found) == message


def said_of_the_run(cluster: Cluster) -> list[tuple[str, str, str]]:
    about = [event for event in cluster.events if event.get("reason") == "WaitingForService"]
    return [
        (event["involvedObject"]["uid"], event["reportingComponent"], event["message"])
        for event in about
    ]


def test_what_the_rollout_waits_for_is_said_about_the_run() -> None:
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/3 nodes are available: 3 Insufficient cpu.",
    }
    cluster = Cluster(on_apply=hangs({"phase": "Pending", "conditions": [condition]}))
    error(cluster, params(**OF_THE_RUN))
    why = "Unschedulable: 0/3 nodes are available: 3 Insufficient cpu."
    assert said_of_the_run(cluster) == [("11111111-2222", "argotune-deploy", why)]


def test_a_run_without_the_right_to_say_it_goes_on() -> None:
    cluster = Cluster(on_apply=hangs(waiting("ContainerCreating")))
    cluster.faults = [Fault("POST", "/events", 403, "events is forbidden", times=99)]
    found = error(cluster, params(**OF_THE_RUN))
    assert str(found) == "service phi was not ready within 60 s: ContainerCreating"
    assert said_of_the_run(cluster) == []


def test_a_wrong_image_ends_the_wait_within_a_minute() -> None:
    time = Time()
    cluster = Cluster(on_apply=hangs(waiting("ImagePullBackOff", "Back-off")))
    with serving(cluster) as kube, pytest.raises(PermanentError):
        kubernetes.deploy_service(
            params(),
            kube=kube,
            progress=Progress(),
            clock=Clock(now=lambda: time.now, sleep=time.sleep),
        )
    assert time.now < 60


def test_pods_that_admission_refuses_end_the_wait() -> None:
    def refuse(cluster: Cluster, applied: Object) -> None:
        condition = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}
        applied["status"] = {"observedGeneration": 1, "conditions": [condition]}

    assert str(error(Cluster(on_apply=refuse))) == "no pod can be created: exceeded quota"


def test_a_secret_of_keys_that_is_not_there_is_said() -> None:
    assert str(error(Cluster(), params(api_keys_secret="api-keys"))) == (
        "api-keys-secret: secret api-keys with the key 'keys' is not here; make it: kubectl create"
        " secret generic api-keys --from-file=keys=FILE, with lines NAME: KEY in it"
    )


def test_a_first_deploy_that_fails_leaves_nothing() -> None:
    cluster = Cluster(on_apply=hangs(waiting("InvalidImageName", "bad")))
    error(cluster)
    assert cluster.objects == {}


def test_the_old_service_comes_back_when_the_new_one_fails() -> None:
    cluster = Cluster()
    old = running_before(cluster)
    cluster.on_apply = hangs(waiting("InvalidImageName", "bad"))
    error(cluster)
    new = cluster.objects["Deployment", "team", "phi"]
    del old["spec"]["template"]["metadata"]["creationTimestamp"]
    assert new["spec"] == old["spec"]
    assert new["metadata"]["generation"] == old["metadata"]["generation"] + 2
    assert {kind for kind, _, _ in cluster.objects} == {"Deployment", "Service", "NetworkPolicy"}
    assert not any(request.startswith("DELETE") for request in cluster.requests)


def test_a_service_that_does_not_answer_is_rolled_back() -> None:
    cluster = Cluster()
    old = running_before(cluster)
    found = error(cluster)
    assert isinstance(found, TransientError)
    assert str(found).startswith("http://127.0.0.1:1/chat gave no answer: ")
    del old["spec"]["template"]["metadata"]["creationTimestamp"]
    assert cluster.objects["Deployment", "team", "phi"]["spec"] == old["spec"]


def test_a_question_that_fails_once_rolls_no_good_service_back() -> None:
    cluster = Cluster()
    running_before(cluster)
    with saying(503, 429, 200) as (endpoint, said):
        assert deploy(cluster, endpoint).answer == "Well."
    assert said == [503, 429, 200]
    served = cluster.objects["Deployment", "team", "phi"]["spec"]["template"]["metadata"]
    assert served["annotations"]["argotune.dev/adapter"] == REFERENCE


@pytest.mark.parametrize(("status", "tries"), [(500, 5), (400, 1)])
def test_a_service_that_answers_no_question_is_rolled_back(status: int, tries: int) -> None:
    cluster = Cluster()
    old = running_before(cluster)
    with saying(status) as (endpoint, said), pytest.raises(PermanentError) as caught:
        deploy(cluster, endpoint)
    assert f"/chat answered {status}: " in str(caught.value)
    assert said == [status] * tries
    del old["spec"]["template"]["metadata"]["creationTimestamp"]
    assert cluster.objects["Deployment", "team", "phi"]["spec"] == old["spec"]


@pytest.mark.parametrize("replicas", [0, 3])
def test_a_service_stays_scaled_as_it_was(service: str, replicas: int) -> None:
    """Also to none: then nothing can be asked, and the run does not fail for it."""
    cluster = Cluster()
    running_before(cluster)
    cluster.objects["Deployment", "team", "phi"]["spec"]["replicas"] = replicas
    cluster.on_apply = scales
    answer = deploy(cluster, service if replicas else "http://127.0.0.1:1").answer
    assert answer == (
        "You said Hello?" if replicas else "none: the service is scaled to 0 replicas"
    )
    assert cluster.objects["Deployment", "team", "phi"]["spec"]["replicas"] == replicas


AROUND: dict[str, Any] = {
    "replicas": 2,
    "max_replicas": 5,
    "host": "phi.example.com",
    "domain": "example.com",
    "ingress_class": "nginx",
}


def test_what_is_turned_off_around_a_service_goes_with_the_next_deploy(service: str) -> None:
    cluster = Cluster(on_apply=scales)
    cluster.apis["monitoring.coreos.com/v1"] = ["servicemonitors"]
    deploy(cluster, service, params(**AROUND))
    around = {"HorizontalPodAutoscaler", "Ingress", "ServiceMonitor"}
    always = {"NetworkPolicy", "Service", "Deployment", "PodDisruptionBudget"}
    assert {kind for kind, _, _ in cluster.objects} == around | always
    # Somebody else's of the same name stays.
    cluster.objects["HTTPRoute", "team", "phi"] = {"metadata": {"name": "phi"}, "spec": {}}
    deploy(cluster, service, params(monitor="none"))
    assert {kind for kind, _, _ in cluster.objects} == always | {"HTTPRoute"}


def test_an_autoscaler_without_metrics_is_warned_about(
    service: str, caplog: pytest.LogCaptureFixture
) -> None:
    cluster = Cluster(on_apply=scales)
    deploy(cluster, service, params(**AROUND))
    assert "prometheus-adapter brings argotune_requests_waiting" in caplog.text
    caplog.clear()
    cluster.apis["custom.metrics.k8s.io"] = []
    deploy(cluster, service, params(**AROUND))
    assert "prometheus-adapter" not in caplog.text


@pytest.mark.parametrize(
    ("now", "settings", "wanted"),
    [
        (None, {}, 1),
        (None, {"replicas": 3}, 3),
        (5, {"replicas": 3}, 3),
        # As far as the autoscaler has come.
        (4, {"replicas": 2, "max_replicas": 5}, 4),
        (1, {"replicas": 2, "max_replicas": 5}, 2),
        # A schedule starts no service that somebody stopped.
        (0, {"replicas": 3}, 0),
        (0, {"start": True}, 1),
        (0, {"start": True, "replicas": 3}, 3),
        (2, {"start": True}, 2),
    ],
)
def test_how_many_servers_there_are(
    service: str, now: int | None, settings: dict[str, int], wanted: int
) -> None:
    cluster = Cluster(on_apply=scales)
    if now is not None:
        running_before(cluster)
        cluster.objects["Deployment", "team", "phi"]["spec"]["replicas"] = now
        cluster.on_apply = scales
    deploy(cluster, service, params(**settings))
    assert cluster.objects["Deployment", "team", "phi"]["spec"]["replicas"] == wanted


@pytest.mark.parametrize(("now", "settings"), [(0, {"start": True}), (2, {"replicas": 5})])
def test_a_failed_deploy_leaves_the_number_of_servers(now: int, settings: dict[str, int]) -> None:
    cluster = Cluster()
    running_before(cluster)
    cluster.objects["Deployment", "team", "phi"]["spec"]["replicas"] = now
    cluster.on_apply = hangs(waiting("InvalidImageName", "bad"))
    error(cluster, params(**settings))
    assert cluster.objects["Deployment", "team", "phi"]["spec"]["replicas"] == now


def test_what_the_cluster_refuses_around_the_service_is_known_before_the_rollout() -> None:
    cluster = Cluster(on_apply=rolls_out)
    cluster.faults = [Fault("PATCH", "poddisruptionbudgets", 403, "no right to budgets")]
    assert "no right to budgets" in str(error(cluster))
    assert cluster.objects == {}


def test_a_failed_roll_back_does_not_hide_the_failure(caplog: pytest.LogCaptureFixture) -> None:
    cluster = Cluster(on_apply=hangs(waiting("InvalidImageName", "bad")))
    cluster.faults = [Fault("DELETE", "deployments", 403, "no right to delete")]
    assert str(error(cluster)) == "pod phi-1 cannot start: InvalidImageName: bad"
    assert "no right to delete" in caplog.text


def test_old_pods_do_not_count(service: str) -> None:
    looks = 0

    def roll(cluster: Cluster, applied: Object) -> None:
        if applied["kind"] != "Deployment":
            return
        annotations = {"argotune.dev/adapter": "the old one"}
        labels = {"argotune.dev/service": "phi"}
        metadata = {"name": "old", "labels": labels, "annotations": annotations}
        cluster.pods = [{"metadata": metadata, "status": waiting("InvalidImageName")}]
        applied["status"] = {"observedGeneration": 1, "replicas": 2, "updatedReplicas": 1}

    cluster = Cluster(on_apply=roll)
    time = Time()

    def sleep(seconds: float) -> None:
        nonlocal looks
        looks += 1
        time.sleep(seconds)
        if looks == 3:
            rolls_out(cluster, cluster.objects["Deployment", "team", "phi"])

    with serving(cluster) as kube:
        result = kubernetes.deploy_service(
            params(),
            kube=kube,
            progress=Progress(),
            clock=Clock(now=lambda: time.now, sleep=sleep),
            endpoint=lambda _: service,
        )
    assert result.answer == "You said Hello?"
    assert looks == 3


@pytest.mark.parametrize(
    ("fault", "kind", "message"),
    [
        (
            Fault("GET", "deployments/phi", 403, "cannot get resource deployments"),
            PermanentError,
            "cannot read Deployment team/phi: cannot get resource deployments",
        ),
        (
            Fault("PATCH", "services", 422, "spec.ports: Required value"),
            PermanentError,
            "cannot apply Service team/phi: spec.ports: Required value",
        ),
        (
            Fault("PATCH", "services", 503, "apiserver not ready"),
            TransientError,
            "cannot apply Service team/phi: apiserver not ready",
        ),
    ],
)
def test_what_the_api_server_refuses_is_said(
    fault: Fault, kind: type[StepError], message: str
) -> None:
    found = error(Cluster(on_apply=rolls_out, faults=[fault]))
    assert type(found) is kind or isinstance(found, kind)
    assert str(found) == message


def test_an_api_server_that_is_away_is_a_transient_error() -> None:
    with serving(Cluster()) as kube:
        pass
    with pytest.raises(TransientError, match=r"cannot read API .*: the API server"):
        kubernetes.deploy_service(params(), kube=kube, progress=Progress())


OF_THE_RUN = {"run_name": "phi-x7k2p", "run_uid": "11111111-2222"}


def owners(cluster: Cluster) -> list[Object]:
    return [
        owner
        for item in cluster.objects.values()
        for owner in item["metadata"].get("ownerReferences", [])
    ]


def test_new_objects_are_the_workflows_until_the_service_answers(service: str) -> None:
    during: list[list[Object] | None] = []

    def roll(cluster: Cluster, applied: Object) -> None:
        rolls_out(cluster, applied)
        during.append(applied["metadata"].get("ownerReferences"))

    cluster = Cluster(on_apply=roll)
    deploy(cluster, service, params(**OF_THE_RUN))
    owner = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "name": "phi-x7k2p",
        "uid": "11111111-2222",
    }
    # The budget comes when the service has answered.
    assert during == [[owner]] * 3 + [None] * 3 + [None]
    assert owners(cluster) == []
    # Else the pods would be replaced when the owner goes.
    assert cluster.objects["Deployment", "team", "phi"]["metadata"]["generation"] == 1


def test_a_service_that_was_there_is_never_the_workflows(service: str) -> None:
    cluster = Cluster()
    running_before(cluster)
    seen: list[Object] = []

    def roll(cluster: Cluster, applied: Object) -> None:
        rolls_out(cluster, applied)
        seen.extend(owners(cluster))

    cluster.on_apply = roll
    deploy(cluster, service, params(**OF_THE_RUN))
    assert seen == []


def test_what_an_earlier_try_was_killed_over_goes_when_the_next_one_fails() -> None:
    wanted = params(**OF_THE_RUN)
    cluster = Cluster(on_apply=hangs(waiting("InvalidImageName", "bad")))
    with serving(cluster) as kube:
        for manifest in (network_policy(wanted), service_of(wanted)):
            kube.apply(owned_by_run(manifest, wanted))
    error(cluster, wanted)
    assert cluster.objects == {}


def test_a_stop_in_the_middle_of_a_rollout_takes_back_what_was_new() -> None:
    cluster = Cluster(on_apply=hangs(waiting("ContainerCreating")))

    def sleep(seconds: float) -> None:
        raise Interrupted("stopped by SIGTERM")

    with serving(cluster) as kube, pytest.raises(Interrupted):
        kubernetes.deploy_service(
            params(**OF_THE_RUN),
            kube=kube,
            progress=Progress(),
            clock=Clock(now=lambda: 0.0, sleep=sleep),
        )
    assert cluster.objects == {}


def cannot_go_back(status: Object) -> Callable[[Cluster, Object], None]:
    """The same as `hangs`; and the server takes no rollback, as after a kill."""
    hang = hangs(status)

    def refuse(cluster: Cluster, applied: Object) -> None:
        hang(cluster, applied)
        if applied["kind"] == "Deployment":
            cluster.faults = [Fault("PATCH", "deployments/phi", 403)]

    return refuse


@pytest.mark.parametrize("run", [OF_THE_RUN, {"run_name": "phi-next1", "run_uid": "2222"}])
def test_the_try_after_a_killed_one_goes_back_to_what_answered(run: dict[str, str]) -> None:
    cluster = Cluster()
    old = running_before(cluster)
    bad = waiting("InvalidImageName", "bad")
    cluster.on_apply = cannot_go_back(bad)
    error(cluster, params(**OF_THE_RUN, replicas=3))
    killed = cluster.objects["Deployment", "team", "phi"]
    assert killed["spec"]["template"] != old["spec"]["template"]
    assert NOTE in killed["metadata"]["annotations"]
    cluster.on_apply = hangs(bad)
    error(cluster, params(**run, replicas=3))
    back = cluster.objects["Deployment", "team", "phi"]
    del old["spec"]["template"]["metadata"]["creationTimestamp"]
    assert back["spec"] == old["spec"]
    assert NOTE not in back["metadata"].get("annotations", {})


def test_what_answered_is_what_the_next_deploy_goes_back_to(service: str) -> None:
    cluster = Cluster()
    running_before(cluster)
    cluster.objects["Deployment", "team", "phi"]["metadata"]["annotations"] = {"team": "ours"}
    deploy(cluster, service)
    answered = copy.deepcopy(cluster.objects["Deployment", "team", "phi"])
    assert answered["metadata"]["annotations"] == {"team": "ours"}
    cluster.on_apply = hangs(waiting("InvalidImageName", "bad"))
    error(cluster, params(memory="9Gi"))
    assert cluster.objects["Deployment", "team", "phi"]["spec"] == answered["spec"]


def test_a_note_that_somebody_edited_stops_no_deploy(
    service: str, caplog: pytest.LogCaptureFixture
) -> None:
    cluster = Cluster()
    running_before(cluster)
    cluster.objects["Deployment", "team", "phi"]["metadata"]["annotations"] = {NOTE: "[]"}
    assert deploy(cluster, service).answer == "You said Hello?"
    assert "note-unreadable" in caplog.text


NO_GPU = {
    "phase": "Pending",
    "conditions": [
        {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.",
        }
    ],
}


def one_gpu(cluster: Cluster, applied: Object) -> None:
    """A controller that finds no second GPU, while the old server answers."""
    hangs(NO_GPU)(cluster, applied)
    if applied["kind"] == "Deployment":
        applied["status"] |= {"replicas": 2, "availableReplicas": 1}


def test_a_server_that_may_end_first_gives_its_gpu_to_the_new_one(service: str) -> None:
    cluster = Cluster()
    running_before(cluster)
    cluster.on_apply = one_gpu
    strategies: list[Object] = []

    def sleep(seconds: float) -> None:
        found = cluster.objects["Deployment", "team", "phi"]
        strategies.append(found["spec"]["strategy"]["rollingUpdate"])
        if strategies[-1]["maxUnavailable"] == "100%":
            rolls_out(cluster, found)

    with serving(cluster) as kube:
        result = kubernetes.deploy_service(
            params(service_during_tuning="cpu", gpus=1),
            kube=kube,
            progress=Progress(),
            clock=Clock(now=lambda: 0.0, sleep=sleep),
            endpoint=lambda _: service,
        )
    assert result.answer == "You said Hello?"
    assert strategies == [{"maxSurge": 1, "maxUnavailable": "100%"}]


def test_a_server_that_keeps_its_gpu_says_what_would_help() -> None:
    cluster = Cluster()
    old = running_before(cluster)
    cluster.on_apply = one_gpu
    assert str(error(cluster, params(gpus=1))).endswith(
        "Insufficient nvidia.com/gpu.; the old server keeps its GPU until the new one is ready;"
        " with service-during-tuning hand-over or cpu it ends first"
    )
    del old["spec"]["template"]["metadata"]["creationTimestamp"]
    assert cluster.objects["Deployment", "team", "phi"]["spec"] == old["spec"]


def handed_over(cluster: Cluster, replicas: int) -> Object:
    """A service with so many servers has given its GPUs to this run; returns its pod template."""
    old = running_before(cluster)
    found = cluster.objects["Deployment", "team", "phi"]
    note = Note(template=old["spec"]["template"], replicas=replicas, run="1111")
    found["metadata"]["annotations"] = {NOTE: note.text()}
    found["spec"]["replicas"] = 0
    template: Object = old["spec"]["template"]
    del template["metadata"]["creationTimestamp"]
    return template


def test_the_new_adapter_has_the_servers_that_gave_their_gpus_to_the_run(service: str) -> None:
    cluster = Cluster()
    handed_over(cluster, replicas=2)
    cluster.on_apply = scales
    assert deploy(cluster, service, params(gpus=1, **OF_THE_RUN)).answer == "You said Hello?"
    found = cluster.objects["Deployment", "team", "phi"]
    assert found["spec"]["replicas"] == 2
    assert NOTE not in found["metadata"]["annotations"]


def test_a_deploy_that_fails_brings_back_what_gave_its_gpus_to_the_run() -> None:
    cluster = Cluster()
    before = handed_over(cluster, replicas=2)
    cluster.on_apply = hangs(waiting("InvalidImageName", "bad"))
    error(cluster, params(gpus=1, **OF_THE_RUN))
    found = cluster.objects["Deployment", "team", "phi"]
    assert (found["spec"]["template"], found["spec"]["replicas"]) == (before, 2)


def test_a_killed_deploy_leaves_the_run_in_the_note_for_its_release() -> None:
    cluster = Cluster()
    before = handed_over(cluster, replicas=2)
    cluster.on_apply = cannot_go_back(waiting("InvalidImageName", "bad"))
    error(cluster, params(gpus=1, **OF_THE_RUN))
    note = read_note(cluster.objects["Deployment", "team", "phi"])
    assert note is not None
    assert (note.run, note.replicas) == ("1111", 2)
    assert note.template["spec"] == before["spec"]
