"""The annotations for what Kaito has no word for."""

from __future__ import annotations

from typing import Any

import pytest

from argotune.steps.settings.run_settings import annotation_settings
from argotune.workflows.workspace.reference import reference
from argotune.workflows.workspace.workflow import (
    cron_workflow,
    referring_workflow,
    whole_workflow,
)
from tests.workflows.workspace.helpers import changed, problems_of, read

CLUSTER = (
    "/subscriptions/26fe00f8-9173-4872-9134-bb1d2e00343a/resourceGroups/team/providers/"
    "Microsoft.ContainerService/managedClusters/prod"
)
_VALIDATION = {"validation-urls": "https://example.com/v.csv?sig=hunter2"}
"""Text of URLs, which may be secret and so is not among the options."""
ALL = {
    "provider": "aks",
    "cloud": "azure",
    "alternative-instance-types": "Standard_NC48ads_A100_v4, Standard_NV36ads_A10_v5",
    "zones": "1,2,any",
    "capacity-types": "spot,regular",
    "spot-max-price-usd-per-hour": "1.5",
    "node-lifetime-seconds": "86400",
    "max-cost-usd": "25",
    "at-cost-limit": "push",
    "keep-node-seconds": "0",
    "aks-cluster-id": CLUSTER,
    "aks-subnet-id": "/subscriptions/a/resourceGroups/b/providers/c/subnets/d",
    "aks-os-sku": "AzureLinux",
    "aks-gpu-driver": "None",
    "aks-mig-profile": "MIG1g",
    "karpenter-mode": "nodepool",
    "karpenter-node-class": "EC2NodeClass/gpu",
    "queue": "gpus",
    "priority-class": "batch-low",
    "deploy-to": "process",
    "serve-with": "phi",
    "question": "What does json.dumps do?",
    "model-source": "dir:/models/phi-4",
    "start-from": "live",
    "full-retrain-every": "4",
    "data-secret": "hub",
    "signing-secret": "keys",
    "model-cache-claim": "models",
    "image-pull-secret": "pull",
    "tune-cpu": "8",
    "tune-memory": "64Gi",
    "allow-cpu": "true",
    "gate": "off",
    "on-rejected": "fail",
    "min-improvement": "0.05",
    "min-improvement-over-live": "-0.01",
    "gate-confidence": "0.9",
    "without-held-out-rows": "reject",
    "gate-answers": "3",
    "gate-answer-tokens": "64",
    "output-claim": "adapters",
    "service-gpus": "0",
    "service-during-tuning": "cpu",
    "service-instance-type": "Standard_NC24ads_A100_v4",
    "service-port": "8123",
    "service-load-in-4bit": "true",
    "engine": "transformers",
    "service-replicas": "2",
    "service-max-replicas": "5",
    "service-host": "phi.models.example.com",
    "service-label-selector": "pool=serving",
    "service-memory": "8Gi",
    "adapter-from": "cache",
    "approval": "required",
    "approval-timeout-seconds": "3600",
    "on-approval-timeout": "approve",
    "api-keys-secret": "clients",
    "requests-per-minute": "60",
    "cors-origins": "https://app.example.com https://b.example.com:8443",
    "notify-secret": "chat",
    "volume-size": "200Gi",
    "ttl-seconds-after-failure": "3600",
    "storage-class": "managed-csi-premium",
}


def annotations(given: dict[str, object]) -> dict[str, object]:
    return {"metadata/annotations": {f"argotune.dev/{key}": text for key, text in given.items()}}


def annotated(given: dict[str, object]) -> str:
    return changed(annotations(given))


def test_every_annotation_is_read() -> None:
    assert {*ALL, *_VALIDATION} == set(annotation_settings())
    instance_type = {"resource/instanceType": "Standard_NC24ads_A100_v4"}
    workspace = read(changed({**annotations({**ALL, **_VALIDATION}), **instance_type}))
    assert workspace.options == ALL
    assert workspace.validation_urls == tuple(_VALIDATION.values())
    assert workspace.model_source == "dir:/models/phi-4"


def test_every_annotation_is_documented_with_its_default() -> None:
    page = reference()
    assert annotation_settings()
    for name, row in annotation_settings().items():
        (line,) = (
            line for line in page.splitlines() if line.startswith(f"| `argotune.dev/{name}`")
        )
        assert row.description in line
        assert not line.endswith("Default: . |")


def test_annotations_of_others_are_theirs() -> None:
    text = changed({"metadata/annotations": {"kaito.sh/runtime": "vllm", "team": "ml"}})
    assert read(text).options == {}


@pytest.mark.parametrize(
    ("annotations", "problem"),
    [
        (
            {"quesion": "x"},
            "metadata.annotations.argotune.dev/quesion: unknown annotation; did you mean "
            "argotune.dev/question?",
        ),
        (
            {"zone": "1"},
            "metadata.annotations.argotune.dev/zone: unknown annotation; did you mean "
            "argotune.dev/zones?",
        ),
        (
            {"flavour": "1"},
            "metadata.annotations.argotune.dev/flavour: unknown annotation; known are "
            "argotune.dev/model-source, argotune.dev/validation-urls, argotune.dev/data-secret, ",
        ),
        (
            {"cors-origins": "https://app.example.com https://App.example.com/page"},
            "metadata.annotations.argotune.dev/cors-origins: 'https://app.example.com "
            "https://App.example.com/page'; accepted is origins such as https://app.example.com "
            "with spaces between, or *",
        ),
        (
            {"provider": "gke"},
            "metadata.annotations.argotune.dev/provider: 'gke'; accepted is existing or aks or "
            "karpenter or local",
        ),
        (
            {"zones": "1,,2"},
            "metadata.annotations.argotune.dev/zones: '1,,2'; accepted is names with commas "
            "between",
        ),
        (
            {"capacity-types": "on-demand"},
            "metadata.annotations.argotune.dev/capacity-types: 'on-demand'; accepted is regular or "
            "spot or spot,regular",
        ),
        (
            {"spot-max-price-usd-per-hour": "-1"},
            "metadata.annotations.argotune.dev/spot-max-price-usd-per-hour: '-1'; accepted is a "
            "price such as 1.5, in quotes",
        ),
        (
            {"aks-cluster-id": "prod"},
            "metadata.annotations.argotune.dev/aks-cluster-id: 'prod'; accepted is what `az aks "
            "show --query id` prints",
        ),
        (
            {"aks-subnet-id": "/subscriptions/a;b"},
            "metadata.annotations.argotune.dev/aks-subnet-id: '/subscriptions/a;b'; accepted is an "
            "Azure resource ID, /subscriptions/...",
        ),
        (
            {"karpenter-node-class": "gpu"},
            "metadata.annotations.argotune.dev/karpenter-node-class: 'gpu'; accepted is KIND/NAME "
            "or GROUP/KIND/NAME",
        ),
        (
            {"service-label-selector": "pool"},
            "metadata.annotations.argotune.dev/service-label-selector: 'pool'; accepted is "
            "KEY=VALUE,KEY=VALUE",
        ),
        (
            {"volume-size": "100GB"},
            "metadata.annotations.argotune.dev/volume-size: '100GB'; accepted is a quantity such "
            "as 16Gi",
        ),
        (
            {"storage-class": "My Class"},
            "metadata.annotations.argotune.dev/storage-class: 'My Class'; accepted is the name of "
            "a StorageClass",
        ),
        (
            {"service-gpus": "-1"},
            "metadata.annotations.argotune.dev/service-gpus: '-1'; accepted is a whole number such "
            "as 1, in quotes",
        ),
        (
            {"tune-cpu": 4},
            "metadata.annotations.argotune.dev/tune-cpu: 4; accepted is a text, in quotes",
        ),
    ],
)
def test_wrong_annotation_is_refused(annotations: dict[str, object], problem: str) -> None:
    found = problems_of(annotated(annotations))
    assert len(found) == 1
    assert found[0].startswith(problem)


def test_two_places_for_the_weights_are_one_too_many() -> None:
    text = changed(
        {
            "metadata/annotations": {"argotune.dev/model-source": "hub"},
            "tuning/preset/presetOptions/image": "registry.example.com/phi-4:1",
        }
    )
    assert problems_of(text) == [
        "tuning.preset.presetOptions.image and metadata.annotations.argotune.dev/model-source both "
        "name the source of the weights; keep one"
    ]


TEAM = changed({"metadata/labels": {"team": "search", "example.com/cost-centre": "42"}})
LABELS = {"team": "search", "example.com/cost-centre": "42"}


def test_the_labels_of_the_file_are_those_of_its_runs() -> None:
    workspace = read(TEAM)
    for _, workflow in (
        whole_workflow(workspace, allow_loopback=False, images={}),
        referring_workflow(workspace, allow_loopback=False),
    ):
        labels: dict[str, Any] = workflow["metadata"]["labels"]
        assert labels.items() >= LABELS.items()
        assert labels["argotune.dev/workspace"] == "my-model"
    _, cron = cron_workflow(
        workspace, allow_loopback=False, schedules=["0 3 * * *"], timezone="Etc/UTC"
    )
    assert cron["spec"]["workflowMetadata"] == {"labels": LABELS}


def test_a_schedule_of_a_file_without_labels_says_nothing_of_them() -> None:
    _, cron = cron_workflow(
        read(changed({})), allow_loopback=False, schedules=["0 3 * * *"], timezone="Etc/UTC"
    )
    assert "workflowMetadata" not in cron["spec"]


def test_labels_that_steer_a_workflow_are_not_handed_on() -> None:
    steering = {
        "workflows.argoproj.io/completed": "true",
        "argotune.dev/workspace": "other",
        "app.kubernetes.io/name": "phi",
        "kaito.sh/workspace": "phi",
    }
    workspace = read(changed({"metadata/labels": steering}))
    assert workspace.labels == {"kaito.sh/workspace": "phi"}
    assert [w for w in workspace.warnings if w.startswith("metadata.labels")] == [
        "metadata.labels.workflows.argoproj.io/completed: not handed on to runs",
        "metadata.labels.argotune.dev/workspace: not handed on to runs",
        "metadata.labels.app.kubernetes.io/name: not handed on to runs",
    ]


def test_what_kubernetes_takes_for_no_label_is_refused() -> None:
    problems = problems_of(changed({"metadata/labels": {"team": "search & ads", "a b": "c"}}))
    assert [each.partition(": ")[0] for each in problems] == [
        "metadata.labels.team",
        "metadata.labels.a b",
    ]
