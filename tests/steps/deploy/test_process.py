from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from argotune.steps.common.clock import Clock
from argotune.steps.common.errors import PermanentError, TransientError
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.listener import take_listener
from argotune.steps.contracts.services import (
    KEYS,
    Service,
    is_alive,
    list_services,
    read_service,
    stop_service,
)
from argotune.steps.deploy.params import Params, Result
from argotune.steps.deploy.process import deploy_process
from argotune.steps.push.layout import write_image
from tests.fakes.adapter import write_adapter, write_tiny_plan
from tests.fakes.registry import docker_config, serving

ROOT = Path(__file__).parents[3]
FAKE_SERVE = [sys.executable, "-m", "tests.fakes.serve"]


class Deployer:
    """Deploys adapters on this machine with the fake server."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.services_dir = root / "services"
        self.layout = root / "image"
        self.plan = write_tiny_plan(root / "plan.yaml")
        self.adapter = write_adapter(root / "adapter")

    def push(self, content: str = "{}") -> str:
        (self.adapter / "serving.json").write_text(content)
        created = "2026-01-01T00:00:00Z"
        files = list(self.adapter.iterdir())
        return write_image(self.layout, files, tag="1", created=created, annotations={}).digest

    def deploy(self, digest: str, mode: str = "well", **changes: Any) -> Result:
        values: dict[str, Any] = {
            "target": "process",
            "name": "phi",
            "reference": f"oci:{self.layout}@{digest}",
            "plan_file": self.root / "plan.yaml",
            "model_dir": "argotune--tiny/0",
            "cache_dir": self.root / "cache",
            "services_dir": self.services_dir,
            "question": "Hello?",
            "timeout_seconds": 20.0,
            "dataset_digest": "sha256:" + "d" * 64,
        }
        return deploy_process(
            Params(**values | changes),
            self.plan.model.title,
            self.services_dir,
            progress=Progress(),
            serve_command=[*FAKE_SERVE, f"--mode={mode}"],
            clock=Clock(sleep=lambda _: None),
        )

    def service(self) -> Service:
        service = read_service(self.services_dir, "phi")
        assert service is not None
        return service


@pytest.fixture
def deployer(tmp_path: Path) -> Iterator[Deployer]:
    yield Deployer(tmp_path)
    pids = [service.pid for service in list_services(tmp_path / "services")]
    for service in list_services(tmp_path / "services"):
        stop_service(tmp_path / "services", service.name)
    for pid in pids:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)


def fails(deployer: Deployer, digest: str, mode: str, **changes: Any) -> str:
    with pytest.raises(PermanentError) as caught:
        deployer.deploy(digest, mode, **changes)
    return str(caught.value)


def test_a_service_with_keys_is_asked_with_one_of_them(deployer: Deployer) -> None:
    digest = deployer.push()
    deployer.deploy(digest)
    open_to_all = deployer.service()
    mounted = deployer.root / "keys"
    mounted.write_text("anna: sk-anna-0123456789\n")
    with_keys = {"api_keys_secret": "api-keys", "api_keys_file": mounted}
    result = deployer.deploy(digest, **with_keys)
    assert result.answer.startswith("Hello? ")
    # The server without keys has gone, though it had the same adapter.
    service = deployer.service()
    assert (is_alive(open_to_all), is_alive(service)) == (False, True)
    mounted.unlink()
    # A rollback has no Secret: the keys are the service's.
    assert deployer.deploy(digest, **with_keys).answer == result.answer
    assert deployer.service().pid == service.pid
    kept = deployer.services_dir / "phi" / KEYS
    assert kept.read_text() == "anna: sk-anna-0123456789\n"
    assert kept.parent.stat().st_mode & 0o777 == 0o700


def test_a_server_with_other_settings_is_replaced_and_kept_with_the_same(
    deployer: Deployer,
) -> None:
    digest = deployer.push()
    deployer.deploy(digest)
    before = deployer.service()
    deployer.deploy(digest, cors_origins=("https://app.example.com",), requests_per_minute=6)
    service = deployer.service()
    assert (is_alive(before), is_alive(service)) == (False, True)
    deployer.deploy(digest, cors_origins=("https://app.example.com",), requests_per_minute=6)
    assert deployer.service().pid == service.pid


@pytest.mark.parametrize("before", [None, "anna: sk-anna-0123456789\n"])
def test_a_deploy_that_fails_leaves_the_keys_as_they_were(
    deployer: Deployer, before: str | None
) -> None:
    kept = deployer.services_dir / "phi" / KEYS
    if before is not None:
        kept.parent.mkdir(parents=True)
        kept.write_text(before)
    mounted = deployer.root / "keys"
    mounted.write_text("bert: sk-bert-0123456789\n")
    with_keys = {"api_keys_secret": "api-keys", "api_keys_file": mounted}
    fails(deployer, deployer.push(), "crash", **with_keys)
    assert (kept.read_text() if kept.exists() else None) == before


def test_a_secret_of_keys_that_is_not_here_is_said(deployer: Deployer) -> None:
    digest, kept = deployer.push(), deployer.services_dir / "phi" / KEYS
    said = "api-keys-secret: secret api-keys with the key 'keys' is not here; {}"
    keys: dict[str, Any] = {"api_keys_secret": "api-keys"}
    # Of `argotune start`, which has no --secret.
    assert fails(deployer, digest, "well", **keys) == said.format(
        f"write the file {kept}, with lines NAME: KEY in it"
    )
    keys["api_keys_file"] = deployer.root / "none"
    assert fails(deployer, digest, "well", **keys) == said.format(
        "give --secret api-keys=DIRECTORY, which has the file 'keys', with lines NAME: KEY in it"
    )


def test_the_service_answers_with_the_adapters_files(deployer: Deployer) -> None:
    digest = deployer.push()
    result = deployer.deploy(digest)
    service = deployer.service()
    assert result.answer == (
        "Hello? adapter_config.json adapter_model.safetensors chat_template.jinja serving.json "
        f"{deployer.root}/cache/argotune--tiny/0"
    )
    assert result.endpoint == service.endpoint == f"http://127.0.0.1:{service.port}"
    assert service.digest == digest
    assert service.model == f"argotune/tiny@{'0' * 40}"
    assert is_alive(service)
    assert "loading" in (deployer.services_dir / "phi" / "server.log").read_text()


def test_the_server_outlives_the_step_and_holds_none_of_its_pipes(deployer: Deployer) -> None:
    digest = deployer.push()
    code = f"""
import sys
from pathlib import Path
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.training_plan import read_plan
from argotune.steps.deploy.params import Params
from argotune.steps.deploy.process import deploy_process
root = Path({str(deployer.root)!r})
params = Params(target="process", name="phi", reference=f"oci:{{root}}/image@{digest}",
    plan_file=root / "plan.yaml", model_dir="m/0", cache_dir=root, services_dir=root / "services",
    dataset_digest="")
model = read_plan(root / "plan.yaml").model.title
deploy_process(params, model, root / "services", progress=Progress(),
    serve_command={FAKE_SERVE!r})
"""
    # With a pipe that the server still held, run() would wait for the server's end.
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, "ARGO_PROGRESS_FILE": "/gone"},
    )
    assert done.returncode == 0, done.stderr
    service = deployer.service()
    assert is_alive(service)
    assert os.getsid(service.pid) == service.pid
    environment = Path(f"/proc/{service.pid}/environ").read_bytes().split(b"\0")
    assert not any(entry.startswith(b"ARGO_") for entry in environment)


def test_a_new_adapter_replaces_the_old_server(deployer: Deployer) -> None:
    deployer.deploy(deployer.push("{}"))
    old = deployer.service()
    deployer.deploy(deployer.push('{"a": 1}'))
    new = deployer.service()
    assert not is_alive(old)
    assert is_alive(new)
    assert new.digest != old.digest
    assert len(list((deployer.services_dir / "phi").glob("adapter-*"))) == 1


def test_a_service_keeps_its_port(deployer: Deployer) -> None:
    first = deployer.deploy(deployer.push("{}"))
    digest = deployer.push('{"a": 1}')
    assert deployer.deploy(digest).endpoint == first.endpoint
    stop_service(deployer.services_dir, "phi")
    # Also when nothing ran meanwhile.
    assert deployer.deploy(digest).endpoint == first.endpoint
    assert len(list((deployer.services_dir / "phi").glob("listener-*"))) == 1


def test_the_queue_of_connections_is_the_services_and_not_the_servers(deployer: Deployer) -> None:
    deployer.deploy(deployer.push("{}"))
    service = deployer.service()
    listener = take_listener(deployer.services_dir / "phi", service.pid)
    assert listener is not None
    with listener:
        stop_service(deployer.services_dir, "phi")
        # Between two servers it is not refused.
        with socket.create_connection(("127.0.0.1", service.port)):
            listener.setblocking(True)
            listener.accept()[0].close()


def test_a_fixed_port_that_is_taken_is_refused_with_its_owner(deployer: Deployer) -> None:
    digest = deployer.push("{}")
    deployer.deploy(digest)
    port = deployer.service().port
    assert fails(deployer, digest, "well", name="other", port=port) == (
        f"port {port} of 127.0.0.1 (service-port) cannot be had: Address already in use; service"
        " phi of argotune has it; `argotune stop phi` ends it"
    )
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        message = fails(deployer, digest, "well", name="other", port=port)
    assert f"; process {os.getpid()} has it: " in message


def test_a_port_that_somebody_took_meanwhile_is_replaced(deployer: Deployer) -> None:
    digest = deployer.push("{}")
    deployer.deploy(digest)
    port = deployer.service().port
    stop_service(deployer.services_dir, "phi")
    with socket.create_server(("127.0.0.1", port)):
        deployer.deploy(digest)
    assert deployer.service().port != port


def test_another_try_finds_the_server_of_the_first(deployer: Deployer) -> None:
    digest = deployer.push()
    first = deployer.deploy(digest)
    pid = deployer.service().pid
    assert deployer.deploy(digest) == first
    assert deployer.service().pid == pid


def test_a_crash_ends_the_wait_at_once_and_shows_the_log(deployer: Deployer) -> None:
    message = fails(deployer, deployer.push(), "crash", timeout_seconds=3600.0)
    folder = deployer.services_dir / "phi"
    assert message == (
        f"the server exited with code 1; its log ({folder / 'server.failed.log'}) ends with: "
        f"loading {deployer.root}/cache/argotune--tiny/0 | RuntimeError: adapter does not fit the "
        "model"
    )
    assert "RuntimeError" in (folder / "server.failed.log").read_text()
    assert list_services(deployer.services_dir) == []


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("crash", "the server exited with code 1"),
        ("mute", "the server was not ready in time; raise --timeout-seconds"),
        ("broken", 'answered 500: {"error": {"message": "out of memory"}}'),
    ],
)
def test_the_old_server_stays_when_the_new_one_fails(
    deployer: Deployer, mode: str, message: str
) -> None:
    deployer.deploy(deployer.push("{}"))
    old = deployer.service()
    assert message in fails(deployer, deployer.push('{"a": 1}'), mode, timeout_seconds=1.0)
    assert deployer.service() == old
    assert is_alive(old)
    assert _children() == {old.pid}


def test_what_an_interrupted_try_started_is_ended_by_the_next(deployer: Deployer) -> None:
    digest = deployer.push()
    deployer.deploy(digest)
    folder = deployer.services_dir / "phi"
    # As after a kill -9 before the new server took over.
    (folder / "service.json").rename(folder / "starting.json")
    leftover = json.loads((folder / "starting.json").read_bytes())["pid"]
    deployer.deploy(digest)
    assert deployer.service().pid != leftover
    assert os.waitpid(leftover, 0)[1] == signal.SIGTERM
    assert not (folder / "starting.json").exists()


def test_an_interrupted_change_of_servers_is_finished_by_the_next(deployer: Deployer) -> None:
    deployer.deploy(deployer.push("{}"))
    old = deployer.service()
    folder = deployer.services_dir / "phi"
    old_record = (folder / "service.json").rename(deployer.root / "old.json")
    digest = deployer.push('{"a": 1}')
    deployer.deploy(digest)
    new = deployer.service()
    # As after a kill -9 when the new record was written and the old server not yet ended.
    old_record.rename(folder / "stopping.json")
    shutil.copyfile(folder / "service.json", folder / "starting.json")
    deployer.deploy(digest)
    # The annotations say when it was deployed, which is now.
    assert dataclasses.replace(deployer.service(), annotations=new.annotations) == new
    assert is_alive(new)
    assert not is_alive(old)
    assert not list(folder.glob("st*ing.json"))


def test_two_deploys_of_one_name_do_not_mix(deployer: Deployer) -> None:
    digest = deployer.push()
    folder = deployer.services_dir / "phi"
    folder.mkdir(parents=True)
    descriptor = os.open(folder, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(TransientError) as caught:
        deployer.deploy(digest)
    os.close(descriptor)
    assert str(caught.value) == (
        "another deploy of service phi is running on this machine; wait for its end"
    )


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed here")
def test_an_adapter_of_a_registry_is_pulled_with_its_login(deployer: Deployer) -> None:
    digest = deployer.push()
    auth_file = deployer.root / "config.json"
    with serving(login=True) as registry:
        auth_file.write_text(docker_config(registry.host))
        blobs = {
            path.name: path.read_bytes() for path in (deployer.layout / "blobs/sha256").iterdir()
        }
        registry.blobs = {f"sha256:{name}": content for name, content in blobs.items()}
        manifest = ("application/vnd.oci.image.manifest.v1+json", blobs[digest[7:]])
        registry.manifests["team/phi", digest] = manifest
        reference = f"{registry.host}/team/phi@{digest}"
        result = deployer.deploy(digest, reference=reference, auth_file=auth_file)
    assert "adapter_model.safetensors" in result.answer


def test_the_layout_of_the_push_step_saves_the_pull(deployer: Deployer) -> None:
    digest = deployer.push()
    reference = f"registry.invalid/team/phi@{digest}"
    result = deployer.deploy(digest, reference=reference, layout_dir=deployer.layout)
    assert "adapter_model.safetensors" in result.answer


def _children() -> set[int]:
    """Living processes that this one started."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[1]) == os.getpid() and fields[0] != "Z":
                found.add(int(stat.parent.name))
    return found
