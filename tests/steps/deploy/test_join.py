"""An adapter that joins a service of a cluster, beside the service's own."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from argotune.steps.common.clock import Clock
from argotune.steps.common.errors import PermanentError
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.in_service import joined_in, read_in_service
from argotune.steps.contracts.served import ADAPTER_HEADER, DIGEST_FILE
from argotune.steps.deploy.join import describe_joined, join_service, leave_service
from argotune.steps.deploy.params import Params, Result
from argotune.steps.deploy.version import Tagged
from argotune.steps.push.layout import write_image
from tests.fakes.adapter import write_adapter
from tests.fakes.kube import Cluster, serving
from tests.fakes.listening import listening
from tests.steps.deploy.test_kubernetes import deploy as deploy_own
from tests.steps.deploy.test_kubernetes import error as error_of_own
from tests.steps.deploy.test_kubernetes import params as of_service
from tests.steps.deploy.test_kubernetes import rolls_out, running_before, service

__all__ = ["service"]

HOST = ("Deployment", "team", "phi")
REFUSAL = "12:00:01 ERROR adapter other is refused: it has other rotary factors"


class World:
    """Service phi with its claim and one server, and adapters to be pushed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cluster = Cluster(on_apply=rolls_out)
        running_before(self.cluster)
        self.flags = self.cluster.objects[HOST]["spec"]["template"]["spec"]["containers"][0]["args"]
        self.add_pod("phi-1")
        self.joined = root / "cache" / "joined" / "phi"

    def add_pod(self, name: str) -> None:
        labels = {"argotune.dev/service": "phi"}
        ready = {"conditions": [{"type": "Ready", "status": "True"}], "podIP": "10.0.0.1"}
        self.cluster.pods.append({"metadata": {"name": name, "labels": labels}, "status": ready})
        self.cluster.logs[name] = "12:00:00 INFO adapter other is fine\n"

    def push(self, content: str = "{}") -> str:
        adapter = write_adapter(self.root / "adapter")
        (adapter / "serving.json").write_text(content)
        files, created = list(adapter.iterdir()), "2026-01-01T00:00:00Z"
        return write_image(
            self.root / "image", files, tag="1", created=created, annotations={}
        ).digest

    def params(self, digest: str, **changes: Any) -> Params:
        values: dict[str, Any] = {
            "name": "other",
            "serve_with": "phi",
            "reference": f"oci:{self.root / 'image'}@{digest}",
            "cache_dir": self.root / "cache",
            "timeout_seconds": 5.0,
        }
        return dataclasses.replace(of_service(), **values | changes)

    @contextlib.contextmanager
    def server(self, *, takes: bool = True) -> Iterator[str]:
        """A server of the service, which looks into the claim at each question."""
        joined, logs = self.joined, self.cluster.logs

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                file = joined / str(body.get("model")) / DIGEST_FILE
                is_served = takes and file.exists()
                if file.exists() and not takes:
                    logs["phi-1"] += f"{REFUSAL}\n"
                text = json.dumps({"response": f"{body['prompt']} says {body.get('model')}"})
                self.send_response(200 if is_served else 404)
                self.send_header("Content-Length", str(len(text)))
                if is_served:
                    self.send_header(ADAPTER_HEADER, file.read_text().strip())
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, format: str, *args: object) -> None:
                """Quiet."""

        with listening(Handler) as port:
            yield f"http://127.0.0.1:{port}"

    def join(self, digest: str, *, takes: bool = True, **changes: Any) -> tuple[Result, str]:
        """The result, and where the server is."""
        time = iter(range(1000))
        with self.server(takes=takes) as url, serving(self.cluster) as kube:
            result = join_service(
                self.params(digest, **changes),
                kube=kube,
                progress=Progress(),
                clock=Clock(now=lambda: float(next(time)), sleep=lambda _: None),
                endpoint=url,
                pod_url=lambda _: url,
            )
        return result, url

    def refused(self, digest: str, **changes: Any) -> str:
        with pytest.raises(PermanentError) as caught:
            self.join(digest, **changes)
        return str(caught.value)

    def digest_joined(self) -> str:
        return (self.joined / "other" / DIGEST_FILE).read_text().strip()

    def annotations(self) -> dict[str, str]:
        found: dict[str, str] = self.cluster.objects[HOST]["metadata"].get("annotations") or {}
        return found


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_the_servers_find_the_adapter_in_the_claim_without_a_rollout(world: World) -> None:
    before = json.dumps(world.cluster.objects[HOST]["spec"])
    digest = world.push()
    result, url = world.join(digest)
    assert result == Result(endpoint=url, answer="Hello? says other")
    assert world.digest_joined() == digest
    assert [path.name for path in world.joined.iterdir()] == ["other"]
    assert json.dumps(world.cluster.objects[HOST]["spec"]) == before
    assert {name for _, _, name in world.cluster.objects} == {"phi"}
    # The directory is the one that the servers were told.
    assert "--adapters-dir=/argotune/models/joined/phi" in world.flags


def test_what_differs_is_said_at_once(world: World) -> None:
    digest = world.push()
    keys = {"api_keys_secret": "clients", "api_keys_file": world.root / "keys"}
    world.flags[:] = [flag for flag in world.flags if not flag.startswith("--adapters-dir")]
    world.cluster.objects["Deployment", "team", "other"] = world.cluster.objects[HOST]
    assert world.refused(digest, model_dir="acme--big/1", **keys) == (
        "serve-with phi: an earlier version of argotune deployed it, and it takes no adapters; its"
        " workspace's next run, or a rollback, brings one that does; it serves the base"
        " microsoft--Phi-3/abc, and the adapter belongs to acme--big/1; it has no keys, and"
        " api-keys-secret is clients; other has a service of its own, which `argotune stop other"
        " --service` removes"
    )
    assert not world.joined.exists()
    del world.cluster.objects[HOST]
    del world.cluster.objects["Deployment", "team", "other"]
    assert world.refused(digest) == ("serve-with phi: there is no such service in namespace team")


def test_a_service_without_training_on_vllm_has_no_room_for_others(world: World) -> None:
    world.flags[:] = ["--model-dir=/argotune/models/microsoft--Phi-3/abc", "--service-dir=/s"]
    refusal = world.refused(world.push())
    assert refusal.startswith("serve-with phi: it is a service without training on vLLM, which has")
    assert refusal.endswith("or serve it with argotune.dev/engine: transformers")


def test_a_refusal_of_a_server_takes_nothing_out_of_service(world: World) -> None:
    # Of an earlier try.
    world.cluster.logs["phi-1"] += f"{REFUSAL.replace('12:00', '11:00')}\n"
    first = world.push()
    world.join(first)
    assert world.refused(world.push('{"a": 1}'), takes=False) == (
        f"serve-with phi: pod phi-1: {REFUSAL}"
    )
    assert world.digest_joined() == first


def test_every_server_has_to_have_it(world: World) -> None:
    world.cluster.pods.clear()
    assert world.refused(world.push()) == (
        "serve-with phi: the adapter was not served within 5 s: no pod is ready"
    )
    assert not (world.joined / "other").exists()


def test_a_service_without_servers_has_it_when_they_come_back(world: World) -> None:
    world.cluster.objects[HOST]["spec"]["replicas"] = 0
    digest = world.push()
    result, _ = world.join(digest)
    assert result.answer == "none: the service is scaled to 0 replicas"
    assert world.digest_joined() == digest


def test_a_killed_try_is_undone_by_the_next_one(world: World) -> None:
    first, second = world.push(), world.push('{"a": 1}')
    world.join(first)
    aside = world.joined / ".other"
    aside.mkdir()
    (aside / "joining").write_text(second)
    (world.joined / "other").rename(aside / "before")
    # Killed between its two renames, and the server refuses the next one.
    world.refused(second, takes=False)
    assert world.digest_joined() == first


def test_the_deployment_of_the_service_says_who_joined_it(world: World) -> None:
    digest = world.push()
    wanted = world.params(digest, run_name=None)
    with serving(world.cluster) as kube:
        describe_joined(wanted, Tagged(version="v1"), kube=kube)
        describe_joined(wanted, Tagged(version="v1"), kube=kube)
        known = read_in_service(joined_in(world.annotations())["other"])
        assert known is not None
        assert (known.version, known.settings["serve-with"]) == ("v1", "phi")
        world.join(digest)
        result = leave_service(wanted, kube=kube)
    assert result.answer == "none: the adapter is taken out of the service"
    assert joined_in(world.annotations()) == {}
    assert list(world.joined.iterdir()) == []


def test_a_service_that_others_joined_keeps_its_base(world: World, service: str) -> None:
    text = json.dumps({"argotune.dev/adapter": "an-image"})
    world.cluster.objects[HOST]["metadata"]["annotations"] = {"joined.argotune.dev/other": text}
    wanted = of_service(model_dir="acme--big/1")
    assert str(error_of_own(world.cluster, wanted)) == (
        "service phi serves the base microsoft--Phi-3/abc also to other, which joined it, and this"
        " adapter belongs to acme--big/1; take them out first, `argotune stop other --service`, or"
        " give the workspace another name"
    )
    deploy_own(world.cluster, service)
    assert list(joined_in(world.annotations())) == ["other"]


def test_a_new_service_serves_nobody_who_joined_one_of_its_name(
    tmp_path: Path, service: str
) -> None:
    left = tmp_path / "joined" / "phi" / "other"
    left.mkdir(parents=True)
    cluster = Cluster(on_apply=rolls_out)
    deploy_own(cluster, service, of_service(cache_dir=tmp_path))
    assert left.parent.is_dir()
    assert not left.exists()
