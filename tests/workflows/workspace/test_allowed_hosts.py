"""Hosts inside the network that a workspace names, and those that the installation allows."""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from typing import Any

import pytest

from argotune.workflows.workspace.allowed_hosts import host_problems, host_warnings
from argotune.workflows.workspace.manifests import install_defaults
from tests.workflows.workspace.helpers import changed, read

SOURCE = "metadata.annotations.argotune.dev/model-source"


def changes(urls: Sequence[str], output: str, weights: str) -> dict[str, Any]:
    return {
        "metadata/annotations": {"argotune.dev/model-source": f"oci:{weights}"},
        "tuning/input/urls": list(urls),
        "tuning/output/image": output,
    }


INTERNAL = read(
    changed(
        changes(
            ["http://data.svc/a.jsonl", "https://data.svc:8443/b.jsonl"],
            "registry.svc:5000/my-model:1",
            "10.0.0.7/phi:1",
        )
    )
)
NAMED = read(changed(changes(["https://example.com/a"], "registry.corp/a:1", "hub.example/phi:1")))


def values(hosts: Sequence[str] = (), registry: str = "images.example") -> dict[str, str]:
    chosen = {"allowed-hosts": json.dumps(hosts), "images-registry": registry}
    return {**install_defaults(), **chosen}


def test_hosts_inside_the_network_are_refused() -> None:
    places = {
        "tuning.input.urls[0]": "data.svc",
        "tuning.input.urls[1]": "data.svc:8443",
        "tuning.output.image": "registry.svc:5000",
        SOURCE: "10.0.0.7",
    }
    assert list(host_problems(INTERNAL, values(registry="registry.svc:5001/argotune"))) == [
        f"{place}: {host} is inside a private network; `argotune install --allow-host {host}`"
        " permits it to all runs of the namespace"
        for place, host in places.items()
    ]


def test_a_host_is_told_by_the_flag_that_names_it() -> None:
    overrides = {
        "urls": '["http://data.svc/a.jsonl"]',
        "output-image": "registry.svc:5000/my-model:1",
        "model-source": "oci:10.0.0.7/phi:1",
        "validation-urls": "https://held.svc/b.jsonl",
    }
    found = host_problems(read(changed({}), overrides=overrides), values())
    assert [problem.partition(": ")[0] for problem in found] == [
        "--url[0]",
        "--set validation-urls[0]",
        "--output-image",
        "--set model-source",
    ]


@pytest.mark.parametrize(
    ("hosts", "registry"),
    [
        (["data.svc", "registry.svc", "10.0.0.7"], "images.example"),
        (["data.svc:80", "data.svc:8443", "10.0.0.7:443"], "registry.svc:5000/argotune"),
    ],
)
def test_allowed_hosts_and_the_registry_of_the_step_images_are_accepted(
    hosts: list[str], registry: str
) -> None:
    assert list(host_problems(INTERNAL, values(hosts, registry))) == []


def test_a_registry_of_this_machine_is_the_pod_itself_there() -> None:
    here = read(changed({"tuning/output/image": "localhost:5000/a:1"}))
    assert list(host_problems(here, values())) == [
        "tuning.output.image: localhost:5000 is the pod itself there; name one that pods reach"
    ]


def resolve(host: str, port: int) -> list[str]:
    if host == "hub.example":
        raise socket.gaierror(socket.EAI_NONAME, "no")
    return ["8.8.8.8", "10.0.0.5"]


def test_a_name_with_a_private_address_here_is_warned_of() -> None:
    assert list(host_problems(NAMED, values())) == []
    assert list(host_warnings(NAMED, values(), resolve)) == [
        "tuning.output.image: registry.corp is 10.0.0.5 here, inside a private network; where the"
        " pods see that too, they refuse it: `argotune install --allow-host registry.corp` permits"
        " it to all runs of the namespace"
    ]
    assert list(host_warnings(NAMED, values(["registry.corp:443"]), resolve)) == []


@pytest.mark.parametrize(
    ("given", "place", "host"),
    [
        (
            {"tuning/output/image": "registry.svc:5000/a:1"},
            "tuning.output.image",
            "registry.svc:5000",
        ),
        (
            {"metadata/annotations": {"argotune.dev/model-source": "oci:10.0.0.7/phi:1"}},
            "metadata.annotations.argotune.dev/model-source",
            "10.0.0.7",
        ),
        (
            {"tuning/preset/presetOptions/image": "10.0.0.7/phi:1"},
            "tuning.preset.presetOptions.image",
            "10.0.0.7",
        ),
    ],
)
def test_private_registry_is_warned_of_with_what_permits_it(
    given: dict[str, object], place: str, host: str
) -> None:
    warning = (
        f"{place}: {host} is inside a private network; a cluster's pods reach it only where"
        f" `argotune install --allow-host {host}` permits it, or where the step images are"
    )
    assert warning in read(changed(given)).host_warnings
