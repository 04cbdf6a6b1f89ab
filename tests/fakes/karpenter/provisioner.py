"""The part that makes claims of a NodePool for pods that wait for its nodes, and deletes the claims
of nodes that no pod needs any more."""

from __future__ import annotations

from tests.fakes.karpenter.api import Api, Object

NODE_POOL = "karpenter.sh/nodepool"


class Provisioner:
    """Of one NodePool; a pod has to name it in its node selector."""

    def __init__(self, api: Api, pool: str) -> None:
        self._api = api
        self._pool = pool
        self.selector = f"{NODE_POOL}={pool}"

    def look(self) -> None:
        """One pass."""
        pool = self._api.node_pool(self._pool)
        if pool is None:
            return
        if not (pool.get("status") or {}).get("conditions"):
            self._api.set_pool_ready(self._pool)
        pods = {_claim_name(pod): pod for pod in self._api.unfinished_pods() if self._wants(pod)}
        there = {claim["metadata"]["name"]: claim for claim in self._api.claims(self.selector)}
        for name, pod in pods.items():
            if name not in there and _is_unschedulable(pod):
                self._api.create_claim(_claim(name, pod, pool))
        for name, claim in there.items():
            if name not in pods and "deletionTimestamp" not in claim["metadata"]:
                self._api.delete_claim(claim)

    def _wants(self, pod: Object) -> bool:
        selector = pod["spec"].get("nodeSelector") or {}
        return bool(selector.get(NODE_POOL) == self._pool)


def _claim_name(pod: Object) -> str:
    return f"pod-{pod['metadata']['uid'][:8]}"


def _is_unschedulable(pod: Object) -> bool:
    conditions = pod["status"].get("conditions") or []
    return any(
        item["type"] == "PodScheduled" and item.get("reason") == "Unschedulable"
        for item in conditions
    )


def _claim(name: str, pod: Object, pool: Object) -> Object:
    template = pool["spec"]["template"]
    selector: dict[str, str] = pod["spec"]["nodeSelector"]
    requirements = [
        {"key": key, "operator": "In", "values": [value]} for key, value in selector.items()
    ]
    labels = (template.get("metadata") or {}).get("labels") or {}
    resources = pod["spec"]["containers"][0]["resources"]["requests"]
    return {
        "apiVersion": "karpenter.sh/v1",
        "kind": "NodeClaim",
        "metadata": {"name": name, "labels": {**labels, **selector}},
        "spec": {
            "nodeClassRef": template["spec"]["nodeClassRef"],
            "requirements": [*template["spec"]["requirements"], *requirements],
            "resources": {"requests": resources},
            "taints": template["spec"].get("taints") or [],
            "expireAfter": template["spec"].get("expireAfter", "720h"),
        },
    }
