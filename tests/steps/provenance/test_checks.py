"""What `argotune verify` and deploy find of an adapter that somebody has changed."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from argotune.steps.common.errors import PermanentError
from argotune.steps.provenance.checks import Outcome, Verdict, verify
from argotune.steps.provenance.evidence import gather
from argotune.steps.provenance.keys import PublicKey, name_of, read_public_key
from argotune.steps.registry.oci import LayoutReference
from argotune.steps.registry.skopeo import Registry
from tests.fakes.signing import KeyPair, new_keys
from tests.steps.provenance.pushed import Pushed, pushed

KEYS = new_keys()
OTHER = new_keys("ed25519")


def public(keys: KeyPair) -> PublicKey:
    return read_public_key(keys.public_pem)


def look(found: Pushed, keys: KeyPair | None = KEYS, digest: str | None = None) -> Verdict:
    reference = LayoutReference(directory=found.layout, digest=digest or found.digest)
    evidence = gather(reference, Registry(), found.layout / "unused")
    return verify(evidence, [public(keys)] if keys else [])


@pytest.fixture
def adapter(tmp_path: Path) -> Pushed:
    return pushed(tmp_path, KEYS)


def test_a_signed_adapter_holds_in_all_points(adapter: Pushed) -> None:
    verdict = look(adapter)
    assert {check.outcome for check in verdict.checks} == {Outcome.OK}
    assert [check.what for check in verdict.checks] == [
        "manifest",
        "files",
        "statement",
        "its signature",
        "signature",
        "annotations",
    ]
    assert verdict.statement is not None
    assert verdict.statement.subject_digests == [adapter.digest]


def test_of_several_keys_any_may_have_signed(adapter: Pushed) -> None:
    evidence = gather(adapter.reference, Registry(), adapter.layout / "unused")
    keys = [public(OTHER), public(KEYS)]
    verdict = verify(evidence, keys)
    assert {check.outcome for check in verdict.checks} == {Outcome.OK}
    (text,) = {check.text for check in verdict.checks if "signature" in check.what}
    assert text == f"by key {name_of(public(KEYS))}"
    failures = verify(evidence, [public(OTHER), public(new_keys())]).failures
    assert failures == [
        "statement: another key signed it, or it was changed since",
        "signature: another key signed it, or it was changed since",
    ]


def test_without_a_key_signatures_are_said_not_to_be_checked(adapter: Pushed) -> None:
    verdict = look(adapter, keys=None)
    assert verdict.failures == []
    skipped = [check.what for check in verdict.checks if check.outcome is Outcome.NOT_CHECKED]
    assert skipped == ["its signature", "signature"]


def test_an_unsigned_adapter_holds_without_a_key_and_not_with_one(tmp_path: Path) -> None:
    adapter = pushed(tmp_path, None)
    assert look(adapter, keys=None).failures == []
    assert look(adapter).failures == [
        "statement: it is not signed",
        f"signature: there is none: no tag {adapter.tag('sig')} is beside the image",
    ]


def test_a_signature_by_another_key_is_none(adapter: Pushed) -> None:
    assert look(adapter, OTHER).failures == [
        "statement: another key signed it, or it was changed since",
        "signature: another key signed it, or it was changed since",
    ]


def test_a_changed_file_is_found_by_its_digest(adapter: Pushed) -> None:
    (layer,) = adapter.manifest()["layers"]
    blob = adapter.blob(layer["digest"])
    blob.write_bytes(blob.read_bytes().replace(b"LORA", b"LORB"))
    (failure,) = look(adapter).failures
    assert failure.startswith(f"files: {layer['digest']} was changed: its content has sha256:")


def test_a_missing_file_is_named(adapter: Pushed) -> None:
    (layer,) = adapter.manifest()["layers"]
    adapter.blob(layer["digest"]).unlink()
    assert look(adapter).failures == [f"files: {layer['digest']} is missing"]


def test_a_manifest_that_was_changed_where_it_is_has_another_digest(adapter: Pushed) -> None:
    path = adapter.blob(adapter.digest)
    path.write_bytes(path.read_bytes().replace(b'"1.5"', b'"0.5"'))
    failures = look(adapter).failures
    assert failures[0].startswith(f"manifest: it was changed: {adapter.digest} has now sha256:")
    assert failures[1].startswith('annotations: sh.argotune.tuned-loss is "0.5", and "1.5" in the')


def changed_annotation(adapter: Pushed) -> str:
    """A new manifest with another annotation, which the tag of the image stands for."""
    manifest = adapter.manifest()
    manifest["annotations"]["sh.argotune.tuned-loss"] = "0.5"
    return adapter.point("1", manifest)


def test_another_manifest_has_no_statement(adapter: Pushed) -> None:
    digest = changed_annotation(adapter)
    tag = adapter.tag("att", digest)
    assert look(adapter, digest=digest).failures[0] == (
        f"statement: there is none: no tag {tag} is beside the image"
    )


def test_the_statement_and_signature_of_another_adapter_do_not_do(adapter: Pushed) -> None:
    digest = changed_annotation(adapter)
    for kind in ("att", "sig"):
        adapter.point(adapter.tag(kind, digest), adapter.manifest(adapter.tag(kind)))
    assert look(adapter, digest=digest).failures == [
        f"statement: it is about another adapter, {adapter.digest}",
        f"signature: it is of another image, {adapter.digest}",
    ]


def test_a_statement_that_was_changed_is_not_what_was_signed(adapter: Pushed) -> None:
    envelope = json.loads(adapter.content("att"))
    payload = base64.b64decode(envelope["payload"]).replace(b"argotune/tiny", b"somebody/else")
    envelope["payload"] = base64.b64encode(payload).decode()
    adapter.replace("att", json.dumps(envelope).encode())
    assert look(adapter).failures == ["statement: another key signed it, or it was changed since"]


def test_a_statement_without_a_signature_does_not_replace_a_signed_one(
    adapter: Pushed, tmp_path: Path
) -> None:
    adapter.copy("att", pushed(tmp_path, None, layout="unsigned"))
    assert look(adapter).failures == ["statement: it is not signed"]


@pytest.mark.parametrize("kind", ["att", "sig"])
def test_what_is_missing_is_named_by_its_tag(adapter: Pushed, kind: str) -> None:
    adapter.forget(kind)
    (failure,) = look(adapter).failures
    assert f"there is none: no tag {adapter.tag(kind)} is beside the image" in failure


def test_an_annotation_that_push_did_not_write_so_differs_from_the_statement(
    tmp_path: Path,
) -> None:
    """Who has the key signs both; what the image says of itself is compared all the same."""
    first, other = pushed(tmp_path, KEYS), pushed(tmp_path, KEYS, layout="b", base_loss=9.0)
    envelope = json.loads(first.content("att"))
    text = json.loads(base64.b64decode(envelope["payload"]))
    text["subject"][0]["digest"]["sha256"] = other.digest.removeprefix("sha256:")
    manifest = first.manifest(first.tag("att"))
    manifest["layers"][0] |= {"mediaType": "application/vnd.in-toto+json"}
    manifest["layers"][0] |= other.write(json.dumps(text).encode())
    other.point(other.tag("att"), manifest)
    assert look(other, keys=None).failures == [
        'annotations: sh.argotune.base-loss is "9", and "3.25" in the statement'
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{}", "it is no DSSE envelope: "),
        (b'{"payloadType": "x", "payload": "", "signatures": []}', "its payload is 'x'; accepted"),
    ],
)
def test_what_is_no_statement_is_said_to_be_none(
    adapter: Pushed, content: bytes, said: str
) -> None:
    adapter.replace("att", content)
    assert said in look(adapter).failures[0]


def of_another_build(adapter: Pushed) -> None:
    envelope = json.loads(adapter.content("att"))
    text = base64.b64decode(envelope["payload"]).replace(b"finetune/v1", b"finetune/v9")
    adapter.replace("att", json.dumps({**envelope, "payload": _base64(text)}).encode())


def of_no_statement(adapter: Pushed) -> None:
    envelope = json.loads(adapter.content("att"))
    adapter.replace("att", json.dumps({**envelope, "payload": _base64(b"[]")}).encode())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (of_another_build, "its buildType is 'https://argotune.dev/provenance/finetune/v9'"),
        (of_no_statement, "it is not such a statement: "),
    ],
)
def test_a_statement_of_another_kind_is_named(
    adapter: Pushed, change: Callable[[Pushed], None], said: str
) -> None:
    change(adapter)
    assert said in look(adapter, keys=None).failures[0]


def test_a_damaged_artifact_is_an_error(adapter: Pushed) -> None:
    (layer,) = adapter.manifest(adapter.tag("sig"))["layers"]
    adapter.blob(layer["digest"]).write_bytes(b"{}")
    with pytest.raises(PermanentError, match=f"the blob {layer['digest']} was changed"):
        look(adapter)


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
