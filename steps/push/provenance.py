"""The statement of where the adapter comes from, and the signatures, beside the adapter's image.

They have cosign's tags and name the adapter's manifest as their subject: `cosign verify` and
`cosign verify-attestation` find them, and registries of OCI 1.1 list them among the referrers.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec

from argotune.steps.common import log
from argotune.steps.common.errors import PermanentError, StepError
from argotune.steps.common.fields import text_of
from argotune.steps.common.urls import redact
from argotune.steps.contracts.report import DATASET, NOT_KEPT, RESULT
from argotune.steps.contracts.serving import Base
from argotune.steps.contracts.start_adapter import start_of
from argotune.steps.contracts.training_plan import TrainingPlan
from argotune.steps.provenance.keys import Signer
from argotune.steps.provenance.signatures import (
    ENVELOPE_TYPE,
    PAYLOAD_TYPE,
    SIGNATURE,
    SIGNATURE_ARTIFACT_TYPE,
    SignedPayload,
    is_signed_by,
    open_envelope,
    sign_image,
    sign_statement,
    signature_tag,
    signed_digest,
)
from argotune.steps.provenance.statement import (
    BUILD_TYPE,
    BUILDER,
    DATA,
    ENDED_EARLY,
    EVALUATION,
    HELD_OUT,
    IMAGE,
    LOSSES,
    MACHINE,
    MEDIA_TYPE,
    PREDICATE_TYPE,
    START,
    STATEMENT_TYPE,
    VERSIONS,
    BuildDefinition,
    Builder,
    Metadata,
    Predicate,
    Resource,
    RunDetails,
    Statement,
    base_resource,
    digest_set,
    encode,
    statement_tag,
)
from argotune.steps.provenance.statement import DATASET as ALL_ROWS
from argotune.steps.push.layout import Image, Layer, read_layers, write_artifact
from argotune.steps.push.params import Params
from argotune.steps.registry.oci import ImageReference
from argotune.steps.registry.policy import policy_of
from argotune.steps.registry.skopeo import Registry, Sleep
from argotune.steps.registry.skopeo import push as push_image

_LOGGER = logging.getLogger(__name__)

_TIMEOUT_SECONDS = 300.0
"""Longest duration of one upload attempt of a few kilobytes."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """The artifacts about an adapter in a layout, by their tags."""

    statement: Image
    signature: Image | None
    """None without a key."""
    by_tag: dict[str, Image]


def _version_used() -> dict[str, str]:
    """Argotune's version; in a step's image it is no package, and the images are stated."""
    try:
        return {"argotune": version("argotune")}
    except PackageNotFoundError:
        return {}


def make_statement(params: Params, plan: TrainingPlan, base: Base, image: Image) -> Statement:
    """State what the adapter was made from and by whom, as far as the run's volume tells."""
    tuned = _json(params.work_dir / "report" / RESULT)
    dataset = _json(params.work_dir / "dataset" / DATASET)
    losses = {
        "base-loss": text_of(params.base_loss),
        "tuned-loss": text_of(params.tuned_loss),
    }
    byproducts = {
        LOSSES: losses,
        ENDED_EARLY: _end(tuned.get("result", {})),
        EVALUATION: {"verdict": params.verdict},
        VERSIONS: tuned.get("versions", {}),
        MACHINE: tuned.get("machine", {}),
    }
    return Statement(
        type=STATEMENT_TYPE,
        subject=[Resource(name=_subject(params, plan), digest=digest_set(image.digest))],
        predicate_type=PREDICATE_TYPE,
        predicate=Predicate(
            build_definition=BuildDefinition(
                build_type=BUILD_TYPE,
                external_parameters={
                    "plan": msgspec.to_builtins(plan),
                    # Argo's form takes URLs with a query too, which may be a token.
                    "data": list(map(redact, params.urls)),
                    "validationData": list(map(redact, params.validation_urls)),
                },
                internal_parameters={"run": params.workflow, "namespace": params.namespace},
                resolved_dependencies=[
                    base_resource(base),
                    Resource(
                        name=ALL_ROWS,
                        digest=digest_set(params.dataset_digest),
                        annotations=_held_out(dataset),
                    ),
                    *_data_files(dataset),
                    *_start_adapter(params.work_dir, plan),
                    *_images(params),
                ],
            ),
            run_details=RunDetails(
                builder=Builder(id=BUILDER, version=_version_used()),
                metadata=Metadata(
                    invocation_id=params.run,
                    started_on=params.created,
                    finished_on=_finished(params),
                ),
                byproducts=[
                    Resource(name=name, annotations=said)
                    for name, said in byproducts.items()
                    if said
                ],
            ),
        ),
    )


def write_provenance(
    layout: Path, statement: Statement, adapter: Image, signer: Signer | None, *, created: str
) -> Written:
    """Add the statement about the adapter and, with a key, the signatures to the layout.

    Without a key the statement is there as it is. What an earlier try signed stays: ECDSA gives
    another signature each time, and a tag that was sent may not take another digest.
    """
    text = encode(statement)
    tag = statement_tag(adapter.digest)
    if signer is None:
        layers = [Layer(media_type=MEDIA_TYPE, content=text)]
    else:
        layers = [_find_envelope(layout, tag, text, signer) or _sign_envelope(text, signer)]
    written = write_artifact(
        layout,
        layers,
        artifact_type=MEDIA_TYPE,
        tag=tag,
        subject=adapter,
        created=created,
        is_image=True,
    )
    if signer is None:
        return Written(statement=written, signature=None, by_tag={tag: written})
    signature = _write_signature(layout, statement, adapter, signer, created=created)
    by_tag = {tag: written, signature_tag(adapter.digest): signature}
    return Written(statement=written, signature=signature, by_tag=by_tag)


def send_provenance(
    layout: Path,
    written: Written,
    image: ImageReference,
    registry: Registry,
    *,
    sleep: Sleep,
) -> str:
    """Push the artifacts to the adapter's repository, and return the statement's reference.

    An adapter without a statement is still one: where an unsigned one cannot be kept, return
    `none: REASON`. Where it is signed, somebody relies on it. Raises StepError then.
    """
    patient = dataclasses.replace(registry, timeout_seconds=_TIMEOUT_SECONDS)
    try:
        for tag, artifact in written.by_tag.items():
            target = ImageReference(registry=image.registry, repository=image.repository, tag=tag)
            push_image(layout, tag, target, artifact.digest, patient, sleep=sleep)
    except StepError as error:
        if written.signature is not None:
            raise
        log.warn(_LOGGER, "statement-not-kept", reason=error)
        return f"{NOT_KEPT}{error}"
    return f"{image.name}@{written.statement.digest}"


def _sign_envelope(text: bytes, signer: Signer) -> Layer:
    return Layer(
        media_type=ENVELOPE_TYPE,
        content=sign_statement(signer, text),
        annotations={SIGNATURE: "", "predicateType": PREDICATE_TYPE},
    )


def _find_envelope(layout: Path, tag: str, text: bytes, signer: Signer) -> Layer | None:
    """The envelope with this text that an earlier try signed with the same key."""
    for layer in read_layers(layout, tag):
        try:
            envelope = open_envelope(layer.content)
        except ValueError:
            continue  # an unsigned statement, of a try before there was a key
        if envelope.payload == text and is_signed_by(envelope, signer.public_key):
            return layer
    return None


def _write_signature(
    layout: Path, statement: Statement, adapter: Image, signer: Signer, *, created: str
) -> Image:
    tag = signature_tag(adapter.digest)
    signed = sign_image(signer, adapter.digest, statement.subject[0].name)
    layer = Layer(
        media_type=PAYLOAD_TYPE,
        content=signed.payload,
        annotations={SIGNATURE: signed.signature},
    )
    return write_artifact(
        layout,
        [_find_signature(layout, tag, signed.payload, signer) or layer],
        artifact_type=SIGNATURE_ARTIFACT_TYPE,
        tag=tag,
        subject=adapter,
        created=created,
        is_image=True,
    )


def _find_signature(layout: Path, tag: str, payload: bytes, signer: Signer) -> Layer | None:
    """The signature of this payload that an earlier try made with the same key."""
    for layer in read_layers(layout, tag):
        signature = layer.annotations.get(SIGNATURE, "")
        try:
            signed_digest(SignedPayload(payload=payload, signature=signature), signer.public_key)
        except ValueError:
            continue
        if layer.content == payload:
            return layer
    return None


def _finished(params: Params) -> str:
    """When tuning ended; the time of this try would make each a new statement."""
    try:
        ended = (params.work_dir / "report" / RESULT).stat().st_mtime
    except FileNotFoundError:
        return params.created
    return datetime.fromtimestamp(ended, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _subject(params: Params, plan: TrainingPlan) -> str:
    """Name the repository; a directory of this machine is nobody else's, so it gets the plan's."""
    target = params.target
    return target.name if isinstance(target, ImageReference) else plan.name


def _start_adapter(work_dir: Path, plan: TrainingPlan) -> Iterator[Resource]:
    start = start_of(work_dir, plan.lora.start_from)
    if start.digest:
        yield Resource(name=START, digest=digest_set(start.digest))


def _end(tuned: Mapping[str, Any]) -> dict[str, str]:
    """Say why and after which step training ended early; empty if it did not."""
    reason = tuned.get("stopped_early", "")
    return {"because": reason, "steps": text_of(tuned.get("steps"))} if reason else {}


def _held_out(dataset: Mapping[str, Any]) -> dict[str, str]:
    questions = dataset.get("held_out", [])
    return {HELD_OUT: " ".join(questions)} if questions else {}


def _data_files(dataset: Mapping[str, Any]) -> Iterator[Resource]:
    """List the files that the rows come from; their URLs have no query."""
    for number, file in enumerate(dataset.get("files", [])):
        yield Resource(
            name=f"{DATA}/{number}", uri=file["url"], digest=digest_set(f"sha256:{file['sha256']}")
        )


def _images(params: Params) -> Iterator[Resource]:
    """List the images of the steps, where they ran in these: on a cluster."""
    if not policy_of(()).is_pod:
        return
    for image in params.step_images:
        name, _, digest = image.partition("@")
        step = name.rpartition("/")[2].partition(":")[0].removeprefix("argotune-")
        yield Resource(name=f"{IMAGE}{step}", uri=name, digest=digest_set(digest))


def _json(path: Path) -> dict[str, Any]:
    """Read what an earlier step wrote; empty if it is not there, as after another version's."""
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise PermanentError(f"{path}: not JSON ({error}); an earlier step wrote it") from error
    return found if isinstance(found, dict) else {}
