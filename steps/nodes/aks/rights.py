"""The rights of an identity on an AKS cluster, as Azure reports them.

`python -m argotune.steps.nodes.aks.rights --aks-cluster-id ID` asks with the identity of its
process and writes the answer as one line of JSON. `argotune doctor` runs it in a pod of the account
that makes nodes, so that the workload identity with its federated credential is tested too, and
nothing is made.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from argotune.steps.common.errors import StepError, TransientError
from argotune.steps.common.termination_log import TerminationLog
from argotune.steps.nodes.aks.arm import Arm
from argotune.steps.nodes.aks.connect import connect
from argotune.steps.nodes.aks.needed_rights import QUOTAS, REQUIRED, SKUS, Rights, allows
from argotune.steps.nodes.aks.refusals import NoCredential, RoleMissing, SecretExpired
from argotune.steps.nodes.aks.settings import AksSettings

_TOKEN_FILE = "AZURE_FEDERATED_TOKEN_FILE"
_LONGEST_ERROR = 1500


def rights_of(arm: Arm, location: str, *, has_token: bool) -> Rights:
    """Ask Azure for the rights; recommended ones are tested by a read, which does no harm."""
    try:
        missing, unknown = _required_actions(arm)
    except StepError as error:
        return _refusal(error, has_token=has_token)
    tried = {QUOTAS: arm.usages, SKUS: arm.skus} if location else {}
    recommended = tuple(action for action, read in tried.items() if not _may(read, location))
    return Rights(has_token=has_token, missing=missing, unknown=unknown, recommended=recommended)


def main(
    arguments: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ
) -> None:
    """Print the answer, and leave it in the termination log."""
    flags = _parser().parse_args(arguments)
    has_token = bool(environment.get(_TOKEN_FILE))
    try:
        arm = connect(AksSettings(aks_cluster_id=flags.aks_cluster_id), environment)
        found = rights_of(arm, flags.location, has_token=has_token)
    except StepError as error:
        found = _refusal(error, has_token=has_token)
    text = json.dumps(asdict(found))
    TerminationLog(flags.termination_log).write(text)
    print(text)


def _refusal(error: StepError, *, has_token: bool) -> Rights:
    return Rights(
        has_token=has_token,
        refused=_short(error),
        is_login_refused=isinstance(error, NoCredential | SecretExpired),
        may_pass=isinstance(error, TransientError),
    )


def _required_actions(arm: Arm) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the required actions that are missing, and those that Azure says nothing about."""
    try:
        permissions = arm.permissions()
    except RoleMissing:
        # Azure does not list the rights, so only a harmless read can test one.
        reads = _may(lambda _: arm.pools(), "")
        return (() if reads else REQUIRED[:1]), REQUIRED[1:]
    return tuple(action for action in REQUIRED if not allows(permissions, action)), ()


def _may(read: Callable[[str], object], location: str) -> bool:
    """Whether a list can be read; an unreachable Azure counts as a yes."""
    try:
        read(location)
    except RoleMissing:
        return False
    except StepError:
        return True
    return True


def _short(error: Exception) -> str:
    """Shorten the text of an error, because the kubelet keeps 4096 bytes of the log."""
    text = " ".join(str(error).split())
    return text if len(text) <= _LONGEST_ERROR else f"{text[:_LONGEST_ERROR]}..."


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m argotune.steps.nodes.aks.rights")
    parser.add_argument("--aks-cluster-id", required=True, help="Azure resource ID of the cluster")
    parser.add_argument("--location", default="", help="its region; empty: quotas are not read")
    parser.add_argument("--termination-log", type=Path, help="file that gets the answer too")
    return parser


if __name__ == "__main__":
    main()
