"""Arguments that contradict each other, or have no effect together: each command refuses them."""

from __future__ import annotations

import pytest

from tests.workflows.cli.command import Argotune
from tests.workflows.cli.conftest import Write
from tests.workflows.cli.documents import GREETING, TINY

EMPTY = "is empty; name one, or leave it out for the current one"
CHOSEN = "chooses the cluster by itself; leave out --cluster, which takes the current one"
KEPT = "a resumed run keeps what it was started with; leave it out"
FOR_A_WORKSPACE = "for a Workspace, and the files hold none"
FOR_A_WORKFLOW = "for an Argo Workflow; a Workspace's settings are --set"
FOR_A_CLUSTER = "for a cluster; name a --namespace"
LOOKS_AT_NONE = "for a cluster, and --output looks at none"
FOR_TABLES = "for the tables; --output yaml is the plan alone"
PULLS_NOTHING = "says what to pull, and --pull-test none pulls nothing"

CONTRADICTIONS: dict[str, tuple[str, ...]] = {
    "stop wrong --all": ("wrong and --all: take one; --all stops every run",),
    "stop a b --all -n team-a": ("a b and --all: take one; --all stops every run",),
    "stop --all --service -n team-a": (
        "--all and --service: take one; name the workspaces whose services go",
    ),
    "stop a --terminate --service --timeout-seconds 0": (
        f"--terminate: {FOR_A_CLUSTER}",
        f"--service: {FOR_A_CLUSTER}",
        f"--timeout-seconds: {FOR_A_CLUSTER}",
    ),
    "status --namespace=": (f"--namespace: {EMPTY}",),
    "stop a --namespace=": (f"--namespace: {EMPTY}",),
    "logs a --context=": (f"--context: {EMPTY}",),
    "gc --namespace=": (f"--namespace: {EMPTY}",),
    "install --images-registry r --namespace=": (f"--namespace: {EMPTY}",),
    "uninstall --namespace=": (f"--namespace: {EMPTY}",),
    "chat a b --cluster --context other -n team-a": (
        f"--namespace: {CHOSEN}",
        f"--context: {CHOSEN}",
    ),
    "status --watch -o json": ("--watch and --output: take one",),
    "status a --by team -n team-a": (
        "--by team: sums all runs; leave out NAME, --output and --watch",
    ),
    "run --resume -p a=b --url x --entrypoint first --allow-loopback --set tune-cpu=1": (
        f"--url: {KEPT}",
        f"--set tune-cpu: {KEPT}",
        f"--parameter: {KEPT}",
        f"--entrypoint: {KEPT}",
        f"--allow-loopback: {KEPT}",
    ),
    "run WORKFLOW --preset phi-4 --url x --allow-loopback --set tune-cpu=1": (
        f"--preset: {FOR_A_WORKSPACE}",
        f"--url: {FOR_A_WORKSPACE}",
        f"--set tune-cpu: {FOR_A_WORKSPACE}",
        f"--allow-loopback: {FOR_A_WORKSPACE}",
    ),
    "run WORKSPACE -p a=b --entrypoint main": (
        f"--parameter: {FOR_A_WORKFLOW}",
        f"--entrypoint: {FOR_A_WORKFLOW}",
    ),
    "plan WORKSPACE -o yaml --all -n team-a --aks-location x": (
        f"--all: {FOR_TABLES}",
        f"--namespace: {FOR_TABLES}",
        f"--aks-location: {FOR_TABLES}",
    ),
    "plan WORKSPACE --provider existing --aks-location x": (
        "--aks-location: is not for provider existing",
    ),
    "plan WORKSPACE --set provider=local -n team-a": (
        "--namespace: provider local tunes on this machine; leave it out",
    ),
    "submit WORKSPACE --pull-timeout-seconds 9": (
        "--pull-timeout-seconds: for a run that is watched; say --watch too",
    ),
    "render WORKSPACE --template-ref --schedule @daily": (
        "--template-ref and --schedule: take one; a schedule is a reference too",
    ),
    "render WORKSPACE --template-ref --images-tag 1": (
        "--images-tag: for a workflow with the whole template in it; the installed template's is"
        " set by `argotune install`",
    ),
    "install -n a -o yaml --context x --dry-run --force-conflicts": (
        f"--context: {LOOKS_AT_NONE}",
        f"--force-conflicts: {LOOKS_AT_NONE}",
        f"--dry-run: {LOOKS_AT_NONE}",
    ),
    "doctor --pull-test none --images-registry r --images-tag t": (
        f"--images-registry: {PULLS_NOTHING}",
        f"--images-tag: {PULLS_NOTHING}",
    ),
    "rm one --older-than 7d": ("one and --older-than: take one",),
    "gc --provider karpenter --aks-cluster-id x": (
        "--aks-cluster-id: is not a setting of provider karpenter",
    ),
}


@pytest.mark.parametrize("command", CONTRADICTIONS)
def test_contradicting_arguments_are_refused_by_name(
    argotune: Argotune, write: Write, command: str
) -> None:
    files = {
        "WORKFLOW": str(write("workflow.yaml", GREETING)),
        "WORKSPACE": str(write("workspace.yaml", TINY)),
    }
    answer = argotune(*(files.get(word, word) for word in command.split()))
    assert (answer.code, answer.out) == (2, "")
    assert answer.errors == list(CONTRADICTIONS[command])


def test_a_resumed_run_says_what_to_do_for_the_directory_of_its_image(argotune: Argotune) -> None:
    answer = argotune("run", "--resume", "--output-image", "oci:other")
    assert (answer.code, answer.errors) == (
        2,
        [
            "--output-image: a resumed run keeps its own; make that directory writable (mount,"
            " chmod), then --resume without this flag"
        ],
    )
