"""The statement and the signatures beside the adapter, checked as cosign and in-toto describe them.

The signatures are verified here by `cryptography` alone, and not by what made them.
"""

from __future__ import annotations

import base64
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from argotune.steps.common.errors import PermanentError
from argotune.steps.common.progress import Progress
from argotune.steps.contracts.training_plan import parse_plan, read_plan
from argotune.steps.provenance.statement import decode
from argotune.steps.push.run import run
from argotune.steps.registry.layout_index import read_entries, tag_of
from tests.fakes.registry import Fault, Registry, serving
from tests.fakes.signing import KeyPair, new_keys
from tests.steps.push.test_run import params, push, work_dir

__all__ = ["work_dir"]

needs_skopeo = pytest.mark.skipif(
    shutil.which("skopeo") is None, reason="skopeo is not installed on this machine"
)
TARGET = "team/phi"


def artifact(registry: Registry, digest: str, kind: str) -> dict[str, Any]:
    """The manifest that has the adapter's tag of a kind, with the content of its one layer."""
    _, text = registry.manifests[TARGET, f"{digest.replace(':', '-')}.{kind}"]
    manifest: dict[str, Any] = json.loads(text)
    (layer,) = manifest["layers"]
    config = json.loads(registry.blobs[manifest["config"]["digest"]])
    assert config["rootfs"] == {"type": "layers", "diff_ids": [layer["digest"]]}
    return {**manifest, "layer": layer, "content": registry.blobs[layer["digest"]]}


def verify(keys: KeyPair, signature: bytes, data: bytes) -> None:
    public = keys.private.public_key()
    if isinstance(public, ed25519.Ed25519PublicKey):
        public.verify(signature, data)
    else:
        public.verify(signature, data, ec.ECDSA(hashes.SHA256()))


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE's protocol.md: what an envelope's signature signs."""
    head = f"DSSEv1 {len(payload_type)} {payload_type} {len(payload)} "
    return head.encode() + payload


def write_results(work_dir: Path) -> None:
    """What dataset and tune leave on the volume."""
    files = [{"url": "https://example.com/rows.jsonl", "size": 9, "sha256": "d" * 64}]
    (work_dir / "dataset").mkdir()
    (work_dir / "dataset" / "dataset.json").write_text(json.dumps({"files": files}))
    (work_dir / "report").mkdir()
    result = {"versions": {"torch": "2.10.0"}, "machine": {"device": "cpu"}, "result": {}}
    (work_dir / "report" / "result.json").write_text(json.dumps(result))


def test_the_statement_says_what_the_adapter_was_made_from(
    work_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    write_results(work_dir)
    layout = work_dir / "out"
    images = ("r.io/a/argotune-tune:1@sha256:" + "e" * 64, "r.io/a/argotune-plan:1")
    result = run(
        params(
            work_dir,
            f"oci:{layout}",
            run="uid-1",
            workflow="demo-x",
            namespace="team",
            urls=("https://example.com/rows.jsonl",),
            step_images=images,
        ),
        progress=Progress(),
    )
    blobs = layout / "blobs" / "sha256"
    manifest = json.loads((blobs / result.provenance.partition("@sha256:")[2]).read_bytes())
    (layer,) = manifest["layers"]
    text = (blobs / layer["digest"][7:]).read_bytes()
    found = json.loads(text)
    assert manifest["subject"]["digest"] == result.digest
    assert manifest["artifactType"] == layer["mediaType"] == "application/vnd.in-toto+json"
    assert not result.signed
    assert found["_type"] == "https://in-toto.io/Statement/v1"
    assert found["subject"] == [{"name": "phi-tuned", "digest": {"sha256": result.digest[7:]}}]
    assert found["predicateType"] == "https://slsa.dev/provenance/v1"
    definition = found["predicate"]["buildDefinition"]
    assert definition["externalParameters"]["data"] == ["https://example.com/rows.jsonl"]
    assert definition["internalParameters"] == {"run": "demo-x", "namespace": "team"}
    assert {each["name"]: each.get("digest") for each in definition["resolvedDependencies"]} == {
        "base": {"sha256": "b" * 64},
        "dataset": {"sha256": "a" * 64},
        "data/0": {"sha256": "d" * 64},
        "image/tune": {"sha256": "e" * 64},
        "image/plan": None,
    }
    details = found["predicate"]["runDetails"]
    assert details["metadata"]["invocationId"] == "uid-1"
    assert details["metadata"]["startedOn"] == "2026-01-01T00:00:00Z"
    assert {each["name"]: each["annotations"] for each in details["byproducts"]} == {
        "losses": {"base-loss": "3.25", "tuned-loss": "1.5"},
        "evaluation": {"verdict": "passed"},
        "versions": {"torch": "2.10.0"},
        "machine": {"device": "cpu"},
    }
    assert decode(text).plan == read_plan(work_dir / "plan.yaml")


def test_a_machine_that_is_no_pod_claims_no_images(work_dir: Path) -> None:
    layout = work_dir / "out"
    image = "r.io/a/argotune-tune:1"
    run(params(work_dir, f"oci:{layout}", step_images=(image,)), progress=Progress())
    assert not any(
        b"argotune-tune" in path.read_bytes() for path in (layout / "blobs/sha256").iterdir()
    )


@needs_skopeo
@pytest.mark.parametrize("kind", ["ecdsa", "ed25519"])
def test_signatures_have_the_form_that_cosign_verifies(work_dir: Path, kind: str) -> None:
    keys = new_keys(kind)
    signing_dir = keys.write_secret(work_dir / "signing")
    with serving(login=True) as registry:
        result = push(work_dir, registry, signing_dir=signing_dir)
        image = artifact(registry, result.digest, "sig")
        statement = artifact(registry, result.digest, "att")
        name = f"{registry.host}/{TARGET}"
    assert result.signed
    assert result.provenance.startswith(f"{name}@sha256:")
    for found in (image, statement):
        assert found["subject"]["digest"] == result.digest
        assert found["config"]["mediaType"] == "application/vnd.oci.image.config.v1+json"
    signature = image["layer"]["annotations"]["dev.cosignproject.cosign/signature"]
    verify(keys, base64.b64decode(signature), image["content"])
    assert image["layer"]["mediaType"] == "application/vnd.dev.cosign.simplesigning.v1+json"
    assert json.loads(image["content"]) == {
        "critical": {
            "identity": {"docker-reference": name},
            "image": {"docker-manifest-digest": result.digest},
            "type": "cosign container image signature",
        },
        "optional": None,
    }
    envelope = json.loads(statement["content"])
    payload = base64.b64decode(envelope["payload"])
    (signed,) = envelope["signatures"]
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    verify(keys, base64.b64decode(signed["sig"]), pae(envelope["payloadType"], payload))
    assert statement["layer"]["mediaType"] == "application/vnd.dsse.envelope.v1+json"
    assert statement["layer"]["annotations"] == {
        "dev.cosignproject.cosign/signature": "",
        "predicateType": "https://slsa.dev/provenance/v1",
    }
    assert json.loads(payload)["subject"] == [
        {"name": name, "digest": {"sha256": result.digest[7:]}}
    ]


@needs_skopeo
def test_the_key_is_in_no_log_and_in_nothing_that_is_sent(
    work_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    keys = new_keys()
    signing_dir = keys.write_secret(work_dir / "signing")
    with serving(login=True) as registry:
        push(work_dir, registry, signing_dir=signing_dir)
        sent = [*registry.blobs.values(), *(text for _, text in registry.manifests.values())]
    secret = keys.private_pem.splitlines()[1]
    assert secret.decode() not in caplog.text
    assert not any(secret in each for each in sent)
    assert "signing" in caplog.text


@needs_skopeo
def test_a_key_that_cannot_be_read_fails_before_anything_is_sent(work_dir: Path) -> None:
    (work_dir / "signing").mkdir()
    (work_dir / "signing" / "cosign.key").write_text("no key")
    with serving(login=True) as registry:
        with pytest.raises(PermanentError, match=r"secret sign, key cosign\.key: "):
            push(work_dir, registry, signing_dir=work_dir / "signing", signing_secret="sign")
        assert not registry.requests


def test_a_second_try_keeps_what_the_first_has_signed(work_dir: Path) -> None:
    """ECDSA signs differently each time, and a registry may lock the tags that it has."""
    layout = work_dir / "out"
    for name in ("first", "second"):
        new_keys("ecdsa").write_secret(work_dir / name)

    def tags(key: str) -> dict[str, str]:
        wanted = params(work_dir, f"oci:{layout}", signing_dir=work_dir / key)
        assert run(wanted, progress=Progress()).signed
        return {tag_of(entry) or "": entry["digest"] for entry in read_entries(layout)}

    first = tags("first")
    assert tags("first") == first
    other = tags("second")
    assert {tag[-4:] for tag in first if other[tag] != first[tag]} == {".att", ".sig"}
    for path in (layout / "blobs" / "sha256").iterdir():
        if b"dev.cosignproject" in path.read_bytes():
            path.unlink()
    # Damaged ones are made again.
    assert tags("second").keys() == first.keys()


@needs_skopeo
def test_an_unsigned_statement_that_is_refused_does_not_fail_the_run(work_dir: Path) -> None:
    fault = Fault("PUT", r"manifests/.*\.att", 9, 403, body="denied")
    with serving(login=True, faults=[fault]) as registry:
        result = push(work_dir, registry)
    assert result.provenance.startswith(f"none: registry {registry.host} refused")


@needs_skopeo
def test_a_signature_that_is_refused_fails_the_run(work_dir: Path) -> None:
    signing_dir = new_keys().write_secret(work_dir / "signing")
    fault = Fault("PUT", r"manifests/.*\.sig", 9, 403, body="denied")
    with (
        serving(login=True, faults=[fault]) as registry,
        pytest.raises(PermanentError, match="refused"),
    ):
        push(work_dir, registry, signing_dir=signing_dir)


def test_a_statement_is_read_again_as_it_was_written(work_dir: Path) -> None:
    layout = work_dir / "out"
    result = run(params(work_dir, f"oci:{layout}"), progress=Progress())
    blobs = layout / "blobs" / "sha256"
    manifest = json.loads((blobs / result.provenance.partition("@sha256:")[2]).read_bytes())
    statement = decode((blobs / manifest["layers"][0]["digest"][7:]).read_bytes())
    assert statement.subject_digests == [result.digest]
    assert statement.base.repository == "argotune/tiny"
    assert statement.base.digest == f"sha256:{64 * 'b'}"
    assert statement.plan == parse_plan((work_dir / "plan.yaml").read_text())


def test_a_secret_that_the_user_names_has_to_be_there(work_dir: Path) -> None:
    """argotune-signing may be missing; a key that somebody named is not passed over."""
    wanted = params(
        work_dir, f"oci:{work_dir / 'out'}", signing_dir=work_dir / "none", signing_secret="keys"
    )
    with pytest.raises(PermanentError, match="secret keys is not there, or empty, and the run"):
        run(wanted, progress=Progress())
    assert not (work_dir / "out").exists()
