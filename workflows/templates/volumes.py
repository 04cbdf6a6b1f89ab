"""The volumes of a Workflow that reads data and models: its own, the model cache, and Secrets."""

from __future__ import annotations

from hera.workflows import ConfigMapVolume, ExistingVolume, SecretVolume, Volume
from hera.workflows.models import KeyToPath

from argotune.workflows.templates.finetune_steps import CA
from argotune.workflows.templates.step import secret, value_of

# `argotune submit` makes the Secret of one run, `argotune render` that of a workspace.
_URLS_OF_RUN = "workflow.parameters['urls-secret'] == workflow.name + '-urls'"
_URLS_OF_WORKSPACE = (
    "workflow.parameters['urls-secret'] startsWith workflow.parameters.name + '-urls-'"
)
_LOGIN = ".dockerconfigjson"


def of_run(
    size: str, storage_class: str | None
) -> list[Volume | ExistingVolume | SecretVolume | ConfigMapVolume]:
    """Build the volumes; the size is that of the Workflow's own.

    Size and storage class are fixed, because Argo reads a volume claim before it expands any
    parameter.
    """
    return [
        # ReadWriteOnce is enough: the steps that mount it run one after the other. provision,
        # which runs beside model, and release mount nothing.
        Volume(name="work", size=size, storage_class_name=storage_class),
        # Shared by the runs of all workspaces, on any node: the claim is ReadWriteMany.
        ExistingVolume(name="models", claim_name=value_of("model-cache-claim")),
        SecretVolume(
            name="urls-secret",
            secret_name=secret("urls-secret", _URLS_OF_RUN, _URLS_OF_WORKSPACE),
            optional=True,
        ),
        SecretVolume(name="push-secret", secret_name=secret("push-secret"), optional=True),
        _login("data-secret", "data-secret"),
        _login("model-secret", "model-access-secret"),
        ConfigMapVolume(name=CA, optional=True),
    ]


def _login(name: str, setting: str) -> SecretVolume:
    """Build the volume of a Secret's registry login alone: its other keys become variables."""
    return SecretVolume(
        name=name,
        secret_name=secret(setting),
        items=[KeyToPath(key=_LOGIN, path=_LOGIN)],
        optional=True,
    )
