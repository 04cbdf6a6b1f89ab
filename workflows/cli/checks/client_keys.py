"""The keys of a service's clients, where the workspace names a Secret of them.

Without it deploy would fail when the GPU is paid for.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator

from argotune.steps.common.errors import PermanentError
from argotune.steps.contracts.client_keys import FILE_NAME, keys_in
from argotune.workflows.cli.checks.finding import Finding, ok, problem
from argotune.workflows.cli.checks.subject import Subject
from argotune.workflows.cli.remote.client_keys import encoded_keys


def client_keys(subject: Subject) -> Iterator[Finding]:
    """Check whether the Secret has keys that the server can read."""
    name = subject.needs.arguments.get("api-keys-secret")
    if not name or not subject.needs.is_deployed:
        return
    text = encoded_keys(subject.get("Secret", name))
    create = (
        f"kubectl -n {subject.namespace} create secret generic {name} --from-file={FILE_NAME}=FILE"
    )
    if text is None:
        yield problem(
            f"secret {name} with the key {FILE_NAME} is not in namespace {subject.namespace}, and"
            " the service is to answer only clients with a key of it",
            "make it, with a line NAME: KEY for each client",
            create,
        )
        return
    try:
        keys = keys_in(base64.b64decode(text), f"secret {name}")
    except PermanentError as error:
        yield problem(str(error), "delete it, and make it again with the keys", create)
        return
    yield ok(f"secret {name} has keys for {', '.join(keys)}")
