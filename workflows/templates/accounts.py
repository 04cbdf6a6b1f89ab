"""Service accounts of the steps' pods, and the tokens of the executor beside each step."""

from __future__ import annotations

from argotune.workflows.templates.manifest import Manifest, manifest

NAME = "accounts"
STEP = "argotune-step"
"""Account of the steps that need no access to the API."""
PROVISION = "argotune-provision"
RELEASE = "argotune-release"
DEPLOY = "argotune-deploy"
DATASET = "argotune-dataset"
"""Account of the step that reads the data, for a cloud's workload identity."""
ACCOUNTS = (STEP, PROVISION, RELEASE, DEPLOY, DATASET)


def build() -> list[Manifest]:
    """Build every account with its token secret.

    A template that names an `executor.serviceAccountName` gets the account's token from a Secret,
    which Argo finds by this name; the control plane fills it. The account of the steps that need no
    access to the API mounts no token, nor does that of dataset. The others must mount theirs,
    because Argo passes on a template's `automountServiceAccountToken` only where it is false.
    """
    accounts = [
        manifest(
            "ServiceAccount",
            name,
            api_version="v1",
            automountServiceAccountToken=name not in (STEP, DATASET),
        )
        for name in ACCOUNTS
    ]
    return accounts + [_token(name) for name in ACCOUNTS]


def _token(account: str) -> Manifest:
    secret = manifest(
        "Secret",
        f"{account}.service-account-token",
        api_version="v1",
        type="kubernetes.io/service-account-token",
    )
    secret["metadata"]["annotations"] = {"kubernetes.io/service-account.name": account}
    return secret
