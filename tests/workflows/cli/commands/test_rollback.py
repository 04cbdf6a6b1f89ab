"""argotune rollback, on a fake API server and with a record of a service on this machine."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from argotune.steps.contracts.in_service import InService
from argotune.steps.contracts.services import RECORD, read_service, write_record
from argotune.steps.settings.run_settings import flags_of
from argotune.workflows.cli.errors import CliError
from argotune.workflows.cli.home import Home
from argotune.workflows.cli.local.rollback import roll_back
from argotune.workflows.cli.login import Login
from argotune.workflows.cli.remote.cluster import Cluster as Remote
from argotune.workflows.cli.remote.rollback import begin_rollback, begin_start
from argotune.workflows.workspace.manifests import fill_in, parameters_of, read_rendered
from tests.fakes.kube import Cluster
from tests.fakes.registry import serving
from tests.workflows.cli.command import Argotune
from tests.workflows.cli.commands.test_status import write_service

needs_skopeo = pytest.mark.skipif(
    shutil.which("skopeo") is None, reason="skopeo is not installed on this machine"
)
OLD, NEW = (f"acr.io/team/phi@sha256:{64 * letter}" for letter in "ab")
SETTINGS = {
    "adapter-from": "cache",
    "adapter-pull-secret": "my-secret",
    "gpus": "2",
    "memory": "24Gi",
    "node-selector": '{"pool": "gpu"}',
    "question": "Who?",
}


KNOWN = InService(adapter=NEW, version="v2", previous=OLD, settings=SETTINGS)


def put_service(cluster: Cluster, known: InService | None) -> None:
    """A Deployment; None: an earlier argotune deployed it."""
    annotations = known.annotations() if known is not None else {}
    cluster.put(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {
                "name": "phi",
                "namespace": "team-a",
                "labels": {
                    "argotune.dev/service": "phi",
                    "app.kubernetes.io/managed-by": "argotune",
                    "app.kubernetes.io/component": "inference",
                    "app.kubernetes.io/part-of": "argotune",
                },
                "annotations": annotations,
            },
            "spec": {},
        }
    )


@pytest.fixture
def installed(cluster: Cluster) -> Cluster:
    """A cluster with the template and a service in its second version."""
    (template,) = (fill_in(each, {}) for each in read_rendered("rollback"))
    cluster.put({**template, "metadata": {**template["metadata"], "namespace": "team-a"}})
    put_service(cluster, KNOWN)
    return cluster


def begun(cluster: Cluster, version: str | None) -> dict[str, Any]:
    """Arguments of the Workflow that a rollback makes."""
    name = begin_rollback(Remote(), "phi", version, Login())
    (made,) = cluster.of_kind("Workflow")
    assert made["metadata"]["name"] == name
    assert made["metadata"]["labels"]["argotune.dev/workspace"] == "phi"
    assert made["metadata"]["annotations"]["argotune.dev/submitted-by"] == "ann"
    assert set(made["spec"]) == {"workflowTemplateRef", "arguments"}
    assert made["spec"]["workflowTemplateRef"] == {"name": "rollback"}
    return {each["name"]: each["value"] for each in made["spec"]["arguments"]["parameters"]}


def test_the_one_before_is_served_with_the_settings_of_the_service(installed: Cluster) -> None:
    given = begun(installed, None)
    assert given == {
        "name": "phi",
        "reference": OLD,
        "adapter-from": "cache",
        "push-secret": "my-secret",
        "gpus": "2",
        "service-memory": "24Gi",
        "node-selector": '{"pool": "gpu"}',
        "question": "Who?",
        "requests-per-minute": "0",
        "allow-cpu": "false",
        "api-keys-secret": "",
        "cors-origins": "[]",
        "engine": "auto",
        "service-gpus": "",
        "service-host": "",
        "load-in-4bit": "false",
        "max-length": "",
        "service-during-tuning": "wait",
        "service-instance-type": "",
        "service-max-replicas": "",
        "service-port": "0",
        "service-replicas": "",
        "start": "false",
        "leave": "false",
        "serve-with": "",
        "service-label-selector": "",
    }
    (template,) = read_rendered("rollback")
    assert given.keys() == parameters_of(template).keys()


@needs_skopeo
def test_a_version_is_named_by_its_tag_in_the_same_repository(
    installed: Cluster, argotune: Argotune
) -> None:
    with serving() as registry:
        image = f"{registry.host}/team/phi"
        registry.manifests["team/phi", "v1"] = ("application/vnd.oci.image.manifest.v1+json", b"{}")
        put_service(installed, dataclasses.replace(KNOWN, adapter=f"{image}@sha256:{64 * 'b'}"))
        answer = argotune("rollback", "phi", "v7", "-n", "team-a")
        assert answer.code == 2
        assert answer.errors == [
            f"'v7': {image} has no such version; `argotune versions phi -n team-a` lists what there"
            " is"
        ]
        assert not installed.of_kind("Workflow")
        assert begun(installed, "v1")["reference"] == f"{image}:v1"


@needs_skopeo
def test_a_registry_that_this_person_does_not_reach_is_left_to_the_run(
    installed: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(login=True) as registry:
        adapter = f"{registry.host}/team/phi@sha256:{64 * 'b'}"
        put_service(installed, dataclasses.replace(KNOWN, adapter=adapter))
        assert begun(installed, "v7")["reference"] == f"{registry.host}/team/phi:v7"
    warning = capsys.readouterr().err
    assert warning.startswith("warning: v7 was not looked up before the run: registry ")
    assert f"`skopeo login {registry.host}`" in warning


def test_the_version_in_service_needs_no_run(installed: Cluster, argotune: Argotune) -> None:
    answer = argotune("rollback", "phi", "v2", "-n", "team-a")
    assert (answer.code, answer.out) == (0, "service phi: v2 is in service already\n")
    assert not installed.of_kind("Workflow")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("phi", "3"), "error: '3': is no version; they are v1, v2 and so on"),
        (("phi", "previous"), "error: 'previous': is no version; they are v1, v2 and so on"),
        (
            ("other",),
            "error: 'other': no service of this name in namespace team-a; there are phi",
        ),
    ],
)
def test_what_cannot_be_rolled_back_to_is_refused(
    installed: Cluster, argotune: Argotune, arguments: Sequence[str], said: str
) -> None:
    answer = argotune("rollback", *arguments, "-n", "team-a")
    assert (answer.code, answer.err) == (2, f"{said}\n")


def test_a_service_that_had_no_other_adapter_says_so(
    installed: Cluster, argotune: Argotune
) -> None:
    put_service(installed, dataclasses.replace(KNOWN, version="v1", previous=""))
    answer = argotune("rollback", "phi", "-n", "team-a")
    assert (answer.code, answer.err) == (
        3,
        "error: service phi: no other adapter was in service before v1; `argotune versions phi`"
        " lists what there is\n",
    )


def test_a_service_of_an_earlier_argotune_says_so(installed: Cluster, argotune: Argotune) -> None:
    put_service(installed, None)
    answer = argotune("rollback", "phi", "-n", "team-a")
    assert answer.code == 3
    assert "an earlier version of argotune deployed it" in answer.err


def test_an_installation_without_the_template_is_named(
    cluster: Cluster, argotune: Argotune
) -> None:
    put_service(cluster, KNOWN)
    answer = argotune("rollback", "phi", "-n", "team-a")
    assert (answer.code, answer.err) == (
        3,
        "error: WorkflowTemplate rollback is not in namespace team-a: `argotune install -n team-a`"
        " puts it there\n",
    )


def put_here(home_dir: Path) -> None:
    """A service of this process, in its second version."""
    write_service(home_dir, "phi", os.getpid())
    path = home_dir / "services" / "phi" / RECORD
    service = read_service(home_dir / "services", "phi")
    assert service is not None
    known = InService(
        adapter=f"oci:/dist@sha256:{64 * 'b'}",
        version="v2",
        previous=f"oci:/dist@sha256:{64 * 'a'}",
        settings={"cache-dir": "/models", "question": "Who?"},
    )
    write_record(path, dataclasses.replace(service, annotations=known.annotations()))


@pytest.mark.parametrize(
    ("version", "reference"),
    [(None, f"oci:/dist@sha256:{64 * 'a'}"), ("v1", "oci:/dist:v1")],
)
def test_here_step_deploy_serves_the_adapter(
    home_dir: Path, version: str | None, reference: str
) -> None:
    put_here(home_dir)
    deployed: list[str] = []
    roll_back(Home(home_dir), "phi", version, deploy=deployed.extend)
    assert set(deployed) >= {
        "--target=process",
        "--name=phi",
        f"--reference={reference}",
        f"--services-dir={home_dir / 'services'}",
        "--cache-dir=/models",
        "--question=Who?",
    }
    names = {flag.removeprefix("--").partition("=")[0] for flag in deployed}
    # A schedule is to know what is in service; what is of a run stays out.
    assert "--history-file=/models/history/phi.json" in deployed
    assert not names & {"plan-file", "model-dir", "dataset-digest"}
    assert names <= {
        *flags_of("deploy"),
        *("reference", "cache-dir", "history-file", "auth-file", "port"),
    }


def test_here_a_failed_rollback_is_an_error(home_dir: Path) -> None:
    put_here(home_dir)

    def deploy(flags: Sequence[str]) -> None:
        raise CliError("it did not answer")

    with pytest.raises(CliError, match="it did not answer"):
        roll_back(Home(home_dir), "phi", "v1", deploy=deploy)


def test_here_a_service_has_to_run(
    argotune: Argotune, home_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARGOTUNE_HOME", str(home_dir))
    answer = argotune("rollback", "phi")
    assert answer.code == 2
    assert answer.err == (
        "error: 'phi': no running service of this name on this machine; none is running\n"
    )


def test_a_service_that_was_scaled_to_none_is_started_by_a_workflow(installed: Cluster) -> None:
    installed.objects["Deployment", "team-a", "phi"]["spec"]["replicas"] = 0
    begin_start(Remote(), "phi")
    (made,) = installed.of_kind("Workflow")
    given = {each["name"]: each["value"] for each in made["spec"]["arguments"]["parameters"]}
    assert (given["reference"], given["start"], given["service-memory"]) == (NEW, "true", "24Gi")


def test_a_service_with_servers_needs_no_start(installed: Cluster, argotune: Argotune) -> None:
    answer = argotune("start", "phi", "-n", "team-a")
    assert (answer.code, answer.out) == (
        0,
        "service phi: is not stopped; `argotune status phi -n team-a` shows it\n",
    )
    assert argotune("start", "other", "-n", "team-a").errors == [
        "'other': no service of this name in namespace team-a; one that was removed comes back with"
        " the next run of its workspace"
    ]


def test_the_service_of_an_applied_workspace_is_rolled_back_by_the_operator(
    argotune: Argotune, installed: Cluster
) -> None:
    metadata = {"name": "phi", "namespace": "team-a", "finalizers": ["argotune.dev/operator"]}
    installed.put({"apiVersion": "kaito.sh/v1beta1", "kind": "Workspace", "metadata": metadata})
    answer = argotune("rollback", "phi", "-n", "team-a")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith("service phi: the operator is asked to bring the one before back")
    assert installed.of_kind("Workflow") == []
    annotations = installed.objects["Workspace", "team-a", "phi"]["metadata"]["annotations"]
    assert annotations["argotune.dev/rollback"].startswith("previous 20")
