"""A cloud of a run's own beside it: the fake Azure with its workload identity, or the fake
Karpenter, each with real nodes. They see the pods and the claims of that run only, so that many
go on beside each other."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from argotune.steps.nodes.labels import NAMESPACE_LABEL, WORKSPACE_LABEL
from tests.e2e import nodes
from tests.e2e.cluster import Object, run
from tests.e2e.site import Site
from tests.fakes.arm import Cloud, Creation, serving
from tests.fakes.arm.machines import Machines
from tests.fakes.karpenter.api import Api
from tests.fakes.karpenter.controller import Karpenter, running
from tests.fakes.karpenter.scripts import SCRIPTS
from tests.fakes.tls import self_signed, server_context
from tests.fakes.workload_identity import (
    CA_KEY,
    CLIENT_ID_ANNOTATION,
    USE_LABEL,
    Identity,
    webhook,
)

INSTANCE_TYPE = "Standard_NC24ads_A100_v4"
_DELETE_SECONDS = 3.0


@contextmanager
def azure(site: Site, name: str, creation: Creation) -> Iterator[Cloud]:
    """Azure for the run of a workspace; this becomes of its pools."""
    machines = Machines(nodes.commands())
    cloud = Cloud(
        on_up=machines.bring,
        on_down=machines.take_away,
        creation=creation,
        delete_seconds=_DELETE_SECONDS,
    )
    directory = site.directory / f"azure-{name}"
    directory.mkdir()
    host = _address()
    certificate, key = self_signed(directory, [host])
    tls = server_context(certificate, key)
    with serving(cloud, tls, address=(host, 0)) as url:
        config_map = f"{name}-azure-ca"
        identity = Identity(
            cloud_url=url,
            ca_config_map=config_map,
            client_id_of=lambda account: _client_id(site, account),
        )
        with webhook(
            identity,
            host=host,
            certificate=certificate,
            key=key,
            name=f"{site.namespace}-{name}",
            selector=_pods_of(site, name),
        ) as configuration:
            site.cluster.kubectl(
                "create", "configmap", config_map, f"--from-file={CA_KEY}={certificate}"
            )
            run("kubectl", "create", "-f", "-", text=json.dumps(configuration))
            try:
                yield cloud
            finally:
                run("kubectl", "delete", "-f", "-", text=json.dumps(configuration))
                with cloud.lock:
                    cloud.take_down()


@contextmanager
def karpenter(site: Site, name: str, script: str) -> Iterator[Karpenter]:
    """Karpenter for the claims of a workspace's run."""
    selector = f"{NAMESPACE_LABEL}={site.namespace},{WORKSPACE_LABEL}={name}"
    playing = Karpenter(Api(), [SCRIPTS[script]], nodes.commands(), selector=selector)
    with running(playing):
        yield playing


def left_of(uid: str) -> list[str]:
    """Nodes and claims of a run that are there."""
    selector = f"--selector=argotune.dev/run={uid}"
    return run("kubectl", "get", "nodes,nodeclaims", selector, "-o", "name").split()


def _address() -> str:
    """Address by which pods and the API server reach this machine."""
    address = os.environ.get("E2E_ADDRESS")
    if not address:
        pytest.skip("needs E2E_ADDRESS: see tests/e2e/README.md")
    return address


def _pods_of(site: Site, name: str) -> Object:
    return {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": site.namespace}},
        "objectSelector": {"matchLabels": {USE_LABEL: "true", WORKSPACE_LABEL: name}},
    }


def _client_id(site: Site, account: str) -> str:
    found = site.cluster.read("v1", "serviceaccounts", account)
    assert found is not None, f"no account {account}"
    return str((found["metadata"].get("annotations") or {}).get(CLIENT_ID_ANNOTATION, ""))
