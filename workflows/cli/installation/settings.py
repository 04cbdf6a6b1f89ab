"""The choices of an installation: checked, and read from an existing one."""

from __future__ import annotations

import dataclasses
import json
import re
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from argotune.steps.common.fields import text_of
from argotune.steps.common.values import is_bytes, is_dns_subdomain
from argotune.steps.plan.planning import WrongPreset, parse_own_preset
from argotune.steps.registry.oci import parse_image
from argotune.steps.settings.run_settings import SCORERS, SETTINGS
from argotune.workflows.cli.installation.operator import Scope, scope_of
from argotune.workflows.cli.providers.flags import INSTALLABLE, LOOKED_FOR_NODES
from argotune.workflows.cli.providers.registry import identities
from argotune.workflows.workspace.images import BY_TAG, image_problem
from argotune.workflows.workspace.manifests import installed_values

Object = dict[str, Any]

VERSION_LABEL = "app.kubernetes.io/version"
ACCESS_MODES = ("ReadWriteMany", "ReadWriteOnce")
_LISTS = (
    "allowed_hosts",
    "allowed_secrets",
    "allowed_priority_classes",
    "allowed_claims",
    "allowed_output_claims",
)
_OF_MODELS = ("models_size", "models_storage_class", "models_access_mode")
_PLACEHOLDER_REGISTRY = "registry.example.com/argotune"
_NAMES = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?|[a-z0-9][a-z0-9.-]*\*")
_SCORER = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_HOST = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?(:[0-9]{1,5})?")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The choices of an installation; None: as it is installed, else the default."""

    images_registry: str | None = None
    """HOST[:PORT][/PATH] with the images argotune-STEP."""
    images_tag: str | None = None
    by_digest: bool | None = None
    """Whether the templates name the images by digest too; the default is yes."""
    images_digests: Mapping[str, str] | None = None
    """The digests, sha256:HEX by step; None before they are looked up."""
    volume_size: str | None = None
    """Size of a run's volume, a quantity."""
    storage_class: str | None = None
    """Class of a run's volume; empty: the cluster's default."""
    models_size: str | None = None
    models_storage_class: str | None = None
    models_access_mode: str | None = None
    """ReadWriteMany, or ReadWriteOnce where the cluster has one node."""
    allowed_hosts: tuple[str, ...] | None = None
    """HOST or HOST:PORT of dataset mirrors and registries inside the network."""
    allowed_secrets: tuple[str, ...] | None = None
    """NAME or PREFIX* of Secrets that runs may use, beside those of argotune's own names."""
    allowed_priority_classes: tuple[str, ...] | None = None
    """NAME or PREFIX* of PriorityClasses that runs may use."""
    allowed_claims: tuple[str, ...] | None = None
    """NAME or PREFIX* of PersistentVolumeClaims that runs may read data from."""
    allowed_output_claims: tuple[str, ...] | None = None
    """NAME or PREFIX* of PersistentVolumeClaims that runs may write copies of adapters to."""
    scorer_images: Mapping[str, str] | None = None
    """Images of the scorers that runs may name, REPOSITORY@sha256:HEX by name."""
    api_server: tuple[str, ...] | None = None
    """Addresses of the API server, which is all that pods of scorers reach; not kept."""
    require_signature: bool | None = None
    """Whether deploy refuses adapters that none of the keys below signed."""
    verification_key: str | None = None
    """Public keys, the base64 of the DER of each, with commas between them."""
    emptied: frozenset[str] = frozenset()
    """Names of the lists above that do not go on from what is installed."""
    presets: Mapping[str, str] | None = None
    """Presets of one's own, texts by name; they replace those that are installed."""
    ca: str | None = None
    """Certificates, PEM, that the steps trust beside the public ones."""
    identities: Mapping[str, str] = field(default_factory=dict)
    """Identities of pods towards clouds, by the flag's name. A missing one is as it is installed,
    and an empty one means none."""
    operator: Scope | None = None
    is_beside_kaito: bool = False
    """Whether Kaito's own definition of Workspaces is there; not kept."""
    has_monitors: bool = False
    """Whether the cluster knows the ServiceMonitors of Prometheus' operator; not kept."""
    run_settings: Mapping[str, str] = field(default_factory=dict)
    """Settings of all runs that are flags of `argotune install`, by name; a missing one is as it is
    installed."""

    def over(self, other: Settings) -> Settings:
        """Return these, completed by the other's, to whose lists these are added."""
        mine = {name: value for name, value in vars(self).items() if value is not None}
        for name in _LISTS:
            if name in mine and name not in self.emptied:
                mine[name] = tuple(dict.fromkeys([*(getattr(other, name) or ()), *mine[name]]))
        if self.scorer_images is not None and "scorer_images" not in self.emptied:
            mine["scorer_images"] = {**(other.scorer_images or {}), **self.scorer_images}
        mine["identities"] = {**other.identities, **self.identities}
        mine["run_settings"] = {**other.run_settings, **self.run_settings}
        return dataclasses.replace(other, **mine)

    def installer_values(self) -> dict[str, str]:
        """Return the settings of runs that the installer decides, by name.

        Missing ones have their default.
        """
        given = {"images-registry": self.images_registry, "images-tag": self.images_tag}
        if self.by_digest is False:
            given["images-digests"] = BY_TAG
        elif self.images_digests is not None:
            given["images-digests"] = json.dumps(self.images_digests, sort_keys=True)
        if self.require_signature is not None:
            given["require-signature"] = text_of(self.require_signature)
        given["verification-key"] = self.verification_key
        if self.scorer_images is not None:
            given[SCORERS] = json.dumps(self.scorer_images, sort_keys=True)
        lists = {kebab(name): getattr(self, name) for name in _LISTS}
        return {
            **self.run_settings,
            **{name: text for name, text in given.items() if text is not None},
            **{name: json.dumps(items) for name, items in lists.items() if items is not None},
        }

    def shown_values(self) -> dict[str, str]:
        """Return the choices as a person reads them, by name; those that are None are missing."""
        shown = {name: _shown(text) for name, text in self.installer_values().items()}
        # A new digest is no choice of the installer.
        shown.pop("images-digests", None)
        if self.scorer_images is not None:
            pairs = (f"{name}={image}" for name, image in sorted(self.scorer_images.items()))
            shown[SCORERS] = ", ".join(pairs) or "none"
        sizes = ("volume_size", "storage_class", *_OF_MODELS)
        given = {kebab(name): getattr(self, name) for name in sizes} | dict(self.identities)
        if self.operator is not None:
            shown["operator"] = self.operator
        return shown | {name: text or "none" for name, text in given.items() if text is not None}

    def changes_of(self, other: Settings) -> list[str]:
        """List the other's choices that are not these, such as `images-tag: 1 -> 2`."""
        mine, others = self.shown_values(), other.shown_values()
        return [
            f"{name}: {mine[name]} -> {others[name]}"
            for name in mine
            if name in others and mine[name] != others[name]
        ]

    @property
    def makes_nodes(self) -> bool:
        """Whether some provider may make nodes, which `gc` then looks for."""
        return any(self.run_settings.get(name) for name in LOOKED_FOR_NODES)

    @property
    def has_operator(self) -> bool:
        """Whether the operator is installed."""
        return self.operator not in (None, "none")

    @property
    def has_operators_monitor(self) -> bool:
        """Whether Prometheus' operator is told of ours."""
        row = SETTINGS["service-monitor"]
        is_wanted = self.run_settings.get(row.name, row.default) == "auto"
        return self.has_operator and self.has_monitors and is_wanted

    @property
    def says_of_models(self) -> bool:
        """Whether any of these concerns the model cache."""
        return any(getattr(self, name) is not None for name in _OF_MODELS)

    def problems(self) -> list[str]:
        """List everything that is wrong, each with its flag."""
        return [
            *self._image_problems(),
            *self._storage_problems(),
            *self._host_problems(),
            *self._name_problems(),
            *self._scorer_problems(),
            *self._ca_problems(),
            *self._preset_problems(),
            *self._node_problems(),
        ]

    def _image_problems(self) -> Iterator[str]:
        try:
            parse_image(f"{self.images_registry or 'example.com'}/argotune-plan")
        except ValueError as error:
            yield f"--images-registry {self.images_registry!r}: {str(error).partition(': ')[2]}"
        tag = self.images_tag
        try:
            parse_image(f"example.com/argotune-plan:{'0' if tag is None else tag}")
        except ValueError as error:
            yield f"--images-tag {tag!r}: {str(error).partition(': ')[2]}"
        if tag == "latest":
            yield "--images-tag 'latest': name a version; runs would change under way"

    def _storage_problems(self) -> Iterator[str]:
        for flag in ("volume_size", "models_size"):
            size = getattr(self, flag)
            if size is not None and not is_bytes(size):
                yield f"--{kebab(flag)} {size!r}: accepted is a quantity such as 100Gi"
        for flag in ("storage_class", "models_storage_class"):
            name = getattr(self, flag)
            if name and not is_dns_subdomain(name):
                yield f"--{kebab(flag)} {name!r}: accepted is the name of a storage class"
        mode = self.models_access_mode
        if mode is not None and mode not in ACCESS_MODES:
            yield f"--models-access-mode {mode!r}: accepted is {' or '.join(ACCESS_MODES)}"

    def _host_problems(self) -> Iterator[str]:
        for host in self.allowed_hosts or ():
            if not _HOST.fullmatch(host):
                yield f"--allow-host {host!r}: accepted is HOST or HOST:PORT, in lower case"

    def _name_problems(self) -> Iterator[str]:
        given = (
            ("secret", "Secret", self.allowed_secrets),
            ("priority-class", "PriorityClass", self.allowed_priority_classes),
            ("claim", "PersistentVolumeClaim", self.allowed_claims),
            ("output-claim", "PersistentVolumeClaim", self.allowed_output_claims),
        )
        for flag, kind, names in given:
            for name in names or ():
                if not _NAMES.fullmatch(name):
                    yield (
                        f"--allow-{flag} {name!r}: accepted is the name of a {kind}, or the"
                        " beginning of names followed by *"
                    )

    def _scorer_problems(self) -> Iterator[str]:
        for name, image in (self.scorer_images or {}).items():
            problem = image_problem(image, by_digest=True)
            if not _SCORER.fullmatch(name):
                problem = "accepted is a name of lower-case letters, digits and '-' before the ="
            if problem:
                yield f"--scorer-image {name}={image}: {problem}"

    def _node_problems(self) -> Iterator[str]:
        for identity in identities():
            text = self.identities.get(identity.flag.name)
            if text and not identity.value.check(text):
                yield f"--{identity.flag.name} {text!r}: accepted is {identity.value.accepted}"
        for row in INSTALLABLE:
            text = self.run_settings.get(row.name, "")
            accepted = row.problem(text)
            if accepted is not None:
                yield f"--{row.name} {text!r}: accepted is {accepted}"

    def _preset_problems(self) -> Iterator[str]:
        for name, text in (self.presets or {}).items():
            try:
                parse_own_preset(text, name)
            except WrongPreset as error:
                yield from (f"--presets: {name}.yaml: {each}" for each in error.problems)

    def _ca_problems(self) -> Iterator[str]:
        if self.ca is None:
            return
        if "PRIVATE KEY" in self.ca:
            yield "--ca-file: it holds a private key; accepted are certificates only"
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=self.ca)
        except (ssl.SSLError, ValueError):
            yield "--ca-file: accepted are certificates in PEM, -----BEGIN CERTIFICATE-----"


def installed_settings(
    template: Object | None,
    claim: Object | None,
    accounts: Mapping[str, Object | None],
    operator: Object | None = None,
) -> Settings:
    """Read an installation's choices from its WorkflowTemplate, claim and accounts by name.

    `operator` is the operator's Deployment.

    A tag that is the version of the templates is not among them, because it follows the version,
    nor are the digests, which belong to the tag. Neither is the certificate authority, whose
    ConfigMap stays as it is.
    """
    found: dict[str, Any] = {}
    if template is not None:
        volume = template["spec"]["volumeClaimTemplates"][0]["spec"]
        values = installed_values(template)
        registry = values.get("images-registry")
        found = {
            "by_digest": False if values.get("images-digests") == BY_TAG else None,
            "images_registry": None if registry == _PLACEHOLDER_REGISTRY else registry,
            "images_tag": _own_tag(template, values),
            "volume_size": volume["resources"]["requests"]["storage"],
            "storage_class": volume.get("storageClassName"),
            "allowed_hosts": _items(values.get("allowed-hosts")),
            "allowed_secrets": _with_own_secrets(_items(values.get("allowed-secrets"))),
            "allowed_priority_classes": _items(values.get("allowed-priority-classes")),
            "allowed_claims": _items(values.get("allowed-claims")),
            "allowed_output_claims": _items(values.get("allowed-output-claims")),
            "scorer_images": json.loads(values[SCORERS]) if SCORERS in values else None,
            "require_signature": _truth(values.get("require-signature")),
            "verification_key": values.get("verification-key") or None,
            "run_settings": {
                row.name: values[row.name] for row in INSTALLABLE if row.name in values
            },
        }
    if claim is not None:
        spec = claim["spec"]
        found |= {
            "models_size": spec["resources"]["requests"]["storage"],
            "models_storage_class": spec.get("storageClassName"),
            "models_access_mode": spec["accessModes"][0],
        }
    found["operator"] = scope_of(operator)
    annotations = {
        name: account["metadata"].get("annotations") or {}
        for name, account in accounts.items()
        if account is not None
    }
    found["identities"] = {
        each.flag.name: of_account[each.annotation]
        for each in identities()
        if each.annotation in (of_account := annotations.get(each.accounts[0], {}))
    }
    return Settings(**found)


def accounts_with_identities() -> list[str]:
    """List the accounts from whose annotations `installed_settings` reads the identities."""
    return sorted({each.accounts[0] for each in identities()})


def _truth(text: str | None) -> bool | None:
    """Read a setting that is true or false; None where a template of another version has none."""
    return None if text is None else text == "true"


def _with_own_secrets(installed: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Add the Secrets of argotune's own names, of which this version may have more."""
    own = json.loads(SETTINGS["allowed-secrets"].default)
    return None if installed is None else tuple(dict.fromkeys([*own, *installed]))


def version_of(template: Object) -> str | None:
    """Return the version of argotune that installed the object."""
    version: str | None = (template["metadata"].get("labels") or {}).get(VERSION_LABEL)
    return version


def _own_tag(template: Object, values: Mapping[str, str]) -> str | None:
    """Return the tag that an installer chose; None where it is the version's own."""
    tag = values.get("images-tag")
    return None if tag == version_of(template) else tag


def _items(text: str | None) -> tuple[str, ...] | None:
    """Parse a JSON list; None where a template of another version has none."""
    return None if text is None else tuple(json.loads(text))


def _shown(text: str) -> str:
    """Write a value for people: a JSON list as names, and nothing as none."""
    return (", ".join(json.loads(text)) if text.startswith("[") else text) or "none"


def kebab(name: str) -> str:
    """Return the name as a flag and as a parameter."""
    return name.replace("_", "-")
