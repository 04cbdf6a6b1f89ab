"""What is recorded of an adapter that went into service, and how an earlier one goes back."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from argotune.steps.common.errors import ParamsError, PermanentError
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.adapter_image import (
    BASE_MODEL,
    BASE_REVISION,
    DATASET_DIGEST,
    MODEL_DIR,
    WORKSPACE,
)
from argotune.steps.contracts.history import last_deployed, live_digest, record_live
from argotune.steps.contracts.in_service import (
    ADAPTER,
    WORKSPACE_UID,
    Event,
    InService,
    deployed_by_other,
    read_in_service,
)
from argotune.steps.contracts.services import RECORD, stop_service
from argotune.steps.deploy.kubernetes import describe_service
from argotune.steps.deploy.params import Params, Result
from argotune.steps.deploy.run import run
from argotune.steps.deploy.version import Tagged, complete, in_service, record_version
from argotune.steps.push.layout import write_image
from argotune.steps.registry.oci import ImageReference, LayoutReference
from argotune.steps.registry.skopeo import Registry
from argotune.steps.registry.skopeo import push as copy_to_registry
from argotune.steps.registry.versions import find_live, list_versions, repository_of
from tests.fakes.adapter import write_adapter, write_model, write_tiny_plan
from tests.fakes.kube import Cluster, Fault, serving
from tests.fakes.registry import serving as registry_serving
from tests.steps.deploy.test_kubernetes import (
    Object,
    deploy,
    hangs,
    rolls_out,
    running_before,
    service,
    waiting,
)
from tests.steps.deploy.test_kubernetes import params as of_cluster
from tests.steps.deploy.test_process import Deployer, deployer

__all__ = ["deployer", "service"]

needs_skopeo = pytest.mark.skipif(
    shutil.which("skopeo") is None, reason="skopeo is not installed on this machine"
)
DATA = f"sha256:{64 * 'd'}"
OLD, NEW = (f"acr.io/team/phi@sha256:{64 * letter}" for letter in "ba")
Push: TypeAlias = Callable[..., str]
"""Content and changed annotations -> digest."""


@pytest.fixture
def push(tmp_path: Path) -> Push:
    def write(content: str, **annotations: str) -> str:
        adapter = write_adapter(tmp_path / "adapter")
        write_model(tmp_path / "cache" / "argotune--tiny" / "0", adapter)
        (adapter / "chat_template.jinja").write_text(content)
        known = {
            WORKSPACE: "phi",
            BASE_MODEL: "argotune/tiny",
            BASE_REVISION: 40 * "0",
            DATASET_DIGEST: DATA,
            MODEL_DIR: "argotune--tiny/0",
        }
        return write_image(
            tmp_path / "image",
            sorted(adapter.iterdir()),
            tag="latest",
            created="2026-01-01T00:00:00Z",
            annotations={**known, **annotations},
        ).digest

    return write


def of_image(root: Path, version: str, **changes: Any) -> Params:
    """Parameters of a rollback on this machine: no plan, no model, no data."""
    values: dict[str, Any] = {
        "target": "process",
        "name": "phi",
        "reference": f"oci:{root / 'image'}{version}",
        "cache_dir": root / "cache",
        "services_dir": root / "services",
        "question": "Hello?",
        "timeout_seconds": 20.0,
    }
    return Params(**values | changes)


def test_a_service_records_its_version_and_the_one_before(deployer: Deployer) -> None:
    first = deployer.push("{}")
    assert deployer.deploy(first).version == "v1"
    second = deployer.push('{"a": 1}')
    assert deployer.deploy(second).version == "v2"
    known = read_in_service(deployer.service().annotations)
    assert known is not None
    assert known.adapter == f"oci:{deployer.layout}@{second}"
    assert known.previous == f"oci:{deployer.layout}@{first}"
    assert known.dataset_digest == DATA
    assert known.settings == {
        "api-keys-secret": "",
        "cache-dir": f"{deployer.root}/cache",
        "cors-origins": "[]",
        "load-in-4bit": "false",
        "max-length": "",
        "port": "0",
        "question": "Hello?",
        "requests-per-minute": "0",
        "serve-with": "",
    }
    # Whoever repeats a deploy neither gives a number again nor loses the way back.
    assert deployer.deploy(second).version == "v2"
    again = read_in_service(deployer.service().annotations)
    assert again is not None
    assert (again.version, again.previous) == ("v2", known.previous)


def test_the_one_before_is_known_by_its_tag_when_the_record_is_gone(deployer: Deployer) -> None:
    first, second = deployer.push("{}"), deployer.push('{"a": 1}')
    for digest in (first, second):
        deployer.deploy(digest)
    stop_service(deployer.services_dir, "phi")
    (deployer.services_dir / "phi" / RECORD).unlink()
    deployer.deploy(second)
    known = read_in_service(deployer.service().annotations)
    assert known is not None
    assert known.previous == f"oci:{deployer.layout}@{first}"


def test_a_service_that_does_not_answer_moves_no_tags(deployer: Deployer) -> None:
    first = deployer.push("{}")
    deployer.deploy(first)
    repository = repository_of(LayoutReference(directory=deployer.layout), Registry())
    second = deployer.push('{"a": 1}')
    with pytest.raises(PermanentError):
        deployer.deploy(second, "crash")
    live = find_live(repository, "phi")
    assert live is not None
    assert live.digest == first
    assert [version.number for version in list_versions(repository)] == [1]
    known = read_in_service(deployer.service().annotations)
    assert known is not None
    assert known.version == "v1"


def test_a_version_is_found_by_its_tag_and_says_what_it_needs(tmp_path: Path, push: Push) -> None:
    digest = push("one")
    record_version(of_image(tmp_path, f"@{digest}"))
    push("two")
    params, model = complete(of_image(tmp_path, ":v1"))
    assert params.reference == f"oci:{tmp_path / 'image'}@{digest}"
    assert params.model_dir == "argotune--tiny/0"
    assert params.dataset_digest == DATA
    assert model == f"argotune/tiny@{40 * '0'}"


def test_a_run_that_made_its_adapter_asks_no_registry(tmp_path: Path) -> None:
    plan = write_tiny_plan(tmp_path / "plan.yaml")
    params = of_image(
        tmp_path, f"@{DATA}", plan_file=tmp_path / "plan.yaml", model_dir="argotune--tiny/0"
    )
    assert complete(params) == (params, plan.model.title)


def test_a_version_that_is_not_there_is_refused(tmp_path: Path, push: Push) -> None:
    push("one")
    with pytest.raises(PermanentError) as caught:
        complete(of_image(tmp_path, ":v7"))
    assert str(caught.value) == (
        f"{tmp_path / 'image'} has no v7; `argotune versions phi` lists what it has"
    )


def test_an_adapter_of_another_workspace_is_refused(tmp_path: Path, push: Push) -> None:
    digest = push("one", **{WORKSPACE: "other"})
    with pytest.raises(PermanentError, match="is an adapter of other, and the service is that of"):
        complete(of_image(tmp_path, f"@{digest}"))


def test_an_adapter_of_an_earlier_argotune_is_refused(tmp_path: Path, push: Push) -> None:
    digest = push("one", **{MODEL_DIR: ""})
    with pytest.raises(PermanentError, match="did not note the directory of its model"):
        complete(of_image(tmp_path, f"@{digest}"))


def test_an_image_cannot_name_a_directory_outside_the_model_cache(
    tmp_path: Path, push: Push
) -> None:
    digest = push("one", **{MODEL_DIR: "../../etc"})
    with pytest.raises(ParamsError, match="is not a directory below the cache"):
        complete(of_image(tmp_path, f"@{digest}"))


def test_only_a_version_is_deployed_by_its_tag(tmp_path: Path) -> None:
    for tag in (":latest", ":previous", ""):
        with pytest.raises(ParamsError, match="names no version"):
            of_image(tmp_path, tag)


def test_a_rollback_tells_a_schedule_what_is_in_service_and_of_no_data(
    tmp_path: Path, push: Push
) -> None:
    digest = push("one")
    history = tmp_path / "history" / "phi.json"
    params = of_image(tmp_path, f"@{digest}", history_file=history)
    deployed: list[str] = []

    def target(params: Params, model: str, progress: Progress) -> Result:
        deployed.append(f"{model} {params.model_dir}")
        return Result(endpoint="http://127.0.0.1:1", answer="Hello.")

    run(params, progress=Progress(), target=target)
    assert deployed == [f"argotune/tiny@{40 * '0'} argotune--tiny/0"]
    assert (last_deployed(history), live_digest(history)) == (None, digest)


def test_an_adapter_that_is_only_pushed_gets_a_version_beside_the_one_in_service(
    tmp_path: Path, push: Push
) -> None:
    live = push("one")
    record_version(of_image(tmp_path, f"@{live}"))
    write_tiny_plan(tmp_path / "plan.yaml")
    history = tmp_path / "history" / "phi.json"
    record_live(history, live)
    params = of_image(
        tmp_path,
        f"@{push('two')}",
        target="none",
        services_dir=None,
        plan_file=tmp_path / "plan.yaml",
        model_dir="argotune--tiny/0",
        history_file=history,
        # A service would need one.
        require_signature=True,
        verification_key="none",
    )
    assert run(params, progress=Progress()) == Result(
        endpoint="",
        answer="none: deploy-to is none, so the adapter is pushed and not deployed",
        version="v2",
    )
    repository = repository_of(LayoutReference(directory=tmp_path / "image"), Registry())
    in_service = find_live(repository, "phi")
    assert in_service is not None
    assert (in_service.digest, live_digest(history)) == (live, live)
    recorded = last_deployed(history)
    assert recorded is not None
    assert (recorded.reference, recorded.was_deployed) == (params.reference, False)


def test_a_registry_without_tags_does_not_fail_the_deploy(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "image").mkdir()
    tagged = record_version(of_image(tmp_path, f"@{DATA}"))
    assert tagged.version == f"none: OCI layout {tmp_path / 'image'} has no {DATA}; was it moved?"
    assert "version-not-recorded" in caplog.text
    known = in_service(of_image(tmp_path, f"@{DATA}"), tagged, None, run={}, person="ann")
    assert (known.version, known.event.person, known.history) == ("", "ann", {})


def test_versions_of_two_workspaces_do_not_mix(tmp_path: Path, push: Push) -> None:
    first = push("one", **{WORKSPACE: "other"})
    record_version(of_image(tmp_path, f"@{first}", name="other"))
    second = push("two")
    tagged = record_version(of_image(tmp_path, f"@{second}"))
    assert tagged.version == (
        "none: the repository of the output image has the versions of workspace other, and phi"
        " needs one of its own; name another in tuning.output.image"
    )
    repository = repository_of(LayoutReference(directory=tmp_path / "image"), Registry())
    assert [version.number for version in list_versions(repository)] == [1]


@needs_skopeo
@pytest.mark.parametrize("adapter_from", ["cache", "auto"])
def test_a_version_of_a_registry_goes_back_into_service_on_a_cluster(
    tmp_path: Path, push: Push, service: str, adapter_from: str
) -> None:
    digest = push("one")
    cluster = Cluster(on_apply=rolls_out)
    running_before(cluster)
    with registry_serving() as registry:
        image = ImageReference(registry=registry.host, repository="team/phi", tag="v1")
        copy_to_registry(tmp_path / "image", "latest", image, digest, Registry(attempts=1))
        wanted, _ = complete(
            of_cluster(
                reference=str(image),
                plan_file=None,
                model_dir=None,
                dataset_digest=None,
                cache_dir=tmp_path / "cache",
                adapter_from=adapter_from,
            )
        )
        deploy(cluster, service, wanted)
        assert record_version(wanted).version == "v1"
    template = cluster.objects["Deployment", "team", "phi"]["spec"]["template"]
    assert template["metadata"]["annotations"]["argotune.dev/adapter"] == f"{image.name}@{digest}"
    (container,) = template["spec"]["containers"]
    assert "--model-dir=/argotune/models/argotune--tiny/0" in container["args"]
    mounted = [each["image"] for each in template["spec"]["volumes"] if "image" in each]
    files = list((tmp_path / "cache").glob("adapters/phi/*/adapter_model.safetensors"))
    if adapter_from == "cache":
        assert (mounted, len(files)) == ([], 1)
    else:
        assert [each["reference"] for each in mounted] == [f"{image.name}@{digest}"]
        assert files == []


@pytest.fixture
def cluster() -> Cluster:
    """With the service of the old adapter, as describe_service left it."""
    cluster = Cluster(on_apply=rolls_out)
    running_before(cluster)
    old = InService(
        adapter=OLD,
        version="v1",
        previous="acr.io/team/phi@sha256:0",
        history={"v1": Event(time="2026")},
    )
    metadata = cluster.objects["Deployment", "team", "phi"]["metadata"]
    metadata["annotations"] = old.annotations()
    return cluster


APPROVED_BY_BOB = {
    "displayName": "approve",
    "type": "Suspend",
    "phase": "Succeeded",
    "message": "approved by bob",
    "outputs": {"parameters": [{"name": "decision", "value": "approve"}]},
}


def known_of(cluster: Cluster) -> InService:
    found: Object = cluster.objects["Deployment", "team", "phi"]
    known = read_in_service(found["metadata"]["annotations"])
    assert known is not None
    return known


def test_a_deployment_says_which_adapter_serves_and_by_whom(cluster: Cluster, service: str) -> None:
    cluster.put(
        {
            "kind": "Workflow",
            "metadata": {
                "namespace": "team",
                "name": "phi-1",
                "labels": {"workflows.argoproj.io/creator-preferred-username": "ann"},
            },
            "status": {"nodes": {"a": APPROVED_BY_BOB}},
        }
    )
    wanted = of_cluster(run_name="phi-1", run_uid="uid", memory="3Gi", adapter_pull_secret="push")
    deploy(cluster, service, wanted)
    with serving(cluster) as kube:
        for _ in range(2):
            describe_service(wanted, Tagged(version="v2"), kube=kube)
    known = known_of(cluster)
    assert (known.adapter, known.version, known.previous) == (NEW, "v2", OLD)
    assert (known.event.run, known.event.person, known.dataset_digest) == ("phi-1", "ann", DATA)
    assert known.event.approved_by == "bob"
    assert known.history == {"v1": Event(time="2026"), "v2": known.event}
    assert known.settings == {
        "adapter-from": "auto",
        "adapter-pull-secret": "push",
        "allow-cpu": "false",
        "api-keys-secret": "",
        "engine": "auto",
        "gpus": "0",
        "host": "",
        "instance-type": "",
        "label-selector": "",
        "load-in-4bit": "false",
        "max-length": "",
        "max-replicas": "",
        "memory": "3Gi",
        "node-selector": "{}",
        "question": "Hello?",
        "replicas": "",
        "cors-origins": "[]",
        "requests-per-minute": "0",
        "serve-with": "",
        "service-during-tuning": "wait",
        "service-gpus": "",
    }


def test_a_service_stays_that_of_the_workspace_that_has_put_it_there_first(
    cluster: Cluster,
) -> None:
    """A run of a person brings an adapter, and takes the service from nobody."""
    for name, noted in (("phi-1", {WORKSPACE_UID: "uid-1"}), ("phi-2", {})):
        metadata = {"namespace": "team", "name": name, "annotations": noted}
        cluster.put({"kind": "Workflow", "metadata": metadata})
        with serving(cluster) as kube:
            describe_service(
                of_cluster(run_name=name, run_uid="uid"), Tagged(version="v2"), kube=kube
            )
        found = cluster.objects["Deployment", "team", "phi"]["metadata"]["annotations"]
        assert known_of(cluster).event.run == name
        assert deployed_by_other(found, "uid-1") == ""
        assert deployed_by_other(found, "uid-2") == name
        # As of a service without training, of which nothing else is known.
        found[ADAPTER] = ""


def test_what_is_said_of_a_service_stays_when_its_next_adapter_fails(cluster: Cluster) -> None:
    before = known_of(cluster)
    cluster.on_apply = hangs(waiting("ErrImagePull", "manifest unknown"))
    with pytest.raises(PermanentError):
        deploy(cluster, "http://127.0.0.1:1")
    assert known_of(cluster) == before


def test_a_refused_description_does_not_fail_the_deploy(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.faults = [Fault(method="PATCH", path="deployments", status=403, times=9)]
    with serving(cluster) as kube:
        describe_service(of_cluster(), Tagged(version="v2"), kube=kube)
    assert "service-not-described" in caplog.text
