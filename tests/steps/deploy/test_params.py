from __future__ import annotations

import pytest

from argotune.steps.common.errors import ParamsError
from argotune.steps.common.fields import parse_fields
from argotune.steps.deploy.params import Params

GOOD = {
    "name": "phi-tuned",
    "reference": "acr.io/team/phi@sha256:" + "a" * 64,
    "plan-file": "/volume/plan.yaml",
    "model-dir": "microsoft--Phi-3/abc",
    "cache-dir": "/models",
    "dataset-digest": "sha256:" + "d" * 64,
    "image": "acr.io/argotune-serve:1",
    "vllm-image": "acr.io/argotune-vllm:1",
    "model-cache-claim": "models",
}


def problems(**changes: str) -> list[str]:
    with pytest.raises(ParamsError) as caught:
        parse_fields(Params, GOOD | {name.replace("_", "-"): v for name, v in changes.items()})
    return caught.value.problems


def test_good_parameters_are_accepted() -> None:
    params = parse_fields(Params, GOOD | {"node-selector": '{"gpu": "a100"}'})
    assert params.node_labels() == {"gpu": "a100"}
    assert params.adapter_digest() == "sha256:" + "a" * 64


def test_every_problem_is_said_at_once() -> None:
    assert problems(
        name="Phi_1",
        reference="acr.io/team/phi:1",
        model_dir="../etc",
        image="",
        vllm_image="",
        model_cache_claim="",
        gpus="-1",
        service_gpus="-2",
        memory="0Gi",
        run_name="phi-1",
        node_selector='["a"]',
        label_selector="a",
        timeout_seconds="0",
    ) == [
        "--name: 'Phi_1' is not a service's name; use up to 63 lower-case letters, digits and "
        "'-', with a letter first and no '-' last",
        "--reference: 'acr.io/team/phi:1' has no digest; give NAME@sha256:HEX",
        "--model-dir: '../etc' is not a directory below the cache",
        "--image: missing; --target kubernetes needs it",
        "--vllm-image: missing; --target kubernetes needs it",
        "--run-name, --run-uid: only one is set; set both or none",
        "--model-cache-claim: missing; --target kubernetes needs it",
        "--gpus: -1 is less than 0",
        "--service-gpus: -2 is less than 0",
        "--memory: '0Gi' is not a quantity such as 16Gi",
        "--node-selector: '[\"a\"]' is not a JSON object of strings",
        "--label-selector: 'a' is not KEY=VALUE",
        "--timeout-seconds: 0.0 is not above 0",
    ]


OUTSIDE = {"domain": "models.example.com", "ingress-class": "nginx"}


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        (
            {"replicas": "0"},
            "--replicas: 0 is less than 1; `kubectl scale deployment/phi-tuned --replicas=0` stops"
            " a service",
        ),
        (
            {"replicas": "3", "max-replicas": "2"},
            "--max-replicas: 2 is less than the 3 of --replicas",
        ),
        (
            {"host": "phi.example.com"},
            "--domain: none, but the service is to have the host 'phi.example.com'; an"
            " administrator permits it by `argotune install --service-domain DOMAIN"
            " --ingress-class CLASS`, or `--service-gateway NAMESPACE/NAME`",
        ),
        (
            {**OUTSIDE, "host": "phi.evil.com"},
            "--host: 'phi.evil.com' is not in the installation's domain models.example.com",
        ),
        (
            {**OUTSIDE, "host": "*.models.example.com"},
            "--host: '*.models.example.com' is no name of a host such as chat.example.com",
        ),
        (
            {**OUTSIDE, "gateway": "edge/public"},
            "--ingress-class, --gateway: both are set; a host is reached by one of them",
        ),
        (
            {"tls-secret": "tls"},
            "--tls-secret: 'tls' is for an Ingress, and --ingress-class is not set; a Gateway has"
            " its own",
        ),
        ({"monitor-labels": "release"}, "--monitor-labels: 'release' is not KEY=VALUE"),
    ],
)
def test_what_stands_around_a_service_is_refused_by_name(
    changes: dict[str, str], found: str
) -> None:
    assert problems(**changes) == [found]


def test_a_process_needs_a_directory_for_its_record() -> None:
    assert problems(target="process") == [
        "--services-dir: missing; --target process needs it",
    ]


@pytest.mark.parametrize("name", ["1phi", "-phi", "phi-", "p" * 64, ""])
def test_names_that_no_service_can_have_are_refused(name: str) -> None:
    assert len(problems(name=name)) == 1


@pytest.mark.parametrize("memory", ["2Gi", "1.5G", "500M", "1073741824", "900Ki"])
def test_memory_is_a_quantity(memory: str) -> None:
    assert parse_fields(Params, GOOD | {"memory": memory}).memory == memory


@pytest.mark.parametrize("memory", ["16 Gi", "2GB", "-1Gi", "0", "0.0Gi", "two"])
def test_memory_that_is_no_quantity_is_refused(memory: str) -> None:
    assert problems(memory=memory) == [f"--memory: {memory!r} is not a quantity such as 16Gi"]


@pytest.mark.parametrize(
    ("service_gpus", "gpus", "labels"),
    [("", 1, {"gpu": "a100"}), ("2", 2, {"gpu": "a100"}), ("0", 0, {})],
)
def test_server_takes_one_gpu_unless_it_is_told_otherwise(
    service_gpus: str, gpus: int, labels: dict[str, str]
) -> None:
    values = {"gpus": "2", "service-gpus": service_gpus, "node-selector": '{"gpu": "a100"}'}
    params = parse_fields(Params, GOOD | values)
    assert (params.server_gpus(), params.server_labels()) == (gpus, labels)


def test_server_of_a_run_without_gpus_stays_on_the_labelled_nodes() -> None:
    values = {"gpus": "0", "node-selector": '{"pool": "cpu"}'}
    assert parse_fields(Params, GOOD | values).server_labels() == {"pool": "cpu"}


@pytest.mark.parametrize(
    ("given", "engine"),
    [
        ({"gpus": "1"}, "vllm"),
        ({"gpus": "1", "engine": "transformers"}, "transformers"),
        ({"gpus": "0"}, "transformers"),
        ({"gpus": "1", "service-gpus": "0"}, "transformers"),
        ({"gpus": "1", "allow-cpu": "true"}, "transformers"),
        ({"gpus": "1", "load-in-4bit": "true"}, "transformers"),
        ({"gpus": "2", "engine": "vllm"}, "vllm"),
        (
            {"gpus": "1", "target": "process", "services-dir": "/s", "engine": "vllm"},
            "transformers",
        ),
    ],
)
def test_the_server_is_on_vllm_where_that_can_serve(given: dict[str, str], engine: str) -> None:
    params = parse_fields(Params, GOOD | given)
    assert params.server_engine() == engine
    assert params.server_memory() == {"vllm": "8Gi", "transformers": "2Gi"}[engine]


def test_memory_that_is_given_is_asked_for() -> None:
    params = parse_fields(Params, GOOD | {"gpus": "1", "memory": "3Gi"})
    assert params.server_memory() == "3Gi"


def test_all_that_vllm_cannot_do_is_said_at_once_where_it_is_asked_for() -> None:
    assert problems(engine="vllm", service_gpus="0", allow_cpu="true", load_in_4bit="true") == [
        "--engine: 'vllm' needs a GPU, and --service-gpus is 0; take transformers, or auto",
        "--engine: 'vllm' cannot answer on the CPU, which allow-cpu permits; take transformers, or "
        "auto",
        "--engine: 'vllm' has no 4 bits of bitsandbytes; take transformers, or auto",
    ]
