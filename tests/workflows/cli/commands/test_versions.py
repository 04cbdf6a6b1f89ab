"""argotune versions, of a layout and through the real skopeo of a registry."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from argotune.steps.contracts import adapter_image
from argotune.steps.contracts.in_service import Event, InService
from argotune.steps.contracts.versions import CANDIDATE, rejected_tag
from argotune.steps.push.layout import write_image
from argotune.steps.registry import skopeo
from argotune.steps.registry.oci import ImageReference, LayoutReference
from argotune.steps.registry.versions import record_in_service, record_pushed, repository_of
from tests.fakes.adapter import write_adapter
from tests.fakes.kube import Cluster
from tests.fakes.registry import docker_config, serving
from tests.workflows.cli.cluster_workflows import NAME, run_of, step
from tests.workflows.cli.command import Argotune
from tests.workflows.cli.commands.test_rollback import put_service

needs_skopeo = pytest.mark.skipif(
    shutil.which("skopeo") is None, reason="skopeo is not installed on this machine"
)


def write(layout: Path, content: str, **said: str) -> str:
    adapter = write_adapter(layout.parent / "adapter")
    (adapter / "chat_template.jinja").write_text(content)
    known = {
        adapter_image.CREATED: "2026-01-01T00:00:00Z",
        adapter_image.DATASET_DIGEST: f"sha256:{64 * 'd'}",
        adapter_image.BASE_REVISION: 40 * "e",
        adapter_image.BASE_LOSS: "4.25",
    }
    return write_image(
        layout,
        sorted(adapter.iterdir()),
        tag="latest",
        created="2026-01-01T00:00:00Z",
        annotations={**known, adapter_image.TUNED_LOSS: said.pop("tuned", "1.5"), **said},
    ).digest


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    """Two versions, the first rolled back to, and a rejected adapter."""
    layout = tmp_path / "dist"
    repository = repository_of(LayoutReference(directory=layout), skopeo.Registry())
    first = write(layout, "one")
    second = write(layout, "two", tuned="1.25")
    for digest in (first, second, first):
        record_in_service(repository, digest)
    rejected = write(layout, "three", tuned="9.5")
    repository.point(rejected_tag(rejected), rejected)
    repository.point(CANDIDATE, second)
    return layout


def test_all_versions_are_listed_with_their_losses(argotune: Argotune, layout: Path) -> None:
    answer = argotune("versions", f"oci:{layout}")
    lines = [line.split() for line in answer.out.splitlines()]
    assert (answer.code, answer.err) == (0, "")
    # A column without a value in any row is left out.
    assert " ".join(lines[0]) == "VERSION STATE DIGEST DATA BASE BASE LOSS TUNED LOSS VERDICT"
    same = [12 * "d", 12 * "e", "4.25"]
    assert [line[:2] + line[3:] for line in lines[1:3]] == [
        ["v1", "live", *same, "1.5"],
        ["v2", "previous,", *line_of_candidate(lines[2]), *same, "1.25"],
    ]
    assert lines[3][0] == "rejected"
    assert lines[3][2:] == [*same, "9.5", "rejected"]


def line_of_candidate(line: list[str]) -> list[str]:
    """What stands behind the comma of `previous, candidate`."""
    assert line[2] == "candidate"
    return [line[3]]


def test_programs_get_all_of_it(argotune: Argotune, layout: Path) -> None:
    answer = argotune("versions", f"oci:{layout}", "-o", "json")
    first, second, rejected = json.loads(answer.out)
    assert first["version"] == "v1"
    assert first["states"] == ["live"]
    assert first["digest"].startswith("sha256:")
    assert first["baseLoss"] == "4.25"
    assert second["states"] == ["previous", "candidate"]
    assert (rejected["version"], rejected["verdict"]) == (None, "rejected")


def test_a_candidate_that_a_person_rejected_is_none_any_more(
    argotune: Argotune, layout: Path
) -> None:
    repository = repository_of(LayoutReference(directory=layout), skopeo.Registry())
    digest = write(layout, "four")
    repository.point(CANDIDATE, digest)
    repository.point(rejected_tag(digest), digest)
    found = json.loads(argotune("versions", f"oci:{layout}", "-o", "json").out)
    assert [each["states"] for each in found if each["digest"] == digest] == [["rejected"]]


def test_a_version_that_was_only_pushed_is_told_from_those_that_served(
    argotune: Argotune, tmp_path: Path
) -> None:
    layout = tmp_path / "dist"
    repository = repository_of(LayoutReference(directory=layout), skopeo.Registry())
    record_in_service(repository, write(layout, "one"))
    pushed = write(layout, "two", **{adapter_image.DEPLOY_TO: "none"})
    record_pushed(repository, pushed)
    repository.point(CANDIDATE, pushed)

    def states() -> list[list[str]]:
        found = json.loads(argotune("versions", f"oci:{layout}", "-o", "json").out)
        return [each["states"] for each in found]

    assert states() == [["live"], ["candidate", "not deployed"]]
    # A rollback may bring it into service all the same.
    record_in_service(repository, pushed)
    assert states() == [["previous"], ["live", "candidate"]]


def test_the_cost_of_each_version_is_shown_where_one_is_known(
    argotune: Argotune, tmp_path: Path
) -> None:
    layout = tmp_path / "dist"
    repository = repository_of(LayoutReference(directory=layout), skopeo.Registry())
    spot = {adapter_image.COST_USD: "2.31", adapter_image.MACHINE: "NC24 spot in zone 1"}
    for content, said in (("one", {}), ("two", spot), ("nan", {adapter_image.COST_USD: "nan"})):
        record_in_service(repository, write(layout, content, **said))
    answer = argotune("versions", f"oci:{layout}")
    header, *lines = answer.out.splitlines()
    assert header.split()[-1] == "COST"
    assert [line[header.index("COST") :].rstrip() for line in lines] == ["-", "<= 2.31 USD", "-"]
    records = json.loads(argotune("versions", f"oci:{layout}", "-o", "json").out)
    assert [each["costUsd"] for each in records] == [None, 2.31, None]
    assert [each["costIsUpperBound"] for each in records] == [False, True, False]


@needs_skopeo
def test_who_deployed_a_version_is_what_the_deployment_says(
    argotune: Argotune,
    cluster: Cluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = tmp_path / "docker"
    own.mkdir()
    monkeypatch.setenv("DOCKER_CONFIG", str(own))
    digest = write(tmp_path / "dist", "one")
    event = Event(time="2026-02-03T04:05:06Z", person="ann", run="phi-1", approved_by="bob")
    with serving(login=True) as registry:
        (own / "config.json").write_text(docker_config(registry.host))
        login = skopeo.Registry(auth_file=own / "config.json", attempts=1)
        image = ImageReference(registry=registry.host, repository="team/phi", tag="v1")
        skopeo.push(tmp_path / "dist", "latest", image, digest, login)
        reference = f"{image.name}@{digest}"
        known = InService(adapter=reference, version="v1", history={"v1": event})
        put_service(cluster, known)
        answer = argotune("versions", "phi", "-n", "team-a")
        no = Event(time="2026-01-01T00:00:00Z", person="eve")
        put_service(cluster, dataclasses.replace(known, rejected={digest: no}))
        (record,) = json.loads(argotune("versions", "phi", "-n", "team-a", "-o", "json").out)
    assert (answer.code, answer.err) == (0, "")
    header, line, note = answer.out.splitlines()
    assert header.split()[-2:] == ["DEPLOYED", "BY"]
    assert " ".join(line.split()).endswith("2026-02-03 04:05 ann, approved by bob")
    who = [record[key] for key in ("deployedBy", "approvedBy", "rejectedBy", "rejectedAt")]
    assert who == ["ann", "bob", "eve", no.time]
    assert note == (
        f"the service answers with {digest[7:19]}, and the tag live is at none: the registry"
        " refused to move it; the next deploy tries again"
    )


def test_a_workspace_without_a_service_is_found_by_its_newest_push(
    argotune: Argotune, cluster: Cluster, layout: Path
) -> None:
    digest = f"sha256:{64 * 'a'}"
    pushed = step("push", "Succeeded", outputs={"reference": f"oci:{layout}@{digest}"})
    cluster.put(run_of(*pushed))
    answer = argotune("versions", "my-model", "-n", "team-a", "-o", "json")
    assert (answer.code, len(json.loads(answer.out))) == (0, 3)
    assert NAME.startswith("my-model")


def test_nothing_pushed_is_an_error(argotune: Argotune, tmp_path: Path) -> None:
    answer = argotune("versions", f"oci:{tmp_path / 'none'}")
    assert (answer.code, answer.err) == (
        3,
        f"error: oci:{tmp_path / 'none'} has no versions: nothing was pushed to it yet\n",
    )


def test_an_unknown_name_is_refused_with_the_known_ones(
    argotune: Argotune, cluster: Cluster
) -> None:
    answer = argotune("versions", "other", "-n", "team-a")
    assert answer.code == 2
    assert "'other': no run or workspace of this name" in answer.err
