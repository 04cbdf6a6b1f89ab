"""What the controller reads and writes on the API server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from kubernetes import config
from kubernetes.client import ApiClient, CoreV1Api, CustomObjectsApi
from kubernetes.client.exceptions import ApiException

Object = dict[str, Any]

_CLAIMS = ("karpenter.sh", "v1", "nodeclaims")
_POOLS = ("karpenter.sh", "v1", "nodepools")
_MERGE = {"_content_type": "application/merge-patch+json", "_request_timeout": 30}
_JSON = {"_content_type": "application/json-patch+json", "_request_timeout": 30}
_GET = {"_request_timeout": 30}


class Api:
    """The API server of the kubeconfig."""

    def __init__(self, client: ApiClient | None = None) -> None:
        load: Any = config.new_client_from_config
        self._client = client or load()
        # Bodies here are dictionaries, as in the YAML; the client's types know its models only.
        self._core: Any = CoreV1Api(self._client)
        self._custom: Any = CustomObjectsApi(self._client)

    def claims(self, selector: str) -> list[Object]:
        answer = self._custom.list_cluster_custom_object(*_CLAIMS, label_selector=selector, **_GET)
        items: list[Object] = answer["items"]
        return items

    def patch_claim(self, claim: Object, metadata: Mapping[str, Any]) -> None:
        """Change metadata, but only of the version that was read."""
        version = {"resourceVersion": claim["metadata"]["resourceVersion"]}
        name = claim["metadata"]["name"]
        changed = self._custom.patch_cluster_custom_object(
            *_CLAIMS, name, {"metadata": {**metadata, **version}}, **_MERGE
        )
        claim["metadata"] = changed["metadata"]

    def patch_status(self, claim: Object) -> None:
        """Write the status that the object has."""
        name = claim["metadata"]["name"]
        changed = self._custom.patch_cluster_custom_object_status(
            *_CLAIMS, name, {"status": claim["status"]}, **_MERGE
        )
        claim["metadata"] = changed["metadata"]

    def create_claim(self, claim: Object) -> None:
        self._custom.create_cluster_custom_object(*_CLAIMS, claim, **_GET)

    def delete_claim(self, claim: Object) -> None:
        self._custom.delete_cluster_custom_object(*_CLAIMS, claim["metadata"]["name"], **_GET)

    def warn(self, claim: Object, reason: str, message: str) -> None:
        """An event about the claim; those of objects without a namespace are in `default`."""
        at = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        event = {
            "metadata": {"generateName": f"{claim['metadata']['name']}.", "namespace": "default"},
            "involvedObject": {
                "apiVersion": "karpenter.sh/v1",
                "kind": "NodeClaim",
                "name": claim["metadata"]["name"],
                "uid": claim["metadata"]["uid"],
            },
            "type": "Warning",
            "reason": reason,
            "message": message,
            "source": {"component": "karpenter"},
            "firstTimestamp": at,
            "lastTimestamp": at,
            "count": 1,
        }
        self._core.create_namespaced_event("default", event, **_GET)

    def node_pool(self, name: str) -> Object | None:
        try:
            found: Object = self._custom.get_cluster_custom_object(*_POOLS, name, **_GET)
        except ApiException as error:
            if error.status == 404:
                return None
            raise
        return found

    def set_pool_ready(self, name: str) -> None:
        at = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        ready = {"type": "Ready", "status": "True", "reason": "Ready", "message": ""}
        status = {"conditions": [{**ready, "lastTransitionTime": at}]}
        self._custom.patch_cluster_custom_object_status(*_POOLS, name, {"status": status}, **_MERGE)

    def unfinished_pods(self) -> list[Object]:
        fields = "status.phase!=Succeeded,status.phase!=Failed"
        answer = self._core.list_pod_for_all_namespaces(field_selector=fields, **_GET)
        pods: list[Object] = self._plain(answer)["items"]
        return pods

    def node(self, name: str) -> Object | None:
        try:
            found: Object = self._plain(self._core.read_node(name, **_GET))
        except ApiException as error:
            if error.status == 404:
                return None
            raise
        return found

    def patch_node(self, name: str, metadata: Mapping[str, Any], taints: Sequence[Object]) -> None:
        body = {"metadata": dict(metadata), "spec": {"taints": list(taints)}}
        self._core.patch_node(name, body, **_MERGE)

    def give_gpus(self, name: str, count: int) -> None:
        """Do what a device plugin does; the kubelet makes the allocatable from it."""
        path = "/status/capacity/nvidia.com~1gpu"
        operation = {"op": "add", "path": path, "value": str(count)}
        self._core.patch_node_status(name, [operation], **_JSON)

    def delete_node(self, name: str) -> None:
        try:
            self._core.delete_node(name, **_GET)
        except ApiException as error:
            if error.status != 404:
                raise

    def pods_on(self, name: str) -> list[Object]:
        """Pods that a drain has to wait for."""
        fields = f"spec.nodeName={name},status.phase!=Succeeded,status.phase!=Failed"
        answer = self._core.list_pod_for_all_namespaces(field_selector=fields, **_GET)
        pods: list[Object] = self._plain(answer)["items"]
        return [pod for pod in pods if not _is_of_daemon_set(pod)]

    def evict(self, pod: Object, *, force: bool) -> None:
        """Evict it as Karpenter does; a pod that must not be disrupted only by force."""
        metadata = {key: pod["metadata"][key] for key in ("name", "namespace")}
        annotations = pod["metadata"].get("annotations") or {}
        try:
            if force:
                self._core.delete_namespaced_pod(**metadata, grace_period_seconds=1, **_GET)
            elif annotations.get("karpenter.sh/do-not-disrupt") != "true":
                body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
                self._core.create_namespaced_pod_eviction(**metadata, body=body, **_GET)
        except ApiException as error:
            # 404: it went by itself; 429: a disruption budget holds it.
            if error.status not in (404, 429):
                raise

    def _plain(self, answer: Any) -> Any:
        return self._client.sanitize_for_serialization(answer)


def _is_of_daemon_set(pod: Object) -> bool:
    owners = pod["metadata"].get("ownerReferences") or []
    return any(owner["kind"] == "DaemonSet" for owner in owners)
