"""The network policy: it holds for the pods of runs, and not for the servers that they deploy."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest
import yaml

from argotune.workflows.templates import network
from argotune.workflows.templates.golden import RENDERED_DIR
from argotune.workflows.workspace.manifests import read_rendered

POLICY, SCORERS = network.build()
SPEC = POLICY["spec"]
SERVERS = RENDERED_DIR.resolve().parent.parent / "tests" / "steps" / "deploy" / "golden"


def selects(labels: dict[str, str]) -> bool:
    selector = SPEC["podSelector"]
    exists, but = selector["matchExpressions"]
    assert (exists["operator"], but["operator"]) == ("Exists", "NotIn")
    return (
        selector["matchLabels"].items() <= labels.items()
        and exists["key"] in labels
        and labels.get(but["key"]) not in but["values"]
    )


def reaches(address: str) -> bool:
    """Whether a TCP connection other than to a name server is let out."""
    found = ipaddress.ip_address(address)
    (blocks,) = (rule["to"] for rule in SPEC["egress"] if "to" in rule)
    return any(
        found in ipaddress.ip_network(block["ipBlock"]["cidr"])
        and not any(found in ipaddress.ip_network(net) for net in block["ipBlock"]["except"])
        for block in blocks
    )


def test_it_holds_for_pods_of_runs() -> None:
    template = read_rendered("finetune")[0]["spec"]
    # The second label is Argo's, on every pod that it makes.
    labels = {**template["podMetadata"]["labels"], "workflows.argoproj.io/workflow": "my-model-1"}
    assert selects(labels)


@pytest.mark.parametrize("path", sorted(SERVERS.glob("*.yaml")), ids=lambda path: path.name)
def test_it_opens_nothing_for_servers(path: Path) -> None:
    documents = [item for item in yaml.safe_load_all(path.read_text()) if item]
    # What stands around a service has files of its own, without a pod.
    for server in (item for item in documents if item["kind"] == "Deployment"):
        assert not selects(server["spec"]["template"]["metadata"]["labels"])


def test_there_are_servers_to_look_at() -> None:
    assert list(SERVERS.glob("*.yaml"))


def test_nobody_talks_to_a_run() -> None:
    assert SPEC["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in SPEC


@pytest.mark.parametrize(
    ("address", "lets_out"),
    [
        ("140.82.121.3", True),
        ("10.0.0.1", True),
        ("2606:50c0:8000::153", True),
        ("169.254.169.254", False),
        ("168.63.129.16", False),
        ("100.100.100.200", False),
        ("fd00:ec2::254", False),
        ("fe80::1", False),
    ],
)
def test_only_the_clouds_metadata_is_out_of_reach(address: str, lets_out: bool) -> None:
    assert reaches(address) is lets_out


def test_names_are_asked_of_any_address() -> None:
    (rule,) = (rule for rule in SPEC["egress"] if "to" not in rule)
    assert {(port["protocol"], port["port"]) for port in rule["ports"]} == {
        ("UDP", 53),
        ("TCP", 53),
    }
