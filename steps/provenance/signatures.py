"""Signatures of an adapter and of its statement, as cosign makes and verifies them with a key.

The adapter: a payload of Red Hat's simple signing with the manifest's digest, a layer of the image
with the tag sha256-HEX.sig, whose signature is the layer's annotation
(https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md). The statement: a DSSE
envelope, a layer of the image with the tag sha256-HEX.att
(https://github.com/secure-systems-lab/dsse).
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any

from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Signature

from argotune.steps.provenance.keys import PublicKey, Signer
from argotune.steps.provenance.statement import MEDIA_TYPE

ENVELOPE_TYPE = "application/vnd.dsse.envelope.v1+json"
"""Media type of a signed statement's layer."""
PAYLOAD_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json"
"""Media type of a layer with what the signature of an image signs."""
SIGNATURE_ARTIFACT_TYPE = "application/vnd.dev.cosign.artifact.sig.v1+json"
SIGNATURE = "dev.cosignproject.cosign/signature"
"""Annotation of a layer; cosign has it, empty, also on those of attestations."""
_SIMPLE_SIGNING = "cosign container image signature"


@dataclass(frozen=True, kw_only=True)
class SignedPayload:
    """What was signed about an image, and its signature."""

    payload: bytes
    signature: str
    """Base64."""


def signature_tag(digest: str) -> str:
    """Return the tag of an image's signatures by its digest, sha256:HEX."""
    return f"{digest.replace(':', '-')}.sig"


def sign_image(signer: Signer, digest: str, repository: str) -> SignedPayload:
    """Sign that an image is the one with this digest in this repository."""
    critical = {
        "identity": {"docker-reference": repository},
        "image": {"docker-manifest-digest": digest},
        "type": _SIMPLE_SIGNING,
    }
    payload = json.dumps({"critical": critical, "optional": None}, separators=(",", ":")).encode()
    signature = bytes.fromhex(signer.sign(payload).signature)
    return SignedPayload(payload=payload, signature=base64.b64encode(signature).decode())


def signed_digest(signed: SignedPayload, key: PublicKey) -> str:
    """Return the digest of the image that was signed.

    Raises ValueError if the key did not sign it, or it is no signature of an image.
    """
    try:
        signature = base64.b64decode(signed.signature, validate=True)
    except binascii.Error:
        raise ValueError("its signature is not base64") from None
    if not _has_signed(key, signature, signed.payload):
        raise ValueError("another key signed it, or it was changed since")
    try:
        critical = json.loads(signed.payload)["critical"]
        if critical["type"] == _SIMPLE_SIGNING:
            return str(critical["image"]["docker-manifest-digest"])
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise ValueError("what it signs is no image")


def sign_statement(signer: Signer, statement: bytes) -> bytes:
    """Put a statement's JSON into an envelope with its signature."""
    envelope = Envelope(payload=statement, payload_type=MEDIA_TYPE, signatures={})
    envelope.sign(signer)
    return json.dumps(envelope.to_dict(), separators=(",", ":")).encode()


def open_envelope(text: bytes) -> Envelope:
    """Read an envelope, without a look at its signatures. Raises ValueError if it is none."""
    try:
        found: dict[str, Any] = json.loads(text)
        # A signature may come without the hint which key made it.
        signatures = [{"keyid": "", **each} for each in found["signatures"]]
        envelope = Envelope.from_dict({**found, "signatures": signatures})
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"it is no DSSE envelope: {error!r}") from error
    if envelope.payload_type != MEDIA_TYPE:
        raise ValueError(f"its payload is {envelope.payload_type!r}; accepted is {MEDIA_TYPE}")
    return envelope


def is_signed_by(envelope: Envelope, key: PublicKey) -> bool:
    """Return whether one of the signatures is the key's, whatever hints they have."""
    signed = envelope.pae()
    return any(
        _has_signed(key, bytes.fromhex(each.signature), signed)
        for each in envelope.signatures.values()
    )


def _has_signed(key: PublicKey, signature: bytes, data: bytes) -> bool:
    try:
        key.verify_signature(Signature(key.keyid, signature.hex()), data)
    except UnverifiedSignatureError:
        return False
    return True
