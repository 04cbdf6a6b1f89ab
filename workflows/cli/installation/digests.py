"""The digests of the step images, looked up when argotune is installed.

Templates that name them do not change when somebody pushes to a tag.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from argotune.steps.common.errors import StepError
from argotune.steps.registry.oci import parse_image
from argotune.steps.registry.skopeo import NotFound, Registry, remote_digest
from argotune.workflows.cli.authority import authority_file
from argotune.workflows.workspace.images import LARGE, SMALL, image_of

_AT_A_TIME = 4


@dataclass(frozen=True, kw_only=True)
class Digests:
    """What a registry says of the images of a tag."""

    found: Mapping[str, str]
    """sha256:HEX by step."""
    failures: Mapping[str, str] = field(default_factory=dict)
    """Why there is none, by step."""
    missing: frozenset[str] = frozenset()
    """Steps of which the registry answers that it has no such image."""

    @property
    def has_none(self) -> bool:
        """Whether the registry has no image at all under the tag."""
        return not self.found and self.missing == self.failures.keys()

    @property
    def failure(self) -> str | None:
        """Say which images have none, and why the first has not; None where all have one."""
        if not self.failures:
            return None
        steps = list(self.failures)
        others = f"; likewise {', '.join(steps[1:])}" if steps[1:] else ""
        return f"{self.failures[steps[0]]}{others}"


def look_up(
    values: Mapping[str, str], ca: str | None, steps: Sequence[str] = (*SMALL, *LARGE)
) -> Digests:
    """Ask the registry for the digests of the steps' images, with this person's own login to it.

    `values` are the settings that the installer decides; `ca` are certificates in PEM that are
    trusted beside the system's. The first image is asked for alone: where the registry cannot be
    reached, the others are not waited for.
    """
    by_tag = {**values, "images-digests": "{}"}
    first, *others = steps
    with authority_file(ca) as ca_file:
        registry = Registry(ca_file=ca_file, is_login_of_user=True, attempts=1)
        answers = dict(_ask(by_tag, [first], registry))
        if not isinstance(answers[first], StepError) or isinstance(answers[first], NotFound):
            answers |= _ask(by_tag, others, registry)
    return Digests(
        found={step: each for step, each in answers.items() if not isinstance(each, StepError)},
        failures={step: str(each) for step, each in answers.items() if isinstance(each, StepError)},
        missing=frozenset(step for step, each in answers.items() if isinstance(each, NotFound)),
    )


def _ask(
    values: Mapping[str, str], steps: Sequence[str], registry: Registry
) -> Iterator[tuple[str, str | StepError]]:
    def ask(step: str) -> str | StepError:
        try:
            return remote_digest(parse_image(image_of(values, step)), registry)
        except StepError as error:
            return error

    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        yield from zip(steps, pool.map(ask, steps), strict=True)
