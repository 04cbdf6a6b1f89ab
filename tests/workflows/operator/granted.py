"""What the operator's account may do, and what its requests take."""

from __future__ import annotations

from collections.abc import Iterable

from argotune.workflows.cli.installation.operator import OF_ALL, OPERATOR
from argotune.workflows.templates import operator
from argotune.workflows.templates.permissions import MARKER
from tests.workflows.templates.rights import Right, rights, rights_for

_RULES = {
    (item["kind"], item["metadata"]["name"]): rights(item["rules"])
    for item in operator.build()
    if "rules" in item
}
IN_NAMESPACE = _RULES["Role", OPERATOR]
"""Of an operator of one namespace."""
IN_ALL = _RULES["ClusterRole", f"{OF_ALL}-argotune"]
"""In every namespace, of an operator of all."""
OF_CLUSTER = _RULES["ClusterRole", f"{OPERATOR}-argotune"]
"""Of both."""
OF_LEASE = {right for right in IN_NAMESPACE if right[1] == "leases"}
"""In the operator's own namespace, of both."""
OF_POLICY = rights([MARKER])
"""What no request takes: the admission policy asks for it."""
# Kubernetes lets everybody ask who they are (system:basic-user).
_OF_EVERYBODY = {("authentication.k8s.io", "selfsubjectreviews", "create")}


def used(requests: Iterable[str]) -> set[Right]:
    """The rights that these requests of the operator take."""
    return {right for request in requests for right in rights_for(request)} - _OF_EVERYBODY
