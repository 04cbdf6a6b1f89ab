"""Deploying a service without training: its files, its flags, and the node that becomes its own."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from argotune.steps.common.errors import ParamsError, PermanentError, StepError
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.in_service import SERVES, read_in_service
from argotune.steps.contracts.service_plan import (
    ADAPTERS,
    PLAN,
    read_service_plan,
    write_service_plan,
)
from argotune.steps.deploy.kubernetes import describe_service
from argotune.steps.deploy.params import Params, Result
from argotune.steps.deploy.run import run
from argotune.steps.deploy.service_files import write_service_files
from argotune.steps.deploy.version import complete, record_version
from argotune.steps.nodes.labels import NODE_LABEL, NODE_RUN_LABEL, RUN_LABEL
from argotune.steps.nodes.made_node import NODE_ANNOTATION, node_of_service
from tests.fakes.adapter import write_adapter
from tests.fakes.kube import Cluster, Fault, serving
from tests.fakes.services import DIGEST, write_service
from tests.steps.deploy.test_kubernetes import deploy, error, rolls_out, running_before
from tests.steps.deploy.test_kubernetes import service as service

DEPLOYMENT = ("Deployment", "team", "phi")
OWN = {
    "gpus": 1,
    "own_node": True,
    "node_selector": json.dumps({NODE_LABEL: "gpu1"}),
    "run_name": "phi-abc",
    "run_uid": "uid-1",
    "machine": "Standard_NC24ads_A100_v4 regular",
    "node_since": "2026-01-31T12:00:00Z",
    "price_usd_per_hour": 3.673,
}


@pytest.fixture
def plan_file(tmp_path: Path) -> Path:
    adapter = write_adapter(tmp_path / "adapter")
    config = {"r": 8, "peft_type": "LORA", "lora_alpha": 16, "alpha_pattern": {"q": 4}}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    adapters = {"docs": adapter, "mail": adapter}
    return write_service(tmp_path / "work", adapters, strengths={"docs": 0.25}, max_length=256)


def params(service_plan: Path, **changes: Any) -> Params:
    values: dict[str, Any] = {
        "name": "phi",
        "service_plan": service_plan,
        "model_dir": "presets/argotune--tiny/0",
        "cache_dir": service_plan.parent.parent / "cache",
        "namespace": "team",
        "image": "acr.io/argotune-serve:1",
        "vllm_image": "acr.io/argotune-vllm:1",
        "model_cache_claim": "models",
        "question": "Hello?",
        "timeout_seconds": 60.0,
    }
    return Params(**values | changes)


def test_strength_scales_what_the_adapter_adds(plan_file: Path, tmp_path: Path) -> None:
    files = write_service_files(plan_file, tmp_path / "files")
    assert sorted(path.name for path in files.iterdir()) == [ADAPTERS, PLAN]
    docs, mail = (
        json.loads((files / ADAPTERS / name / "adapter_config.json").read_bytes())
        for name in ("docs", "mail")
    )
    assert (docs["lora_alpha"], docs["alpha_pattern"]) == (4.0, {"q": 1.0})
    assert (mail["lora_alpha"], mail["alpha_pattern"]) == (16, {"q": 4})
    # Written once, as the same plan has the same files.
    assert write_service_files(plan_file, tmp_path / "files") == files


def test_an_adapter_that_is_not_on_the_volume_leaves_nothing(
    plan_file: Path, tmp_path: Path
) -> None:
    for path in (plan_file.parent / ADAPTERS).glob("mail-*/*"):
        path.unlink()
    for path in (plan_file.parent / ADAPTERS).glob("mail-*"):
        path.rmdir()
    with pytest.raises(PermanentError, match=r"mail-5555555555555555: missing; the plan step"):
        write_service_files(plan_file, tmp_path / "files")
    assert not (tmp_path / "files").exists()


def test_a_service_is_deployed_from_the_model_cache(service: str, plan_file: Path) -> None:
    cluster, wanted = Cluster(on_apply=rolls_out), params(plan_file)
    assert deploy(cluster, service, wanted) == Result(endpoint=service, answer="You said Hello?")
    pod = cluster.objects[DEPLOYMENT]["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    folder = f"adapters/phi/{wanted.served_digest().removeprefix('sha256:')[:16]}"
    assert f"--service-dir=/argotune/models/{folder}" in container["args"]
    assert not [arg for arg in container["args"] if arg.startswith("--adapter-d")]
    assert "--adapters-dir=/argotune/models/joined/phi" in container["args"]
    assert (wanted.cache_dir / folder / ADAPTERS / "docs" / "adapter_model.safetensors").is_file()
    assert [volume["name"] for volume in pod["spec"]["volumes"]] == ["models", "scratch"]
    assert RUN_LABEL in json.dumps(pod["spec"]["affinity"])
    assert NODE_RUN_LABEL not in cluster.objects[DEPLOYMENT]["metadata"]["labels"]


def test_a_service_that_is_planned_on_vllm_has_its_image(service: str, plan_file: Path) -> None:
    write_service_plan(
        plan_file, msgspec.structs.replace(read_service_plan(plan_file), engine="vllm")
    )
    wanted, _ = complete(params(plan_file, gpus=1))
    cluster = Cluster(on_apply=rolls_out)
    deploy(cluster, service, wanted)
    pod = cluster.objects[DEPLOYMENT]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == "acr.io/argotune-vllm:1"
    assert container["command"] == ["python", "-m", "argotune.steps.vllm"]
    assert [arg for arg in container["args"] if arg.startswith("--service-dir=")]
    assert not [arg for arg in container["args"] if arg.startswith("--adapters-dir=")]
    assert container["resources"]["limits"] == {"nvidia.com/gpu": "1"}
    # auto alone would have it on vLLM too, but the plan knows the adapters.
    write_service_plan(
        plan_file, msgspec.structs.replace(read_service_plan(plan_file), engine="transformers")
    )
    assert complete(params(plan_file, gpus=1))[0].server_engine() == "transformers"


def test_the_runs_node_becomes_the_services_when_it_has_answered(
    service: str, plan_file: Path
) -> None:
    cluster = Cluster(on_apply=rolls_out)
    running_before(cluster)
    deploy(cluster, service, params(plan_file, **OWN))
    deployment = cluster.objects[DEPLOYMENT]
    pod = deployment["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {NODE_LABEL: "gpu1"}
    assert "affinity" not in pod
    assert deployment["metadata"]["labels"][NODE_RUN_LABEL] == "uid-1"
    node = node_of_service(deployment["metadata"]["annotations"])
    assert node is not None
    assert node.cost_usd(datetime(2026, 2, 1, 12, tzinfo=UTC)) == pytest.approx(24 * 3.673)


def test_a_service_that_fails_keeps_the_node_that_it_had(service: str, plan_file: Path) -> None:
    cluster = Cluster(on_apply=rolls_out)
    deploy(cluster, service, params(plan_file, **OWN))
    error(cluster, params(plan_file, **OWN | {"run_uid": "uid-2", "run_name": "phi-def"}))
    assert cluster.objects[DEPLOYMENT]["metadata"]["labels"][NODE_RUN_LABEL] == "uid-1"


def test_a_service_whose_node_cannot_be_noted_is_taken_back(service: str, plan_file: Path) -> None:
    cluster = Cluster(on_apply=rolls_out)
    before = running_before(cluster)
    cluster.faults = [Fault("PATCH", r"deployments/phi(\?(?!.*force).*)?$", 403)]
    with pytest.raises(StepError, match="cannot patch Deployment team/phi"):
        deploy(cluster, service, params(plan_file, **OWN))
    now = cluster.objects[DEPLOYMENT]
    assert NODE_RUN_LABEL not in now["metadata"]["labels"]
    containers = [each["spec"]["template"]["spec"]["containers"] for each in (now, before)]
    assert containers[0] == containers[1]


def test_a_later_deploy_elsewhere_gives_the_node_up(service: str, plan_file: Path) -> None:
    cluster = Cluster(on_apply=rolls_out)
    deploy(cluster, service, params(plan_file, **OWN))
    deploy(cluster, service, params(plan_file, gpus=1, node_selector='{"pool": "gpu"}'))
    metadata = cluster.objects[DEPLOYMENT]["metadata"]
    assert NODE_RUN_LABEL not in metadata["labels"]
    assert NODE_ANNOTATION not in metadata["annotations"]


def test_what_it_serves_is_noted_and_no_version(service: str, plan_file: Path) -> None:
    cluster, wanted = Cluster(on_apply=rolls_out), params(plan_file)
    deploy(cluster, service, wanted)
    with serving(cluster) as kube:
        describe_service(wanted, record_version(wanted), kube=kube)
    annotations = cluster.objects[DEPLOYMENT]["metadata"]["annotations"]
    assert read_in_service(annotations) is None
    assert f"with docs (registry.example.com/docs@{DIGEST}), mail" in annotations[SERVES]


def test_an_unsigned_adapter_is_not_deployed_where_signatures_are_required(
    plan_file: Path,
) -> None:
    text = plan_file.read_text().replace(f"registry.example.com/docs@{DIGEST}", "''")
    plan_file.write_text(text)
    wanted = params(
        plan_file, require_signature=True, verification_key="MCowBQYDK2VwAyEA" + 43 * "A" + "="
    )
    with pytest.raises(PermanentError, match="adapter docs is files of a claim; push it as an"):
        run(wanted, progress=Progress(), target=lambda *_: pytest.fail("deployed"))


def test_an_adapter_and_a_service_plan_contradict_each_other(plan_file: Path) -> None:
    with pytest.raises(ParamsError) as caught:
        params(plan_file, reference=f"acr.io/a@{DIGEST}", plan_file=plan_file, model_dir=None)
    assert [problem.partition(":")[0] for problem in caught.value.problems] == [
        "--reference",
        "--plan-file",
        "--model-dir",
    ]
