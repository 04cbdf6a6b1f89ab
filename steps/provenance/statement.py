"""The statement about an adapter: in-toto's Statement v1 with SLSA's provenance v1.

Formats: https://github.com/in-toto/attestation/tree/main/spec/v1 and
https://slsa.dev/spec/v1.0/provenance. It refers to the adapter's manifest as its subject, and has
the tag that cosign gives attestations, for registries that list no referrers.
"""

from __future__ import annotations

from typing import Any

import msgspec

from argotune.steps.contracts.serving import Base
from argotune.steps.contracts.training_plan import TrainingPlan

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
MEDIA_TYPE = "application/vnd.in-toto+json"
"""Of the statement; also the type of the artifact that has it."""
BUILD_TYPE = "https://argotune.dev/provenance/finetune/v1"
BUILDER = "https://argotune.dev/builders/workflow/v1"

BASE, DATASET, DATA, START = "base", "dataset", "data", "start-adapter"
"""Names of dependencies: the model, all rows, each file that they come from, and the adapter with
whose weights training began."""
IMAGE = "image/"
"""Before the name of the step whose image is a dependency."""
LOSSES, EVALUATION, VERSIONS, MACHINE = "losses", "evaluation", "versions", "machine"
"""Names of byproducts; what they say stands in their annotations."""
ENDED_EARLY = "ended-early"
"""Byproduct of a training that ended before its last step: `because` and `steps`."""
HELD_OUT = "held-out"
"""Annotation of the dataset: questions that were held out because of an earlier run."""


class _Part(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    pass


class Resource(_Part, frozen=True, kw_only=True):
    """in-toto's ResourceDescriptor."""

    name: str
    uri: str | None = None
    digest: dict[str, str] = {}
    """Algorithm -> lower-case hex."""
    annotations: dict[str, str] = {}


class BuildDefinition(_Part, frozen=True, kw_only=True):
    """What the adapter was made from; enough to make it again."""

    build_type: str
    external_parameters: dict[str, Any]
    """`plan`, as in plan.yaml; `data` and `validationData`, the URLs without queries."""
    internal_parameters: dict[str, str] = {}
    """`run` and `namespace` of the Workflow."""
    resolved_dependencies: list[Resource] = []


class Builder(_Part, frozen=True, kw_only=True):
    """What ran the steps."""

    id: str
    version: dict[str, str] = {}


class Metadata(_Part, frozen=True, kw_only=True):
    """The run."""

    invocation_id: str
    """UID of the Workflow."""
    started_on: str
    """RFC 3339; also the `created` of the adapter's image."""
    finished_on: str


class RunDetails(_Part, frozen=True, kw_only=True):
    """How the adapter was made this time."""

    builder: Builder
    metadata: Metadata
    byproducts: list[Resource] = []


class Predicate(_Part, frozen=True, kw_only=True):
    """SLSA's provenance v1."""

    build_definition: BuildDefinition
    run_details: RunDetails


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """in-toto's Statement v1 about one adapter."""

    type: str = msgspec.field(name="_type")
    subject: list[Resource]
    predicate_type: str = msgspec.field(name="predicateType")
    predicate: Predicate

    def dependency(self, name: str) -> Resource | None:
        """Find a dependency by its name."""
        return _named(self.predicate.build_definition.resolved_dependencies, name)

    def byproduct(self, name: str) -> dict[str, str]:
        """Return what a byproduct says; empty if there is none of this name."""
        found = _named(self.predicate.run_details.byproducts, name)
        return found.annotations if found is not None else {}

    @property
    def plan(self) -> TrainingPlan:
        """The plan of the run. Raises ValueError if it is none that this version knows."""
        try:
            plan = self.predicate.build_definition.external_parameters["plan"]
            return msgspec.convert(plan, TrainingPlan)
        except (KeyError, msgspec.ValidationError) as error:
            raise ValueError(f"its plan is none of this version of argotune: {error}") from error

    @property
    def base(self) -> Base:
        """The base model as far as its files tell. Raises ValueError if it is not there."""
        found = self.dependency(BASE)
        if found is None:
            raise ValueError("it names no base model")
        said = found.annotations
        return Base(
            repository=said.get("repository", ""),
            revision=said.get("revision", ""),
            family=said.get("family", ""),
            source=said.get("source", ""),
            digest=oci_digest(found),
        )

    @property
    def subject_digests(self) -> list[str]:
        """sha256:HEX of the manifests that it is about."""
        return [oci_digest(each) for each in self.subject]


def base_resource(base: Base) -> Resource:
    """Describe the base model; `Statement.base` reads it back."""
    uri = f"https://huggingface.co/{base.repository}/tree/{base.revision}"
    return Resource(
        name=BASE,
        uri=uri if base.is_on_hub else None if base.source == "made" else base.source,
        digest=digest_set(base.digest),
        annotations={
            "repository": base.repository,
            "revision": base.revision,
            "family": base.family,
            "source": base.source,
        },
    )


def statement_tag(digest: str) -> str:
    """Return the tag of the statement about an adapter by its digest, sha256:HEX."""
    return f"{digest.replace(':', '-')}.att"


def encode(statement: Statement) -> bytes:
    """Write the statement as JSON; equal ones give equal bytes."""
    return msgspec.json.encode(statement, order="sorted")


def decode(text: bytes) -> Statement:
    """Read a statement. Raises ValueError that says why it is none about an adapter."""
    try:
        found = msgspec.json.decode(text, type=Statement)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"it is not such a statement: {error}") from error
    for what, is_there, wanted in (
        ("_type", found.type, STATEMENT_TYPE),
        ("predicateType", found.predicate_type, PREDICATE_TYPE),
        ("buildType", found.predicate.build_definition.build_type, BUILD_TYPE),
    ):
        if is_there != wanted:
            raise ValueError(f"its {what} is {is_there!r}; accepted is {wanted}")
    return found


def digest_set(digest: str) -> dict[str, str]:
    """Turn sha256:HEX into in-toto's form; empty for no digest."""
    algorithm, _, value = digest.partition(":")
    return {algorithm: value} if value else {}


def oci_digest(resource: Resource) -> str:
    """Return sha256:HEX of a resource; empty if it has none."""
    value = resource.digest.get("sha256", "")
    return f"sha256:{value}" if value else ""


def _named(resources: list[Resource], name: str) -> Resource | None:
    return next((each for each in resources if each.name == name), None)
