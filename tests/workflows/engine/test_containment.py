"""What the documents and the steps say leads the engine nowhere outside a pod's places."""

from pathlib import Path
from typing import Any

import pytest

from tests.workflows.engine.running import node, run_spec

SPEC = """
  entrypoint: m
  arguments: {{parameters: [{{name: p, value: ""}}]}}
  volumes: [{{name: c, persistentVolumeClaim: {{claimName: shared}}}}]
  templates:
  - name: m
    {files}
    container:
      image: busybox
      command: [sh, -c, {script}]
      volumeMounts: [{mount}]
"""
MOUNT = "{name: c, mountPath: /c}"
LEADS_OUT = "leads out of the pod's directory and volumes by a symbolic link"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A file of the user's that no pod has to do with."""
    path = tmp_path / "mine"
    path.mkdir()
    (path / "secret").write_text("s3cret")
    return path


def run(
    tmp_path: Path, *, files: str = "", script: str = "'true'", mount: str = MOUNT, value: str = ""
) -> dict[str, Any]:
    """The node of a run of one pod, which mounts the claim `shared`."""
    spec = SPEC.format(files=files, script=script, mount=mount)
    found = node(run_spec(spec, tmp_path, parameters={"p": value}), "")
    assert "s3cret" not in str(found)
    return found


@pytest.fixture
def claim(tmp_path: Path) -> Path:
    """The claim as an earlier pod left it."""
    path = tmp_path / "claims" / "shared"
    path.mkdir(parents=True)
    return path


@pytest.mark.parametrize("path", ["/c/out", "/tmp/out", "/c/link/secret"])
def test_an_output_that_is_a_link_to_elsewhere_is_an_error(
    tmp_path: Path, outside: Path, path: str
) -> None:
    target = outside if "link" in path else outside / "secret"
    link = path.removesuffix("/secret")
    found = run(
        tmp_path,
        files=f"outputs: {{parameters: [{{name: out, valueFrom: {{path: {path}, default: d}}}}]}}",
        script=f"'rm -rf {link}; ln -s {target} {link}'",
    )
    assert (found["phase"], found["message"]) == (
        "Error",
        f"{path} (outputs.parameters.out) {LEADS_OUT}",
    )


def test_a_link_within_a_volume_is_an_output_as_any_other(tmp_path: Path) -> None:
    found = run(
        tmp_path,
        files="outputs: {parameters: [{name: out, valueFrom: {path: /c/out}}]}",
        script="'echo hi > /c/real; ln -s real /c/out'",
    )
    assert found["phase"] == "Succeeded"
    assert found["outputs"]["parameters"][0]["value"] == "hi"


def test_a_pipe_is_no_output_and_is_not_waited_for(tmp_path: Path) -> None:
    found = run(
        tmp_path,
        files="outputs: {parameters: [{name: out, valueFrom: {path: /c/out}}]}",
        script="'mkfifo /c/out'",
    )
    assert (found["phase"], found["message"]) == (
        "Error",
        "the container did not write /c/out (outputs.parameters.out)",
    )


def test_an_artifact_is_not_written_through_a_link_of_an_earlier_pod(
    tmp_path: Path, outside: Path, claim: Path
) -> None:
    (claim / "conf").symlink_to(outside / "secret")
    found = run(
        tmp_path,
        files="inputs: {artifacts: [{name: conf, path: /c/conf, raw: {data: overwritten}}]}",
    )
    assert (found["phase"], LEADS_OUT in found["message"]) == ("Failed", True)
    assert (outside / "secret").read_text() == "s3cret"


@pytest.mark.parametrize("field", ["output", "subPath"])
def test_no_directory_is_made_behind_a_link(
    tmp_path: Path, outside: Path, claim: Path, field: str
) -> None:
    (claim / "link").symlink_to(outside)
    if field == "output":
        files = "outputs: {parameters: [{name: out, valueFrom: {path: /c/link/new/out}}]}"
        found = run(tmp_path, files=files)
    else:
        found = run(tmp_path, mount="{name: c, mountPath: /c, subPath: link/new}")
    assert found["phase"] in ("Failed", "Error")
    assert LEADS_OUT in found["message"]
    assert [path.name for path in outside.iterdir()] == ["secret"]


@pytest.mark.parametrize(
    ("files", "mount", "field"),
    [
        ("outputs: {parameters: [{name: out, valueFrom: {path: '/c/{{workflow.parameters.p}}'}}]}",
         MOUNT, "outputs.parameters.out.valueFrom.path"),
        ("inputs: {artifacts: [{name: a, path: '/c/{{workflow.parameters.p}}', raw: {data: x}}]}",
         MOUNT, "inputs.artifacts.a.path"),
        ("", "{name: c, mountPath: '/c/{{workflow.parameters.p}}'}", "mountPath"),
        ("", "{name: c, mountPath: /c, subPath: 'a/{{workflow.parameters.p}}'}", "subPath"),
    ],
)  # fmt: skip
def test_a_path_that_a_parameter_completes_is_checked_when_it_is_known(
    tmp_path: Path, outside: Path, files: str, mount: str, field: str
) -> None:
    found = run(tmp_path, files=files, mount=mount, value="../../../mine/secret")
    assert found["phase"] == "Error"
    assert found["message"].startswith(f"{field} '")
    assert found["message"].endswith("'..'")
    assert (outside / "secret").read_text() == "s3cret"


def test_a_lock_of_a_namespace_that_is_a_path_stays_among_the_locks(tmp_path: Path) -> None:
    run_spec(
        """
  entrypoint: m
  synchronization: {mutexes: [{name: ../x, namespace: ../../y}]}
  templates: [{name: m, container: {image: busybox, command: ["true"]}}]
""",
        tmp_path,
    )
    (lock,) = (tmp_path / "claims" / ".locks").iterdir()
    assert lock.name == "......y.Mutex....x.0"
