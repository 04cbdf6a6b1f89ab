"""Keys as people keep them in a signing Secret, and cosign's own form of a private key."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from nacl.secret import SecretBox

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True)
class KeyPair:
    """A pair of keys in PEM."""

    private: PrivateKey

    @property
    def private_pem(self) -> bytes:
        return self.private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    @property
    def public_pem(self) -> bytes:
        return self.private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def write_secret(self, directory: Path) -> Path:
        """Write the files of a Secret with the key as it is."""
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "cosign.key").write_bytes(self.private_pem)
        return directory


def new_keys(kind: str = "ecdsa") -> KeyPair:
    """Make a pair of ECDSA P-256 or Ed25519 keys."""
    if kind == "ed25519":
        return KeyPair(ed25519.Ed25519PrivateKey.generate())
    return KeyPair(ec.generate_private_key(ec.SECP256R1()))


def cosign_key(keys: KeyPair, password: bytes) -> bytes:
    """Encrypt a private key as `cosign generate-key-pair` does; scrypt's N is small for speed."""
    der = keys.private.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    salt, params = bytes(range(32)), {"N": 2, "r": 8, "p": 1}
    derived = hashlib.scrypt(password, salt=salt, n=2, r=8, p=1, dklen=32)
    nonce = bytes(range(24))
    box = {
        "kdf": {"name": "scrypt", "params": params, "salt": _base64(salt)},
        "cipher": {"name": "nacl/secretbox", "nonce": _base64(nonce)},
        "ciphertext": _base64(SecretBox(derived).encrypt(der, nonce).ciphertext),
    }
    text = _base64(json.dumps(box).encode())
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    kind = "ENCRYPTED SIGSTORE PRIVATE KEY"
    return "\n".join([f"-----BEGIN {kind}-----", *lines, f"-----END {kind}-----", ""]).encode()


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
