"""Which connections the pods of runs may make. Deploy makes the policy of a service with it.

A policy knows addresses and ports, not names, so it is the second line behind the dataset step's
own check. Every TCP port stays open, because private registries listen on 5000 and others, and API
servers on 443, 6443 or 8443. The cluster's network must enforce policies.
"""

from __future__ import annotations

from argotune.steps.nodes.labels import STEP_POD_LABEL
from argotune.workflows.templates import scorer
from argotune.workflows.templates.manifest import PART_OF, Manifest, manifest

NAME = "network"
_POLICY = "argotune-runs"
_SCORERS = "argotune-scorers"

# A pod that reaches these gets the node's credentials: the metadata services of AWS, Azure
# and Google (link-local), Azure's host agent, Alibaba's metadata service, and AWS's by IPv6.
_METADATA_V4 = ["169.254.0.0/16", "168.63.129.16/32", "100.100.100.200/32"]
_METADATA_V6 = ["fe80::/10", "fd00:ec2::254/128"]


def build() -> list[Manifest]:
    """Build the policies: nothing in; out only DNS, and TCP to all but the metadata services.

    A scorer's pod has a program that argotune does not know, so nothing goes out of it but to the
    API server, to which the executor reports. `argotune install` knows its addresses.
    """
    return [
        manifest(
            "NetworkPolicy",
            _POLICY,
            api_version="networking.k8s.io/v1",
            spec={
                # Argo labels the pods of runs; the servers that a run deployed have no such label.
                "podSelector": {
                    "matchLabels": dict(PART_OF),
                    "matchExpressions": [
                        {"key": "workflows.argoproj.io/workflow", "operator": "Exists"},
                        {"key": STEP_POD_LABEL, "operator": "NotIn", "values": [scorer.POD]},
                    ],
                },
                "policyTypes": ["Ingress", "Egress"],
                "egress": egress(),
            },
        ),
        manifest(
            "NetworkPolicy",
            _SCORERS,
            api_version="networking.k8s.io/v1",
            spec={
                "podSelector": {"matchLabels": {**PART_OF, STEP_POD_LABEL: scorer.POD}},
                # Without rules nothing goes out; an empty list of them would be stored as none.
                "policyTypes": ["Ingress", "Egress"],
            },
        ),
    ]


def egress() -> list[dict[str, object]]:
    """Build the rules of what goes out: DNS, and TCP to all but the metadata services."""
    everywhere = [
        {"ipBlock": {"cidr": "0.0.0.0/0", "except": _METADATA_V4}},
        {"ipBlock": {"cidr": "::/0", "except": _METADATA_V6}},
    ]
    # DNS goes to any address, because a node-local resolver has a link-local one.
    names = [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]
    return [{"ports": names}, {"to": everywhere, "ports": [{"protocol": "TCP"}]}]
