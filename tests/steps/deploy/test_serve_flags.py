"""deploy starts the server by its flags only: steps do not import each other, so this test does."""

from __future__ import annotations

from pathlib import Path

import pytest

from argotune.steps.common.errors import ParamsError
from argotune.steps.common.fields import parse_fields
from argotune.steps.contracts.services import KEYS
from argotune.steps.deploy.manifests.deployment import AdapterImage, deployment
from argotune.steps.deploy.process import flags_of
from argotune.steps.serve.authentication import OPEN_PATHS
from argotune.steps.serve.params import Params as ServeParams
from tests.steps.deploy.test_manifests import REFERENCE, params


def parse(arguments: list[str]) -> ServeParams:
    flags = dict(argument.removeprefix("--").split("=", 1) for argument in arguments)
    return parse_fields(ServeParams, flags)


def test_the_pod_starts_the_server_with_its_flags() -> None:
    adapter = AdapterImage(reference=REFERENCE)
    pod = deployment(params(), adapter)["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert container["command"] == ["python", "-m", "argotune.steps.serve"]
    serve = parse(container["args"])
    assert (serve.host, serve.port) == ("0.0.0.0", container["ports"][0]["containerPort"])
    assert serve.name == "phi"
    assert serve.adapter_digest == f"sha256:{'a' * 64}"
    assert serve.adapter_dir == Path("/argotune/adapter/data")
    assert serve.adapters_dir == Path("/argotune/models/joined/phi")
    pre_stop = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    ending = pre_stop + serve.hand_over_seconds + serve.drain_seconds
    assert ending < pod["terminationGracePeriodSeconds"]
    # What the server has begun to answer it also ends.
    assert serve.drain_seconds >= serve.timeout_seconds


def test_the_pod_gets_bits_and_context_of_the_plan() -> None:
    wanted = params(load_in_4bit=True, max_length=4096)
    pod = deployment(wanted, AdapterImage(reference=REFERENCE))["spec"]["template"]["spec"]
    serve = parse(pod["containers"][0]["args"])
    assert (serve.load_in_4bit, serve.max_length) == (True, 4096)


def test_the_process_is_started_with_the_servers_flags() -> None:
    wanted = params(target="process", services_dir=Path("/services"))
    serve = parse(flags_of(wanted, Path("/services/phi/adapter-1"), Path("/services/phi"), 7))
    assert serve.model_dir == Path("/models/microsoft--Phi-3/abc")
    assert (serve.port, serve.listener_fd) == (0, 7)
    assert serve.port_file == Path("/services/phi/port")
    assert serve.adapters_dir == Path("/services/phi/adapters")


def test_keys_are_where_the_server_looks_for_them() -> None:
    """A server that everybody may ask, where keys were wanted, would be the worse mistake."""
    adapter = AdapterImage(reference=REFERENCE)
    wanted = params(api_keys_secret="api-keys")
    pod = deployment(wanted, adapter)["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    file = parse(container["args"]).keys_file
    (mount,) = [each for each in container["volumeMounts"] if each["name"] == "keys"]
    (volume,) = [each for each in pod["volumes"] if each["name"] == "keys"]
    assert file == Path(mount["mountPath"]) / volume["secret"]["items"][0]["path"]
    assert volume["secret"]["secretName"] == "api-keys"
    assert not volume["secret"].get("optional")
    paths = {container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("readiness", "liveness")}
    assert paths <= OPEN_PATHS
    local = params(target="process", services_dir=Path("/s"), api_keys_secret="api-keys")
    flags = flags_of(local, Path("/s/phi/adapter-1"), Path("/s/phi"), 7)
    assert parse(flags).keys_file == Path("/s/phi") / KEYS


def test_the_rate_of_clients_reaches_the_server() -> None:
    wanted = params(requests_per_minute=60)
    pod = deployment(wanted, AdapterImage(reference=REFERENCE), replicas=1)["spec"]["template"][
        "spec"
    ]
    assert parse(pod["containers"][0]["args"]).requests_per_minute == 60
    local = params(target="process", services_dir=Path("/s"), requests_per_minute=60)
    assert parse(flags_of(local, Path("/s/a"), Path("/s"), 7)).requests_per_minute == 60


def test_origins_of_pages_reach_the_server() -> None:
    origins = ("https://app.example.com", "http://localhost:3000")
    pod = deployment(params(cors_origins=origins), AdapterImage(reference=REFERENCE))
    (container,) = pod["spec"]["template"]["spec"]["containers"]
    assert parse(container["args"]).cors_origins == origins
    local = params(target="process", services_dir=Path("/s"), cors_origins=origins)
    assert parse(flags_of(local, Path("/s/a"), Path("/s"), 7)).cors_origins == origins
    with pytest.raises(ParamsError, match=r"--cors-origins: 'app\.example\.com' is no origin"):
        params(cors_origins=("app.example.com",))
