"""The keys of a service's clients, looked at before a run is created.

Step plan looks too, a minute later: `argotune-user` reads no Secrets.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping

from argotune.steps.cluster.kube import Object
from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.client_keys import FILE_NAME, keys_in
from argotune.steps.contracts.in_service import NOT_DEPLOYED
from argotune.workflows.cli.errors import CliError
from argotune.workflows.cli.remote.api_errors import ClusterRefusal
from argotune.workflows.cli.remote.cluster import Cluster


def check_client_keys(cluster: Cluster, options: Mapping[str, str]) -> None:
    """Raise CliError where the Secret of the keys is missing or has none that can be used.

    Nothing is said to who may not read it.
    """
    name = options.get("api-keys-secret")
    if not name or options.get("deploy-to") == NOT_DEPLOYED:
        return
    try:
        secret = cluster.get("Secret", name)
    except ClusterRefusal:
        return
    advice = (
        f"kubectl -n {cluster.namespace} create secret generic {name} --from-file={FILE_NAME}=FILE,"
        " with a line NAME: KEY in the file for each client"
    )
    text = encoded_keys(secret)
    if text is None:
        raise CliError(
            f"api-keys-secret: secret {name} with the key {FILE_NAME} is not in namespace"
            f" {cluster.namespace}; make it: {advice}"
        )
    try:
        keys_in(base64.b64decode(text), f"secret {name}")
    except PermanentError as error:
        raise CliError(f"api-keys-secret: {error}; make it again: {advice}") from error


def encoded_keys(secret: Object | None) -> str | None:
    """The Base64 of a Secret's file of keys; None where it is missing."""
    text: str | None = ((secret or {}).get("data") or {}).get(FILE_NAME)
    return text
