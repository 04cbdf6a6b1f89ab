"""The objects of a workspace on a cluster: its Workflow or CronWorkflow, and a Secret.

The Secret has the dataset URLs where they have queries, which may contain tokens.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from argotune.steps.common.fields import text_of
from argotune.steps.common.urls import redact
from argotune.steps.contracts.service_plan import dump_adapters
from argotune.steps.settings.run_settings import SETTINGS
from argotune.workflows.workspace import manifests
from argotune.workflows.workspace.fields import WorkspaceError
from argotune.workflows.workspace.metadata import with_labels
from argotune.workflows.workspace.model import Workspace

Object = dict[str, Any]

CRON_WORKFLOW_LABEL = "workflows.argoproj.io/cron-workflow"
"""Argo's label of a schedule's runs."""
_SCHEDULED_TIME = "workflows.argoproj.io/scheduled-time"


def whole_workflow(
    workspace: Workspace,
    *,
    allow_loopback: bool,
    images: Mapping[str, str],
    volume_size: str | None = None,
    secret_name: str | None = None,
) -> tuple[Object | None, Object]:
    """Build a Workflow that contains the whole template, after the Secret of its URLs, if any.

    `volume_size` is for a workspace that names none.
    """
    arguments, secret = _arguments(workspace, allow_loopback, secret_name)
    workflow = manifests.workflow(
        {**arguments, **images}, name=workspace.template, **_volume(workspace, volume_size)
    )
    _set_ttl(workflow["spec"], workspace)
    return secret, with_labels(workflow, workspace.labels)


def referring_workflow(
    workspace: Workspace,
    *,
    allow_loopback: bool,
    installed: Mapping[str, Any] | None = None,
    volume_size: str | None = None,
    secret_name: str | None = None,
) -> tuple[Object | None, Object]:
    """Build a Workflow of arguments for the installed template, after the Secret of its URLs.

    `volume_size` is for a workspace that names none, where the installation has set none either.
    Without the `installed` template it has no effect: the Workflow's own claim would replace the
    storage class of the template's.
    """
    arguments, secret = _arguments(workspace, allow_loopback, secret_name)
    workflow = manifests.workflow_from_template(
        arguments,
        installed,
        name=workspace.template,
        **_volume(workspace, _planned_size(installed, volume_size)),
    )
    _set_ttl(workflow["spec"], workspace)
    return secret, with_labels(workflow, workspace.labels)


def cron_workflow(
    workspace: Workspace,
    *,
    allow_loopback: bool,
    schedules: Sequence[str],
    timezone: str,
    installed: Mapping[str, Any] | None = None,
    volume_size: str | None = None,
    secret_name: str | None = None,
) -> tuple[Object | None, Object]:
    """Build a CronWorkflow of arguments, after the Secret of its URLs.

    `installed` and `volume_size` are those of `referring_workflow`.

    Raises WorkspaceError for a name, schedule or time zone on which Argo would never run.
    """
    arguments, secret = _arguments(workspace, allow_loopback, secret_name)
    cron = manifests.cron_workflow(
        arguments,
        schedules,
        timezone=timezone,
        installed=installed,
        **_volume(workspace, _planned_size(installed, volume_size)),
    )
    _set_ttl(cron["spec"]["workflowSpec"], workspace)
    return secret, with_labels(cron, workspace.labels)


def run_of(cron: Mapping[str, Any], now: datetime) -> Object:
    """Build the Workflow that Argo would create of a CronWorkflow at this time.

    Argo counts it as one of the schedule's runs, by its label and owner.
    """
    metadata, further = cron["metadata"], cron["spec"].get("workflowMetadata") or {}
    owner = {
        "apiVersion": cron["apiVersion"],
        "kind": cron["kind"],
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
    }
    labels = {**(further.get("labels") or {}), CRON_WORKFLOW_LABEL: metadata["name"]}
    annotations = {
        **(further.get("annotations") or {}),
        _SCHEDULED_TIME: now.isoformat(timespec="seconds"),
    }
    return {
        "apiVersion": cron["apiVersion"],
        "kind": "Workflow",
        "metadata": {
            "name": manifests.random_name(str(metadata["name"])),
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [owner],
        },
        "spec": cron["spec"]["workflowSpec"],
    }


def to_parameters(
    workspace: Workspace, *, allow_loopback: bool = False, allow_files: bool = False
) -> dict[str, str]:
    """Return the arguments that the workspace determines; the others have defaults."""
    if workspace.is_service:
        return _service_parameters(workspace, allow_files=allow_files)
    always = {
        "name": workspace.name,
        "preset": workspace.preset,
        "method": workspace.method,
        "urls": json.dumps(list(workspace.urls), ensure_ascii=False),
        "output-image": workspace.output_image,
        "config": workspace.config,
        "instance-type": text_of(workspace.instance_type),
        "label-selector": _labels(workspace),
        "model-source": text_of(workspace.model_source),
        "allow-loopback": text_of(allow_loopback),
        "allow-files": text_of(allow_files),
    }
    validation_urls = json.dumps(list(workspace.validation_urls), ensure_ascii=False)
    optional = {
        "own-preset": workspace.own_preset or None,
        "validation-urls": validation_urls if workspace.validation_urls else None,
        "push-secret": workspace.push_secret,
        "model-access-secret": workspace.model_access_secret,
        "data-secret": workspace.data_secret,
        "data-claim": workspace.data_claim,
    }
    return {**_options(workspace), **always, **_given(optional)}


def _service_parameters(workspace: Workspace, *, allow_files: bool) -> dict[str, str]:
    always = {
        "name": workspace.name,
        "preset": workspace.preset,
        "adapters": dump_adapters(workspace.adapters or ()),
        "config": workspace.config,
        "instance-type": text_of(workspace.instance_type),
        "label-selector": _labels(workspace),
        "model-source": text_of(workspace.model_source),
        "allow-files": text_of(allow_files),
    }
    optional = {
        "own-preset": workspace.own_preset or None,
        "push-secret": workspace.push_secret,
        "model-access-secret": workspace.model_access_secret,
        "data-claim": workspace.data_claim,
    }
    return {**_options(workspace), **always, **_given(optional)}


def _labels(workspace: Workspace) -> str:
    return ",".join(f"{key}={value}" for key, value in workspace.label_selector.items())


def _options(workspace: Workspace) -> dict[str, str]:
    return {
        name: SETTINGS[name].value.parameter(text)
        for name, text in workspace.options.items()
        if SETTINGS[name].is_in_template
    }


def _given(texts: Mapping[str, str | None]) -> dict[str, str]:
    return {name: text for name, text in texts.items() if text is not None}


def images_arguments(registry: str | None, tag: str | None, *, whole: bool) -> dict[str, str]:
    """Return the given parameters of the step images.

    Raises WorkspaceError where the installed template's images are used.
    """
    given = {
        name: value
        for name, value in (("images-registry", registry), ("images-tag", tag))
        if value is not None
    }
    if given and not whole:
        raise WorkspaceError(
            [
                f"--{name}: for a workflow with the whole template in it; the installed template's"
                " is set by `argotune install`"
                for name in given
            ]
        )
    return given


def split_urls(
    workspace: Workspace, arguments: Mapping[str, str], secret_name: str | None = None
) -> tuple[dict[str, str], dict[str, Any] | None]:
    """Split the arguments into those without queries and the Secret with the queries, if any.

    Without a given name, the Secret's name follows from its content, so that runs with other URLs
    do not share it.
    """
    lists = {"urls": workspace.urls, "validation-urls": workspace.validation_urls}
    return split_url_lists(workspace.name, lists, arguments, secret_name)


def split_url_lists(
    name: str,
    lists: Mapping[str, Sequence[str]],
    arguments: Mapping[str, str],
    secret_name: str | None = None,
) -> tuple[dict[str, str], Object | None]:
    """Split likewise the URLs of each parameter; `name` is the workspace's."""
    if not any("?" in url for urls in lists.values() for url in urls):
        return dict(arguments), None
    given = {parameter: urls for parameter, urls in lists.items() if urls}
    texts = {manifests.URL_KEYS[each]: json.dumps(list(urls)) for each, urls in given.items()}
    digest = hashlib.sha256("".join(texts.values()).encode()).hexdigest()
    secret_name = secret_name or f"{name}-urls-{digest[:10]}"
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": secret_name,
            "labels": {
                "app.kubernetes.io/part-of": "argotune",
                "argotune.dev/workspace": name,
            },
        },
        "immutable": True,
        "stringData": texts,
    }
    redacted = {
        parameter: json.dumps([redact(url) for url in urls], ensure_ascii=False)
        for parameter, urls in given.items()
    }
    return {**arguments, **redacted, "urls-secret": secret_name}, secret


def _arguments(
    workspace: Workspace, allow_loopback: bool, secret_name: str | None
) -> tuple[dict[str, str], Object | None]:
    parameters = to_parameters(workspace, allow_loopback=allow_loopback)
    return split_urls(workspace, parameters, secret_name)


def _set_ttl(spec: Object, workspace: Workspace) -> None:
    """Set how long a failed run stays; Argo merges it into the installed template's strategy."""
    seconds = workspace.options.get("ttl-seconds-after-failure")
    if seconds:
        strategy = spec.get("ttlStrategy", {})
        spec["ttlStrategy"] = {**strategy, "secondsAfterFailure": int(seconds)}


def _planned_size(installed: Mapping[str, Any] | None, planned: str | None) -> str | None:
    """Return the planned size, for an installed template whose installer set none."""
    return None if installed is None or manifests.sets_volume_size(installed) else planned


def _volume(workspace: Workspace, planned_size: str | None = None) -> dict[str, str | None]:
    options = workspace.options
    return {
        "volume_size": options.get("volume-size") or planned_size,
        "storage_class": options.get("storage-class"),
    }
