"""The short-lived pods and Workflow of the checks: those of runs, without their work."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from argotune.steps.cluster.kube import Object
from argotune.steps.cluster.scheduling import GPU_TOLERATIONS
from argotune.workflows.cli.checks.subject import Subject

LABELS = {"app.kubernetes.io/part-of": "argotune", "argotune.dev/doctor": "true"}
_COMMAND = ["python", "-c", ""]
_RESOURCES = {
    "requests": {"cpu": "10m", "memory": "32Mi"},
    "limits": {"cpu": "500m", "memory": "128Mi"},
}
_LIFETIME_SECONDS = 1500
"""A pod ends after this time even when nothing deletes it."""


def trial_pod(subject: Subject, name: str, image: str, *, account: str) -> Object:
    """Build a pod that starts Python and ends, as restricted as a run's."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": f"argotune-doctor-{name}-", "labels": dict(LABELS)},
        "spec": {
            "restartPolicy": "Never",
            "activeDeadlineSeconds": _LIFETIME_SECONDS,
            "serviceAccountName": account,
            "automountServiceAccountToken": False,
            "securityContext": copy.deepcopy(_expected_template(subject)["securityContext"]),
            "tolerations": [dict(toleration) for toleration in GPU_TOLERATIONS],
            "containers": [{"name": "main", "image": image, **_container(subject)}],
        },
    }


def trial_workflow(subject: Subject, image: str | None) -> Object:
    """Build a Workflow of one such pod, made as the template makes its own.

    Without an image it needs no pod.
    """
    spec = _expected_template(subject)
    work: dict[str, Any] = {"suspend": {"duration": "1"}}
    if image is not None:
        container = _container(subject)
        # Those of a real step, for a quota or a LimitRange may refuse what has others.
        container["resources"] = copy.deepcopy(_plan_resources(subject))
        work = {
            **{key: step_template(subject, "plan")[key] for key in _OF_ACCOUNT},
            "container": {"image": image, **container},
        }
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"generateName": "argotune-doctor-", "labels": dict(LABELS)},
        "spec": {
            "entrypoint": "trial",
            "serviceAccountName": spec["serviceAccountName"],
            "securityContext": copy.deepcopy(spec["securityContext"]),
            "activeDeadlineSeconds": _LIFETIME_SECONDS,
            "templates": [{"name": "trial", **work}],
        },
    }


_OF_ACCOUNT = ("serviceAccountName", "automountServiceAccountToken", "executor")


def step_template(subject: Subject, step: str) -> Mapping[str, Any]:
    """Return the template of a step, as this version installs it."""
    templates: list[Mapping[str, Any]] = _expected_template(subject)["templates"]
    return next(item for item in templates if item["name"] == step)


def _container(subject: Subject) -> dict[str, Any]:
    context = step_template(subject, "plan")["container"]["securityContext"]
    return {
        "command": list(_COMMAND),
        "resources": copy.deepcopy(_RESOURCES),
        "securityContext": copy.deepcopy(context),
    }


def _plan_resources(subject: Subject) -> Mapping[str, Any]:
    """Return the resources of step plan as it is installed, else as this version installs it."""
    installed = (subject.template or {}).get("spec", {}).get("templates", [])
    found = [item["container"] for item in installed if item["name"] == "plan"]
    container = found[0] if found else step_template(subject, "plan")["container"]
    resources: Mapping[str, Any] = container["resources"]
    return resources


def _expected_template(subject: Subject) -> Mapping[str, Any]:
    spec: Mapping[str, Any] = subject.expected_of("WorkflowTemplate")[0]["spec"]
    return spec
