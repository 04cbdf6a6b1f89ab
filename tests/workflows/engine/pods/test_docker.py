from pathlib import Path

from argotune.workflows.engine.pods.docker import run_arguments
from argotune.workflows.engine.pods.paths import Mount
from argotune.workflows.engine.pods.pod import Pod, PodIdentity
from tests.workflows.engine.running import run_spec


def pod(**more: object) -> Pod:
    given: dict[str, object] = {
        "identity": PodIdentity("wf-1", "wf-main-1", "wf", "default", "default"),
        "image": "python:3.11",
        "command": ("python", "-m", "argotune.steps.plan"),
        "environment": {"TOKEN": "s3cret"},
        "working_dir": "",
        "directory": Path("/run/pods/wf-1"),
        "log": Path("/run/logs/wf-1.log"),
        "mounts": (Mount(Path("/host/w"), "/work"), Mount(Path("/host/s"), "/s", read_only=True)),
        **more,
    }
    return Pod(**given)  # type: ignore[arg-type]


def test_the_command_line_of_docker() -> None:
    own = [Mount(Path("/run/pods/wf-1/argo"), "/var/run/argo")]
    assert run_arguments("docker", pod(working_dir="/app", gpus=1), own_mounts=own, user="1:2") == [
        "docker", "run", "--name", "argotune-wf-1", "--init", "--network", "host",
        "--user", "1:2", "--workdir", "/app", "--gpus", "1",
        "--mount", "type=bind,source=/host/w,target=/work",
        "--mount", "type=bind,source=/host/s,target=/s,readonly",
        "--mount", "type=bind,source=/run/pods/wf-1/argo,target=/var/run/argo",
        "--env", "ARGO_PROGRESS_FILE", "--env", "TOKEN",
        "--entrypoint", "python", "python:3.11", "-m", "argotune.steps.plan",
    ]  # fmt: skip


def test_a_comma_in_a_path_mounts_nothing_else() -> None:
    found = run_arguments(
        "docker", pod(mounts=(Mount(Path("/host/a,b"), "/x,source=/"),)), own_mounts=[], user=None
    )
    assert found[found.index("--mount") + 1] == 'type=bind,"source=/host/a,b","target=/x,source=/"'


def test_secrets_are_not_on_the_command_line() -> None:
    assert not any("s3cret" in a for a in run_arguments("docker", pod(), own_mounts=[], user=None))


def test_podman_names_its_gpus() -> None:
    found = run_arguments("podman", pod(gpus=2), own_mounts=[], user=None)
    assert [found[i + 1] for i, a in enumerate(found) if a == "--device"] == [
        "nvidia.com/gpu=0", "nvidia.com/gpu=1",
    ]  # fmt: skip


FAKE = """#!/bin/sh
# Stands in for docker: keeps its calls, runs nothing, "copies" an output.
echo "$@" >> "$FAKE_LOG"
case "$1" in
  run) echo "in a container: $GREETING"; exit 0;;
  cp) echo copied > "$3";;
esac
"""


def test_a_container_is_run_copied_from_and_removed(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(FAKE)
    program.chmod(0o755)
    finished = run_spec(
        """
  entrypoint: main
  templates:
  - name: main
    outputs: {parameters: [{name: out, valueFrom: {path: /tmp/out}}]}
    container: {image: only-in-a-registry, env: [{name: GREETING, value: hello}]}
""",
        tmp_path,
        runtime="docker",
        environ={
            "PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin",
            "FAKE_LOG": str(tmp_path / "calls"),
        },
    )
    assert finished["status"]["phase"] == "Succeeded"
    assert finished["status"]["nodes"]["wf"]["outputs"]["parameters"][0]["value"] == "copied"
    assert (tmp_path / "run" / "logs" / "wf.log").read_text() == "in a container: hello\n"
    calls = [line.split()[0] for line in (tmp_path / "calls").read_text().splitlines()]
    assert calls == ["rm", "run", "cp", "rm"]


PRINTS_MODE = """#!/bin/sh
# Stands in for docker: prints the mode of the script that it is to mount.
for word in "$@"; do
  case "$word" in
    *,target=/argo/staging/script*) file=${word#*source=}; stat -c %a "${file%%,*}";;
  esac
done
"""


def test_a_script_is_a_program(tmp_path: Path) -> None:
    """As Argo's is: `sh -c` runs the file."""
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(PRINTS_MODE)
    program.chmod(0o755)
    run_spec(
        """
  entrypoint: main
  templates:
  - name: main
    script: {image: only-in-a-registry, command: [sh, -c], source: echo 7}
""",
        tmp_path,
        runtime="docker",
        environ={"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"},
    )
    assert (tmp_path / "run" / "logs" / "wf.log").read_text() == "755\n"
