"""Keys for signatures: ECDSA P-256 and Ed25519, in PEM or as cosign keeps a private key.

cosign's own form is a PEM block of JSON: scrypt of the password is the key of a NaCl secretbox with
the PKCS #8 key in it (https://github.com/sigstore/cosign, and go-securesystemslib/encrypted).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from nacl.exceptions import CryptoError
from nacl.secret import SecretBox
from securesystemslib.signer import CryptoSigner, SSlibKey

from argotune.steps.common.errors import PermanentError

KEY_FILE, PASSWORD_FILE = "cosign.key", "cosign.password"
"""Keys of the Secret, as `cosign generate-key-pair k8s://NAMESPACE/NAME` makes it."""
_ACCEPTED = "an ECDSA P-256 or Ed25519 key"
_ENCRYPTED = re.compile(
    rb"-----BEGIN ENCRYPTED (?:SIGSTORE|COSIGN) PRIVATE KEY-----(.+?)-----END ENCRYPTED", re.DOTALL
)
_MOST_SCRYPT_BYTES = 256 * 2**20
"""Memory of scrypt: 64 MiB with cosign's N of 65536."""

PublicKey = SSlibKey
Signer = CryptoSigner


def read_signer(directory: Path, *, secret: str | None = None) -> Signer | None:
    """Read the private key of a Secret's directory; None if that is empty or not there.

    Raises PermanentError that names the Secret and never what is in it.
    """
    files = {path.name: path.read_bytes() for path in directory.glob("[!.]*")}
    return signer_of(files, f"secret {secret}" if secret else str(directory)) if files else None


def signer_of(files: Mapping[str, bytes], where: str) -> Signer:
    """Read the private key of a Secret's keys. Raises PermanentError, as `read_signer`."""
    if KEY_FILE not in files:
        has = ", ".join(sorted(files)) or "nothing"
        raise PermanentError(f"{where} has {has} and no key {KEY_FILE}, the private key that signs")
    # A file that an editor wrote ends in a newline, which is no part of the password.
    password = files.get(PASSWORD_FILE, b"").rstrip(b"\r\n")
    try:
        return _signer(files[KEY_FILE], password)
    except ValueError as error:
        # Not chained: a parser's error may quote what it read.
        raise PermanentError(f"{where}, key {KEY_FILE}: {error}") from None


def read_public_key(pem: bytes) -> PublicKey:
    """Read a public key in PEM. Raises ValueError for any other text."""
    if b"PRIVATE KEY" in pem:
        raise ValueError("it is a private key; give the public one, cosign.pub")
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("it is no public key in PEM, -----BEGIN PUBLIC KEY-----") from None
    return _public(key)


def public_key_of(text: str) -> PublicKey:
    """Read a public key of one line, as `line_of` writes it. Raises ValueError."""
    try:
        key = serialization.load_der_public_key(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError, UnsupportedAlgorithm):
        raise ValueError("it is no base64 of a public key in DER") from None
    return _public(key)


def line_of(pem: bytes) -> str:
    """Return a public key as one line, the base64 of its DER. Raises ValueError."""
    read_public_key(pem)
    der = serialization.load_pem_public_key(pem).public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return base64.b64encode(der).decode()


def public_keys_of(text: str) -> tuple[PublicKey, ...]:
    """Read public keys of one line, each as `line_of` writes it, with commas between them.

    Raises ValueError.
    """
    return tuple(map(public_key_of, text.split(",")))


def name_of(key: PublicKey) -> str:
    """What messages call a key: the beginning of the digest of its DER."""
    return f"sha256:{key.keyid[:12]}"


def _signer(pem: bytes, password: bytes) -> Signer:
    encrypted = _ENCRYPTED.search(pem)
    try:
        if encrypted is not None:
            key = serialization.load_der_private_key(_opened(encrypted[1], password), None)
        else:
            key = serialization.load_pem_private_key(pem, password or None)
    except TypeError:
        # cryptography's way to say that a password is missing, or that there is nothing to decrypt.
        needs = "takes no" if password else "needs a"
        raise ValueError(f"it {needs} password; the key {PASSWORD_FILE} has it") from None
    except UnsupportedAlgorithm:
        raise ValueError(f"accepted is {_ACCEPTED}") from None
    if not isinstance(key, EllipticCurvePrivateKey | Ed25519PrivateKey):
        raise ValueError(f"accepted is {_ACCEPTED}")
    return CryptoSigner(key, _public(key.public_key()))


def _opened(block: bytes, password: bytes) -> bytes:
    """Decrypt cosign's form of a private key. Raises ValueError."""
    try:
        box = json.loads(base64.b64decode(block))
        kdf, cipher = box["kdf"], box["cipher"]
        if (kdf["name"], cipher["name"]) != ("scrypt", "nacl/secretbox"):
            raise ValueError("it is encrypted by another method than cosign's")
        salt, nonce, text = (
            base64.b64decode(value) for value in (kdf["salt"], cipher["nonce"], box["ciphertext"])
        )
        n, r, p = (int(kdf["params"][name]) for name in ("N", "r", "p"))
    except (binascii.Error, KeyError, TypeError, json.JSONDecodeError):
        raise ValueError("it is no private key as cosign writes it") from None
    derived = hashlib.scrypt(
        password, salt=salt, n=n, r=r, p=p, maxmem=_MOST_SCRYPT_BYTES, dklen=SecretBox.KEY_SIZE
    )
    try:
        return SecretBox(derived).decrypt(text, nonce)
    except CryptoError:
        raise ValueError(f"the password in the key {PASSWORD_FILE} does not open it") from None


def _public(key: object) -> PublicKey:
    is_ecdsa = isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1)
    if not (is_ecdsa or isinstance(key, Ed25519PublicKey)):
        raise ValueError(f"accepted is {_ACCEPTED}")
    assert isinstance(key, EllipticCurvePublicKey | Ed25519PublicKey)
    der = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return SSlibKey.from_crypto(key, hashlib.sha256(der).hexdigest())
