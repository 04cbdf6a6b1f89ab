"""Argo's resource kinds: installed, and validated by the API server."""

from __future__ import annotations

from collections.abc import Iterator

from argotune.steps.cluster.errors import ApiRefusal
from argotune.workflows.cli.checks.finding import Finding, info, ok, problem
from argotune.workflows.cli.checks.subject import Subject
from argotune.workflows.cli.installation.objects import RUNS_POLICY

_NEEDED = ("workflows", "workflowtemplates", "cronworkflows", "workflowtaskresults")
_RELEASE = "https://github.com/argoproj/argo-workflows/releases/download/v4.0.6/install.yaml"
_FULL = "https://github.com/argoproj/argo-workflows/manifests/base/crds/full?ref=v4.0.6"


def kinds(subject: Subject) -> Iterator[Finding]:
    """Check for the CustomResourceDefinitions, which every account may see."""
    found = subject.argo
    if found is None:
        yield problem(
            "Argo Workflows is not installed: the API server knows no argoproj.io/v1alpha1",
            "install Argo Workflows 4.0.6 or later",
            f"kubectl create namespace argo; kubectl apply --server-side -n argo -f {_RELEASE}",
        )
        return
    there = {resource["name"] for resource in found["resources"]}
    missing = [name for name in _NEEDED if name not in there]
    if missing:
        yield problem(
            f"Argo's kinds {', '.join(missing)} are missing",
            "apply Argo's CustomResourceDefinitions again",
            f"kubectl apply --server-side -k '{_FULL}'",
        )
        return
    yield ok(f"Argo's kinds are there: {', '.join(_NEEDED)}")


def schema(subject: Subject) -> Iterator[Finding]:
    """Check whether the definitions are the full ones.

    A dry run shows it without the right to read definitions: the server refuses a field that no
    Workflow has, or it does not.
    """
    workflow = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"generateName": "argotune-doctor-"},
        "spec": {"noSuchField": True},
    }
    if not subject.has_argo:
        return
    try:
        subject.kube.create(workflow, subject.namespace, dry_run=True)
    except ApiRefusal as error:
        if "noSuchField" in error.message:
            yield ok(
                "Argo's definitions are the full ones: a mistyped field is refused at submission"
            )
            return
        # The admission policy is asked last, so the field was kept.
        if RUNS_POLICY not in error.message:
            raise
    yield info(
        "Argo's definitions are the minimal ones: a mistyped field of a Workflow is kept, and "
        "found late or never",
        "Argo 4.0 brings the full ones",
        f"kubectl apply --server-side --force-conflicts -k '{_FULL}'",
    )
