"""The identities by which the step dataset reads the stores of clouds. Cheap to import."""

from __future__ import annotations

import re

from argotune.steps.common.values import ValueType
from argotune.workflows.cli.providers.aks.settings import AZURE_CLIENT_ID, CLIENT_ID
from argotune.workflows.cli.providers.description import Flag, Identity

_PANEL = "Data in the stores of clouds"
"""Heading in the help of `argotune install`."""
_ACCOUNTS = ("argotune-dataset",)
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[\w+=,.@/-]+")

DATA_IDENTITIES = (
    Identity(
        flag=Flag(
            name="data-azure-client-id",
            help="Managed identity that reads abfss data without keys; '' is none.",
            panel=_PANEL,
        ),
        annotation=AZURE_CLIENT_ID,
        value=CLIENT_ID,
        accounts=_ACCOUNTS,
    ),
    Identity(
        flag=Flag(
            name="data-aws-role-arn",
            help="IAM role that reads s3 data without keys; '' is none.",
            panel=_PANEL,
        ),
        annotation="eks.amazonaws.com/role-arn",
        value=ValueType(
            accepted="arn:aws:iam::ACCOUNT:role/NAME",
            check=lambda text: _ROLE.fullmatch(text) is not None,
        ),
        accounts=_ACCOUNTS,
    ),
)
