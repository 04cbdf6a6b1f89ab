"""The volumes of a Workflow that reads data and models: its own, the model cache, and Secrets."""

from __future__ import annotations

from hera.workflows import ConfigMapVolume, ExistingVolume, SecretVolume, Volume
from hera.workflows.models import KeyToPath

from argotune.steps.contracts import client_keys
from argotune.workflows.templates.finetune_steps import CA, PRESETS
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
        # The registry's login; their other keys become variables.
        _of_one_key("data-secret", "data-secret", _LOGIN),
        _of_one_key("model-secret", "model-access-secret", _LOGIN),
        ConfigMapVolume(name=CA, optional=True),
    ]


def api_keys() -> SecretVolume:
    """Build the volume of the keys of a service's clients."""
    return _of_one_key("api-keys", "api-keys-secret", client_keys.FILE_NAME)


def presets() -> ConfigMapVolume:
    """Build the volume of the installation's presets, for a plan step that is given a name."""
    return ConfigMapVolume(name=PRESETS, optional=True)


def _of_one_key(name: str, setting: str, key: str) -> SecretVolume:
    """Build the volume of one key of a Secret alone; the Secret may be missing."""
    return SecretVolume(
        name=name,
        secret_name=secret(setting),
        items=[KeyToPath(key=key, path=key)],
        optional=True,
    )
