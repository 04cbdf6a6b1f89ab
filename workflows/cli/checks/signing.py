"""The keys of adapters: the one that signs new ones, and those that signed what is in service.

Without it push or deploy would fail when the GPU is paid for.
"""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from argotune.steps.cluster.kube import Object
from argotune.steps.common.errors import PermanentError, StepError
from argotune.steps.contracts.in_service import InService, joined_in, read_in_service
from argotune.steps.provenance.checks import verify
from argotune.steps.provenance.evidence import Evidence, gather
from argotune.steps.provenance.keys import PublicKey, name_of, public_keys_of, signer_of
from argotune.steps.registry.oci import parse_reference
from argotune.steps.registry.skopeo import Registry
from argotune.steps.settings.run_settings import SETTINGS
from argotune.workflows.cli.checks.finding import Finding, ok, problem, unknown, warning
from argotune.workflows.cli.checks.installation import setting_of
from argotune.workflows.cli.checks.subject import Subject

_SECRET = "signing-secret"
Gather = Callable[..., Evidence]
"""What there is about an adapter's image, as `gather` fetches it."""


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
        signs = signer_of(files, f"secret {name}").public_key
    except PermanentError as error:
        return problem(str(error), "delete it, and make it again with the right key")
    keys = _verification_keys(subject)
    if not keys:
        return ok(f"secret {name} signs with key {name_of(signs)}")
    names = " and ".join(map(name_of, keys))
    if signs.keyid in [key.keyid for key in keys]:
        which = "the key" if len(keys) == 1 else f"key {name_of(signs)}, one of those"
        return ok(f"secret {name} signs with {which} that the installation verifies by")
    return problem(
        f"secret {name} signs with key {name_of(signs)}, and the installation verifies by"
        f" {names}: deploy would refuse the adapter",
        "name the Secret's public key to the installation, beside those that it is to keep, or put"
        " another key into the Secret",
        subject.install_command("--verification-key cosign.pub"),
    )


def _verification_keys(subject: Subject) -> tuple[PublicKey, ...]:
    line = setting_of(subject, "verification-key")
    return public_keys_of(line) if line else ()


def live_signatures(subject: Subject, *, gather: Gather = gather) -> Iterator[Finding]:
    """Say which of the installation's keys signed each adapter that is in service.

    While keys are rotated, an old one has to stay until nothing that it signed is wanted.
    """
    keys = _verification_keys(subject)
    if not keys:
        return
    for deployment in subject.kube.list("Deployment", subject.namespace):
        metadata = deployment["metadata"]
        own = metadata.get("annotations") or {}
        for name, noted in {metadata["name"]: own, **joined_in(own)}.items():
            try:
                known = read_in_service(noted)
            except StepError as error:
                yield unknown(f"service {name}: {error}")
                continue
            if known is not None:
                yield _live(subject, name, known, keys, gather)


def _live(
    subject: Subject,
    service: str,
    known: InService,
    keys: Collection[PublicKey],
    gather: Gather,
) -> Finding:
    what = f"service {service}: {known.version or known.adapter}"
    try:
        with tempfile.TemporaryDirectory(prefix="argotune-doctor-") as scratch:
            reference = parse_reference(known.adapter)
            evidence = gather(reference, Registry(), Path(scratch), with_blobs=False)
    except (StepError, ValueError) as error:
        return unknown(f"{what}: who signed it is not seen from here: {error}")
    signers = [key for key in keys if not verify(evidence, [key]).failures]
    if signers:
        return ok(f"{what} is signed with key {name_of(signers[0])}")
    failures = "; ".join(dict.fromkeys(verify(evidence, keys).failures))
    return warning(
        f"{what} is signed with no key of the installation ({failures}): a rollback or a deployment"
        " of it would be refused where signatures are required",
        "keep the key that signed it until another adapter is in service, or tune again",
        subject.install_command("--verification-key OLD.pub --verification-key NEW.pub"),
    )
