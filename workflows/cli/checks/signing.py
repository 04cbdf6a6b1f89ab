"""The key that signs adapters, where the workspace names one or all have to be signed.

Without it push or deploy would fail when the GPU is paid for.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator

from argotune.steps.cluster.kube import Object
from argotune.steps.common.errors import PermanentError
from argotune.steps.provenance.keys import public_key_of, signer_of
from argotune.steps.settings.run_settings import SETTINGS
from argotune.workflows.cli.checks.finding import Finding, ok, problem
from argotune.workflows.cli.checks.installation import setting_of
from argotune.workflows.cli.checks.subject import Subject

_SECRET = "signing-secret"


def signing_secret(subject: Subject) -> Iterator[Finding]:
    """Check whether the Secret that signs has the key by which the installation verifies."""
    is_required = setting_of(subject, "require-signature") == "true"
    named = subject.needs.arguments.get(_SECRET)
    if not (is_required or named):
        return
    name = named or SETTINGS[_SECRET].default
    found = subject.get("Secret", name)
    if found is None:
        wants = (
            "the installation deploys only signed adapters"
            if is_required
            else "the workspace is to be signed with it"
        )
        yield problem(
            f"secret {name} is not in namespace {subject.namespace}, and {wants}",
            "make it, with the private key",
            f"kubectl -n {subject.namespace} create secret generic {name} --from-file=cosign.key"
            " --from-file=cosign.password",
        )
        return
    yield _key(subject, name, found)


def _key(subject: Subject, name: str, secret: Object) -> Finding:
    files = {key: base64.b64decode(text) for key, text in (secret.get("data") or {}).items()}
    try:
        signs = signer_of(files, f"secret {name}").public_key.keyid
    except PermanentError as error:
        return problem(str(error), "delete it, and make it again with the right key")
    line = setting_of(subject, "verification-key")
    if not line:
        return ok(f"secret {name} signs with key sha256:{signs[:12]}")
    verifies = public_key_of(line).keyid
    if signs == verifies:
        return ok(f"secret {name} signs with the key that the installation verifies by")
    return problem(
        f"secret {name} signs with key sha256:{signs[:12]}, and the installation verifies by"
        f" sha256:{verifies[:12]}: deploy would refuse the adapter",
        "name the Secret's public key to the installation, or put the other key into the Secret",
        subject.install_command("--verification-key cosign.pub"),
    )
