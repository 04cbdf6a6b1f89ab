"""Whether what is said about an adapter holds: its content, its statement and their signatures."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum

from argotune.steps.contracts.adapter_image import (
    BASE_DIGEST,
    BASE_MODEL,
    BASE_REVISION,
    CONFIG_DIGEST,
    DATASET_DIGEST,
    OURS,
)
from argotune.steps.contracts.training_plan import dump_plan
from argotune.steps.provenance.evidence import Evidence, Part, blob_problems
from argotune.steps.provenance.keys import PublicKey, name_of
from argotune.steps.provenance.signatures import (
    ENVELOPE_TYPE,
    PAYLOAD_TYPE,
    SIGNATURE,
    SignedPayload,
    is_signed_by,
    open_envelope,
    signature_tag,
    signed_digest,
)
from argotune.steps.provenance.statement import (
    DATASET,
    EVALUATION,
    LOSSES,
    MEDIA_TYPE,
    PREDICATE_TYPE,
    Statement,
    decode,
    oci_digest,
    statement_tag,
)


class Outcome(StrEnum):
    """What came of a check."""

    OK = "ok"
    FAILED = "failed"
    NOT_CHECKED = "not checked"


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at."""

    what: str
    outcome: Outcome
    text: str
    """What was found, or why it was not checked."""

    @property
    def has_failed(self) -> bool:
        """Whether something does not hold."""
        return self.outcome is Outcome.FAILED


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """All checks of an adapter, and its statement if there is one about it."""

    checks: tuple[Check, ...]
    statement: Statement | None

    @property
    def failures(self) -> list[str]:
        """What does not hold, each with the name of its check."""
        return [f"{check.what}: {check.text}" for check in self.checks if check.has_failed]


def verify(evidence: Evidence, keys: Collection[PublicKey]) -> Verdict:
    """Check an adapter by its digest; one of the keys must have signed it.

    Without a key the signatures are not checked.
    """
    statement, of_statement = _statement(evidence, keys)
    checks = [*_content(evidence), *of_statement, _image_signature(evidence, keys)]
    if statement is not None:
        checks.append(_annotations(evidence, statement))
    return Verdict(checks=tuple(checks), statement=statement)


def _content(evidence: Evidence) -> Iterator[Check]:
    there = f"sha256:{hashlib.sha256(evidence.manifest).hexdigest()}"
    if there == evidence.digest:
        yield _ok("manifest", evidence.digest)
    else:
        yield _failed("manifest", f"it was changed: {evidence.digest} has now {there}")
    if evidence.layout is None:
        yield _skipped("files", "only the manifest was fetched, which has their digests")
        return
    problems = list(blob_problems(evidence.layout, evidence.manifest))
    if problems:
        yield _failed("files", "; ".join(problems))
    else:
        yield _ok("files", "every blob has the digest that the manifest says")


def _statement(
    evidence: Evidence, keys: Collection[PublicKey]
) -> tuple[Statement | None, list[Check]]:
    """Find the statement that is about the adapter; keys accept only one that they signed."""
    if evidence.statements is None:
        text = f"there is none: no tag {statement_tag(evidence.digest)} is beside the image"
        return None, [_failed("statement", text)]
    reasons = []
    for part in evidence.statements:
        try:
            statement, check = _read(part, evidence.digest, keys)
        except ValueError as error:
            reasons.append(str(error))
            continue
        return statement, [_ok("statement", _summary(statement)), check]
    return None, [_failed("statement", "; ".join(reasons) or "the artifact is empty")]


def _read(part: Part, digest: str, keys: Collection[PublicKey]) -> tuple[Statement, Check]:
    """Read a statement and check its signature and its subject. Raises ValueError."""
    what = "its signature"
    if part.media_type == MEDIA_TYPE:
        if keys:
            raise ValueError("it is not signed")
        check, text = _skipped(what, "the statement is not signed"), part.content
    elif part.media_type == ENVELOPE_TYPE:
        envelope = open_envelope(part.content)
        signer = next((key for key in keys if is_signed_by(envelope, key)), None)
        if not keys:
            check = _skipped(what, "it is signed; give the public key to check by")
        elif signer is not None:
            check = _ok(what, f"by key {name_of(signer)}")
        else:
            raise ValueError("another key signed it, or it was changed since")
        text = envelope.payload
    else:
        raise ValueError(f"it is of type {part.media_type}; accepted is {PREDICATE_TYPE}")
    statement = decode(text)
    if digest not in statement.subject_digests:
        about = ", ".join(statement.subject_digests) or "nothing"
        raise ValueError(f"it is about another adapter, {about}")
    return statement, check


def _image_signature(evidence: Evidence, keys: Collection[PublicKey]) -> Check:
    what = "signature"
    if evidence.signatures is None:
        missing = f"there is none: no tag {signature_tag(evidence.digest)} is beside the image"
        return _failed(what, missing) if keys else _skipped(what, missing)
    if not keys:
        return _skipped(what, "the image is signed; give the public key to check by")
    reasons: dict[str, None] = {}
    payloads = [part for part in evidence.signatures if part.media_type == PAYLOAD_TYPE]
    for part, key in itertools.product(payloads, keys):
        signed = SignedPayload(
            payload=part.content, signature=str(part.annotations.get(SIGNATURE, ""))
        )
        try:
            digest = signed_digest(signed, key)
        except ValueError as error:
            reasons[str(error)] = None
            continue
        if digest == evidence.digest:
            return _ok(what, f"by key {name_of(key)}")
        reasons[f"it is of another image, {digest}"] = None
    return _failed(what, "; ".join(reasons) or "the artifact has none of cosign's form")


def _annotations(evidence: Evidence, statement: Statement) -> Check:
    """Compare what the image says of itself, which people and other tools read."""
    what = "annotations"
    try:
        base, plan = statement.base, dump_plan(statement.plan)
    except ValueError as error:
        return _skipped(what, str(error))
    dataset = statement.dependency(DATASET)
    measured = {**statement.byproduct(LOSSES), **statement.byproduct(EVALUATION)}
    stated = {
        BASE_MODEL: base.repository,
        BASE_REVISION: base.revision,
        BASE_DIGEST: base.digest,
        DATASET_DIGEST: oci_digest(dataset) if dataset else "",
        CONFIG_DIGEST: f"sha256:{hashlib.sha256(plan.encode()).hexdigest()}",
        **{f"{OURS}.{name}": text for name, text in measured.items()},
    }
    there = evidence.annotations()
    differences = [
        f"{name} is {json.dumps(there.get(name))}, and {json.dumps(value)} in the statement"
        for name, value in stated.items()
        if there.get(name) != value
    ]
    if differences:
        return _failed(what, "; ".join(differences))
    return _ok(what, "base model, data, plan and losses are those of the statement")


def _summary(statement: Statement) -> str:
    run = statement.predicate.build_definition.internal_parameters.get("run") or "not named"
    return f"run {run}, {statement.predicate.run_details.metadata.finished_on}"


def _ok(what: str, text: str) -> Check:
    return Check(what=what, outcome=Outcome.OK, text=text)


def _failed(what: str, text: str) -> Check:
    return Check(what=what, outcome=Outcome.FAILED, text=text)


def _skipped(what: str, text: str) -> Check:
    return Check(what=what, outcome=Outcome.NOT_CHECKED, text=text)
