"""Target kubernetes: apply the service's objects, with rollback on failure.

What serves is applied first, and must answer; the objects around it follow.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from argotune.steps.cluster.errors import ApiRefusal
from argotune.steps.cluster.kube import Kube, connect
from argotune.steps.cluster.run_events import RunEvents
from argotune.steps.cluster.this_run import read_this_run
from argotune.steps.common import log
from argotune.steps.common.clock import REAL_CLOCK, Clock
from argotune.steps.common.errors import StepError
from argotune.steps.common.fs import remove_directory
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.in_service import (
    SUBMITTER_ANNOTATION,
    read_in_service,
)
from argotune.steps.contracts.model_cache import joined_path
from argotune.steps.contracts.served import WAITING_METRIC
from argotune.steps.deploy.adapter import unpack_adapter
from argotune.steps.deploy.ask import ask
from argotune.steps.deploy.before import Before, remove_note, state_before, with_note
from argotune.steps.deploy.client_key import client_key
from argotune.steps.deploy.manifests.deployment import (
    Adapter,
    AdapterImage,
    AdapterInCache,
    deployment,
    deployment_of_template,
)
from argotune.steps.deploy.manifests.labels import Manifest, is_ours, owned_by_run
from argotune.steps.deploy.manifests.objects import (
    SERVING_KINDS,
    SURROUNDING_KINDS,
    serving_objects,
    surrounding_objects,
)
from argotune.steps.deploy.own_node import note_node
from argotune.steps.deploy.params import NOT_ASKED, Params, Result
from argotune.steps.deploy.rollout import Rollout
from argotune.steps.deploy.version import Tagged, in_service, record_version
from argotune.steps.registry.oci import ImageReference

_LOGGER = logging.getLogger(__name__)
_NO_IMAGE_VOLUMES = ("must specify a volume type", "field not declared in schema")
ASK_SECONDS = 300.0
_METRICS_API = "custom.metrics.k8s.io"
_NO_METRICS = (
    "the cluster has no custom metrics, so the autoscaler changes nothing until an adapter such as"
    f" prometheus-adapter brings {WAITING_METRIC}"
)
SCALED_TO_NONE = "the service is scaled to 0 replicas"
_CREATOR_LABELS = (
    "workflows.argoproj.io/creator-preferred-username",
    "workflows.argoproj.io/creator-email",
)
"""Argo's server writes them where people log in to it."""


def deploy_kubernetes(params: Params, model: str, progress: Progress) -> Result:
    """Deploy to the cluster that this process runs in, or that kubeconfig names.

    `model` is not needed: the server reads it from the adapter.
    """
    kube = connect()
    result = deploy_service(params, kube=kube, progress=progress)
    tagged = record_version(params)
    describe_service(params, tagged, kube=kube)
    return dataclasses.replace(result, version=tagged.version)


def describe_service(params: Params, tagged: Tagged, *, kube: Kube) -> None:
    """Annotate the Deployment with the adapter that is in service now, and by whom.

    They are patched and not applied, so that the next deploy leaves them until its own adapter has
    answered. A refusal does not take down a good service.
    """
    try:
        found = kube.get("Deployment", params.namespace, params.name) or {"metadata": {}}
        before = read_in_service(found["metadata"].get("annotations") or {})
        run = run_of(kube, params)
        described = in_service(params, tagged, before, run=run, person=person_of(run))
        change = {"metadata": {"annotations": described.annotations()}}
        kube.patch("Deployment", params.namespace, params.name, change)
    except StepError as error:
        log.warn(_LOGGER, "service-not-described", service=params.name, reason=error)


def run_of(kube: Kube, params: Params) -> Mapping[str, Any]:
    """The Workflow of this step; empty where it has none."""
    if not params.run_name:
        return {}
    return read_this_run(params.namespace, params.run_name, record=None, connect=lambda: kube)


def person_of(run: Mapping[str, Any]) -> str:
    """Who began the run, by the labels of Argo's server, or as `argotune submit` noted it."""
    metadata = run.get("metadata") or {}
    labels, annotations = (metadata.get(each) or {} for each in ("labels", "annotations"))
    names = [labels.get(name, "") for name in _CREATOR_LABELS]
    return next(filter(None, [*names, annotations.get(SUBMITTER_ANNOTATION, "")]), "")


def deploy_service(
    params: Params,
    *,
    kube: Kube,
    progress: Progress,
    clock: Clock = REAL_CLOCK,
    endpoint: Callable[[Params], str] | None = None,
) -> Result:
    """Apply the objects, wait for the rollout, and ask the service the question.

    On any failure new objects are deleted and the Deployment gets its old pod template and number
    of replicas. Raises PermanentError or TransientError with the reason.
    """
    key = client_key(params, params.api_keys_file)
    around = surrounding_objects(params, has_monitors=kube.knows("ServiceMonitor"))
    before = state_before(kube, params, [item["kind"] for item in around])
    adapter = _adapter(kube, params)
    url = (endpoint or _service_url)(params)
    serving = serving_objects(params, adapter, replicas=before.replicas)
    for item in around:
        # What the cluster refuses of them is known before the rollout.
        kube.apply(item, dry_run=True)
    if params.max_replicas is not None and kube.api(_METRICS_API) is None:
        log.warn(_LOGGER, "not-scaled", service=params.name, reason=_NO_METRICS)
    _make_room_for_others(params, is_new="Deployment" not in before.existed)
    with _rolled_back_on_failure(kube, params, before):
        for item in serving:
            # If the step is killed before it can roll back, new objects are deleted with the
            # Workflow, and the next try goes back to the pod template that was noted.
            kube.apply(_to_roll_back(item, params, before))
        tell = _events(params, kube, clock).say
        Rollout(kube=kube, params=params, clock=clock, progress=progress, tell=tell).wait()
        answer = _answer(url, params, key, clock, replicas=before.replicas)
        for item in serving:
            if item["kind"] not in before.existed:
                kube.apply(item)
        if before.template is not None:
            remove_note(kube, params)
        # A failure here must not leave a service on a node that goes with the run.
        note_node(params, kube=kube)
    _surround(kube, params, around)
    _remove_other_adapters(params, adapter)
    progress.update(1, 1)
    log.event(_LOGGER, "serving", name=params.name, namespace=params.namespace, endpoint=url)
    return Result(endpoint=url, answer=answer)


def _events(params: Params, kube: Kube, clock: Clock) -> RunEvents:
    """Events about the run of this step; none is written without one."""
    return RunEvents(
        kube,
        namespace=params.namespace,
        workflow=params.run_name or "",
        uid=params.run_uid or "",
        step="deploy",
        clock=clock,
    )


def _to_roll_back(item: Manifest, params: Params, before: Before) -> Manifest:
    """The object with what a rollback after a kill needs."""
    if item["kind"] not in before.existed:
        return owned_by_run(item, params)
    return with_note(item, before) if item["kind"] == "Deployment" else item


def _answer(url: str, params: Params, key: str | None, clock: Clock, *, replicas: int) -> str:
    """Ask the service; one that somebody scaled to none has the new adapter when it comes back."""
    if replicas == 0:
        log.warn(_LOGGER, "not-asked", service=params.name, reason=SCALED_TO_NONE)
        return f"{NOT_ASKED}{SCALED_TO_NONE}"
    return ask(url, params.question, timeout_seconds=ASK_SECONDS, key=key, clock=clock)


def _surround(kube: Kube, params: Params, objects: Sequence[Manifest]) -> None:
    """Apply the objects around the service, and delete those that it is to have no more."""
    for item in objects:
        kube.apply(item)
    wanted = {item["kind"] for item in objects}
    for kind in SURROUNDING_KINDS:
        if kind in wanted:
            continue
        found = kube.get(kind, params.namespace, params.name)
        if found is not None and is_ours(found):
            kube.delete(kind, params.namespace, params.name)
            log.event(_LOGGER, "deleted", kind=kind, name=params.name)


def _service_url(params: Params) -> str:
    return f"http://{params.name}.{params.namespace}.svc"


def _make_room_for_others(params: Params, *, is_new: bool) -> None:
    """Make the directory of adapters that join the service; a new service has none."""
    directory = params.cache_dir / joined_path(params.name)
    if is_new:
        remove_directory(directory)
    directory.mkdir(parents=True, exist_ok=True)


def _adapter(kube: Kube, params: Params) -> Adapter:
    """How the server gets the adapter, in one of the two ways of manifests/deployment.py."""
    is_image = params.service_plan is None and isinstance(params.adapter_image(), ImageReference)
    if params.adapter_from == "auto" and is_image:
        image = AdapterImage(reference=params.reference)
        if _supports_image_volumes(kube, params, image):
            return image
        log.event(_LOGGER, "no-image-volumes", instead="files in the model cache")
    directory = _adapters(params) / params.served_digest().removeprefix("sha256:")[:16]
    unpack_adapter(params, params.cache_dir / directory)
    return AdapterInCache(directory=str(directory))


def _supports_image_volumes(kube: Kube, params: Params, image: AdapterImage) -> bool:
    """Whether a dry run of the Deployment succeeds; versions and feature gates do not tell."""
    try:
        kube.apply(deployment(params, image), dry_run=True)
    except ApiRefusal as error:
        if any(text in str(error) for text in _NO_IMAGE_VOLUMES):
            return False
        raise
    return True


@contextlib.contextmanager
def _rolled_back_on_failure(kube: Kube, params: Params, before: Before) -> Iterator[None]:
    try:
        yield
    except BaseException:
        try:
            _roll_back(kube, params, before)
        except StepError as error:
            # The step fails with the first error; this one is logged for manual cleanup.
            log.warn(_LOGGER, "roll-back-failed", service=params.name, reason=error)
        raise


def _roll_back(kube: Kube, params: Params, before: Before) -> None:
    """Delete the new objects, and restore the Deployment's old pod template and replicas.

    The template is applied, not patched: otherwise fields of the new one would remain, because
    two field managers would own them.
    """
    for kind in reversed(SERVING_KINDS):
        if kind not in before.existed:
            kube.delete(kind, params.namespace, params.name)
    if before.template is not None:
        metadata = {k: v for k, v in before.template["metadata"].items() if v is not None}
        template = {**before.template, "metadata": metadata}
        kube.apply(deployment_of_template(params, template, replicas=before.old_replicas))
    log.warn(_LOGGER, "rolled-back", service=params.name, to_old=before.template is not None)


def _adapters(params: Params) -> Path:
    """Directory of the service's adapters below the cache directory."""
    return Path("adapters") / params.name


def _remove_other_adapters(params: Params, adapter: Adapter) -> None:
    """Delete adapters of earlier deploys in the model cache, which no pod mounts any more."""
    current = Path(adapter.directory) if isinstance(adapter, AdapterInCache) else None
    for path in (params.cache_dir / _adapters(params)).glob("*"):
        if current is None or path != params.cache_dir / current:
            shutil.rmtree(path)
