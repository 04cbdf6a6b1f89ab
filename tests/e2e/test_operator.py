"""Workspaces that are applied with kubectl, and an operator that may be killed, with runs without
pods; 3 minutes, most of them for 20 starts of the operator."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from argotune.workflows.operator.seen import CONTENT
from tests.e2e.cluster import Cluster, Object, run, wait_for
from tests.e2e.operator import (
    API,
    WORKSPACES,
    OperatorProcess,
    apply,
    operating,
    place_for_runs,
    workspace,
)

pytestmark = [pytest.mark.cluster, pytest.mark.shard5, pytest.mark.timeout(1200)]

BAD = {
    "preset": ("tuning.preset.name: 'tinny'", {"preset": {"name": "tinny"}}),
    "secret": (
        "tuning.output.imagePushSecret: 'my-secrets'",
        {"output": {"image": "registry.example.com/a:1", "imagePushSecret": "my-secrets"}},
    ),
    "field": ("tuning.epochs: unknown field", {"epochs": 3}),
}
"""Name -> what is said, and the change of `tuning`."""
_SETTLED_SECONDS = 120
_KILLS = 20
_LONGEST_LIFE_SECONDS = 6.0


@pytest.fixture(scope="module")
def place(api: httpx.Client) -> Iterator[Cluster]:
    """A namespace whose runs need no pods and wait for ever, with the kind Workspace."""
    with place_for_runs(api, seconds=None) as cluster:
        yield cluster
        # Nobody is left to let them go.
        for item in cluster.items(API, "workspaces"):
            change = '{"metadata": {"finalizers": null}}'
            cluster.kubectl(
                "patch", WORKSPACES, item["metadata"]["name"], "--type=merge", f"-p={change}"
            )


@pytest.fixture
def operator(place: Cluster, tmp_path: Path) -> Iterator[OperatorProcess]:
    with operating(place, tmp_path) as found:
        yield found


def found(place: Cluster, name: str) -> Object:
    item = place.read(API, "workspaces", name)
    assert item is not None
    return item


def planned(place: Cluster, name: str) -> Object | None:
    """The condition that says whether the Workspace can be run."""
    conditions = found(place, name).get("status", {}).get("conditions", [])
    return next((each for each in conditions if each["type"] == "Planned"), None)


def runs_of(place: Cluster, name: str) -> list[Object]:
    selector = f"argotune.dev/workspace={name}"
    return place.items("argoproj.io/v1alpha1", "workflows", labelSelector=selector)


def test_what_is_wrong_is_a_condition_and_runs_nothing(
    place: Cluster, operator: OperatorProcess
) -> None:
    manifests = []
    for name, (_, change) in BAD.items():
        good = workspace(f"bad-{name}")
        manifests.append({**good, "tuning": {**good["tuning"], **change}})
    for manifest in manifests:
        # kubectl itself refuses unknown fields unless told not to.
        text = json.dumps(manifest)
        place.kubectl("apply", "--validate=false", "-f", "-", text=text)
    for name, (said, _) in BAD.items():
        condition = wait_for(
            f"condition of bad-{name}",
            lambda name=name: planned(place, f"bad-{name}"),
            seconds=_SETTLED_SECONDS,
            explain=lambda: operator.log,
        )
        assert condition["status"] == "False"
        assert said in condition["message"]
        assert runs_of(place, f"bad-{name}") == []
        events = place.kubectl("describe", WORKSPACES, f"bad-{name}")
        assert "Refused" in events
    good = workspace("bad-preset")
    apply(place, good)
    wait_for("run", lambda: runs_of(place, "bad-preset"), seconds=_SETTLED_SECONDS)


def test_a_spec_that_changes_back_and_forth_has_a_run_for_each_change(
    place: Cluster, operator: OperatorProcess
) -> None:
    for count, url in enumerate(("a", "b", "a"), start=1):
        apply(place, workspace("changing", url=f"https://example.com/{url}.parquet"))
        wait_for(
            f"run {count}",
            lambda count=count: len(runs_of(place, "changing")) == count,
            seconds=_SETTLED_SECONDS,
            explain=lambda: operator.log,
        )
    wait_for(
        "end of the first two",
        lambda: (
            [each["status"].get("phase") for each in runs_of(place, "changing")].count("Failed")
            == 2
        ),
        seconds=_SETTLED_SECONDS,
        explain=lambda: operator.log,
    )


def test_killed_at_any_moment_it_makes_each_run_once_and_leaves_nothing(
    place: Cluster, operator: OperatorProcess
) -> None:
    names = [f"killed-{number}" for number in range(4)]
    seed = random.randrange(10**6)
    chance = random.Random(seed)

    def killed() -> None:
        for _ in range(_KILLS // 4):
            operator.kill(after_seconds=chance.uniform(0.5, _LONGEST_LIFE_SECONDS))
            operator.start()

    def told() -> str:
        return f"seed {seed}\n{operator.log}"

    for count, url in enumerate(("1?sig=secret", "2", "1?sig=secret"), start=1):
        apply(place, *(workspace(name, url=f"https://example.com/{url}") for name in names))
        killed()
        for name in names:
            wait_for(
                f"run {count} of {name}",
                lambda name=name, count=count: len(runs_of(place, name)) >= count,
                seconds=_SETTLED_SECONDS,
                explain=told,
            )
    for name in names:
        noted = found(place, name)["metadata"]["annotations"]["operator.argotune.dev/run"]
        runs = runs_of(place, name)
        contents = Counter(each["metadata"]["annotations"][CONTENT] for each in runs)
        assert sorted(contents.values()) == [1, 2], told()
        (going_on,) = [each for each in runs if not each["spec"].get("shutdown")]
        assert going_on["metadata"]["name"] == noted, told()
    place.kubectl("delete", WORKSPACES, *names, "--wait=false")
    killed()
    wait_for(
        "end of all",
        lambda: not any(place.read(API, "workspaces", name) for name in names),
        seconds=_SETTLED_SECONDS,
        explain=told,
    )
    wait_for(
        "end of their runs and Secrets",
        lambda: (
            not [
                each["name"]
                for kind in (("argoproj.io/v1alpha1", "workflows"), ("v1", "secrets"))
                for each in place.metadata(*kind)
                if each["name"].startswith("killed-")
            ]
        ),
        seconds=_SETTLED_SECONDS,
        explain=told,
    )


def test_a_namespace_is_deleted_with_its_workspaces(api: httpx.Client, tmp_path: Path) -> None:
    with place_for_runs(api, seconds=None) as cluster, operating(cluster, tmp_path) as operator:
        apply(cluster, workspace("going"))
        wait_for("run", lambda: runs_of(cluster, "going"), seconds=_SETTLED_SECONDS)
        seconds = f"--timeout={_SETTLED_SECONDS}s"
        run("kubectl", "delete", "namespace", cluster.namespace, seconds)
        assert "namespace-is-deleted" in operator.log


def test_it_ends_well_and_gives_its_lease_back(place: Cluster, operator: OperatorProcess) -> None:
    assert operator.stop() == 0
    lease = place.read("coordination.k8s.io/v1", "leases", "argotune-operator")
    assert lease is not None
    assert not lease["spec"].get("holderIdentity")
