"""The run's volume, the claim that stores the weights, and those that the workspace names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from argotune.steps.cluster.errors import MissingRight
from argotune.steps.cluster.kube import Object, Objects
from argotune.workflows.cli.checks.finding import Finding, info, ok, problem, unknown, warning
from argotune.workflows.cli.checks.storage_classes import DISKS, is_shared
from argotune.workflows.cli.checks.subject import Needs, Subject
from argotune.workflows.cli.remote.storage_class import (
    DEFAULT,
    chosen_class,
    class_of_runs,
    missing_class,
)

_LATE = "WaitForFirstConsumer"
_NAMED = {"data-claim": "the data", "output-claim": "copies of adapters"}
"""Settings that name a claim of the user's, and what it is for."""
_ZONE = "topology.kubernetes.io/zone"


def run_volume(subject: Subject) -> Iterator[Finding]:
    """Check whether the volume of a run can be made, in the zone of its pods."""
    classes = _classes(subject)
    wanted = subject.needs.storage_class or _class_of_template(subject)
    found = chosen_class(classes, wanted)
    if found is None:
        yield _no_class(classes, wanted)
        return
    name, provisioner = found["metadata"]["name"], str(found["provisioner"])
    shown = f"storage class {name}{'' if wanted else ', the default,'} ({provisioner})"
    late = found.get("volumeBindingMode") == _LATE
    if not late and provisioner in DISKS and len(_zones(subject)) > 1:
        yield warning(
            f"{shown} makes a run's disk at once, in any of the zones {', '.join(_zones(subject))},"
            " and a GPU node of another zone cannot take it",
            f"install with a class whose volumeBindingMode is {_LATE}: --storage-class NAME",
        )
        return
    yield ok(f"{shown} makes the volume of a run {'with its first pod' if late else 'at once'}")


def models_claim(subject: Subject) -> Iterator[Finding]:
    """Check whether the claim for the weights exists, is bound, and is writable from many nodes."""
    name = subject.needs.models_claim
    claim = subject.get("PersistentVolumeClaim", name)
    if claim is None:
        yield _no_claim(subject, name)
        return
    phase = (claim.get("status") or {}).get("phase", "Pending")
    modes = claim["spec"].get("accessModes") or []
    is_shared_claim = "ReadWriteMany" in modes
    if not is_shared_claim and not _is_one_node(subject):
        yield problem(
            f"claim {name} is {' and '.join(modes)}, not ReadWriteMany: pods on two nodes wait "
            "for it for ever",
            "make it again with a class that can, after the weights in it are no longer needed",
            _again(subject),
        )
    elif phase == "Bound" and not is_shared_claim:
        yield info(f"claim {name} is {' and '.join(modes)}, enough for a cluster of one node")
    elif phase == "Bound":
        size = (claim["status"].get("capacity") or {}).get("storage", "unknown size")
        yield ok(f"claim {name} is bound, ReadWriteMany, {size}")
    elif phase == "Pending":
        yield _pending(subject, claim)
    else:
        yield problem(
            f"claim {name} is {phase}: its volume is gone",
            "make it again; the weights are fetched anew",
            f"{_delete(subject)}; {subject.install_command()}",
        )


def named_claims(subject: Subject) -> Iterator[Finding]:
    """Check whether the claims are there that the workspace reads from and writes to."""
    for setting, use in _NAMED.items():
        name = subject.needs.arguments.get(setting)
        if name:
            yield _named_claim(subject.get("PersistentVolumeClaim", name), f"{name} for {use}")


def _named_claim(claim: Object | None, shown: str) -> Finding:
    if claim is None:
        return problem(
            f"claim {shown}, which the workspace names, is not there",
            "make it in the namespace of the runs, or name another one",
        )
    phase = (claim.get("status") or {}).get("phase", "Pending")
    modes = claim["spec"].get("accessModes") or []
    if phase == "Lost":
        return problem(f"claim {shown} is Lost: its volume is gone", "make it again, and fill it")
    if phase == "Pending":
        return info(f"claim {shown} is not bound yet; its volume may come with the first pod")
    if any(mode.endswith("Many") for mode in modes):
        return ok(f"claim {shown} is bound, {' and '.join(modes)}")
    return info(
        f"claim {shown} is bound, {' and '.join(modes)}: a run waits while a pod on another node"
        " holds it, and its disk must be in the zone of the run's"
    )


def _no_class(classes: Sequence[Object], wanted: str | None) -> Finding:
    said = str(missing_class(classes, wanted))
    if wanted:
        return problem(said, "name one of them: argotune install --storage-class NAME")
    return problem(
        said,
        "name one with `argotune install --storage-class NAME`, or make one the default",
        f"kubectl annotate storageclass NAME {DEFAULT}=true",
    )


def _no_claim(subject: Subject, name: str) -> Finding:
    if name != Needs().models_claim:
        return problem(
            f"claim {name} for the weights, which the workspace names, is not there",
            "make it, ReadWriteMany and large enough for the weights",
        )
    classes = _classes(subject)
    shared = sorted(item["metadata"]["name"] for item in classes if is_shared(item["provisioner"]))
    default = chosen_class(classes, None)
    if shared:
        return problem(
            f"claim {name} for the weights is not there; class {', '.join(shared)} can be "
            "ReadWriteMany, as it must be",
            "install it",
            subject.install_command(f"--models-storage-class {shared[0]}"),
        )
    if default is None or is_shared(default["provisioner"]) is False:
        return problem(
            f"claim {name} for the weights is not there, and no storage class is known to give "
            "ReadWriteMany, as it must be",
            "bring one, such as Azure Files, EFS, Filestore, CephFS or NFS, and install with it",
            subject.install_command("--models-storage-class CLASS"),
        )
    return problem(
        f"claim {name} for the weights is not there; whether class {default['metadata']['name']} "
        f"({default['provisioner']}) can be ReadWriteMany is not known",
        "install it, and look here again",
        subject.install_command(),
    )


def _again(subject: Subject) -> str:
    classes = _classes(subject)
    shared = (item["metadata"]["name"] for item in classes if is_shared(item["provisioner"]))
    flag = f"--models-storage-class {min(shared, default='CLASS')}"
    return f"{_delete(subject)}; {subject.install_command(flag)}"


def _delete(subject: Subject) -> str:
    claim = subject.needs.models_claim
    return f"kubectl -n {subject.namespace} delete persistentvolumeclaim {claim}"


def _pending(subject: Subject, claim: Object) -> Finding:
    name, class_name = claim["metadata"]["name"], claim["spec"].get("storageClassName")
    said = _warnings(subject, name)
    if said:
        return problem(
            f"claim {name} is not bound: {said[-1]}",
            "correct what it says, or choose another class with --models-storage-class",
            f"kubectl -n {subject.namespace} describe persistentvolumeclaim {name}",
        )
    classes = _classes(subject)
    chosen = chosen_class(classes, class_name) if class_name else None
    if class_name and chosen is None:
        names = ", ".join(sorted(item["metadata"]["name"] for item in classes)) or "none"
        return problem(
            f"claim {name} is not bound: storage class {class_name} is not there; there are:"
            f" {names}",
            "make it again with one of them, or bring the class or a volume of it",
            _again(subject),
        )
    if chosen is not None and chosen.get("volumeBindingMode") == _LATE:
        wants_to_be_shared = "ReadWriteMany" in (claim["spec"].get("accessModes") or [])
        if wants_to_be_shared and is_shared(chosen["provisioner"]) is False:
            return problem(
                f"claim {name} waits for its first pod, and {chosen['provisioner']} of class "
                f"{class_name} cannot be ReadWriteMany",
                "choose another class",
                _again(subject),
            )
        return info(f"claim {name} waits for its first pod, as class {class_name} has it")
    if not class_name:
        return problem(
            f"claim {name} is not bound: it names no storage class and the cluster has no default",
            "choose one with --models-storage-class",
        )
    return unknown(
        f"claim {name} is not bound yet, and no event says why",
        "look again in a minute",
        f"kubectl -n {subject.namespace} describe persistentvolumeclaim {name}",
    )


def _warnings(subject: Subject, name: str) -> list[str]:
    """List the warning events about the claim, oldest first."""
    fields = f"involvedObject.kind=PersistentVolumeClaim,involvedObject.name={name},type=Warning"
    try:
        events = subject.kube.list("Event", subject.namespace, fields=fields)
    except MissingRight:
        return []
    events.sort(key=lambda event: event.get("lastTimestamp") or event.get("eventTime") or "")
    return [" ".join(str(event.get("message")).split()) for event in events]


def _classes(subject: Subject) -> Objects:
    return subject.kube.list("StorageClass")


def _class_of_template(subject: Subject) -> str | None:
    template = subject.template if subject.has_argo else None
    return None if template is None else class_of_runs(template["spec"])


def _is_one_node(subject: Subject) -> bool:
    try:
        return len(subject.nodes) == 1
    except MissingRight:
        return False


def _zones(subject: Subject) -> list[str]:
    try:
        nodes = subject.nodes
    except MissingRight:
        return []
    labels = (node["metadata"].get("labels") or {} for node in nodes)
    return sorted({found[_ZONE] for found in labels if _ZONE in found})
