"""Whom the pods of runs may talk to. The policy of a service is made by deploy, with the service.

A policy knows addresses and ports, no names, so this one is the second line behind the dataset
step's own guard. Any TCP port stays open, because private registries listen on 5000 and others,
and API servers on 443, 6443 or 8443. It takes a cluster whose network enforces policies.
"""

from __future__ import annotations

from argotune.workflows.templates.manifest import PART_OF, Manifest, manifest

NAME = "network"
_POLICY = "argotune-runs"

# Whoever reaches these from a pod gets the node's credentials: the metadata services of AWS, Azure
# and Google (link-local), Azure's host agent, Alibaba's metadata service, and AWS's by IPv6.
_METADATA_V4 = ["169.254.0.0/16", "168.63.129.16/32", "100.100.100.200/32"]
_METADATA_V6 = ["fe80::/10", "fd00:ec2::254/128"]


def build() -> list[Manifest]:
    """Pods of runs: nothing in; out only names, and TCP to all but the metadata services."""
    everywhere = [
        {"ipBlock": {"cidr": "0.0.0.0/0", "except": _METADATA_V4}},
        {"ipBlock": {"cidr": "::/0", "except": _METADATA_V6}},
    ]
    # Names are asked of any address: a node-local resolver has a link-local one.
    names = [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]
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
                        {"key": "workflows.argoproj.io/workflow", "operator": "Exists"}
                    ],
                },
                "policyTypes": ["Ingress", "Egress"],
                "egress": [{"ports": names}, {"to": everywhere, "ports": [{"protocol": "TCP"}]}],
            },
        )
    ]
