"""Every field of Argo's objects, and what the engine does with it.

A field is supported (with the shape of its content), ignored for a reason, or refused for a reason.
A field in no table is unknown to Argo 4.0 and refused too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Take:
    """Supported; `shape` names the table of the content, `many` counts the lists around it."""

    shape: str = ""
    many: int = 0


@dataclass(frozen=True, slots=True)
class Ignore:
    """Accepted without effect: it means nothing on one machine, or nothing for the result."""

    why: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """Known to Argo and not supported here; `instead` says what to do."""

    instead: str = ""


Rule: TypeAlias = Take | Ignore | Refuse
Table: TypeAlias = Mapping[str, Rule]

_VALUE = Take()
_SCHEDULING = Ignore("there is one machine: nothing is scheduled")
_SECURITY = Ignore("processes run as the user who started the run")
_CLUSTER = Ignore("there is no cluster to ask or to clean up")
_ARTIFACTS = Ignore("there is no artifact repository; logs stay in the run directory")
_METRICS = Ignore("there is no metrics endpoint; it does not change the result")
_PROBES = Ignore("a step's container is waited for, not probed")
_IMAGE = Ignore("processes have no image; --runtime docker uses the engine's own policy")
_POD_ONLY = Ignore("a field of the pod, not of the work")
_LIMITS = Ignore("processes share the machine; --runtime docker reads the GPU request only")

_METADATA: Table = {
    name: Ignore("kept in the record") for name in (
        "name", "generateName", "namespace", "labels", "annotations", "uid", "resourceVersion",
        "creationTimestamp", "generation", "finalizers", "ownerReferences", "managedFields",
        "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds",
    )
}  # fmt: skip

_CONTAINER: Table = {
    "name": _VALUE,
    "image": _VALUE,
    "command": _VALUE,
    "args": _VALUE,
    "env": Take("EnvVar", many=1),
    "envFrom": Take("EnvFrom", many=1),
    "workingDir": _VALUE,
    "volumeMounts": Take("VolumeMount", many=1),
    "terminationMessagePath": _VALUE,
    "terminationMessagePolicy": _VALUE,
    "resources": _LIMITS,
    "resizePolicy": _LIMITS,
    "securityContext": _SECURITY,
    "imagePullPolicy": _IMAGE,
    "ports": Ignore("a process listens on this machine's own ports"),
    "livenessProbe": _PROBES,
    "readinessProbe": _PROBES,
    "startupProbe": _PROBES,
    "restartPolicy": Refuse("use retryStrategy"),
    "lifecycle": Refuse("put the work into the command"),
    "volumeDevices": Refuse("use volumeMounts"),
    "stdin": Refuse(),
    "stdinOnce": Refuse(),
    "tty": Refuse(),
}

_STEP: Table = {
    "name": _VALUE,
    "template": _VALUE,
    "templateRef": Take("TemplateRef"),
    "inline": Take("Template"),
    "arguments": Take("Arguments"),
    "when": _VALUE,
    "withItems": _VALUE,
    "withParam": _VALUE,
    "withSequence": Take("Sequence"),
    "continueOn": Take("ContinueOn"),
    "onExit": _VALUE,
    "hooks": Take("Hooks"),
}

TABLES: Mapping[str, Table] = {
    "Workflow": {
        "apiVersion": _VALUE,
        "kind": _VALUE,
        "metadata": Take("Metadata"),
        "spec": Take("WorkflowSpec"),
        "status": Ignore("the engine writes its own"),
    },
    "CronWorkflow": {
        "apiVersion": _VALUE,
        "kind": _VALUE,
        "metadata": Take("Metadata"),
        "spec": Take("CronWorkflowSpec"),
        "status": Ignore("the engine writes its own"),
    },
    "CronWorkflowSpec": {
        "workflowSpec": Take("WorkflowSpec"),
        "workflowMetadata": Take("Metadata"),
        **{
            name: Ignore("a CronWorkflow is run once, now")
            for name in (
                "schedules",
                "timezone",
                "suspend",
                "when",
                "stopStrategy",
                "concurrencyPolicy",
                "startingDeadlineSeconds",
                "successfulJobsHistoryLimit",
                "failedJobsHistoryLimit",
            )
        },
    },
    "Metadata": _METADATA,
    "WorkflowSpec": {
        "entrypoint": _VALUE,
        "arguments": Take("Arguments"),
        "templates": Take("Template", many=1),
        "templateDefaults": Take("Template"),
        "workflowTemplateRef": Take("WorkflowTemplateRef"),
        "onExit": _VALUE,
        "hooks": Take("Hooks"),
        "volumes": Take("Volume", many=1),
        "volumeClaimTemplates": Take("PersistentVolumeClaim", many=1),
        "activeDeadlineSeconds": _VALUE,
        "parallelism": _VALUE,
        "retryStrategy": Take("RetryStrategy"),
        "suspend": _VALUE,
        "synchronization": Take("Synchronization"),
        "workflowMetadata": Take("WorkflowMetadata"),
        "podSpecPatch": Take("PodSpecPatch"),
        "priority": _VALUE,
        "serviceAccountName": _VALUE,
        "shutdown": Refuse("stop the run instead"),
        "hostAliases": Refuse("processes use this machine's names"),
        "dnsConfig": Ignore("processes use this machine's resolver"),
        "dnsPolicy": Ignore("processes use this machine's resolver"),
        "hostNetwork": Ignore("processes are on this machine's network"),
        "podMetadata": _POD_ONLY,
        "podPriorityClassName": _SCHEDULING,
        "schedulerName": _SCHEDULING,
        "affinity": _SCHEDULING,
        "nodeSelector": _SCHEDULING,
        "tolerations": _SCHEDULING,
        "podDisruptionBudget": _SCHEDULING,
        "securityContext": _SECURITY,
        "automountServiceAccountToken": _SECURITY,
        "executor": _SECURITY,
        "imagePullSecrets": _IMAGE,
        "ttlStrategy": _CLUSTER,
        "podGC": _CLUSTER,
        "volumeClaimGC": _CLUSTER,
        "archiveLogs": _ARTIFACTS,
        "artifactGC": _ARTIFACTS,
        "artifactRepositoryRef": _ARTIFACTS,
        "metrics": _METRICS,
    },
    "WorkflowMetadata": {
        "labels": _VALUE,
        "annotations": _VALUE,
        "labelsFrom": _VALUE,
    },
    "WorkflowTemplateRef": {"name": _VALUE, "clusterScope": _VALUE},
    "TemplateRef": {"name": _VALUE, "template": _VALUE, "clusterScope": _VALUE},
    "Template": {
        "name": _VALUE,
        "inputs": Take("Inputs"),
        "outputs": Take("Outputs"),
        "container": Take("Container"),
        "script": Take("Script"),
        "dag": Take("DAG"),
        "steps": Take("Step", many=2),
        "suspend": Take("Suspend"),
        "activeDeadlineSeconds": _VALUE,
        "timeout": _VALUE,
        "parallelism": _VALUE,
        "failFast": _VALUE,
        "retryStrategy": Take("RetryStrategy"),
        "synchronization": Take("Synchronization"),
        "volumes": Take("Volume", many=1),
        "podSpecPatch": Take("PodSpecPatch"),
        "annotations": Take("Anything"),
        "serviceAccountName": _SECURITY,
        "metadata": _POD_ONLY,
        "affinity": _SCHEDULING,
        "nodeSelector": _SCHEDULING,
        "tolerations": _SCHEDULING,
        "schedulerName": _SCHEDULING,
        "priorityClassName": _SCHEDULING,
        "securityContext": _SECURITY,
        "automountServiceAccountToken": _SECURITY,
        "executor": _SECURITY,
        "archiveLocation": _ARTIFACTS,
        "metrics": _METRICS,
        "hostAliases": Refuse("processes use this machine's names"),
        "containerSet": Refuse("use a dag of containers"),
        "resource": Refuse("it needs a cluster: submit the workflow instead"),
        "http": Refuse("make the request in a container or script"),
        "data": Refuse("it needs an artifact repository"),
        "plugin": Refuse("it needs a cluster: submit the workflow instead"),
        "daemon": Refuse("run the server beside the workflow"),
        "sidecars": Refuse("run the server beside the workflow"),
        "initContainers": Refuse("make them steps of their own"),
        "memoize": Refuse("it needs a cluster: leave it out"),
    },
    "Inputs": {"parameters": Take("InputParameter", many=1), "artifacts": Take("Artifact", many=1)},
    "Outputs": {
        "parameters": Take("OutputParameter", many=1),
        "artifacts": Refuse("write to a volume, or to an output parameter"),
        "result": Refuse("it is set by the engine"),
        "exitCode": Refuse("it is set by the engine"),
    },
    "Arguments": {"parameters": Take("Argument", many=1), "artifacts": Take("Artifact", many=1)},
    "InputParameter": {
        "name": _VALUE,
        "value": _VALUE,
        "default": _VALUE,
        "valueFrom": Take("ArgumentSource"),
        "enum": _VALUE,
        "description": _VALUE,
        "globalName": _VALUE,
    },
    "Argument": {
        "name": _VALUE,
        "value": _VALUE,
        "default": _VALUE,
        "valueFrom": Take("ArgumentSource"),
        "enum": _VALUE,
        "description": _VALUE,
        "globalName": _VALUE,
    },
    "ArgumentSource": {
        "configMapKeyRef": Take("KeyRef"),
        "default": _VALUE,
        "supplied": Refuse("set the value with a parameter of the run"),
        "event": Refuse("a local run has no events: set the value with a parameter of the run"),
        **{
            name: Refuse("it is for outputs only")
            for name in ("path", "parameter", "expression", "jsonPath", "jqFilter")
        },
    },
    "OutputParameter": {
        "name": _VALUE,
        "valueFrom": Take("OutputSource"),
        "globalName": _VALUE,
        "description": _VALUE,
        "default": _VALUE,
        "value": _VALUE,
        "enum": _VALUE,
    },
    "OutputSource": {
        "path": _VALUE,
        "default": _VALUE,
        "parameter": _VALUE,
        "expression": _VALUE,
        "configMapKeyRef": Refuse("it is for inputs only"),
        "jsonPath": Refuse("it is for resource templates"),
        "jqFilter": Refuse("it is for resource templates"),
        "supplied": _VALUE,
        "event": Refuse("a local run has no events"),
    },
    "Artifact": {
        "name": _VALUE,
        "path": _VALUE,
        "raw": Take("Raw"),
        "mode": _VALUE,
        "optional": _VALUE,
        "recurseMode": Ignore("a raw artifact is one file"),
        "archive": _ARTIFACTS,
        "archiveLogs": _ARTIFACTS,
        "artifactGC": _ARTIFACTS,
        "deleted": _ARTIFACTS,
        **{
            name: Refuse("only raw artifacts are supported: use a volume or parameters")
            for name in (
                "from", "fromExpression", "subPath", "globalName", "artifactory", "azure", "gcs",
                "git", "hdfs", "http", "oss", "plugin", "s3",
            )
        },
    },
    "Raw": {"data": _VALUE},
    "Container": _CONTAINER,
    "Script": {**_CONTAINER, "source": _VALUE},
    "EnvVar": {"name": _VALUE, "value": _VALUE, "valueFrom": Take("EnvSource")},
    "EnvSource": {
        "configMapKeyRef": Take("KeyRef"),
        "secretKeyRef": Take("KeyRef"),
        "fieldRef": Take("FieldRef"),
        "resourceFieldRef": Refuse("processes have no resources of their own"),
    },
    "FieldRef": {"apiVersion": _VALUE, "fieldPath": _VALUE},
    "EnvFrom": {"prefix": _VALUE, "configMapRef": Take("NameRef"), "secretRef": Take("NameRef")},
    "NameRef": {"name": _VALUE, "optional": _VALUE},
    "KeyRef": {"name": _VALUE, "key": _VALUE, "optional": _VALUE},
    "VolumeMount": {
        "name": _VALUE,
        "mountPath": _VALUE,
        "subPath": _VALUE,
        "readOnly": Ignore("--runtime docker honours it; a process is trusted"),
        "recursiveReadOnly": Ignore("as readOnly"),
        "mountPropagation": Ignore("nothing is mounted"),
        "subPathExpr": Refuse("use subPath"),
    },
    "Volume": {
        "name": _VALUE,
        "emptyDir": Take("EmptyDir"),
        "persistentVolumeClaim": Take("ClaimSource"),
        "secret": Take("SecretSource"),
        "configMap": Take("ConfigMapSource"),
        **{
            name: Refuse("use emptyDir, persistentVolumeClaim, secret or configMap")
            for name in (
                "awsElasticBlockStore", "azureDisk", "azureFile", "cephfs", "cinder", "csi",
                "downwardAPI", "ephemeral", "fc", "flexVolume", "flocker", "gcePersistentDisk",
                "gitRepo", "glusterfs", "hostPath", "image", "iscsi", "nfs",
                "photonPersistentDisk", "portworxVolume", "projected", "quobyte", "rbd",
                "scaleIO", "storageos", "vsphereVolume",
            )
        },
    },
    "EmptyDir": {
        "medium": Ignore("it is a directory of the run"),
        "sizeLimit": Ignore("it is a directory of the run"),
    },
    "ClaimSource": {"claimName": _VALUE, "readOnly": Ignore("as readOnly of the mount")},
    "SecretSource": {
        "secretName": _VALUE,
        "items": Take("KeyToPath", many=1),
        "optional": _VALUE,
        "defaultMode": Ignore("files of secrets are readable by their owner only"),
    },
    "ConfigMapSource": {
        "name": _VALUE,
        "items": Take("KeyToPath", many=1),
        "optional": _VALUE,
        "defaultMode": Ignore("files are readable by their owner only"),
    },
    "KeyToPath": {"key": _VALUE, "path": _VALUE, "mode": Ignore("as defaultMode")},
    "PersistentVolumeClaim": {
        "metadata": Take("Metadata"),
        "spec": Ignore("the claim is a directory of the run"),
        "apiVersion": _VALUE,
        "kind": _VALUE,
        "status": Ignore("the claim is a directory of the run"),
    },
    "Step": _STEP,
    "DAG": {"tasks": Take("Task", many=1), "target": _VALUE, "failFast": _VALUE},
    "Task": {**_STEP, "dependencies": _VALUE, "depends": _VALUE},
    "Suspend": {"duration": _VALUE},
    "Sequence": {"count": _VALUE, "start": _VALUE, "end": _VALUE, "format": _VALUE},
    "ContinueOn": {"failed": _VALUE, "error": _VALUE},
    "Hooks": {"exit": Take("Hook")},
    "Hook": {
        "template": _VALUE,
        "templateRef": Take("TemplateRef"),
        "arguments": Take("Arguments"),
        "expression": _VALUE,
    },
    "RetryStrategy": {
        "limit": _VALUE,
        "retryPolicy": _VALUE,
        "expression": _VALUE,
        "backoff": Take("Backoff"),
        "affinity": _SCHEDULING,
    },
    "Backoff": {"duration": _VALUE, "factor": _VALUE, "maxDuration": _VALUE, "cap": _VALUE},
    "Synchronization": {
        "mutexes": Take("Mutex", many=1),
        "semaphores": Take("Semaphore", many=1),
    },
    "Mutex": {
        "name": _VALUE,
        "namespace": _VALUE,
        "database": Refuse("locks are files of this machine"),
    },
    "Semaphore": {
        "configMapKeyRef": Take("KeyRef"),
        "namespace": _VALUE,
        "database": Refuse("locks are files of this machine"),
    },
    "PodSpecPatch": {
        "terminationGracePeriodSeconds": _VALUE,
        "volumes": Take("Volume", many=1),
        "containers": Take("PatchedContainer", many=1),
        "initContainers": Take("PatchedContainer", many=1),
        "nodeSelector": _SCHEDULING,
        "tolerations": _SCHEDULING,
        "affinity": _SCHEDULING,
        "priorityClassName": _SCHEDULING,
        "schedulerName": _SCHEDULING,
        "runtimeClassName": _SCHEDULING,
        "topologySpreadConstraints": _SCHEDULING,
        "securityContext": _SECURITY,
        "enableServiceLinks": _POD_ONLY,
    },
    "PatchedContainer": {
        "name": _VALUE,
        "args": _VALUE,
        "env": Take("EnvVar", many=1),
        "volumeMounts": Take("VolumeMount", many=1),
        "resources": _LIMITS,
        "securityContext": _SECURITY,
        "imagePullPolicy": _IMAGE,
    },
}  # fmt: skip

OTHERS: Mapping[str, Rule] = {
    "Hooks": Refuse("only the hook exit is; run the others' templates as steps"),
}
"""What is done with fields of any name, where Argo takes them."""
