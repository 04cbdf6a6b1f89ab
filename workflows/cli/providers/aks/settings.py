"""Provider aks in the registry. Cheap to import: it does without Azure's SDK."""

from __future__ import annotations

import re

from argotune.steps.common.values import ValueType
from argotune.workflows.cli.providers.description import Entry, Flag, Identity

_UUID = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
LOCATION = "aks-location"
"""Flag of `argotune plan`."""
AZURE_CLIENT_ID = "azure.workload.identity/client-id"
"""Annotation of an account: the identity of its pods towards Azure."""

CLIENT_ID = ValueType(
    accepted="the client ID of a managed identity, `az identity show --query clientId`",
    check=lambda text: _UUID.fullmatch(text) is not None,
)

AKS = Entry(
    name="aks",
    module="aks.commands",
    identity=Identity(
        flag=Flag(
            name="azure-client-id",
            help="Managed identity that makes agent pools; '' is none.",
        ),
        annotation=AZURE_CLIENT_ID,
        value=CLIENT_ID,
    ),
    plan_flags=(Flag(name=LOCATION, help="Azure region; default: the cluster's."),),
    is_foreseen_unasked=True,
)
