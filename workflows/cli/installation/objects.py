"""The objects of `argotune install` in a namespace: the rendered files with the options set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import version
from ipaddress import ip_network

from argotune.workflows.cli.errors import InputError
from argotune.workflows.cli.installation.operator import (
    DEFINITION,
    OF_ALL,
    OPERATOR,
    PART_OF,
    service_monitor,
    set_arguments,
)
from argotune.workflows.cli.installation.settings import VERSION_LABEL, Object, Settings
from argotune.workflows.cli.providers.registry import identities
from argotune.workflows.workspace import collection, evaluation, rollback
from argotune.workflows.workspace.manifests import fill_in, read_rendered
from argotune.workflows.workspace.model import SERVICE_TEMPLATE
from argotune.workflows.workspace.own_presets import INSTALLED_PRESETS

MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "argotune-install"
"""Field manager, and value of the label above; both together identify installed objects."""
NAMESPACE_LABEL = "argotune.dev/namespace"
"""Label of objects of the cluster: the namespace that they are for."""
CLUSTER_KINDS = (
    "ClusterRole",
    "ClusterRoleBinding",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "CustomResourceDefinition",
)
"""Kinds without a namespace."""
SCORERS_POLICY = "argotune-scorers"
"""Name of the NetworkPolicy for the pods of scorers."""
RUNS_POLICY = "argotune-runs"
"""Beginning of the name of the ValidatingAdmissionPolicy for Workflows."""
CLAIM = "argotune-models"
"""The claim that `argotune install` creates, unless another one is named."""
MODEL_CACHE = "model-cache"
TEMPLATE = "finetune"
EVALUATE = evaluation.TEMPLATE
SERVE = SERVICE_TEMPLATE
ROLLBACK = rollback.NAME
GC = collection.NAME
"""Name of the WorkflowTemplate and of the CronWorkflow."""
TEMPLATES = (TEMPLATE, EVALUATE, SERVE, ROLLBACK, GC)
"""The WorkflowTemplates."""
CA_CONFIG_MAP = "argotune-ca"
CA_KEY = "ca.crt"

# In an order in which each object's references exist before it.
_FILES = (
    "accounts",
    "permissions",
    "cluster-permissions",
    "admission",
    "network",
    MODEL_CACHE,
    *TEMPLATES,
)
_DEFINITION_FILE = "workspace-crd"
_OPERATOR_FILES = (_DEFINITION_FILE, "operator")


def objects(settings: Settings, namespace: str) -> list[Object]:
    """Build the objects in the order of creation. Raises InputError for what is missing."""
    if settings.images_registry is None:
        raise InputError(
            "--images-registry: missing; name the registry that holds the step images, such as"
            " registry.example.org/argotune (`make images` builds them)"
        )
    if settings.require_signature and not settings.verification_key:
        raise InputError(
            "--verification-key: missing; --require-signature needs the public key of who may sign,"
            " such as cosign.pub"
        )
    documents = [_set(document, settings) for document in _documents(settings)]
    if settings.ca is not None:
        documents.insert(0, _config_map(CA_CONFIG_MAP, {CA_KEY: settings.ca}))
    if settings.presets is not None:
        texts = {f"{name}.yaml": text for name, text in settings.presets.items()}
        documents.insert(0, _config_map(INSTALLED_PRESETS, texts))
    ours = version("argotune")
    return [_place(document, namespace, ours) for document in documents]


def namespace_object(name: str) -> Object:
    """Build the namespace, in which every pod must satisfy the restricted Pod Security Standard."""
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": name,
            "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
        },
    }


def _documents(settings: Settings) -> Iterator[Object]:
    values = settings.installer_values()
    for name in _FILES:
        if name == MODEL_CACHE and values.get("model-cache-claim", CLAIM) != CLAIM:
            continue
        for document in read_rendered(name):
            yield fill_in(document, values)
    if not settings.has_operator:
        return
    for name in _OPERATOR_FILES:
        if name == _DEFINITION_FILE and settings.is_beside_kaito:
            continue
        for document in read_rendered(name):
            is_of_all = document["metadata"]["name"].startswith(OF_ALL)
            if settings.operator == "all" or not is_of_all:
                yield fill_in(document, values)
    if settings.has_operators_monitor:
        yield service_monitor(values.get("service-monitor-labels", ""))


def _set(document: Object, settings: Settings) -> Object:
    if document["kind"] == "WorkflowTemplate" and "volumeClaimTemplates" in document["spec"]:
        volume = document["spec"]["volumeClaimTemplates"][0]["spec"]
        _set_claim(volume, size=settings.volume_size, storage_class=settings.storage_class)
    if document["kind"] == "ServiceAccount":
        found = {
            each.annotation: settings.identities[each.flag.name]
            for each in identities()
            if document["metadata"]["name"] in each.accounts
            and settings.identities.get(each.flag.name)
        }
        document["metadata"] |= {"annotations": found} if found else {}
    pull_secret = settings.run_settings.get("image-pull-secret")
    if document["kind"] == "ServiceAccount" and pull_secret:
        document["imagePullSecrets"] = [{"name": pull_secret}]
    if (document["kind"], document["metadata"]["name"]) == ("CronWorkflow", GC):
        # Where no run makes a node, no node can be left behind.
        document["spec"]["suspend"] = not settings.makes_nodes
    name = document["kind"], document["metadata"]["name"]
    if name == ("NetworkPolicy", SCORERS_POLICY) and (rules := _api_server_only(settings)):
        document["spec"]["egress"] = rules
    if name == ("Deployment", OPERATOR):
        set_arguments(document, settings.operator or "none", managed_only=settings.is_beside_kaito)
    if document["kind"] == "PersistentVolumeClaim":
        _set_claim(
            document["spec"],
            size=settings.models_size,
            storage_class=settings.models_storage_class,
            access_mode=settings.models_access_mode,
        )
    return document


def _api_server_only(settings: Settings) -> list[Object]:
    """The API server's addresses, where there are scorers: the executor beside one reports to it.

    Raises InputError where they are not known.
    """
    if not settings.scorer_images:
        return []
    if not settings.api_server:
        raise InputError(
            "--scorer-image: with --output no cluster is asked for the addresses of its API server,"
            " which the network policy of scorers names; leave --output out"
        )
    blocks = [{"ipBlock": {"cidr": str(ip_network(each))}} for each in settings.api_server]
    return [{"to": blocks, "ports": [{"protocol": "TCP"}]}]


def _set_claim(
    spec: Object,
    *,
    size: str | None,
    storage_class: str | None,
    access_mode: str | None = None,
) -> None:
    if size is not None:
        spec["resources"]["requests"]["storage"] = size
    # An empty class in the object would mean none, not the default one.
    if storage_class:
        spec["storageClassName"] = storage_class
    if access_mode is not None:
        spec["accessModes"] = [access_mode]


def _config_map(name: str, data: Mapping[str, str]) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "labels": {**PART_OF}},
        "data": dict(data),
    }


def _place(document: Object, namespace: str, version_label: str) -> Object:
    """Return the object in its namespace, with the labels by which it is found again."""
    metadata = document["metadata"]
    metadata["labels"] |= {MANAGED_BY: MANAGER, VERSION_LABEL: version_label}
    if metadata["name"] == DEFINITION:
        # There is one for the whole cluster.
        return document
    if document["kind"] in CLUSTER_KINDS:
        _name_for(document, namespace)
    else:
        metadata["namespace"] = namespace
    return document


def _name_for(document: Object, namespace: str) -> None:
    """Rename an object of the cluster for this namespace."""
    metadata = document["metadata"]
    rendered_for = metadata["labels"][NAMESPACE_LABEL]
    name = f"{metadata['name'].removesuffix(rendered_for)}{namespace}"
    metadata["name"] = name
    metadata["labels"][NAMESPACE_LABEL] = namespace
    if document["kind"] == "ClusterRoleBinding":
        document["roleRef"]["name"] = name
        for subject in document["subjects"]:
            subject["namespace"] = namespace
    if document["kind"] == "ValidatingAdmissionPolicyBinding":
        document["spec"]["policyName"] = name
        selector = document["spec"]["matchResources"]["namespaceSelector"]
        selector["matchLabels"] = {"kubernetes.io/metadata.name": namespace}
