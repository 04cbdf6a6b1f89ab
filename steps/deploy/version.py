"""The version of the adapter: found by its tag before, and recorded after the service answered.

An adapter that no run of this moment made, as in a rollback, says by its image's annotations what
else it needs.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from argotune.steps.common import log
from argotune.steps.common.errors import PermanentError, StepError
from argotune.steps.common.fields import fields_of, text_of
from argotune.steps.common.user import user_name
from argotune.steps.contracts import adapter_image
from argotune.steps.contracts.approval import answer_of
from argotune.steps.contracts.in_service import (
    NOT_DEPLOYED,
    WORKSPACE_UID,
    Event,
    InService,
)
from argotune.steps.contracts.service_plan import read_service_plan
from argotune.steps.contracts.training_plan import read_plan
from argotune.steps.contracts.versions import version_tag
from argotune.steps.deploy.adapter import registry_of
from argotune.steps.deploy.params import Params
from argotune.steps.deploy.service_files import title_of
from argotune.steps.registry.oci import LayoutReference, with_digest
from argotune.steps.registry.versions import (
    Adapter,
    find_live,
    record_in_service,
    record_pushed,
    repository_of,
)

_LOGGER = logging.getLogger(__name__)

NOT_RECORDED = "none: "
"""Before the reason in the output `version`, where the registry took no tags."""
_REPEATED: Mapping[str, Sequence[str]] = {
    "process": (
        "api-keys-secret",
        "cache-dir",
        "cors-origins",
        "load-in-4bit",
        "max-length",
        "port",
        "question",
        "requests-per-minute",
        "serve-with",
    ),
    "kubernetes": (
        "adapter-from",
        "adapter-pull-secret",
        "allow-cpu",
        "api-keys-secret",
        "cors-origins",
        "engine",
        "gpus",
        "host",
        "instance-type",
        "label-selector",
        "load-in-4bit",
        "max-length",
        "max-replicas",
        "memory",
        "node-selector",
        "question",
        "replicas",
        "requests-per-minute",
        "serve-with",
        "service-during-tuning",
        "service-gpus",
    ),
}
"""Flags that another adapter of the same service gets too; the others come from the installation,
the adapter's image or the run."""


def complete(params: Params) -> tuple[Params, str]:
    """Return the parameters with the adapter's digest, model and data, and the model's title.

    What is not given comes from the annotations of the adapter's image. Raises PermanentError if
    there is no such version, or it is another workspace's.
    """
    if params.service_plan is not None:
        service = read_service_plan(params.service_plan)
        return dataclasses.replace(
            params, engine=service.engine, load_in_4bit=service.load_in_4bit
        ), title_of(service)
    if params.plan_file is not None:
        return params, read_plan(params.plan_file).model.title
    adapter = find_adapter(params)
    known = adapter.annotations
    workspace, model_dir = (
        known.get(name, "") for name in (adapter_image.WORKSPACE, adapter_image.MODEL_DIR)
    )
    if workspace != params.name:
        raise PermanentError(
            f"{params.reference} is an adapter of {workspace or 'no workspace'}, and the service is"
            f" that of {params.name}"
        )
    if not (model_dir or params.model_dir):
        raise PermanentError(
            f"{params.reference}: an earlier version of argotune pushed it, which did not note the"
            " directory of its model; only versions that were pushed later can be rolled back to"
        )
    image = with_digest(params.adapter_image(), adapter.digest)
    completed = dataclasses.replace(
        params,
        reference=str(image),
        model_dir=params.model_dir or model_dir,
        dataset_digest=params.dataset_digest or known.get(adapter_image.DATASET_DIGEST, ""),
    )
    revision = known.get(adapter_image.BASE_REVISION, "")
    return completed, f"{known.get(adapter_image.BASE_MODEL, '')}@{revision}"


@dataclass(frozen=True, kw_only=True)
class Tagged:
    """What the tags of the repository say now."""

    version: str
    """vN of the adapter in service; `none: REASON` where the registry refused."""
    previous: str = ""
    """Reference by digest of the adapter that was in service before; empty if there is none."""


def record_version(params: Params) -> Tagged:
    """Move the tags of versions to the adapter, which has answered; without a service it gets vN.

    A registry that refuses tags does not take down a good service; the next deploy moves them. A
    service without an adapter of its own has none.
    """
    if params.service_plan is not None:
        return Tagged(version="")
    image = params.adapter_image()
    try:
        repository = repository_of(image, registry_of(params))
        find_live(repository, params.name)  # refuses a repository of another workspace
        record = record_pushed if params.target == NOT_DEPLOYED else record_in_service
        recorded = record(repository, params.adapter_digest())
    except StepError as error:
        log.warn(_LOGGER, "version-not-recorded", reason=error)
        return Tagged(version=f"{NOT_RECORDED}{error}")
    previous = with_digest(image, recorded.previous or None)
    return Tagged(
        version=version_tag(recorded.number),
        previous=str(previous) if recorded.previous else "",
    )


def in_service(
    params: Params,
    tagged: Tagged,
    before: InService | None,
    *,
    run: Mapping[str, Any],
    person: str | None = None,
) -> InService:
    """Describe the adapter that is in service now.

    Args:
        params: Those of the deploy, completed.
        tagged: The result of `record_version`.
        before: What was known of the service; a repeated deploy keeps its previous adapter.
        run: The Workflow of this step as far as it is known, for who approved the adapter, and
            whose the service is.
        person: Who wanted it; None: the user of this machine.
    """
    fields = {item.kebab: item.name for item in fields_of(Params)}
    settings = {flag: text_of(getattr(params, fields[flag])) for flag in _REPEATED[params.target]}
    answer = answer_of(run)
    event = Event(
        time=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        person=user_name() if person is None else person,
        run=params.run_name or "",
        approved_by="" if answer is None else answer.by,
    )
    now = InService(
        adapter=params.reference,
        version="" if tagged.version.startswith(NOT_RECORDED) else tagged.version,
        previous=tagged.previous,
        dataset_digest=params.dataset_digest or "",
        event=event,
        workspace_uid=((run.get("metadata") or {}).get("annotations") or {}).get(WORKSPACE_UID, ""),
        settings=settings,
        serves=""
        if params.service_plan is None
        else title_of(read_service_plan(params.service_plan)),
    )
    return now.after(before)


def find_adapter(params: Params) -> Adapter:
    """Read the manifest of the adapter that the reference names. Raises StepError."""
    image = params.adapter_image()
    version = image.digest or image.tag or ""
    found = repository_of(image, registry_of(params)).find(version)
    if found is None or (image.digest and found.digest != image.digest):
        where = image.directory if isinstance(image, LayoutReference) else image.name
        raise PermanentError(
            f"{where} has no {version}; `argotune versions {params.name}` lists what it has"
        )
    return found
