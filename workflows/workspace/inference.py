"""inference: the adapters of a service without training, and what of the file has no effect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from argotune.steps.common.values import is_dns_label, reads
from argotune.steps.contracts.service_plan import AskedAdapter
from argotune.steps.registry.oci import LayoutReference, parse_reference
from argotune.steps.settings.run_settings import PREFIX, SETTINGS, place_of
from argotune.steps.settings.step_params import service_settings
from argotune.workflows.workspace.fields import Fields, flag_of
from argotune.workflows.workspace.input import pull_secrets
from argotune.workflows.workspace.model import ADAPTERS, Options
from argotune.workflows.workspace.output import is_filled_in_image, warn_of_internal_registry
from argotune.workflows.workspace.volume_source import claim_of

_KAITO_PREFIX = "kaito.sh/"
ADAPTER_FIELDS = ("source", "strength")
SOURCE_FIELDS = ("name", "image", "imagePullSecrets", "volumeSource", "urls")
ONE_SOURCE = "accepted is one of image and volumeSource"
_NODE_STAYS = "the node of a service lives as long as the service"
_VOLUME_REASONS = {"emptyDir": "it is empty", "image": "name the image as source.image"}
_REFUSED_SETTINGS: Mapping[str, str] = {
    "deploy-to": "a file without training is there for its service",
    "serve-with": "a service without training names its adapters in inference.adapters",
    "node-lifetime-seconds": _NODE_STAYS,
    "keep-node-seconds": _NODE_STAYS,
    "max-cost-usd": f"{_NODE_STAYS}, so a limit would end the service; `argotune plan` says its"
    " cost of a day",
    "at-cost-limit": "a service has no limit of cost",
    "capacity-types": "nothing replaces a spot machine that is taken away from a service; regular"
    " machines are used",
    "spot-max-price-usd-per-hour": "nothing replaces a spot machine that is taken away from a"
    " service",
}
"""Settings that would be misunderstood, with the reason."""


@dataclass(frozen=True, kw_only=True)
class Inference:
    """Which adapters are served, and what it takes to fetch them."""

    adapters: tuple[AskedAdapter, ...]
    """Also those whose image is to be filled in, as the file has it."""
    claim: str | None
    """PersistentVolumeClaim with the files of the adapter that has no image."""
    pull_secret: str | None


def read_inference(fields: Fields, base_dir: Path) -> Inference:
    """Read the adapters; relative directories of `oci:` begin at `base_dir`."""
    given = fields.get(ADAPTERS)
    if given is not None and not isinstance(given, list):
        fields.problems.append(f"{ADAPTERS}: {given!r}; accepted is a list of adapters")
    found = [
        _Found(fields, f"{ADAPTERS}[{index}]", item, base_dir)
        for index, item in enumerate(given if isinstance(given, list) else [])
    ]
    secrets = sorted({secret for each in found for secret in each.secrets})
    if len(secrets) > 1:
        fields.problems.append(
            f"{ADAPTERS}: imagePullSecrets: {', '.join(secrets)}; accepted is one Secret, with the"
            " logins of all registries"
        )
    claims = [each.claim for each in found if each.claim]
    return Inference(
        adapters=tuple(each.adapter for each in found if each.adapter is not None),
        claim=claims[0] if claims else None,
        pull_secret=secrets[0] if secrets else None,
    )


def check_options(fields: Fields, options: Options) -> Options:
    """Return the settings that a service has; the others are refused, or warned about."""
    known = {row.name for row in service_settings()}
    known |= {name for name, row in SETTINGS.items() if not row.is_in_template}
    known |= {name for name, row in SETTINGS.items() if row.decided_by == "installer"}
    for name in options:
        if name in _REFUSED_SETTINGS and options[name] != "regular":
            fields.problems.append(
                f"{_place(name, fields)}: {_REFUSED_SETTINGS[name]}; leave it out"
            )
        elif name not in known:
            fields.warnings.append(
                f"{_place(name, fields)}: has no effect on a service without training"
            )
    fields.warnings += _annotations_of_kaito(fields)
    gpus = options.get("service-gpus", "")
    if gpus not in ("", "0", "1"):
        fields.problems.append(
            f"{_place('service-gpus', fields)}: {gpus!r}; accepted are 0 and 1, because one server"
            " uses one GPU; more servers are service-replicas"
        )
    return {name: text for name, text in options.items() if name in known}


def is_known_image(text: str) -> bool:
    """Whether an adapter's image is none to be filled in; empty is that of the claim."""
    return not text or reads(parse_reference)(text)


def _place(name: str, fields: Fields) -> str:
    return flag_of(name) if name in fields.overrides else place_of(name)


def _annotations_of_kaito(fields: Fields) -> Iterator[str]:
    for name in fields.get("metadata.annotations") or {}:
        if str(name).startswith(_KAITO_PREFIX):
            yield (
                f"metadata.annotations.{name}: has no effect: it is read by Kaito's controller;"
                f" those of argotune begin with {PREFIX}"
            )


class _Found:
    """One item of the list, as far as it can be read."""

    def __init__(self, fields: Fields, place: str, item: object, base_dir: Path) -> None:
        self.adapter: AskedAdapter | None = None
        self.claim: str | None = None
        self.secrets: Sequence[str] = ()
        self._fields, self._place, self._base_dir = fields, place, base_dir
        source = item.get("source") if isinstance(item, dict) else None
        if not isinstance(item, dict) or not isinstance(source, dict):
            self._refuse("", f"{item!r}; accepted is a mapping with source and strength")
            return
        self._refuse_unknown("", item, ADAPTER_FIELDS)
        self._refuse_unknown(".source", source, SOURCE_FIELDS)
        name, strength = self._name(source), self._strength(item.get("strength"))
        self.secrets = pull_secrets(fields, f"{place}.source.imagePullSecrets", source)
        image = self._image(source)
        if image is not None and name and strength is not None:
            self.adapter = AskedAdapter(name=name, image=image, strength=strength)

    def _refuse(self, path: str, text: str) -> None:
        self._fields.problems.append(f"{self._place}{path}: {text}")

    def _refuse_unknown(self, path: str, found: Mapping[Any, Any], known: Sequence[str]) -> None:
        for key in found:
            if key not in known:
                self._refuse(f"{path}.{key}", f"unknown field; known are {', '.join(known)}")

    def _name(self, source: Mapping[str, Any]) -> str:
        name = source.get("name")
        if isinstance(name, str) and is_dns_label(name):
            return name
        self._refuse(
            ".source.name",
            f"{name!r}; accepted are lower-case letters, digits and '-', a letter first; requests"
            " name the adapter so",
        )
        return ""

    def _strength(self, text: object) -> float | None:
        if text is None:
            return 1.0
        try:
            number = float(text) if isinstance(text, str) else -1.0
        except ValueError:
            number = -1.0
        if not 0 <= number <= 1:
            self._refuse(".strength", f"{text!r}; accepted is a number from 0 to 1, in quotes")
            return None
        return number

    def _image(self, source: Mapping[str, Any]) -> str | None:
        """The adapter's image; empty where its files are on the claim, None where it has none."""
        given = [key for key in ("urls", "image", "volumeSource") if source.get(key)]
        if given == ["volumeSource"]:
            place = f"{self._place}.source.volumeSource"
            self.claim = claim_of(self._fields, place, source["volumeSource"], _VOLUME_REASONS)
            return "" if self.claim else None
        if given != ["image"] or not isinstance(source["image"], str):
            found = " and ".join(given) or "none"
            self._refuse(".source", f"{found}; {ONE_SOURCE}")
            return None
        return self._checked(source["image"])

    def _checked(self, text: str) -> str | None:
        place = f"{self._place}.source.image"
        try:
            reference = parse_reference(text)
        except ValueError as error:
            if not is_filled_in_image(text):
                self._fields.problems.append(f"{place}: {error}")
                return None
            self._fields.placeholders.append(f"{place}: {error}")
            return text
        warn_of_internal_registry(text, self._fields, place)
        if not isinstance(reference, LayoutReference):
            return text
        directory = (self._base_dir / reference.directory).resolve()
        return str(replace(reference, directory=directory))
