from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from argotune.steps.common.errors import PermanentError
from argotune.steps.provenance.keys import (
    line_of,
    public_key_of,
    read_public_key,
    read_signer,
)
from tests.fakes.signing import KeyPair, cosign_key, new_keys


def secret(directory: Path, **files: bytes) -> Path:
    for name, content in files.items():
        (directory / name.replace("_", ".")).write_bytes(content)
    return directory


def test_a_key_of_cosign_is_opened_by_its_password(tmp_path: Path) -> None:
    keys = new_keys()
    secret(tmp_path, cosign_key=cosign_key(keys, b"pass word"), cosign_password=b"pass word\n")
    signer = read_signer(tmp_path)
    assert signer is not None
    assert signer.public_key.keyid == read_public_key(keys.public_pem).keyid


@pytest.mark.parametrize("kind", ["ecdsa", "ed25519"])
def test_a_plain_key_needs_no_password(tmp_path: Path, kind: str) -> None:
    keys = new_keys(kind)
    signer = read_signer(keys.write_secret(tmp_path))
    assert signer is not None
    assert signer.public_key.keyid == read_public_key(keys.public_pem).keyid


def test_an_empty_or_missing_secret_has_no_key(tmp_path: Path) -> None:
    (tmp_path / "..data").mkdir()
    assert read_signer(tmp_path) is None
    assert read_signer(tmp_path / "missing") is None


def encrypted_pem(keys: KeyPair) -> bytes:
    return keys.private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"right"),
    )


def rsa_pem() -> bytes:
    return rsa.generate_private_key(65537, 1024).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"tls_key": b"x"}, "secret sign has tls.key and no key cosign.key, the private key that"),
        ({"cosign_key": b"SECRET TEXT"}, "secret sign, key cosign.key: "),
        (
            {"cosign_key": cosign_key(new_keys(), b"right"), "cosign_password": b"wrong"},
            "secret sign, key cosign.key: the password in the key cosign.password does not open it",
        ),
        (
            {"cosign_key": encrypted_pem(new_keys())},
            "secret sign, key cosign.key: it needs a password; the key cosign.password has it",
        ),
        (
            {"cosign_key": KeyPair(ec.generate_private_key(ec.SECP384R1())).private_pem},
            "secret sign, key cosign.key: accepted is an ECDSA P-256 or Ed25519 key",
        ),
        ({"cosign_key": rsa_pem()}, "accepted is an ECDSA P-256 or Ed25519 key"),
    ],
)
def test_a_key_that_cannot_sign_is_named_and_not_quoted(
    tmp_path: Path, files: dict[str, bytes], said: str
) -> None:
    with pytest.raises(PermanentError) as caught:
        read_signer(secret(tmp_path, **files), secret="sign")
    assert said in str(caught.value)
    assert "SECRET TEXT" not in str(caught.value)


@pytest.mark.parametrize("kind", ["ecdsa", "ed25519"])
def test_a_public_key_is_one_line_in_the_template(kind: str) -> None:
    pem = new_keys(kind).public_pem
    line = line_of(pem)
    assert "\n" not in line
    assert public_key_of(line).keyid == read_public_key(pem).keyid


@pytest.mark.parametrize(
    ("pem", "said"),
    [
        (new_keys().private_pem, "it is a private key; give the public one, cosign.pub"),
        (b"ssh-ed25519 AAAA", "it is no public key in PEM, -----BEGIN PUBLIC KEY-----"),
        (
            KeyPair(ec.generate_private_key(ec.SECP384R1())).public_pem,
            "accepted is an ECDSA P-256 or Ed25519 key",
        ),
    ],
)
def test_what_is_no_public_key_is_refused(pem: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        line_of(pem)


def test_what_is_no_line_of_a_key_is_refused() -> None:
    with pytest.raises(ValueError, match="it is no base64 of a public key in DER"):
        public_key_of("AAAA")
